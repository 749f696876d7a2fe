"""The Crystallography Open Database (Grazulis et al. 2012, Nucleic Acids Research 40, D420)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from crystal_diffusion.data.provenance import Provenance
from crystal_diffusion.data.records import PlainCrystal, failed
from crystal_diffusion.data.sources.cif_origin import database_crystals
from crystal_diffusion.data.sources.client import Client, NotThereError, host_of
from crystal_diffusion.data.sources.journal import Page, PageHead, now
from crystal_diffusion.data.sources.query import DatabaseQuery, parse_query
from crystal_diffusion.errors import InputError, SourceError

#: Where it lives.
ADDRESS = "https://www.crystallography.net/cod"
#: CIFs that are kept at once.
_PAGE = 10
_MOST_ELEMENTS, _MOST_EXCLUDED = 8, 4


class CodSource:
    """One query to the COD: by ids, by formula, or by elements.

    Args:
        client: speaks to it.
        query: see :func:`crystal_diffusion.data.sources.query.parse_query`.
        address: another place that speaks the same language.
    """

    def __init__(self, client: Client, query: str, address: str = ADDRESS) -> None:
        self._client = client
        self._address = address.rstrip("/")
        self._query = parse_query(query)
        self._query.refuse("cod", "num_sites", "band_gap", "energy_above_hull", "stable")
        self._parameters = parameters(self._query)
        if not self._query.ids and not self._parameters:
            raise InputError(
                "cod needs ids, a formula or elements; for all of it give the file or folder with "
                "its CIFs as the query."
            )
        self._origin = Provenance(provider="cod", filter=query.strip())

    @property
    def request(self) -> dict[str, Any]:
        """What makes it this query."""
        return {"source": "cod", "address": self._address, "query": asdict(self._query)}

    def pages(self, done: Sequence[PageHead]) -> Iterator[Page]:
        """The CIFs of the ids found, some at a time.

        Raises:
            SourceError: when it fails.
        """
        if done and not done[-1].next:
            return
        there = {name for head in done for name in head.cursor.split(",")}
        names = self._query.ids if not self._parameters else self._search()
        wanted = [name for name in dict.fromkeys(names) if name not in there]
        total = len(wanted) + len(there)
        if not wanted:
            return
        for start in range(0, len(wanted), _PAGE):
            part = wanted[start : start + _PAGE]
            entries = tuple(self._entry(name) for name in part)
            origin = replace(self._origin, retrieved_at=now())
            following = ",".join(wanted[start + _PAGE : start + 2 * _PAGE])
            yield Page(",".join(part), following, entries, origin, total)

    def _search(self) -> list[str]:
        """The ids that the database finds."""
        url = f"{self._address}/result"
        rows = self._client.get_json(url, {"format": "json", **self._parameters})
        rows = list(rows.values()) if isinstance(rows, Mapping) else rows
        if not isinstance(rows, list):
            raise SourceError(f"{host_of(url)} answers with something that is no list of entries.")
        found = [str(row.get("file", "")) for row in rows if isinstance(row, Mapping)]
        names = [name for name in found if re.fullmatch(r"\d{7}", name)]
        if len(names) < len(rows):
            raise SourceError(
                f"{host_of(url)} lists {len(rows) - len(names)} entries without an id; is the "
                "address right?"
            )
        if self._query.ids:
            names = [name for name in names if name in self._query.ids]
        return names

    def _entry(self, name: str) -> dict[str, str]:
        try:
            raw = self._client.get_bytes(f"{self._address}/{name}.cif")
        except NotThereError:
            return {"id": name, "cif": ""}
        try:
            return {"id": name, "cif": raw.decode("utf-8")}
        except UnicodeDecodeError:
            return {"id": name, "cif": raw.decode("latin-1")}

    def entry_id(self, entry: Any) -> str:
        """The id of an entry."""
        return str(entry["id"])

    def crystals(self, pages: Iterable[Page]) -> Iterator[PlainCrystal]:
        """The crystals of the CIFs; an entry that is not there is a problem of its own."""
        for page in pages:
            for entry in page.entries:
                name, text = str(entry["id"]), str(entry["cif"])
                if not text:
                    yield failed(name, f"cod {name}", "the database has no such entry", "empty")
                    continue
                raw = text.encode()
                yield from database_crystals(raw, name, f"cod {name}", "cod", page.origin)


def parameters(query: DatabaseQuery) -> dict[str, Any]:
    """A query as the parameters of the search page, ids apart.

    Raises:
        InputError: for more elements than the page has fields for.
    """
    must = query.chemical_system or query.elements
    if len(must) > _MOST_ELEMENTS or len(query.exclude) > _MOST_EXCLUDED:
        raise InputError(
            f"cod takes at most {_MOST_ELEMENTS} elements and {_MOST_EXCLUDED} to exclude; ask for "
            "less and select from the table afterwards."
        )
    if query.chemical_system and query.elements:
        raise InputError("give cod either elements or a chemical system.")
    found: dict[str, Any] = {f"el{i}": symbol for i, symbol in enumerate(must, 1)}
    found |= {f"nel{i}": symbol for i, symbol in enumerate(query.exclude, 1)}
    if query.chemical_system:
        found |= {"strictmin": len(must), "strictmax": len(must)}
    for key, end in (("strictmin", query.num_elements.low), ("strictmax", query.num_elements.high)):
        if end is not None:
            found[key] = int(end)
    if query.formula:
        found["formula"] = hill(query.formula)
    return found


def hill(formula: str) -> str:
    """``LiFePO4`` as ``Fe Li O4 P``: carbon first, then hydrogen, the rest in alphabetic order."""
    counts: Counter[str] = Counter()
    for symbol, number in re.findall(r"([A-Z][a-z]?)(\d*)", formula):
        counts[symbol] += int(number or 1)
    first = [s for s in ("C", "H") if s in counts] if "C" in counts else []
    order = [*first, *sorted(set(counts) - set(first))]
    return " ".join(f"{s}{counts[s] if counts[s] > 1 else ''}" for s in order)
