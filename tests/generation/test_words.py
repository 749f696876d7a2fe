"""Requests in words: what is understood, ignored and contradictory."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystal_diffusion.errors import InputError, RequestError
from crystal_diffusion.generation.request import Request
from crystal_diffusion.generation.words import read_text
from crystal_diffusion.generation.words.scanning import edits
from crystal_diffusion.generation.words.vocabulary import FAMILIES


def gap(low: float | None, high: float | None) -> dict[str, Any]:
    return {"properties": {"band_gap": (low, high)}}


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("KTaO3", {"formula": "KTaO3"}),
        ("copper selenide", {"elements": ("Cu", "Se")}),
        ("titanium dioxide", {"formula": "TiO2"}),
        ("iron(III) oxide", {"formula": "Fe2O3"}),
        ("two atoms of Al and three atoms of O", {"formula": "Al2O3"}),
        ("Rb-Sn-I, at most 12 atoms", {"elements": ("Rb", "Sn", "I"), "num_atoms": (1, 12)}),
        ("fewer than 9 atoms, Mg and N", {"elements": ("Mg", "N"), "num_atoms": (1, 8)}),
        ("Fd-3m magnesium silicide", {"spacegroup": "227", "elements": ("Mg", "Si")}),
        ("space group 14, tin and sulfur", {"spacegroup": "14", "elements": ("Sn", "S")}),
        ("Z = 2, BN", {"z": (2, 2), "formula": "BN"}),
        ("rhombohedral Sb", {"crystal_system": "trigonal", "elements": ("Sb",)}),
        ("point group 4/mmm", {"point_group": "4/mmm"}),
        ("charge balanced Na-Mn-F", {"charge_neutral": True, "elements": ("Na", "Mn", "F")}),
    ],
)
def test_chemistry_symmetry_and_size(text: str, asked: dict[str, Any]) -> None:
    reading = read_text(text)
    assert reading.asked == asked
    assert not reading.contradictory
    assert isinstance(reading.request, Request)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("band gap above 2 eV", 2.0, None),
        ("gap < 900 meV", None, 0.9),
        ("a gap between 1.2 and 1.9 eV", 1.2, 1.9),
        ("Eg 1.5 ± 0.1 eV", 1.4, 1.6),
        ("a 2 eV gap or more", 2.0, None),
        ("gap of at least 1 eV but no more than 3 eV", 1.0, 3.0),
        ("bandgap (eV): 0.4 .. 0.9", 0.4, 0.9),
        ("metallic", None, 0.0),
        ("a semiconductor with a gap over 2 eV", 2.0, None),
    ],
)
def test_ranges(text: str, low: float | None, high: float | None) -> None:
    assert read_text(text).asked["properties"]["band_gap"] == pytest.approx((low, high))


@pytest.mark.parametrize(
    ("text", "name", "pair"),
    [
        ("density at most 3000 kg/m3", "density", (None, 3.0)),
        ("K >= 1.5 Mbar", "bulk_modulus", (150.0, None)),
        ("shear modulus over 80 GPa", "shear_modulus", (80.0, None)),
        ("within 40 meV/atom of the hull", "energy_above_hull", (None, 0.04)),
        ("formation energy more negative than -1 eV/atom", "formation_energy", (None, -1.0)),
        ("ferromagnetic", "magnetization", (0.01, None)),
    ],
)
def test_properties_and_units(text: str, name: str, pair: tuple[float, float]) -> None:
    assert read_text(text).asked["properties"][name] == pytest.approx(pair)


@pytest.mark.parametrize(
    ("text", "excluded"),
    [
        ("lead-free tin iodide", {"Pb"}),
        ("no Co, no Ni, lithium oxide", {"Co", "Ni"}),
        ("selenides without mercury, cadmium or thallium", {"Hg", "Cd", "Tl"}),
        ("anything but noble gases", set(FAMILIES["noble_gas"])),
    ],
)
def test_negations(text: str, excluded: set[str]) -> None:
    assert set(read_text(text).asked["exclude"]) == excluded


@pytest.mark.parametrize(
    ("text", "elements", "excluded"),
    [
        ("no toxic elements (Pb, Tl)", set(), {"Pb", "Tl"}),
        ("toxic elements must be absent: Hg, Tl; selenide", {"Se"}, {"Hg", "Tl"}),
        ("-Pb -Tl oxide", {"O"}, {"Pb", "Tl"}),
        ("!Pb oxide", {"O"}, {"Pb"}),
        ("Pb? no. Sn? yes.", {"Sn"}, {"Pb"}),
        ("I do not need cobalt; nickel oxide", {"Ni", "O"}, {"Co"}),
        ("zero cobalt", set(), {"Co"}),
        ("zinc yes, cadmium not", {"Zn"}, {"Cd"}),
        ("Co-, Ni- and Mn-free, Li and Fe", {"Li", "Fe"}, {"Co", "Ni", "Mn"}),
        ("Sn rather than Pb, iodide", {"Sn", "I"}, {"Pb"}),
        ("not the sulfide but the selenide of copper", {"Cu", "Se"}, {"S"}),
        ("skip hydrides, nitrides of calcium", {"Ca", "N"}, {"H"}),
        ("no elements other than Fe and O", {"Fe", "O"}, set()),
        ("exclude everything but Fe and O", {"Fe", "O"}, set()),
        # what need not be there, or in small amounts
        ("with or without oxygen, tungsten", {"W"}, set()),
        ("iron oxide, Ni optional", {"Fe", "O"}, set()),
        ("an oxide with less cobalt", {"O"}, set()),
        ("cobalt-poor oxide", {"O"}, set()),
        ("rare earth (La-Lu) oxide", {"O"}, set()),
    ],
)
def test_what_is_left_out_is_never_wanted(
    text: str, elements: set[str], excluded: set[str]
) -> None:
    asked = read_text(text).asked
    assert set(asked.get("elements", ())) == elements
    assert set(asked.get("exclude", ())) == excluded


def test_a_negated_list_ends_where_a_compound_begins() -> None:
    asked = read_text("no lead, cubic cesium tin iodide").asked
    assert asked["exclude"] == ("Pb",)
    assert set(asked["elements"]) == {"Cs", "Sn", "I"}


def test_families_and_choices() -> None:
    asked = read_text("ternary rare earth chalcogenides").asked
    assert asked["one_of"] == (FAMILIES["rare_earth"], FAMILIES["chalcogenide"])
    assert asked["num_elements"] == (3, 3)
    assert read_text("nitride or carbide of titanium").asked["one_of"] == (("N", "C"),)
    assert read_text("oxides containing bismuth").asked["num_elements"][1] > 2
    assert "num_elements" not in read_text("only bismuth and oxygen").asked


def test_structure_types_by_name_and_by_compound() -> None:
    assert read_text("MgAl2O4 spinel").asked["structure_type"] == "spinel"
    assert read_text("NaCl-type SrS").asked == {"structure_type": "rocksalt", "formula": "SrS"}
    assert read_text("SrS, not cubic").asked == {"formula": "SrS"}


@pytest.mark.parametrize(
    "text",
    ["In a cubic cell, ZnTe", "As small as possible, I want ZnTe", "No, I said ZnTe. At once!"],
)
def test_english_words_are_no_elements(text: str) -> None:
    reading = read_text(text)
    assert reading.asked["formula"] == "ZnTe"
    assert "elements" not in reading.asked
    assert "exclude" not in reading.asked


def test_symbols_that_are_english_words_in_lists() -> None:
    assert set(read_text("compounds of In, As and I").asked["elements"]) == {"In", "As", "I"}
    assert read_text("CoO without Co").contradictory
    assert read_text("carbon monoxide CO").asked["formula"] == "CO"


@pytest.mark.parametrize(
    ("text", "word"), [("tetragnal KF", "tetragonal"), ("galium nitride", "gallium")]
)
def test_misspellings_are_read_and_said(text: str, word: str) -> None:
    reading = read_text(text)
    assert any(word in wish.meaning for wish in reading.understood)
    assert not reading.ignored


@pytest.mark.parametrize(
    "text",
    [
        "an oxide without oxygen",
        "cubic, space group 14",
        "space group 231",
        "a metal with a band gap of 2 eV",
        "more than 8 atoms and fewer than 4 atoms",
        "gap from 3 to 1 eV",
        "binary compound of Li, P and S",
        "rocksalt CaF2",
        "GaAs and InP",
        "density below 0 g/cm3",
    ],
)
def test_contradictions_make_nothing(text: str) -> None:
    reading = read_text(text)
    assert reading.contradictory
    assert not reading.asked
    with pytest.raises(RequestError, match="cannot be met together"):
        _ = reading.request


@pytest.mark.parametrize(
    "text", ["tell me a story", "a superconductor above 100 K", "water-stable", "high hardness"]
)
def test_what_is_not_understood_is_said(text: str) -> None:
    reading = read_text(text)
    assert not reading.asked
    assert reading.ignored
    with pytest.raises(RequestError, match="nothing in the text"):
        _ = reading.request


def test_a_unit_that_does_not_fit_is_said() -> None:
    reading = read_text("ZnO with a band gap of 3 GPa")
    assert "properties" not in reading.asked
    assert any("no unit of band gap" in left.reason for left in reading.ignored)


def test_dopants_are_ignored_and_said() -> None:
    reading = read_text("Mn-doped zinc sulfide")
    assert set(reading.asked["elements"]) == {"Zn", "S"}
    assert any("Mn" in left.words for left in reading.ignored)


def test_empty_and_endless_texts_are_refused() -> None:
    with pytest.raises(InputError, match="empty"):
        read_text("  ")
    with pytest.raises(InputError, match="at most"):
        read_text("oxide " * 1000)


def test_text_joins_other_fields_but_none_twice() -> None:
    joined = read_text("cubic, gap above 1 eV").joined(Request(elements=("Ga", "N")))
    assert joined.elements == ("Ga", "N")
    assert joined.crystal_system == "cubic"
    with pytest.raises(RequestError, match="both"):
        read_text("gallium nitride").joined(Request(elements=("Ga", "N")))
    assert Request.from_text("GaN").formula == "GaN"


@pytest.mark.parametrize(
    "text",
    [
        "((((", "≤≥±", "-- -- 5", "no no no", "or", "Li or", "K >", "A = B", "9" * 400,
        "of of with 3", "space group", "±3 eV", "Si0.33333Ge", "[1, 2", "free", "-free",
    ],
)  # fmt: skip
def test_odd_texts_end_in_one_of_the_lists(text: str) -> None:
    reading = read_text(text)
    assert isinstance(reading.lines(), list)


@pytest.mark.parametrize(
    ("a", "b", "off"), [("oxide", "oxide", 0), ("oxdie", "oxide", 1), ("oxid", "oxide", 1)]
)
def test_edits(a: str, b: str, off: int) -> None:
    assert edits(a, b, 2) == off


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("exclude toxic elements such as Pb, Cd, Hg", {"exclude": ("Pb", "Cd", "Hg")}),
        ("avoid costly elements like Pt and Rh", {"exclude": ("Pt", "Rh")}),
        ("1 eV < gap < 2 eV", {"properties": {"band_gap": (1.0, 2.0)}}),
        ("2000 meV >= gap > 1 eV", {"properties": {"band_gap": (1.0, 2.0)}}),
        ("band gap above 1 eV and below 2 eV", {"properties": {"band_gap": (1.0, 2.0)}}),
        ("gap from 4 eV upwards", {"properties": {"band_gap": (4.0, None)}}),
        ("G over 100 GPa", {"properties": {"shear_modulus": (100.0, None)}}),
        ("sodium chloride at 10 GPa", {"elements": ("Na", "Cl")}),
        ("CoTe in nickel arsenide structure", {"formula": "CoTe", "structure_type": "nias"}),
    ],
)
def test_kinds_that_were_misread(text: str, asked: dict[str, object]) -> None:
    assert dict(read_text(text).asked) == asked


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("nitrides of group III elements", "group III"),
        ("III-V semiconductors", "III-V"),
        ("oxides with group 14 elements", "group 14"),
        ("a carbide that is not tungsten carbide", "not tungsten carbide"),
    ],
)
def test_what_is_not_understood_is_said_and_makes_no_field(text: str, named: str) -> None:
    reading = read_text(text)
    assert named in [ignored.words for ignored in reading.ignored]
    assert "I" not in reading.asked.get("elements", ()) and "exclude" not in reading.asked


def test_bounds_that_exclude_each_other_and_letters_for_elements() -> None:
    assert read_text("gap above 5 eV and below 2 eV").contradictory
    assert read_text("ABO3 with A = Ba").asked["num_elements"] == (2, 5)
    assert set(read_text("CsBX3 compounds").asked["elements"]) == {"Cs"}


@pytest.mark.parametrize(
    ("text", "said", "asked"),
    [
        ("a phosphide similar to GaAs", "GaAs", {"elements": ("P",), "num_elements": (2, 5)}),
        ("a carbide, its gap wider than that of silicon", "silicon", {"elements": ("C",)}),
        ("a catalyst for N2 reduction with Mo and S", "N2", {"elements": ("Mo", "S")}),
        ("NaCl, with a little silver", "silver", {"formula": "NaCl"}),
        ("3 at% Mn-doped CdTe", "Mn", {"formula": "CdTe"}),
        ("Ca and F, may contain Cl or Br", "Cl", {"elements": ("Ca", "F")}),
        ("α-Fe2O3", "α", {"formula": "Fe2O3"}),
        ("cheap ZnO", "cheap", {"formula": "ZnO"}),
        ("two of Li, Na, K with oxygen", "Li", {"elements": ("O",)}),
        ("CsPbBr3-like", "CsPbBr3", {}),
        ("LISICON", "LISICON", {}),
        ("FAPbI3", "FAPbI3", {}),
        ("GaP, lattice constant 5.5 Å", "lattice constant", {"formula": "GaP"}),
    ],
)
def test_what_is_beside_the_wish_is_said(text: str, said: str, asked: dict[str, Any]) -> None:
    reading = read_text(text)
    assert said in " | ".join(left.words for left in reading.ignored)
    assert {k: v for k, v in reading.asked.items() if k in asked} == asked
    assert bool(asked) == bool(reading.asked)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("Al and O in a 2:3 ratio", {"formula": "Al2O3"}),
        ("Ln2O3", {"elements": ("O",), "num_elements": (2, 2)}),
        ("NiSO4 hexahydrate", {"formula": "NiSO4·6H2O"}),
        ("Na2CO3·1.5H2O", {"formula": "Na2CO3·1.5H2O"}),
        ("V and O and one more element", {"elements": ("V", "O"), "num_elements": (3, 3)}),
        ("sulfides, mercury must be avoided", {"elements": ("S",), "exclude": ("Hg",)}),
        ("binary or ternary antimonide", {"elements": ("Sb",), "num_elements": (2, 3)}),
        ("B1 MgO", {"formula": "MgO", "structure_type": "rocksalt"}),
        ("isostructural with CsCl: Ni and Ti", {"structure_type": "cscl"}),
        ("graphite in point group D6h", {"point_group": "6/mmm", "structure_type": "graphite"}),
        ("Co and O where Co is 3+", {"elements": ("Co", "O")}),
    ],
)
def test_ratios_groups_and_further_elements(text: str, asked: dict[str, Any]) -> None:
    reading = read_text(text)
    assert not reading.contradictory
    assert {k: v for k, v in reading.asked.items() if k in asked} == asked


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("a gap that must not be larger than 2 eV", None, 2.0),
        ("the gap should not be less than 1 eV", 1.0, None),
        ("gap from 0.8 up to 1.2 eV", 0.8, 1.2),
        ("gap 2,5 ± 0,5 eV", 2.0, 3.0),
        ("gap of 1.4(2) eV", 1.2, 1.6),
        ("gap bigger as 3 eV", 3.0, None),
        ("half an eV gap or more", 0.5, None),
        ("1.2-1.6 eV direct gap", 1.2, 1.6),
        ("without a band gap", None, 0.0),
    ],
)
def test_bounds_as_they_are_said(text: str, low: float | None, high: float | None) -> None:
    assert read_text(text).asked["properties"]["band_gap"] == pytest.approx((low, high))


@pytest.mark.parametrize(
    ("text", "said", "asked"),
    [
        # purposes and where a crystal serves
        ("an oxide as barrier in silicon transistors", "silicon", {"elements": {"O"}}),
        ("a fluoride for sodium-ion cells, cubic", "sodium-ion cells", {"elements": {"F"}}),
        ("carbides for magnetic recording heads", "magnetic recording", {"elements": {"C"}}),
        ("a phosphate to replace iridium", "replace iridium", {"elements": {"P", "O"}}),
        ("storage of hydrogen: magnesium nitride", "hydrogen", {"elements": {"Mg", "N"}}),
        ("tin foil, titanium carbide", "tin foil", {"elements": {"Ti", "C"}}),
        # what it lies on, is like, is made from
        ("gallium nitride on sapphire", "on sapphire", {"elements": {"Ga", "N"}}),
        ("borides like MgB2", "like MgB2", {"elements": {"B"}}),
        ("SrTiO3-like perovskites", "SrTiO3", {"structure_type": "perovskite"}),
        ("titanates such as BaTiO3", "BaTiO3", {"elements": {"Ti", "O"}}),
        ("sintered from Li2CO3 and MnO2", "Li2CO3 and MnO2", {}),
        ("a GaAs alternative with phosphorus", "GaAs alternative", {"elements": {"P"}}),
        ("yttria-stabilized hafnia", "yttria", {"formula": "HfO2"}),
        ("Nd:YAG", "Nd:", {"formula": "Y3Al5O12"}),
        # conditions and citations
        ("an oxide annealed at 900 C", "900 C", {"elements": {"O"}}),
        ("Phys Rev B 100, scandium carbide", "Phys Rev B", {"elements": {"Sc", "C"}}),
        ("cuprates with high Tc", "Tc", {"elements": {"Cu", "O"}}),
        # everyday words, abbreviations and classes
        ("TCO without Cd", "TCO", {"exclude": {"Cd"}}),
        ("PS: zinc sulfide", "PS", {"elements": {"Zn", "S"}}),
        ("lead candidates among nitrides", "lead candidates", {"elements": {"N"}}),
        ("heavy rare earths with cobalt", "heavy", {"elements": {"Co"}}),
        ("copper with one other metal", "other metal", {"elements": {"Cu"}}),
        ("CO2 electroreduction, copper", "CO2 electroreduction", {"elements": {"Cu"}}),
        ("adsorbs CO2: magnesium with nickel", "CO2", {"elements": {"Mg", "Ni"}}),
        ("ReRAM of hafnium oxide", "ReRAM", {"elements": {"Hf", "O"}}),
        ("Kondo insulator samarium boride", "Kondo insulator", {"elements": {"Sm", "B"}}),
        ("a rare earth magnet substitute, Mn-Bi", "rare earth magnet", {"elements": {"Mn", "Bi"}}),
        ("an alloy of Ti and Al", "alloy", {"elements": {"Ti", "Al"}}),
        ("chromium trihalides", "trihalides", {"elements": {"Cr"}}),
        ("a Ce3+ activated garnet", "Ce activated", {"structure_type": "garnet"}),
        ("gallate doped by Cr, with zinc", "doped Cr", {"elements": {"Ga", "O", "Zn"}}),
        ("lanthanum bromide, Ce dopant", "Ce dopant", {"elements": {"La", "Br"}}),
        ("a hydrogen permeable nitride of V", "hydrogen permeable", {"elements": {"V", "N"}}),
        ("lithium-sulfur batteries: TiN", "lithium-sulfur batteries", {"formula": "TiN"}),
        ("a contact to GaN, titanium aluminide", "contact to GaN", {"elements": {"Ti", "Al"}}),
        # words beside one another are said together
        ("CaO of high hardness", "high hardness", {"formula": "CaO"}),
        ("an ion conductor with Ag", "ion conductor", {"elements": {"Ag"}}),
        ("ZnO at 300 K", "at 300 K", {"formula": "ZnO"}),
        (
            "a Li phosphate, capacity over 150 mAh/g",
            "capacity over 150 mAh/g",
            {"elements": {"Li", "P", "O"}},
        ),
        ("ZnO for solid-state solar cells", "solid-state solar cells", {"formula": "ZnO"}),
    ],
)
def test_phrases_beside_the_wish(text: str, said: str, asked: dict[str, Any]) -> None:
    reading = read_text(text)
    assert said in " | ".join(left.words for left in reading.ignored)
    got = {
        k: set(v) if k in ("elements", "exclude") else v
        for k, v in reading.asked.items()
        if k in ("elements", "exclude", "formula", "structure_type")
    }
    assert got == asked
    assert "density" not in reading.asked.get("properties", {})
    assert "magnetization" not in reading.asked.get("properties", {})


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("I would like GaN", {"formula": "GaN"}),
        ("I'm looking for a lithium oxide", {"elements": {"Li", "O"}}),
        ("find for me a nickel oxide", {"elements": {"Ni", "O"}}),
        ("my thesis is on lithium borates", {"elements": {"Li", "B", "O"}}),
        ("structures for lithium oxide", {"elements": {"Li", "O"}}),
        ("oxides based on tungsten", {"elements": {"W", "O"}}),
        ("ZnO in the wurtzite modification", {"formula": "ZnO", "structure_type": "wurtzite"}),
        ("disulfide of iron", {"formula": "FeS2"}),
        ("diboron trioxide", {"formula": "B2O3"}),
        ("europium monoxide", {"formula": "EuO"}),
        ("Cu(I) oxide", {"formula": "Cu2O"}),
        ("barium and titanium one to two", {"formula": "BaTi2"}),
        ("Ca3 Ti2 O7", {"formula": "Ca3Ti2O7"}),
        ("(Ba,Sr)TiO3", {"elements": {"Ba", "Sr", "Ti", "O"}}),
        ("ammonium iodide", {"elements": {"N", "H", "I"}}),
        ("titanium oxide but not the dioxide", {"elements": {"Ti", "O"}}),
        ("CUBIC SULFIDE, NO LEAD", {"elements": {"S"}, "exclude": {"Pb"}}),
        ("k2nif4 cuprate", {"elements": {"Cu", "O"}, "structure_type": "k2nif4"}),
        ("tio2, anatase", {"formula": "TiO2", "structure_type": "anatase"}),
        ("natrium chloride", {"elements": {"Na", "Cl"}}),
        ("Na:S 2:1", {"formula": "Na2S"}),
        ("fluoroperovskite with K", {"elements": {"F", "K"}, "structure_type": "perovskite"}),
        ("B2 titanium nickel", {"elements": {"Ti", "Ni"}, "structure_type": "cscl"}),
        ("non-oxide", {"exclude": {"O"}}),
        ("any element but lead", {"exclude": {"Pb"}}),
        ("no alkali metals other than Li", {"exclude": {"Na", "K", "Rb", "Cs"}}),
        ("brookite TiO2", {"formula": "TiO2", "structure_type": "brookite"}),
        ("C14 Laves phases with Zr", {"elements": {"Zr"}, "structure_type": "hexagonal_laves"}),
    ],
)
def test_what_looks_like_an_aside_and_is_the_wish(text: str, asked: dict[str, Any]) -> None:
    reading = read_text(text)
    kept = ("elements", "exclude", "formula", "structure_type")
    got = {
        k: set(v) if k in ("elements", "exclude") else v
        for k, v in reading.asked.items()
        if k in kept
    }
    assert got == asked


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("at least one of V, Nb, Ta", "one_of", (("V", "Nb", "Ta"),)),
        ("alkali metals (Na, K) with gold", "one_of", (("Na", "K"),)),
        ("a chalcogenide, S or Se", "one_of", (("S", "Se"),)),
        ("Cs, Sn/Ge, I/Br", "one_of", (("Sn", "Ge"), ("I", "Br"))),
        ("metalloid telluride", "one_of", (("B", "Si", "Ge", "As", "Sb"),)),
        ("at most quaternary, with Li", "num_elements", (1, 4)),
        ("more than 5 elements", "num_elements", (6, 10)),
        ("no more than 2 kinds of atoms", "num_elements", (1, 2)),
        ("nitrides with lithium", "num_elements", (2, 5)),
        ("P 21/c phosphate", "spacegroup", "14"),
        ("Mn-Bi or Mn-Al", "one_of", (("Bi", "Al"),)),
        ("alkaline earths but not Be", "one_of", (("Mg", "Ca", "Sr", "Ba"),)),
        ("up to two dozen atoms", "num_atoms", (1, 24)),
        ("thirty-two atoms", "num_atoms", (32, 32)),
        ("one hundred and twenty atoms", "num_atoms", (120, 120)),
        ("natoms < 20, a gap of 2 eV, 3 elements", "num_elements", (3, 3)),
    ],
)
def test_alternatives_and_numbers_of_elements(text: str, field: str, value: object) -> None:
    assert read_text(text).asked[field] == value


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("gap larger than GaAs (1.42 eV)", 1.42, None),
        ("a gap of 3 eV at 5 GPa", 2.75, 3.25),
        ("gap arround one point five eV", 1.25, 1.75),
        ("bandgap within 1.0 and 1.5 eV", 1.0, 1.5),
        ("a minimum gap of 1 eV", 1.0, None),
        ("an insulator above 5 eV", 5.0, None),
        ("wide bandgap but below 4 eV", None, 4.0),
        ("gap in the visible (1.8 to 3.1 eV)", 1.8, 3.1),
        ("band gap in eV: 1.2 to 1.8", 1.2, 1.8),
        ("gap 1 eV (±0.1)", 0.9, 1.1),
        ("zero-gap semiconductors", None, 0.0),
    ],
)
def test_numbers_beside_others(text: str, low: float, high: float | None) -> None:
    assert read_text(text).asked["properties"] == {"band_gap": pytest.approx((low, high))}


@pytest.mark.parametrize(
    "text",
    [
        "formation energy below -2 eV per formula unit",
        "magnetization above 1 muB per atom",
        "a gap of 500 nm",
        "density of 8000",
        "hull below 50",
        "5 tonnes per cubic metre",
        "stable up to 1000 K",
        "thermally insulating",
    ],
)
def test_units_of_nothing_set_nothing(text: str) -> None:
    reading = read_text(text)
    assert not reading.asked
    assert reading.ignored


@pytest.mark.parametrize("text", ["na2co3", "cspbi3"])
def test_small_letters_that_may_be_two_formulas_are_asked_back(text: str) -> None:
    reading = read_text(text)
    assert not reading.asked
    assert "did you mean" in reading.ignored[0].reason


@pytest.mark.parametrize(
    "text", ["carbonyls", "sillenite", "tantalite", "phosphors", "hydrated", "lives"]
)
def test_words_near_to_the_vocabulary_are_not_taken_for_it(text: str) -> None:
    assert not read_text(text).asked


def test_a_modulus_and_a_metal_that_are_none() -> None:
    assert read_text("K 120-160 GPa").asked == {"properties": {"bulk_modulus": (120.0, 160.0)}}
    assert "properties" not in read_text("metal-rich phosphides of nickel").asked


def test_elements_open_only_by_words_about_elements() -> None:
    assert "num_elements" not in read_text("ytterbium borides, something with a small cell").asked
    assert "num_elements" not in read_text("Li-Mn-O containing at most 12 atoms").asked


@pytest.mark.parametrize(
    "behind",
    [
        *("must not be in there", "must be zero", "shall be absent", "is not allowed", "is out"),
        *("is forbidden", "is not wanted", "should not appear", "would be bad", "isn't welcome"),
        *("cannot be used", "content must be zero", "= 0", ": none", "is a no-go", "0 %"),
        *("is to be avoided", "nope", "? no thanks", "has been ruled out", "out", "not included"),
        *("has no place here", "must never be included", "has to stay out", "does not belong here"),
    ],
)
def test_a_negation_behind_its_element(behind: str) -> None:
    reading = read_text(f"copper sulfide of tin and zinc, mercury {behind}")
    assert set(reading.asked["elements"]) == {"Cu", "S", "Sn", "Zn"}
    assert reading.asked["exclude"] == ("Hg",)
    assert not reading.ignored


def test_what_only_looks_like_a_negation_behind_an_element() -> None:
    assert read_text("tungsten oxide, gap must be zero").asked == {
        "elements": ("W", "O"),
        "properties": {"band_gap": (None, 0.0)},
    }
    for text in ("the iron must be in there, sulfide", "iron = 2, sulfur"):
        assert "exclude" not in read_text(text).asked
    assert read_text("the gap of the oxide must be zero").asked.get("exclude") is None
    assert read_text("a crystal that holds Li and O").asked == {"elements": ("Li", "O")}
    both = read_text("oxide of tin and zinc, indium and gallium must be zero").asked
    assert both["exclude"] == ("In", "Ga")
    assert read_text("zero lead, cesium tin iodide").asked["exclude"] == ("Pb",)
    assert read_text("keep lead and cadmium out of it, ZnTe").asked["exclude"] == ("Pb", "Cd")


@pytest.mark.parametrize("joint", ["and/or", "or/and", "and / or"])
def test_alternatives_joined_by_and_or(joint: str) -> None:
    asked = read_text(f"a nitride of chromium {joint} molybdenum").asked
    assert asked == {"elements": ("N",), "one_of": (("Cr", "Mo"),)}


@pytest.mark.parametrize(
    "does",
    [
        *("takes up hydrogen", "that stores hydrogen", "to soak up hydrogen", "splits CO2"),
        *("which conducts oxygen ions", "that filters oxygen", "releases oxygen"),
    ],
)
def test_what_a_crystal_does_to_an_element_is_no_wish_for_it(does: str) -> None:
    reading = read_text(f"zirconium-iron alloy, {does}")
    assert reading.asked == {"elements": ("Zr", "Fe")}
    assert any(left.reason.startswith("what a crystal is for") for left in reading.ignored)


@pytest.mark.parametrize("name", ["B-M", "B.M.", "K0", "K_0", "BM", "bulk mod."])
def test_abbreviated_bulk_modulus(name: str) -> None:
    asked = read_text(f"stiff boride, {name} over 350 GPa").asked
    assert asked["properties"] == {"bulk_modulus": (350.0, None)}
    assert asked["elements"] == ("B",)


@pytest.mark.parametrize(
    "text",
    [
        *("ternary TiO2", "binary BaTiO3", "quaternary GaAs", "elemental NaCl"),
        *(
            "MgO with the rock salt structure, crystal system hexagonal",
            "tetragonal zincblende GaAs",
        ),
        *("cscl type, monoclinic", "cubic hcp cobalt", "cubic wurtzite ZnO", "cubic rutile"),
    ],
)
def test_numbers_of_elements_and_systems_that_cannot_be(text: str) -> None:
    assert read_text(text).contradictory


@pytest.mark.parametrize(
    "text",
    [
        *("binary GaAs", "ternary BaTiO3", "tetragonal perovskite", "orthorhombic spinel"),
        *("cubic rock salt", "distorted rocksalt GeTe, rhombohedral", "hexagonal wurtzite"),
    ],
)
def test_systems_that_can_be(text: str) -> None:
    assert not read_text(text).contradictory


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        *(("fe-al-ni", ("Fe", "Al", "Ni")), ("ga-as", ("Ga", "As")), ("p-n-p", None)),
        *(("cu, zn and sn", ("Cu", "Zn", "Sn")), ("thalium bromide", ("Tl", "Br"))),
        *(("berylium oxide", ("Be", "O")), ("as-is", None), ("no-go", None)),
    ],
)
def test_elements_in_small_letters_and_misspelled(
    text: str, elements: tuple[str, ...] | None
) -> None:
    asked = read_text(text).asked
    assert asked == ({} if elements is None else {"elements": elements})


def test_compounds_with_another_element_are_open_and_lists_are_not() -> None:
    assert "num_elements" in read_text("iridium oxide with strontium").asked
    assert "num_elements" in read_text("sodium superionic conductor with chlorine").asked
    assert "num_elements" in read_text("solid electrolyte with lithium and sulfur").asked
    for text in (
        "germanium with tellurium",
        "a compound with Li and O",
        "gold in combination with sulfur",
    ):
        assert "num_elements" not in read_text(text).asked


def test_a_type_before_a_gas_sensor_is_wished_for_and_a_gas_is_not() -> None:
    assert read_text("SnO2 rutile gas sensor").asked == {
        "formula": "SnO2",
        "structure_type": "rutile",
    }
    assert read_text("tin oxide for a CO gas sensor").asked == {"elements": ("Sn", "O")}


@pytest.mark.parametrize(
    ("text", "group"),
    [
        *(("monoclinic Cc", "9"), ("Pc, monoclinic", "7"), ("monoclinic (C2) sulfides", "5")),
        *(("triclinic P1", "1"), ("orthorhombic Cc", None), ("Cc", None)),
    ],
)
def test_short_symbols_of_groups_beside_their_system(text: str, group: str | None) -> None:
    assert read_text(text).asked.get("spacegroup") == group


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Lanthanum-lithium titanate, perovskite", "perovskite"),
        ("scandium aluminium nitride wurtzite", "wurtzite"),
    ],
)
def test_a_type_of_fewer_elements_than_named_is_said_and_dropped(text: str, kind: str) -> None:
    reading = read_text(text)
    assert "structure_type" not in reading.asked
    assert len(reading.asked["elements"]) > 2
    assert not reading.contradictory
    assert [left.words for left in reading.ignored] == [kind]
    assert all("structure type" not in wish.meaning for wish in reading.understood)


def test_doping_named_behind_its_element() -> None:
    reading = read_text("Ca3(PO4)2, the people want it with strontium doping")
    assert reading.asked == {"formula": "Ca3(PO4)2"}
    assert "strontium doping" in [left.words for left in reading.ignored]


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("arsenic should not show up: GaP", {"formula": "GaP", "exclude": ("As",)}),
        ("pb-free tin iodide", {"elements": ("Sn", "I"), "exclude": ("Pb",)}),
        ("non-Pb halides of tin", {"elements": ("Sn",), "exclude": ("Pb",)}),
        ("CO2-absorbing lithium silicate", {"elements": ("Li", "Si", "O")}),
        ("co-doped zinc oxide", {"elements": ("Zn", "O")}),
    ],
)
def test_neighbours_of_words_that_leave_out(text: str, asked: dict[str, Any]) -> None:
    read = dict(read_text(text).asked)
    read.pop("one_of", None)
    assert read == asked


@pytest.mark.parametrize(
    "text",
    [
        "Zintl phase with strontium and bismuth",
        "superconductor with niobium and germanium",
        "Nd permanent magnet with iron",
        "a cathode material with sodium and iron",
        "Kondo insulator with cerium and platinum",
        "phosphor, dense, with Lu and Sr",
        "glassy borate, zinc containing",
        "it is cubic and has Hf and Ge",
        "fullerene intercalated with rubidium",
    ],
)
def test_elements_behind_a_class_of_materials_leave_others_open(text: str) -> None:
    assert "num_elements" in read_text(text).asked


@pytest.mark.parametrize(
    "text",
    [
        "a compound with Hf and Ge",
        "a crystal with Hf and Ge",
        "cubic, with Hf and Ge",
        "gold together with tin",
        "magnets of Mn and Al",
        "I have Hf and Ge",
    ],
)
def test_elements_behind_no_class_are_all(text: str) -> None:
    assert "num_elements" not in read_text(text).asked


@pytest.mark.parametrize(
    ("text", "elements", "left_out"),
    [
        ("a selenate, any cation except heavy ones Hg, Tl", {"Se", "O"}, {"Hg", "Tl"}),
        ("a borate, any cation save lithium", {"B", "O"}, {"Li"}),
        ("an alkali metal apart from Li, chloride", {"Cl"}, {"Li"}),
        ("no toxic elements, no Cd, no Hg: a selenide", {"Se"}, {"Cd", "Hg"}),
        ("no toxic elements: a selenide", {"Se"}, set()),
        ("no toxic elements: Cd, Hg; a selenide", {"Se"}, {"Cd", "Hg"}),
        ("no Hg: zinc telluride", {"Zn", "Te"}, {"Hg"}),
        ("no Hg, Cd, selenides", {"Se"}, {"Hg", "Cd"}),
        ("no Fe, Ni, oxides with Li", {"Li", "O"}, {"Fe", "Ni"}),
        ("tin compounds, no Pb, sulfides", {"Sn"}, {"Pb", "S"}),
        ("iodides, not with Pb", {"I"}, {"Pb"}),
        ("must not be nickel, zinc oxide", {"Zn", "O"}, {"Ni"}),
        ("we do not have nickel, zinc oxide", {"Zn", "O"}, {"Ni"}),
        ("nickel is not needed, zinc oxide", {"Zn", "O"}, set()),
        ("Rb and Ge and I perovskite", {"Rb", "Ge", "I"}, set()),
    ],
)
def test_exceptions_and_ends_of_exclusions(
    text: str, elements: set[str], left_out: set[str]
) -> None:
    asked = read_text(text).asked
    assert set(asked.get("elements", ())) == elements
    assert set(asked.get("exclude", ())) == left_out


@pytest.mark.parametrize(
    ("text", "said", "elements"),
    [
        ("acid stable iridium oxide", "acid stable", {"Ir", "O"}),
        ("a nickel oxide stable in alkaline media", "stable in alkaline media", {"Ni", "O"}),
        ("stable against sodium, a titanium nitride", "stable against sodium", {"Ti", "N"}),
        ("mechanically stable silicon carbide", "mechanically stable", {"Si", "C"}),
        ("bismuth strontium copper oxide, high-Tc", "high-Tc", {"Bi", "Sr", "Cu", "O"}),
    ],
)
def test_other_kinds_of_stability_are_said(text: str, said: str, elements: set[str]) -> None:
    reading = read_text(text)
    assert said in " | ".join(left.words for left in reading.ignored)
    assert "properties" not in reading.asked
    assert set(reading.asked["elements"]) == elements


def test_stable_in_a_structure_is_a_wish() -> None:
    asked = read_text("stable nitride in the rock salt structure").asked
    assert asked["properties"] == {"energy_above_hull": (None, 0.025)}


@pytest.mark.parametrize(
    ("text", "name", "wanted"),
    [
        ("FeS2 pa-3", "spacegroup", "205"),
        ("ZnS p63mc", "spacegroup", "186"),
        ("MnTiO3 r-3", "spacegroup", None),
        ("LiCoPO4 pnma", "spacegroup", "62"),
        ("Laves phase, C14, TiMn2", "structure_type", "hexagonal_laves"),
        ("C15 and C14", "structure_type", None),
        ("hydride host TiFe", "formula", "TiFe"),
    ],
)
def test_groups_in_small_letters_and_laves_phases(text: str, name: str, wanted: str | None) -> None:
    assert read_text(text).asked.get(name) == wanted


def test_bounds_behind_and() -> None:
    asked = read_text(
        "bulk modulus above 200 GPa and more than one hundred GPa shear modulus"
    ).asked
    assert asked["properties"] == {"bulk_modulus": (200, None), "shear_modulus": (100, None)}
    text = "an oxide, formation enthalpy below -100 kJ per mole of atoms"
    low, high = read_text(text).asked["properties"]["formation_energy"]
    assert low is None
    assert high == pytest.approx(-1.0364, abs=1e-3)
    other = read_text("an oxide, formation enthalpy below -100 kJ per mole of formula units")
    assert "properties" not in other.asked


def test_a_count_of_elements_that_a_formula_has_not() -> None:
    assert read_text("two elements, LiFePO4").contradictory
    assert not read_text("four elements, LiFePO4").contradictory


_SENTENCES = (
    "a stable cubic lithium oxide with a band gap above 3 eV and at most 10 atoms",
    "ternary rare earth chalcogenides, no Sc, at most 20 atoms",
    "Rb-Sn-I perovskite, lead-free, space group 221",
    "oxides of either Mg or Ca with a density between 2 and 3 g/cm3",
)


@given(
    sentence=st.sampled_from(_SENTENCES),
    word=st.sampled_from(("zorblax", "Qwyzk", "Ω", "§", "maximise", "ψ-phase", "xyz-type")),
    place=st.integers(0, 12),
)
def test_no_word_is_dropped_in_silence(sentence: str, word: str, place: int) -> None:
    words = sentence.split()
    reading = read_text(" ".join([*words[:place], word, *words[place:]]))
    said = " ".join(left.words for left in reading.ignored)
    assert word.split("-")[0] in said


_ANY_WORDS = (
    *("zinc", "oxide", "Li", "In", "no", "free", "and", "or", "with", "for", "like", "on", "than"),
    *("400", "1:2", "2", "eV", "GPa", "atoms", "gap", "above", "(", ")", ",", "-", "such as", "of"),
    *("perovskite", "GaAs", "batteries", "alkali", "ternary", "one", "dozen", "between", "stable"),
    *("other than", "but", "any", "batio3", "B2", "doped", "TCO", "C", "metal", "Pnma", "min", "±"),
)


@given(st.lists(st.sampled_from(_ANY_WORDS), min_size=1, max_size=12))
def test_any_words_in_any_order_are_read(some: list[str]) -> None:
    reading = read_text(" ".join(some))
    assert reading.lines() or not reading.asked
