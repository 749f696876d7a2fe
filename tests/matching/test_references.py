"""Nearest known crystal: copies are seen, swaps of like elements are seen, the rest is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from crystal_variants import displaced, permuted, repeated
from pymatgen.core import Lattice, Structure

from crystal_diffusion.errors import InputError
from crystal_diffusion.matching import ReferenceIndex, nearest
from crystal_diffusion.matching.comparison import like_composition
from tests.crystals import perovskite


@pytest.fixture(scope="module")
def index(crystals: list[Structure]) -> ReferenceIndex:
    return ReferenceIndex.from_structures({f"ref-{i}": s for i, s in enumerate(crystals)})


def test_a_copy_is_found_in_any_disguise(crystals: list[Structure], index: ReferenceIndex) -> None:
    rng = np.random.default_rng(0)
    made = [permuted(repeated(displaced(s, 0.01, rng), rng), rng) for s in crystals[:20]]
    for i, known in enumerate(index.nearest_many(made)):
        assert known.matches and not known.swap_of_like_elements
        assert known.id == f"ref-{i}" and known.distance < 0.05


def test_a_swap_of_like_elements_is_no_discovery() -> None:
    references = {"La": perovskite("La", "Al", edge=3.8), "Sr": perovskite("Sr", "Ti", edge=3.9)}
    swapped = nearest(perovskite("Nd", "Ga", edge=3.85), references)
    assert swapped.swap_of_like_elements and not swapped.matches and swapped.id == "La"
    other = nearest(perovskite("Cs", "Ta", edge=4.0), references)
    assert not other.matches and not other.swap_of_like_elements and other.distance > 0


def test_two_elements_of_one_column_are_told_apart() -> None:
    """NaK and KNa: both orders of the exchange are tried."""
    ordered = Structure(
        Lattice.tetragonal(3.5, 6), ["Na", "K", "Cl"], [[0] * 3, [0.5] * 3, [0.5, 0.5, 0.1]]
    )
    swapped = Structure(ordered.lattice, ["Rb", "Li", "Br"], [[0] * 3, [0.5] * 3, [0.5, 0.5, 0.1]])
    assert nearest(swapped, [ordered]).swap_of_like_elements
    assert like_composition(((11, 1), (17, 1), (19, 1))) == like_composition(
        ((3, 1), (35, 1), (37, 1))
    )


def test_the_same_composition_alone_is_no_match() -> None:
    rutile = Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.59, 2.96), ["Ti", "O"], [[0] * 3, [0.305, 0.305, 0]]
    )
    odd = Structure(
        Lattice.orthorhombic(3, 4, 6), ["Ti", "O", "O"], [[0] * 3, [0.1, 0.1, 0.1], [0.2, 0, 0.2]]
    )
    assert not nearest(odd, {"rutile": rutile}).matches
    assert nearest(rutile, {"rutile": rutile}).matches


def test_it_is_kept_on_disk(
    index: ReferenceIndex, crystals: list[Structure], tmp_path: Path
) -> None:
    index.save(tmp_path / "index.npz")
    again = ReferenceIndex.load(tmp_path / "index.npz")
    rng = np.random.default_rng(1)
    made = [displaced(s, 0.2, rng) for s in crystals[:10]]
    for one, two in zip(index.nearest_many(made), again.nearest_many(made), strict=True):
        assert (one.id, one.matches) == (two.id, two.matches)
        assert one.distance == pytest.approx(two.distance, abs=1e-3)
    assert again.structure(3).composition == crystals[3].composition
    assert [p.name for p in tmp_path.iterdir()] == ["index.npz"]


def test_bad_input(index: ReferenceIndex, tmp_path: Path) -> None:
    flat = Structure(Lattice(np.diag([3.0, 3, 1e-9])), ["Mg", "O"], [[0] * 3, [0.5] * 3])
    answer = index.nearest(flat)
    assert answer.problem and answer.id == "" and not answer.matches
    with pytest.raises(InputError, match="no crystals"):
        ReferenceIndex.from_structures([])
    with pytest.raises(InputError, match="does not exist"):
        ReferenceIndex.load(tmp_path / "none.npz")
    (tmp_path / "other.npz").write_text("something else")
    with pytest.raises(InputError, match="no reference index"):
        ReferenceIndex.load(tmp_path / "other.npz")
    mixed = Structure(Lattice.cubic(4.2), [{"Mg": 0.5, "Fe": 0.5}], [[0, 0, 0]])
    with pytest.raises(InputError, match="partial occupancy"):
        ReferenceIndex.from_structures([mixed])


def test_empty_list(index: ReferenceIndex) -> None:
    assert index.nearest_many([]) == []
