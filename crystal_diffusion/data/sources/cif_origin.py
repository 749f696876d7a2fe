"""What a CIF of the COD or the ICSD says of itself: code, date, conditions, publication."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import gemmi

from crystal_diffusion.data.cif import parse_cif
from crystal_diffusion.data.provenance import Provenance
from crystal_diffusion.data.records import PlainCrystal, to_float

Database = Literal["cod", "icsd"]

_CODES: dict[Database, str] = {"cod": "_cod_database_code", "icsd": "_database_code_ICSD"}
_LICENSES: dict[Database, str] = {
    "cod": "CC0-1.0",
    "icsd": "ICSD, under the license of who exported it",
}
_TEMPERATURES = (
    "_diffrn_ambient_temperature",
    "_cell_measurement_temperature",
    "_diffrn_ambient_temp",
    "_cell_measurement_temp",
)
_PRESSURES = ("_diffrn_ambient_pressure", "_cell_measurement_pressure")
_DATES = ("_audit_update_record", "_audit_creation_date")
#: GPa in a kPa, the unit of the CIF dictionary.
_GPA = 1e-6
#: Words of an entry that was calculated and not measured.
_CALCULATED = re.compile(r"\b(theoretical|calculated structure|DFT|ab[- ]initio)\b", re.IGNORECASE)
_REVISION = re.compile(rb"^#\$Revision:\s*(\d+)", re.MULTILINE)
_CHANGED = re.compile(rb"^#\$Date:\s*(\d{4}-\d\d-\d\d)", re.MULTILINE)


def database_crystals(
    raw: bytes, name: str, source: str, database: Database, shared: Provenance
) -> Iterator[PlainCrystal]:
    """The crystals of a CIF of a database, each block by itself.

    Args:
        raw: the file.
        name: id of a crystal whose block has no code of the database.
        source: where the file came from, for messages.
        database: whose CIF it is.
        shared: provenance that does not depend on the block.

    Yields:
        Crystals whose id is the code of the database; temperature (K) and pressure (GPa) of the
        measurement are labels, where they are stated.
    """
    blocks = _blocks(raw)
    if len(blocks) < 2:
        about = blocks[0] if blocks else None
        for crystal in parse_cif(raw, name, source):
            yield _with_origin(crystal, about, raw, database, shared)
        return
    for number, block in enumerate(blocks, 1):
        text = str(block.as_string()).encode("utf-8", "replace")
        for crystal in parse_cif(text, f"{name}#{number}", f"{source} block {block.name}"):
            yield _with_origin(crystal, block, raw, database, shared)


def _blocks(raw: bytes) -> list[gemmi.cif.Block]:
    """The blocks with atoms; none where gemmi cannot read the file."""
    try:
        document = gemmi.cif.read_string(raw, 0)
    except (RuntimeError, ValueError):
        return []
    return [block for block in document if block.find_values("_atom_site_fract_x")]


def _with_origin(
    crystal: PlainCrystal,
    block: gemmi.cif.Block | None,
    raw: bytes,
    database: Database,
    shared: Provenance,
) -> PlainCrystal:
    origin = replace(shared, provider=database, license=_LICENSES[database])
    if block is None:
        return replace(crystal, provenance=replace(origin, entry_id=crystal.id))
    code = _text(block, _CODES[database])
    revision, changed = _REVISION.search(raw[:4096]), _CHANGED.search(raw[:4096])
    origin = replace(
        origin,
        entry_id=code,
        version=f"revision {revision[1].decode()}" if revision else "",
        last_modified=changed[1].decode() if changed else _date(block),
        functional=_method(block),
        citation=_citation(block),
    )
    conditions = {
        "temperature_K": _first_number(block, _TEMPERATURES),
        "pressure_GPa": _first_number(block, _PRESSURES),
    }
    if conditions["pressure_GPa"] is not None:
        conditions["pressure_GPa"] *= _GPA
    labels = {key: value for key, value in conditions.items() if value is not None}
    return replace(
        crystal,
        id=code or crystal.id,
        properties={**crystal.properties, **labels},
        provenance=origin,
    )


def _text(block: gemmi.cif.Block, tag: str) -> str:
    """One value, quotes taken off; empty for ``?`` and ``.``."""
    values = block.find_values(tag)
    return " ".join(str(gemmi.cif.as_string(values[0])).split()) if len(values) else ""


def _first_number(block: gemmi.cif.Block, tags: tuple[str, ...]) -> float | None:
    for tag in tags:
        value = to_float(_text(block, tag).split("(")[0])
        if value is not None:
            return value
    return None


def _date(block: gemmi.cif.Block) -> str:
    for tag in _DATES:
        found = re.findall(r"\d{4}-\d\d-\d\d", _text(block, tag))
        if found:
            return str(max(found))
    return ""


def _method(block: gemmi.cif.Block) -> str:
    """``experiment`` unless the entry says that it was calculated."""
    return "" if _CALCULATED.search(_text(block, "_exptl_special_details")) else "experiment"


def _citation(block: gemmi.cif.Block) -> str:
    """First author, journal, volume, page and year, as far as the file has them."""
    names = block.find_values("_publ_author_name") or block.find_values("_citation_author_name")
    authors = [" ".join(str(gemmi.cif.as_string(v)).split()) for v in names]
    author = authors[0] + (" et al." if len(authors) > 1 else "") if authors else ""
    journal = _text(block, "_journal_name_full") or _text(block, "_citation_journal_full")
    volume = _text(block, "_journal_volume") or _text(block, "_citation_journal_volume")
    page = _text(block, "_journal_page_first") or _text(block, "_citation_page_first")
    year = _text(block, "_journal_year") or _text(block, "_citation_year")
    doi = _text(block, "_journal_paper_doi") or _text(block, "_citation_doi")
    place = " ".join(part for part in (journal, volume) if part)
    parts = [part for part in (author, place, page) if part]
    text = ", ".join(parts) + (f" ({year})" if year else "")
    return f"{text}, doi:{doi}" if doi else text
