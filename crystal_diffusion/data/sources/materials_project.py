"""The Materials Project (Jain et al. 2013, APL Materials 1, 011002), over HTTPS with a key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from crystal_diffusion.data.json_format import structure_entry
from crystal_diffusion.data.provenance import Provenance
from crystal_diffusion.data.records import PlainCrystal, failed, numbers_of
from crystal_diffusion.data.sources.client import Client, Key, host_of
from crystal_diffusion.data.sources.journal import Page, PageHead, now
from crystal_diffusion.data.sources.query import DatabaseQuery, Range, parse_query
from crystal_diffusion.errors import InputError, SourceError

#: Where it lives.
ADDRESS = "https://api.materialsproject.org"
#: The header that carries the key.
KEY_HEADER = "X-API-KEY"
_CITATION = "A. Jain et al., APL Materials 1, 011002 (2013)"
#: What the project says of a document: free, or free for uses that are not commercial.
_LICENSES = {"BY-C": "CC-BY-4.0", "BY-NC": "CC-BY-NC-4.0"}
#: A summary does not say which of them its cell and its energies come from.
_FUNCTIONAL = "PBE, PBE+U or r2SCAN"
_PAGE = 200
#: Labels that are taken over as they are: eV, eV/atom, Bohr magnetons.
_LABELS = (
    "energy_above_hull",
    "formation_energy_per_atom",
    "energy_per_atom",
    "band_gap",
    "total_magnetization",
    "is_stable",
    "theoretical",
)
_FIELDS = (
    "material_id",
    "structure",
    "nsites",
    "formula_pretty",
    "last_updated",
    "builder_meta",
    "bulk_modulus",
    "shear_modulus",
    *_LABELS,
)


class MaterialsProjectSource:
    """One query to the Materials Project.

    Args:
        client: speaks to it, with the key.
        query: see :func:`crystal_diffusion.data.sources.query.parse_query`.
        address: another place that speaks the same language.
    """

    def __init__(self, client: Client, query: str, address: str = ADDRESS) -> None:
        self._client = client
        self._text = query.strip()
        self._query = parse_query(query)
        self._address = address.rstrip("/")
        self._origin = Provenance(
            provider="mp",
            filter=self._text,
            functional=_FUNCTIONAL,
            license=_LICENSES["BY-C"],
            citation=_CITATION,
        )

    @property
    def request(self) -> dict[str, Any]:
        """What makes it this query."""
        return {"source": "mp", "address": self._address, "query": asdict(self._query)}

    def pages(self, done: Sequence[PageHead]) -> Iterator[Page]:
        """Page after page by position.

        Raises:
            SourceError: when it fails.
        """
        if done and not done[-1].next:
            return
        position = int(done[-1].next) if done else 0
        self._origin = done[-1].origin if done else replace(self._origin, version=self._release())
        while True:
            page = self._page(position)
            yield page
            if not page.next:
                return
            position = int(page.next)

    def _release(self) -> str:
        """The release of the database; empty when it does not say."""
        try:
            found = self._client.get_json(f"{self._address}/heartbeat", attempts=1)
        except SourceError:
            return ""
        return str(found.get("db_version") or "") if isinstance(found, Mapping) else ""

    def _page(self, position: int) -> Page:
        url = f"{self._address}/materials/summary/"
        wanted = {
            **parameters(self._query),
            "deprecated": "false",
            "_fields": ",".join(_FIELDS),
            "_limit": _PAGE,
            "_skip": position,
        }
        data = self._client.get_json(url, wanted)
        if not isinstance(data, Mapping) or not isinstance(data.get("data"), list):
            raise SourceError(
                f"{host_of(url)} does not answer as the Materials Project does; is the address "
                "right?"
            )
        entries = tuple(data["data"])
        meta = data.get("meta")
        total = meta.get("total_doc") if isinstance(meta, Mapping) else None
        reached = position + len(entries)
        more = bool(entries) and (
            reached < total if isinstance(total, int) else len(entries) >= _PAGE
        )
        self._origin = replace(self._origin, retrieved_at=now())
        return Page(
            cursor=str(position),
            next=str(reached) if more else "",
            entries=entries,
            origin=self._origin,
            total=total if isinstance(total, int) else None,
        )

    def entry_id(self, entry: Any) -> str:
        """The id of a document."""
        return str(entry.get("material_id") or "") if isinstance(entry, Mapping) else ""

    def crystals(self, pages: Iterable[Page]) -> Iterator[PlainCrystal]:
        """The crystals of the documents."""
        number = 0
        for page in pages:
            for entry in page.entries:
                number += 1
                name = self.entry_id(entry) or f"entry {number}"
                if not isinstance(entry, Mapping) or not isinstance(
                    entry.get("structure"), Mapping
                ):
                    yield failed(name, f"mp {name}", "the document has no structure")
                    continue
                yield _crystal(entry, name, page.origin)


def _crystal(entry: Mapping[str, Any], name: str, origin: Provenance) -> PlainCrystal:
    said = {key: entry.get(key) for key in ("structure", "nsites", "formula_pretty")}
    crystal = structure_entry({**said, "material_id": name}, name, f"mp {name}")
    about = entry.get("builder_meta")
    about = about if isinstance(about, Mapping) else {}
    moduli = {"K_VRH": entry.get("bulk_modulus"), "G_VRH": entry.get("shear_modulus")}
    labels = {key: entry.get(key) for key in _LABELS}
    labels |= {key: value.get("vrh") for key, value in moduli.items() if isinstance(value, Mapping)}
    return replace(
        crystal,
        properties=numbers_of(labels),
        provenance=replace(
            origin,
            entry_id=name,
            version=str(about.get("database_version") or origin.version),
            last_modified=str(entry.get("last_updated") or ""),
            license=_LICENSES.get(str(about.get("license")), origin.license),
        ),
    )


def parameters(query: DatabaseQuery) -> dict[str, Any]:
    """A query as the parameters of the project's interface."""
    found: dict[str, Any] = {
        "material_ids": ",".join(query.ids) or None,
        "elements": ",".join(query.elements) or None,
        "exclude_elements": ",".join(query.exclude) or None,
        "chemsys": "-".join(sorted(query.chemical_system)) or None,
        "formula": query.formula or None,
        "is_stable": None if query.stable is None else str(query.stable).lower(),
    }
    for name, field in (
        ("nsites", query.num_sites),
        ("nelements", query.num_elements),
        ("band_gap", query.band_gap),
        ("energy_above_hull", query.energy_above_hull),
    ):
        found |= _ends(name, field)
    return found


def _ends(name: str, field: Range) -> dict[str, Any]:
    whole = name in ("nsites", "nelements")
    return {
        f"{name}_{end}": int(value) if whole else repr(value)
        for end, value in (("min", field.low), ("max", field.high))
        if value is not None
    }


def project_key(key: str | None, address: str = ADDRESS) -> Key:
    """The key as the client needs it.

    Raises:
        InputError: when there is none.
    """
    if not key or not key.strip():
        raise InputError(
            "the Materials Project needs a key; set MP_API_KEY or give --key-file (keys are in the "
            "account at materialsproject.org)."
        )
    return Key(key.strip(), KEY_HEADER, address)
