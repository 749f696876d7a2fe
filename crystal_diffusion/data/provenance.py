"""Where a crystal comes from: database, entry, date, functional, license, citation.

Every row keeps its own :class:`Provenance`; tables, ``check``, ``inspect`` and model files repeat
it in the short form of :class:`OriginSummary`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Provenance:
    """Origin of one crystal; an empty text is "not known".

    Attributes:
        provider: short name of the database: ``mp``, ``cod``, ``icsd``, ``alexandria``, ...
        entry_id: the name of the entry there.
        version: of the database or of the entry, as the database writes it.
        last_modified: when the entry was changed there, ISO 8601.
        retrieved_at: when it was fetched, ISO 8601 in UTC.
        filter: the query that found it.
        functional: of the calculation behind cell and energy (``PBE``, ``r2SCAN``, ...), or
            ``experiment``. Energies of different functionals never meet in one hull.
        license: of the data.
        citation: what to cite.
    """

    provider: str = ""
    entry_id: str = ""
    version: str = ""
    last_modified: str = ""
    retrieved_at: str = ""
    filter: str = ""
    functional: str = ""
    license: str = ""
    citation: str = ""

    @property
    def known(self) -> bool:
        """Whether anything is stated at all."""
        return self != NOT_KNOWN


#: Nothing is known.
NOT_KNOWN = Provenance()
#: Column names of a table, in order.
PROVENANCE_COLUMNS = tuple(field.name for field in fields(Provenance))


@dataclass(frozen=True)
class OriginSummary:
    """The crystals of one origin: same provider, version, functional, license and filter.

    Attributes:
        crystals: how many.
        retrieved: first and last date of fetching, the same twice for one fetch.
        citations: each text once, in order of appearance.
    """

    provider: str
    version: str
    functional: str
    license: str
    filter: str
    crystals: int
    retrieved: tuple[str, str]
    citations: tuple[str, ...]

    def sentence(self, most: int = 2) -> str:
        """One line for people, with at most that many citations."""
        if not self.provider:
            return f"{self.crystals} crystals whose origin is not stated"
        parts = [f"{self.crystals} crystals from {self.provider}"]
        if self.version:
            parts.append(f"version {self.version}")
        parts.append(f"functional {self.functional or 'not stated'}")
        parts.append(f"license {self.license or 'not stated'}")
        if self.retrieved[0]:
            first, last = (text[:10] for text in self.retrieved)
            parts.append(f"retrieved {first if first == last else f'{first} to {last}'}")
        if self.filter:
            parts.append(f"filter: {self.filter}")
        if self.citations:
            shown = "; ".join(self.citations[:most])
            more = len(self.citations) - most
            parts.append(f"cite: {shown}" + (f" and {more} more" if more > 0 else ""))
        return ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "retrieved": list(self.retrieved), "citations": [*self.citations]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> OriginSummary:
        """What :meth:`to_dict` wrote."""
        first, last = data["retrieved"]
        return cls(**{**data, "retrieved": (first, last), "citations": tuple(data["citations"])})


def summarize(origins: Iterable[Provenance]) -> tuple[OriginSummary, ...]:
    """The origins of many crystals, the most frequent first; empty when none states any."""
    rows = list(origins)
    if not any(origin.known for origin in rows):
        return ()
    groups: dict[tuple[str, ...], list[Provenance]] = {}
    for origin in rows:
        key = (origin.provider, origin.version, origin.functional, origin.license, origin.filter)
        groups.setdefault(key, []).append(origin)
    found = []
    for (provider, version, functional, license_, filter_), group in groups.items():
        dates = sorted(origin.retrieved_at for origin in group)
        citations = dict.fromkeys(origin.citation for origin in group if origin.citation)
        found.append(
            OriginSummary(
                provider,
                version,
                functional,
                license_,
                filter_,
                len(group),
                (dates[0], dates[-1]),
                tuple(citations),
            )
        )
    return tuple(sorted(found, key=lambda item: -item.crystals))
