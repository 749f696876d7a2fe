"""JSON of the public databases: every envelope and every way of writing a structure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion.data import iter_crystals
from crystal_diffusion.data.records import CrystalRecord

#: Zincblende gallium arsenide, primitive.
GAAS = Structure(
    Lattice([[0, 2.83, 2.83], [2.83, 0, 2.83], [2.83, 2.83, 0]]),
    ["Ga", "As"],
    [[0, 0, 0], [0.25, 0.25, 0.25]],
)


def optimade(**changes: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "lattice_vectors": GAAS.lattice.matrix.tolist(),
        "cartesian_site_positions": GAAS.cart_coords.tolist(),
        "species_at_sites": ["Ga", "As"],
        "species": [
            {"name": s, "chemical_symbols": [s], "concentration": [1.0]} for s in ("Ga", "As")
        ],
        "nsites": 2,
        "chemical_formula_reduced": "AsGa",
        "structure_features": [],
        "last_modified": "2024-02-03T04:05:06Z",
        "_test_band_gap": 1.42,
        "nelements": 2,
    }
    return {"id": "ga/1", "type": "structures", "attributes": {**attributes, **changes}}


JARVIS = {
    "jid": "JVASP-1174",
    "optb88vdw_bandgap": 0.6,
    "atoms": {
        "lattice_mat": GAAS.lattice.matrix.tolist(),
        "coords": GAAS.frac_coords.tolist(),
        "elements": ["Ga", "As"],
        "cartesian": False,
    },
}
ENTRY = {"entry_id": "agm007", "energy": -8.1, "structure": GAAS.as_dict()}
DOCUMENT = {"material_id": "mp-2534", "band_gap": 0.19, "structure": GAAS.as_dict()}
OQMD = {
    "entry_id": 6041,
    "name": "GaAs",
    "unit_cell": GAAS.lattice.matrix.tolist(),
    "sites": ["Ga @ 0 0 0", "As @ 0.25 0.25 0.25"],
    "delta_e": -0.42,
}
AFLOW = {
    "auid": "aflow:1234",
    "species": ["As", "Ga"],
    "composition": [1, 1],
    "geometry": [*GAAS.lattice.abc, *GAAS.lattice.angles],
    "positions_fractional": [[0, 0, 0], [0.25, 0.25, 0.25]],
    "Egap": 0.4,
}
FORMS: dict[str, tuple[Any, str]] = {
    "documents": ([DOCUMENT], "mp-2534"),
    "response of mp": ({"data": [DOCUMENT], "meta": {"total_doc": 1}}, "mp-2534"),
    "legacy mp": ({"response": [DOCUMENT], "valid_response": True}, "mp-2534"),
    "optimade response": ({"data": [optimade()], "links": {"next": None}}, "ga/1"),
    "optimade, one": ({"data": optimade()}, "ga/1"),
    "optimade entry": (optimade(), "ga/1"),
    "optimade entries": ([optimade()], "ga/1"),
    "jarvis": ([JARVIS], "JVASP-1174"),
    "jarvis, one": (JARVIS, "JVASP-1174"),
    "jarvis cartesian": (
        {
            **JARVIS,
            "atoms": {**JARVIS["atoms"], "coords": GAAS.cart_coords.tolist(), "cartesian": True},
        },
        "JVASP-1174",
    ),
    "jarvis atoms alone": (JARVIS["atoms"], "file"),
    "entries": ({"entries": [ENTRY]}, "agm007"),
    "mptrj": (
        {"mp-2534": {"mp-2534-0-0": {"structure": GAAS.as_dict(), "bandgap": 0.1}}},
        "mp-2534-0-0",
    ),
    "pandas split": (
        {"index": [0], "columns": ["structure", "gap"], "data": [[GAAS.as_dict(), 0.2]]},
        "file",
    ),
    "pandas columns": ({"structure": {"7": GAAS.as_dict()}, "gap": {"7": 0.2}}, "file"),
    "optimade client": (
        {"structures": {"nsites=2": {"https://example.org": {"data": [optimade()], "meta": {}}}}},
        "ga/1",
    ),
    "oqmd": ({"links": {"next": None}, "data": [OQMD], "meta": {}}, "GaAs"),
}


def read(folder: Path, data: Any, **options: Any) -> list[CrystalRecord]:
    path = folder / "file.json"
    path.write_text(json.dumps(data))
    return list(iter_crystals(path, **options))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_crystal(tmp_path: Path, form: str) -> None:
    data, name = FORMS[form]
    (record,) = read(tmp_path, data)
    assert record.problem is None and record.structure is not None
    assert record.id == name
    assert [site.specie.symbol for site in record.structure] == ["Ga", "As"]
    np.testing.assert_allclose(record.structure.lattice.matrix, GAAS.lattice.matrix, atol=1e-12)
    np.testing.assert_allclose(record.structure.frac_coords, GAAS.frac_coords, atol=1e-12)


def test_aflow(tmp_path: Path) -> None:
    (record,) = read(tmp_path, [AFLOW])
    assert record.id == "aflow:1234" and record.properties == {"Egap": 0.4}
    assert record.structure is not None and record.structure.matches(GAAS)


def test_a_dump_in_lines_has_a_heading(tmp_path: Path) -> None:
    path = tmp_path / "optimade.jsonl"
    info = {"type": "info", "id": "structures", "properties": {}}
    lines = [{"x-optimade": {"meta": {"api_version": "1.2.0"}}}, info, optimade()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (record,) = iter_crystals(path)
    assert record.id == "ga/1" and record.problem is None


def test_labels_come_along(tmp_path: Path) -> None:
    assert read(tmp_path, FORMS["pandas split"][0])[0].properties == {"gap": 0.2}
    assert read(tmp_path, FORMS["pandas columns"][0])[0].properties == {"gap": 0.2}
    assert read(tmp_path, FORMS["optimade entry"][0])[0].properties == {"_test_band_gap": 1.42}
    assert read(tmp_path, [JARVIS])[0].properties == {"optb88vdw_bandgap": 0.6}
    assert read(tmp_path, FORMS["entries"][0])[0].properties == {"energy": -8.1}
    assert read(tmp_path, FORMS["mptrj"][0])[0].properties == {"bandgap": 0.1}


def test_frames_of_several_materials_keep_their_names(tmp_path: Path) -> None:
    frame = {"structure": GAAS.as_dict()}
    data = {"mp-1": {"mp-1-0-0": frame, "mp-1-0-5": frame}, "mp-2": {"mp-2-0-0": frame}}
    assert [r.id for r in read(tmp_path, data)] == ["mp-1-0-0", "mp-1-0-5", "mp-2-0-0"]


def test_a_response_says_where_it_comes_from(tmp_path: Path) -> None:
    meta = {
        "provider": {"prefix": "exmpl", "name": "Example"},
        "database": {"version": "v7"},
        "time_stamp": "2026-01-02T03:04:05Z",
        "query": {"representation": "/structures?filter=nsites%3D2&page_limit=5"},
    }
    (record,) = read(tmp_path, {"data": [optimade()], "meta": meta})
    origin = record.provenance
    assert (origin.provider, origin.entry_id, origin.version) == ("exmpl", "ga/1", "v7")
    assert (origin.filter, origin.last_modified) == ("nsites=2", "2024-02-03T04:05:06Z")


def test_disordered_species_wait_for_a_choice(tmp_path: Path) -> None:
    mixed = {"name": "m", "chemical_symbols": ["Ga", "In"], "concentration": [0.5, 0.5]}
    arsenic = {"name": "As", "chemical_symbols": ["As"], "concentration": [1.0]}
    changes = {
        "species": [mixed, arsenic],
        "species_at_sites": ["m", "As"],
        "chemical_formula_reduced": "As2GaIn",
        "structure_features": ["disorder"],
    }
    (record,) = read(tmp_path, optimade(**changes))
    assert record.problem_kind == "partial occupancy"
    (ordered,) = read(tmp_path, optimade(**changes), disorder="order")
    assert ordered.structure is not None
    assert ordered.structure.composition.reduced_formula in ("GaInAs2", "InGaAs2")


def test_groups_of_sites_that_take_turns_are_chosen_together(tmp_path: Path) -> None:
    """Two places of one hydroxyl group: never the oxygen of one with the hydrogen of the other."""
    cell = Lattice.cubic(6.0)
    places = [[0, 0, 0], [2.0, 0, 0], [2.97, 0, 0], [-2.0, 0.5, 0], [-2.97, 0.5, 0]]
    symbols = ["Na", "O", "H", "O", "H"]
    changes = {
        "lattice_vectors": cell.matrix.tolist(),
        "cartesian_site_positions": places,
        "species_at_sites": symbols,
        "species": [
            {"name": s, "chemical_symbols": [s], "concentration": [1.0]} for s in set(symbols)
        ],
        "nsites": 5,
        "chemical_formula_reduced": "HNaO",
        "structure_features": ["assemblies"],
        "assemblies": [{"sites_in_groups": [[1, 2], [3, 4]], "group_probabilities": [0.4, 0.6]}],
    }
    (record,) = read(tmp_path, optimade(**changes))
    assert record.problem_kind == "partial occupancy"
    (record,) = read(tmp_path, optimade(**changes), disorder="order")
    assert record.structure is not None, record.problem
    assert record.structure.composition.reduced_formula == "NaHO"
    oxygen = record.structure.cart_coords[[s.specie.symbol == "O" for s in record.structure]]
    hydrogen = record.structure.cart_coords[[s.specie.symbol == "H" for s in record.structure]]
    assert np.linalg.norm(oxygen - hydrogen, axis=-1) == pytest.approx([0.97])


def test_a_vacancy_is_a_partial_occupancy(tmp_path: Path) -> None:
    porous = {"name": "Ga", "chemical_symbols": ["Ga", "vacancy"], "concentration": [0.9, 0.1]}
    arsenic = {"name": "As", "chemical_symbols": ["As"], "concentration": [1.0]}
    (record,) = read(tmp_path, optimade(species=[porous, arsenic]))
    assert record.problem_kind == "partial occupancy"


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "formula": ({"chemical_formula_reduced": "As2Ga"}, "the formula of the file is As2 Ga1"),
    "sites": ({"nsites": 3}, "2 atoms were read, the file says 3"),
    "layer": ({"lattice_vectors": [[1, 0, 0], [0, 1, 0], [None, None, None]]}, "three lattice"),
    "unknown place": ({"cartesian_site_positions": [[0, 0, 0], [None, 0, 0]]}, "not known"),
    "not an element": (
        {"species": [{"name": "Ga", "chemical_symbols": ["X"], "concentration": [1.0]}]},
        "'X' is no element",
    ),
    "assemblies": ({"structure_features": ["assemblies"]}, "does not say which"),
    "two groups": (
        {"assemblies": [{"sites_in_groups": [[0], [0]], "group_probabilities": [0.5, 0.5]}]},
        "site 1 is in two groups",
    ),
    "no species": ({"species_at_sites": ["Ga"]}, "2 positions but 1 species"),
    "missing": ({"species_at_sites": None}, "no whole OPTIMADE structure"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_whole_crystal_is_refused(tmp_path: Path, what: str) -> None:
    changes, words = BROKEN[what]
    (record,) = read(tmp_path, optimade(**changes))
    assert record.structure is None and words in (record.problem or "")


def test_attached_hydrogens_are_noted(tmp_path: Path) -> None:
    arsenic = {
        "name": "As",
        "chemical_symbols": ["As"],
        "concentration": [1.0],
        "attached": ["H"],
        "nattached": [3],
    }
    gallium = {"name": "Ga", "chemical_symbols": ["Ga"], "concentration": [1.0]}
    (record,) = read(tmp_path, optimade(species=[gallium, arsenic]))
    assert record.structure is not None and "3 atoms" in record.notes[0]


def test_bad_entries_do_not_cost_the_good_ones(tmp_path: Path) -> None:
    bad = {"jid": "JVASP-2", "atoms": {**JARVIS["atoms"], "elements": ["Ga", "Qq"]}}
    short = {**OQMD, "name": "half", "sites": ["Ga 0 0 0"]}
    records = read(tmp_path, {"data": [DOCUMENT, bad, short, {"id": "nothing"}]})
    assert [r.problem is None for r in records] == [True, False, False, False]
    assert "'Qq'" in (records[1].problem or "") and "symbol @" in (records[2].problem or "")


def test_an_empty_response_says_so(tmp_path: Path) -> None:
    (record,) = read(tmp_path, {"data": [], "meta": {}})
    assert record.problem_kind == "empty"
