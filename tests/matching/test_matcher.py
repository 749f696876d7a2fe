"""The matcher answers what pymatgen answers, faster, and never lets bad input pass."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from crystal_diffusion.errors import InputError
from crystal_diffusion.matching import StructureMatch
from crystal_diffusion.matching.search import near_bases

ORIGINAL = {"ltol": 0.3, "stol": 0.5, "angle_tol": 10}


def test_rms_and_fit_are_those_of_pymatgen(pairs: list[tuple[Structure, Structure]]) -> None:
    mine, theirs = StructureMatch(), StructureMatcher(**ORIGINAL)
    matched = 0
    for a, b in pairs:
        wanted = theirs.get_rms_dist(a, b)
        found = mine.rms(a, b)
        if wanted is None:
            assert found is None, (a.formula, b.formula)
        else:
            matched += 1
            assert found == pytest.approx(wanted[0], abs=1e-9), (a.formula, b.formula)
        assert mine.fit(a, b) == theirs.fit(a, b), (a.formula, b.formula)
    assert 60 < matched < len(pairs) - 50


@pytest.mark.parametrize("tolerances", [(0.2, 0.3, 5), (0.1, 0.15, 3)])
def test_other_tolerances(
    pairs: list[tuple[Structure, Structure]], tolerances: tuple[float, float, float]
) -> None:
    mine, theirs = StructureMatch(*tolerances), StructureMatcher(*tolerances)
    for a, b in pairs[:60]:
        wanted = theirs.get_rms_dist(a, b)
        assert mine.rms(a, b) == (None if wanted is None else pytest.approx(wanted[0], abs=1e-9))


def test_noise_of_one_composition() -> None:
    """Random cells and positions: squeezed, skewed and loose cells against each other."""
    rng = np.random.default_rng(2)
    mine, theirs = StructureMatch(), StructureMatcher(**ORIGINAL)
    made = []
    while len(made) < 14:
        cell = Lattice.from_parameters(*rng.uniform(2.5, 7, 3), *rng.uniform(50, 125, 3))
        if np.isfinite(cell.matrix).all() and cell.volume > 30:
            made.append(Structure(cell, ["Ti", "O", "O", "Sr"], rng.random((4, 3))))
    answers = set()
    for a in made:
        for b in made:
            wanted = theirs.get_rms_dist(a, b)
            answers.add(wanted is None)
            assert mine.rms(a, b) == (
                None if wanted is None else pytest.approx(wanted[0], abs=1e-9)
            )
    assert answers == {True, False}


def test_other_composition_or_size_is_turned_away(crystals: list[Structure]) -> None:
    salt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0] * 3, [0.5] * 3]
    )
    other = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.64), ["K", "Cl"], [[0] * 3, [0.5] * 3]
    )
    match = StructureMatch()
    assert match.rms(salt, other) is None
    assert not match.fit(salt, other)
    assert match.rms(salt, salt) == pytest.approx(0, abs=1e-8)


def test_rejected_by_theorem_means_no_basis_exists(
    pairs: list[tuple[Structure, Structure]],
) -> None:
    """The reject on cell edges only turns away pairs for which the search finds no basis."""
    match = StructureMatch(ltol=0.1)
    seen = 0
    for a, _ in pairs:
        for factor in (1.15, 1.4, 2.0):
            b = Structure(
                Lattice(a.lattice.matrix * [[factor], [1], [1]]), a.species, a.frac_coords
            )
            one, two = match.reduced(a), match.reduced(b)
            assert one is not None and two is not None
            if (one.minima > 1.1 * (1 + 1e-3) * two.minima).any() and len(one) == len(two):
                seen += 1
                ratio = (two.volume / one.volume) ** (1 / 6)
                bases = near_bases(one.matrix * ratio, two.matrix / ratio, match._tolerances)
                assert not len(bases)
    assert seen > 50


def test_charges_and_partial_occupancy_go_to_pymatgen() -> None:
    plain = Structure(Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    charged = plain.copy()
    charged.add_oxidation_state_by_element({"Mg": 2, "O": -2})
    mixed = Structure(Lattice.cubic(4.2), [{"Mg": 0.5, "Fe": 0.5}, "O"], [[0] * 3, [0.5] * 3])
    match, theirs = StructureMatch(), StructureMatcher(**ORIGINAL)
    assert match.reduced(charged) is None and match.reduced(mixed) is None
    assert match.rms(charged, charged) == pytest.approx(0, abs=1e-6)
    assert match.fit(mixed, mixed)
    assert match.fit(plain, charged) == theirs.fit(plain, charged)


def test_the_reduced_form_is_kept_and_never_stale() -> None:
    crystal = Structure(Lattice.cubic(3.9), ["Sr", "Ti", "O"], [[0] * 3, [0.5] * 3, [0.5, 0.5, 0]])
    match = StructureMatch()
    assert match.reduced(crystal) is match.reduced(crystal.copy())
    before = match.reduced(crystal)
    crystal.translate_sites([1], [0.2, 0.1, 0])
    assert match.reduced(crystal) is not before
    again = pickle.loads(pickle.dumps(match))
    assert again.stol == match.stol and not again._cache


@pytest.mark.parametrize(
    ("structure", "word"),
    [
        (Structure(Lattice(np.diag([3.0, 3, 1e-9])), ["H"], [[0, 0, 0]]), "without volume"),
        (Structure(Lattice.cubic(3), ["H"], [[np.nan, 0, 0]]), "no numbers"),
        (Structure(Lattice(np.diag([1e-6, 9e4, 9e4])), ["H"], [[0, 0, 0]]), "too flat or thin"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(structure: Structure, word: str) -> None:
    with pytest.raises(InputError, match=word):
        StructureMatch().rms(structure, structure)


def test_bad_tolerances() -> None:
    with pytest.raises(InputError, match="above zero"):
        StructureMatch(ltol=0)
