"""Duplicates: which of many structures are the same, by the answer of the full matcher."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from crystal_diffusion.errors import InputError
from crystal_diffusion.matching.matcher import Crystal, StructureMatch
from crystal_diffusion.matching.radial import LENGTH, fingerprints
from crystal_diffusion.matching.reduced import ReducedCrystal
from crystal_diffusion.parallel import map_chunks, process_pool

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

    from pymatgen.core import Structure

#: Blocks of at least this many structures are shared by all processes.
_LARGE_BLOCK = 150
#: Structures of a large block that each process gets at once.
_WAVE = 24
#: Edges (share), positions (in units of (V/N)^(1/3)) and angles (degrees) of relaxed copies.
RELAXED_TOLERANCES = (0.05, 0.1, 3.0)
#: Copies of one crystal have energies within this, eV/atom.
SAME_ENERGY_EV = 0.005


def group_structures(
    structures: Sequence[Structure],
    matcher: StructureMatch | None = None,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[int]:
    """Group number of each structure, in order of first appearance.

    A structure joins the first group whose first member it fits, as in pymatgen's
    ``StructureMatcher.group_structures``, and the groups are the same: every decision is made by
    the full matcher, and only pairs of different composition or number of atoms, or with cells
    that cannot be laid on each other, are decided without it. A structure that cannot be
    compared (no volume) is a group of its own.

    Args:
        structures: in the order that decides who is the first of a group.
        matcher: tolerances; the default is ``StructureMatch()``.
        processes: worker processes.
        progress: called with the structures done and the number of all.
    """
    matcher = matcher or StructureMatch()
    forms = map_chunks(_reduce_chunk, structures, processes, matcher, parallel_from=1000)
    blocks: dict[Hashable, list[int]] = defaultdict(list)
    for index, form in enumerate(forms):
        if isinstance(form, ReducedCrystal):
            blocks[form.key].append(index)
        elif form is None:
            blocks[structures[index].composition.reduced_formula].append(index)
        else:
            blocks["cannot be compared", index].append(index)
    items: list[Crystal] = [
        form if isinstance(form, ReducedCrystal) else structure
        for form, structure in zip(forms, structures, strict=True)
    ]
    first = list(range(len(structures)))
    done = 0
    work = sorted(blocks.values(), key=len, reverse=True)
    pairs = sum(len(block) ** 2 for block in work if len(block) > 1)

    def settle(block: Sequence[int], leaders: Sequence[int]) -> None:
        nonlocal done
        for member, leader in zip(block, leaders, strict=True):
            first[member] = block[leader]
        done += len(block)
        if progress is not None:
            progress(done, len(structures))

    if processes > 1 and pairs > 2000:
        with process_pool(processes) as pool:
            waiting = []
            for block in work:
                members = [items[i] for i in block]
                if len(block) >= _LARGE_BLOCK:
                    settle(block, _lead_in_waves(members, matcher, pool, processes))
                elif len(block) > 1:
                    waiting.append((block, pool.submit(_lead, members, matcher)))
                else:
                    settle(block, [0])
            for block, future in waiting:
                settle(block, future.result())
    else:
        for block in work:
            settle(block, _lead([items[i] for i in block], matcher))
    numbers: dict[int, int] = {}
    return [numbers.setdefault(leader, len(numbers)) for leader in first]


def group_relaxed(
    structures: Sequence[Structure],
    energies: Sequence[float | None],
    matcher: StructureMatch | None = None,
    energy_tolerance: float = SAME_ENERGY_EV,
) -> list[int]:
    """Group number of each relaxed structure, in order of first appearance.

    Relaxed copies of one crystal lie close together and have one energy, polymorphs do not, so
    tolerances are tight and energies must agree. A structure joins the first group whose first
    member it fits; whether two fit does not depend on their order.

    Args:
        structures: relaxed crystals, in the order that decides who is the first of a group.
        energies: eV/atom of each; None where it has none (then only the structure decides).
        matcher: tolerances; the default is ``StructureMatch(0.05, 0.1, 3)``.
        energy_tolerance: largest difference in eV/atom.

    Raises:
        InputError: lists of different length.
    """
    if len(structures) != len(energies):
        raise InputError(
            f"{len(structures)} structures and {len(energies)} energies; give one for each."
        )
    matcher = matcher or StructureMatch(*RELAXED_TOLERANCES)
    forms = _reduce_chunk(structures, matcher)
    leaders: dict[Hashable, list[int]] = defaultdict(list)
    first = list(range(len(structures)))
    for index, (structure, form) in enumerate(zip(structures, forms, strict=True)):
        if isinstance(form, str):
            continue
        key = form.key if form is not None else structure.composition.reduced_formula
        for leader in leaders[key]:
            one, two = energies[leader], energies[index]
            if one is not None and two is not None and abs(one - two) > energy_tolerance:
                continue
            if matcher.fit(structures[leader], structure) or matcher.fit(
                structure, structures[leader]
            ):
                first[index] = leader
                break
        else:
            leaders[key].append(index)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(leader, len(numbers)) for leader in first]


def group_near(
    structures: Sequence[Structure],
    matcher: StructureMatch | None = None,
    near: float = 0.1,
    tries: int = 6,
) -> list[int]:
    """Group numbers as :func:`group_structures` gives them, for the ranking of many candidates.

    A structure is compared with the nearest few groups only, by fingerprint, so the work grows
    with the number of structures and not with its square. Two crystals that the matcher accepts
    although their fingerprints lie farther apart than ``near`` stay in two groups.

    Args:
        structures: in the order that decides who is the first of a group.
        matcher: tolerances; the default is ``StructureMatch()``.
        near: largest root mean square difference of fingerprints in a group.
        tries: groups that a structure is compared with, nearest first.
    """
    matcher = matcher or StructureMatch()
    vectors = fingerprints(structures) / LENGTH**0.5
    blocks: dict[Hashable, list[int]] = defaultdict(list)
    first = list(range(len(structures)))
    for index, structure in enumerate(structures):
        form = _reduce_chunk([structure], matcher)[0]
        if isinstance(form, str) or not np.isfinite(vectors[index]).all():
            continue
        key = form.key if form is not None else structure.composition.reduced_formula
        leaders = blocks[key]
        gaps = np.sqrt(((vectors[leaders] - vectors[index]) ** 2).sum(1))
        for place in np.argsort(gaps, kind="stable")[:tries]:
            if gaps[place] > near:
                break
            if matcher.fit(structures[leaders[place]], structure):
                first[index] = leaders[place]
                break
        if first[index] == index:
            leaders.append(index)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(leader, len(numbers)) for leader in first]


def _reduce_chunk(
    structures: Sequence[Structure], matcher: StructureMatch
) -> list[ReducedCrystal | str | None]:
    """Reduced form; ``None`` where pymatgen must compare; text where nothing can."""
    forms: list[ReducedCrystal | str | None] = []
    for structure in structures:
        try:
            forms.append(matcher.reduced(structure))
        except InputError as error:
            forms.append(str(error))
    return forms


def _first_fit(member: Crystal, leaders: Sequence[Crystal], matcher: StructureMatch) -> int | None:
    for index, leader in enumerate(leaders):
        if matcher.fit(leader, member):
            return index
    return None


def _lead(members: Sequence[Crystal], matcher: StructureMatch) -> list[int]:
    """For each member the index of the first member of its group."""
    answers: list[int] = []
    leaders: list[int] = []
    for index, member in enumerate(members):
        found = _first_fit(member, [members[i] for i in leaders], matcher)
        if found is None:
            leaders.append(index)
        answers.append(index if found is None else leaders[found])
    return answers


def _fits_chunk(
    members: Sequence[Crystal], leaders: Sequence[Crystal], matcher: StructureMatch
) -> list[int | None]:
    return [_first_fit(member, leaders, matcher) for member in members]


def _lead_in_waves(
    members: Sequence[Crystal], matcher: StructureMatch, pool: ProcessPoolExecutor, processes: int
) -> list[int]:
    """:func:`_lead` where the comparisons with leaders known before a wave are shared out."""
    answers: list[int] = []
    leaders: list[int] = []
    for start in range(0, len(members), _WAVE * processes):
        wave = members[start : start + _WAVE * processes]
        known = [members[i] for i in leaders]
        parts = [wave[p::processes] for p in range(processes)]
        futures = [pool.submit(_fits_chunk, part, known, matcher) for part in parts if part]
        found: list[int | None] = [None] * len(wave)
        for offset, future in enumerate(futures):
            found[offset::processes] = future.result()
        fresh: list[int] = []
        for offset, hit in enumerate(found):
            index = start + offset
            if hit is not None:
                answers.append(leaders[hit])
                continue
            new = _first_fit(members[index], [members[i] for i in fresh], matcher)
            answers.append(index if new is None else fresh[new])
            if new is None:
                fresh.append(index)
        leaders += fresh
    return answers
