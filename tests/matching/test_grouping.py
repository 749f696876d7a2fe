"""Groups are those of pymatgen, whatever the number of processes."""

from __future__ import annotations

import numpy as np
from crystal_variants import displaced, permuted, shuffled
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from crystal_diffusion.matching import StructureMatch, group_near, group_structures
from crystal_diffusion.matching.grouping import group_relaxed


def variants(crystals: list[Structure], count: int) -> list[Structure]:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(count):
        s = crystals[rng.integers(8)]
        made = displaced(s, float(rng.choice([0.02, 0.1, 0.2, 0.35])), rng)
        found.append(permuted(shuffled(made, rng) if rng.random() < 0.3 else made, rng))
    return found


def partition(groups: list[int]) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(np.array(groups) == g).tolist()) for g in set(groups)}


def test_groups_are_those_of_pymatgen(crystals: list[Structure]) -> None:
    made = variants(crystals, 60)
    theirs = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10).group_structures(made)
    place = {id(s): k for k, group in enumerate(theirs) for s in group}
    mine = group_structures(made)
    assert partition(mine) == partition([place[id(s)] for s in made])
    assert 5 < len(set(mine)) < 55


def test_numbers_follow_first_appearance(crystals: list[Structure]) -> None:
    groups = group_structures(variants(crystals, 40))
    seen: list[int] = []
    for group in groups:
        if group not in seen:
            seen.append(group)
    assert seen == list(range(max(groups) + 1))


def test_processes_do_not_change_the_answer() -> None:
    """One large block of one composition, shared in waves, and small blocks beside it."""
    rng = np.random.default_rng(4)
    loose = [
        Structure(Lattice.orthorhombic(*rng.uniform(3, 6, 3)), ["Ti", "O", "O"], rng.random((3, 3)))
        for _ in range(170)
    ]
    salts = [
        displaced(Structure(Lattice.cubic(4.2), ["Mg", "O"], [[0] * 3, [0.5] * 3]), 0.05, rng)
        for _ in range(10)
    ]
    made = [*salts, *loose]
    seen: list[tuple[int, int]] = []
    one = group_structures(made, StructureMatch(0.2, 0.3, 5))
    two = group_structures(
        made, StructureMatch(0.2, 0.3, 5), processes=2, progress=lambda *s: seen.append(s)
    )
    assert one == two
    assert one[:10] == [0] * 10 and len(set(one)) > 10
    assert seen[-1] == (180, 180)


def test_what_cannot_be_compared_stands_alone() -> None:
    salt = Structure(Lattice.cubic(4.2), ["Mg", "O"], [[0] * 3, [0.5] * 3])
    flat = Structure(Lattice(np.diag([3.0, 3, 1e-9])), ["Mg", "O"], [[0] * 3, [0.5] * 3])
    charged = salt.copy()
    charged.add_oxidation_state_by_element({"Mg": 2, "O": -2})
    assert group_structures([salt, flat, salt, flat, charged, charged]) == [0, 1, 0, 2, 3, 3]
    assert group_structures([]) == []


def test_near_groups_never_join_what_the_matcher_keeps_apart(crystals: list[Structure]) -> None:
    made = variants(crystals, 60)
    near = group_near(made)
    exact = group_structures(made)
    assert partition(near) != {frozenset(range(60))}
    matcher = StructureMatch()
    for group in partition(near):
        leader = min(group)
        assert all(matcher.fit(made[leader], made[i]) for i in group)
    # Small displacements change the fingerprint little: such copies are always found.
    copies = [made[0], *(displaced(made[0], 0.02, np.random.default_rng(i)) for i in range(5))]
    assert group_near(copies) == [0] * 6
    assert len(set(near)) >= len(set(exact))


def test_near_groups_leave_what_cannot_be_compared_alone() -> None:
    salt = Structure(Lattice.cubic(4.2), ["Mg", "O"], [[0] * 3, [0.5] * 3])
    flat = Structure(Lattice(np.diag([3.0, 3, 1e-9])), ["Mg", "O"], [[0] * 3, [0.5] * 3])
    assert group_near([salt, flat, salt, flat]) == [0, 1, 0, 2]


def test_relaxed_crystals_are_grouped_alike_in_both_orders(crystals: list[Structure]) -> None:
    rng = np.random.default_rng(11)
    for crystal in crystals[:8]:
        for step in (0.005, 0.03, 0.1, 0.3):
            pair = [crystal, permuted(displaced(crystal, step, rng), rng)]
            one, two = group_relaxed(pair, [None, None]), group_relaxed(pair[::-1], [None, None])
            assert one == two
    near = [crystals[0], displaced(crystals[0], 0.005, rng)]
    assert group_relaxed(near, [None, None]) == [0, 0]


def test_relaxed_crystals_of_different_energy_are_not_one() -> None:
    blende, wurtzite = (
        Structure.from_spacegroup("F-43m", Lattice.cubic(5.41), ["Zn", "S"], [[0] * 3, [0.25] * 3]),
        Structure.from_spacegroup(
            "P6_3mc",
            Lattice.hexagonal(3.82, 6.26),
            ["Zn", "S"],
            [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.375]],
        ),
    )
    assert group_relaxed([blende, wurtzite], [-3.0, -3.0]) == [0, 1]
    assert group_relaxed([blende, blende.copy()], [-3.0, -2.996]) == [0, 0]
    assert group_relaxed([blende, blende.copy()], [-3.0, -2.99]) == [0, 1]
