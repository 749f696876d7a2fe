"""Any request, a network that has learned nothing: what comes out is what was asked for.

hypothesis draws the requests. What is compared here does not come from the package where that is
possible: distances and cells from pymatgen, groups from spglib and moyopy, the operations of the
requested group from spglib's own tables.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context
from typing import Any

import hypothesis
import moyopy
import numpy as np
import pytest
import spglib
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymatgen.core import Composition, Element, Lattice, Structure

from crystal_diffusion import GenerationSettings, Request, SamplerSettings
from crystal_diffusion.diffusion.joint import JointConfig, JointDiffusion
from crystal_diffusion.errors import RequestError
from crystal_diffusion.generation.cells import expected_volume
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.physics.validator import PhysicsValidator

TINY = {"dim": 32, "layers": 2, "heads": 4, "pair_dim": 16, "frequencies": 2}
ELEMENTS = ("H", "Li", "C", "N", "O", "F", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "K", "Ca", "Ti",
            "Fe", "Cu", "Zn", "Br", "Sr", "Y", "Zr", "Ag", "Sn", "Cs", "Ba", "La", "W", "Pb",
            "Bi", "U")  # fmt: skip
SYSTEMS = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal",
           "cubic")  # fmt: skip
KINDS = ("formula", "group", "group", "group", "system", "free group", "elements", "lattice",
         "host", "neutral", "anything")  # fmt: skip
#: pymatgen has no oxidation states for most of them, so it could not judge their charges.
NOBLE = ("He", "Ne", "Ar", "Kr", "Xe", "Rn")
SHORTEST = 0.7


@dataclass
class Tally:
    """What was made, and every violation found."""

    structures: int = 0
    missing: int = 0
    refused: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


@cache
def untrained(strength: float) -> CrystalGenerator:
    """A network with fresh weights, all of them shaken so that its answers are not zero."""
    torch.manual_seed(0)
    model = JointDiffusion(JointConfig(network_options=TINY))
    with torch.no_grad():
        for weights in model.parameters():
            weights += strength * torch.randn(weights.shape)
    return CrystalGenerator(model.eval(), {"sizes": {str(n): 1 for n in range(1, 13)}})


@cache
def operations(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotations and translations of the standard setting, from spglib's tables."""
    halls = {}
    for hall in range(1, 531):
        kind = spglib.get_spacegroup_type(hall)
        if kind.number == number and (not halls or kind.choice == "2"):
            halls = {number: hall}
    found = spglib.get_symmetry_from_database(halls[number])
    return found["rotations"], found["translations"]


def formulas() -> st.SearchStrategy[str]:
    """One to three elements, at most 12 atoms."""
    counts = st.dictionaries(st.sampled_from(ELEMENTS), st.integers(1, 4), min_size=1, max_size=3)
    return counts.map(lambda c: "".join(f"{el}{n}" for el, n in c.items()))


@st.composite
def lattices(draw: st.DrawFn, formula: str) -> tuple[float, ...]:
    """A cell of 1 to 2 times the usual volume and 12 Å3 an atom at least, not flat."""
    angles = [draw(st.floats(65, 115)) for _ in range(3)]
    edges = [draw(st.floats(0.8, 1.25)) for _ in range(3)]
    shape = Lattice.from_parameters(*edges, *angles)
    content = {element.Z: round(n) for element, n in Composition(formula).items()}
    usual = expected_volume(content)
    volume = max(draw(st.floats(1, 2)) * usual, min(12 * sum(content.values()), 2 * usual))
    scale = (volume / shape.volume) ** (1 / 3)
    return tuple(scale * e for e in edges) + tuple(angles)


@st.composite
def hosts(draw: st.DrawFn) -> Structure:
    """Two to four atoms on well separated points of a roomy cell."""
    points = [(0, 0, 0), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)][: draw(st.integers(2, 4))]
    shift = np.array([draw(st.floats(-3, 3)) for _ in range(3)])
    kinds = [draw(st.sampled_from(("O", "Si", "Ti", "Fe"))) for _ in points]
    return Structure(Lattice.cubic(draw(st.floats(6.5, 8))), kinds, np.array(points) + shift)


@st.composite
def requests(draw: st.DrawFn, kind: str) -> Request:
    """A request of a kind."""
    cell = draw(st.sampled_from(("primitive", "conventional", "niggli")))
    group = str(draw(st.integers(1, 230)))
    sizes = sorted((draw(st.integers(3, 10)), draw(st.integers(3, 10))))
    few = tuple(sorted(draw(st.sets(st.sampled_from(ELEMENTS), min_size=1, max_size=3))))
    formula = draw(formulas())
    if kind == "formula":
        return Request(formula=formula, z=(1, draw(st.integers(1, 2))))
    if kind == "group":
        return Request(formula=formula, spacegroup=group, cell=cell, z=(1, 2))
    if kind == "system":
        system = draw(st.sampled_from(SYSTEMS))
        return Request(formula=formula, crystal_system=system, cell=cell, z=(1, 1))
    if kind == "free group":
        return Request(elements=few, spacegroup=group, cell=cell, num_atoms=(1, 16))
    if kind == "elements":
        return Request(elements=few, num_atoms=(sizes[0], sizes[1]))
    if kind == "lattice":
        return Request(formula=formula, lattice=draw(lattices(formula)), z=(1, 1))
    if kind == "host":
        return Request(host=draw(hosts()), add=draw(st.sampled_from(("Li", "H2", "Li2"))))
    if kind == "neutral":
        return Request(num_atoms=(sizes[0], sizes[1]), charge_neutral=True, exclude=NOBLE)
    return Request(num_atoms=(sizes[0], sizes[1]), exclude=few)


def group_kept(structure: Structure, number: int, cell: str) -> bool:
    """Whether spglib and moyopy both find the group, or a larger one that holds it."""
    rotations, translations = operations(number)
    array = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    first = spglib.get_symmetry(array, symprec=0.01)
    second = moyopy.MoyoDataset(
        moyopy.Cell(array[0].tolist(), array[1].tolist(), [int(z) for z in array[2]]), symprec=0.01
    ).operations
    slack = 0.02 / min(structure.lattice.abc) + 1e-6
    pairs = (
        (first["rotations"], first["translations"]),
        (np.array(second.rotations).reshape(-1, 3, 3), np.array(second.translations)),
    )
    for found, moved in pairs:
        if cell != "conventional":
            # In another cell the same operations have other matrices: count those of the lattice.
            identity = np.eye(3, dtype=int)
            wanted = len(rotations) // int(np.all(rotations == identity, axis=(1, 2)).sum())
            if len(found) % wanted:
                return False
            continue
        same = np.all(rotations[:, None] == found[None], axis=(2, 3))
        away = translations[:, None] - moved[None]
        near = np.abs(away - np.round(away)).max(-1) < slack
        if not (same & near).any(1).all():
            return False
    return True


def faults(kind: str, request: Request, structure: Structure) -> list[str]:
    """Every way in which a structure is not what was asked for."""
    found = []
    coords = structure.frac_coords
    conventional = request.symmetric and request.cell == "conventional"
    if not np.isfinite(coords).all() or not np.isfinite(structure.lattice.matrix).all():
        return ["not finite"]
    if kind != "host" and not ((coords >= 0) & (coords < 1)).all():
        found.append("coordinates outside [0, 1)")
    if len(structure.get_neighbor_list(SHORTEST - 1e-6)[0]):
        found.append("atoms closer than 0.7 Å")
    if not PhysicsValidator().validate(structure).valid:
        found.append("fails an error-level check")
    counts = Counter(el.symbol for el in structure.species)
    if request.formula:
        unit = Composition(request.formula).get_el_amt_dict()
        ratios = {counts[el] / n for el, n in unit.items()}
        if set(counts) != set(unit) or len(ratios) != 1:
            found.append("composition")
        units = ratios.pop() if ratios else 0.0
        if not conventional and request.z and not request.z[0] <= units <= request.z[1]:
            found.append("number of atoms")
    if request.elements and set(counts) != set(request.elements):
        found.append("elements")
    if set(counts) & set(request.exclude):
        found.append("excluded element")
    if request.num_atoms and not conventional:
        if not request.num_atoms[0] <= len(structure) <= request.num_atoms[1]:
            found.append("number of atoms")
    if request.lattice and not np.allclose(structure.lattice.parameters, request.lattice):
        found.append("lattice")
    if request.host is not None:
        kept = structure.frac_coords[: len(request.host)]
        if not np.array_equal(kept, request.host.frac_coords):
            found.append("frozen atoms moved")
        if not np.array_equal(structure.lattice.matrix, request.host.lattice.matrix):
            found.append("host cell changed")
        added = Counter(el.symbol for el in structure.species[len(request.host) :])
        if added != Counter(Composition(request.add).get_el_amt_dict()):
            found.append("added atoms")
    if request.spacegroup and not group_kept(structure, int(request.spacegroup), request.cell):
        found.append("space group")
    if request.crystal_system and crystal_order(structure) < least_order(request.crystal_system):
        found.append("crystal system")
    if request.charge_neutral and not may_be_neutral(counts):
        found.append("charge")
    return found


def crystal_order(structure: Structure) -> int:
    """Operations of the primitive cell that spglib finds."""
    array = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    dataset = spglib.get_symmetry_dataset(array, symprec=0.01)
    return len({r.tobytes() for r in dataset.rotations})


def least_order(system: str) -> int:
    """Operations that every point group of a crystal system has at least."""
    orders = dict(zip(SYSTEMS, (1, 2, 4, 4, 3, 6, 12), strict=True))
    return orders[system]


def may_be_neutral(counts: Counter[str]) -> bool:
    """Metals or one element only, or oxidation states that pymatgen knows sum to zero."""
    elements = [Element(el) for el in counts]
    if len(elements) == 1 or all(el.is_metal or el.is_metalloid for el in elements):
        return True
    reach = {0}
    for el in elements:
        states = {int(q) for q in el.oxidation_states if q}
        # Atoms of one element may differ in charge: sums of one state for each atom.
        for _ in range(counts[el.symbol]):
            reach = {a + q for a in reach for q in states}
    return 0 in reach


def drive(examples: int, each: int, steps: int, chunk: int = 0) -> Tally:
    """``examples`` requests of every kind, ``each`` crystals of each: generate, compare."""
    tally = Tally()
    for number, kind in enumerate(KINDS):
        drive_kind(tally, kind, examples, each, steps, 100 * chunk + number)
    return tally


def drive_kind(tally: Tally, kind: str, examples: int, each: int, steps: int, seed: int) -> None:
    """One kind of request."""

    @hypothesis.seed(seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(requests(kind), st.integers(0, 2**31), st.sampled_from((0.0, 0.05, 0.3)))
    def run(request: Request, seed: int, strength: float) -> None:
        chosen = GenerationSettings(sampler=SamplerSettings(steps=steps), max_attempts=6)
        try:
            result: Any = untrained(strength).run(
                request, each, seed=seed, settings=chosen, describe=False
            )
        except RequestError as error:
            # Only a wish for symmetry can be impossible here, or a cell that holds another number
            # of units; the reason is said.
            if request.lattice and "does not fit" in str(error):
                assert "Give --z" in str(error)
            else:
                assert request.symmetric, str(error)
                assert "impossible" in str(error) or "space groups asked for" in str(error)
            tally.refused += 1
            return
        assert len(result) + len(result.missing) == each
        assert all(result.missing.values())
        tally.requests[kind] += len(result)
        tally.structures += len(result)
        tally.missing += len(result.missing)
        for structure in result:
            for fault in faults(kind, request, structure):
                tally.violations.append(f"{fault}: {request.as_dict()} seed {seed} {strength}")

    run()


def test_what_is_asked_for_comes_out_of_any_network() -> None:
    tally = drive(examples=2, each=3, steps=2)
    assert tally.structures > 30
    assert all(tally.requests[kind] for kind in KINDS)
    assert not tally.violations, tally.violations[:5]


def drive_part(chunk: int) -> Tally:
    """A sixth of the ten thousand, and a little more."""
    return drive(examples=5, each=52, steps=2, chunk=chunk)


@pytest.mark.slow
def test_ten_thousand_structures_without_a_violation() -> None:
    began = time.perf_counter()
    workers = min(2, len(os.sched_getaffinity(0)))
    tallies = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for chunk, tally in enumerate(pool.map(drive_part, range(1, 7)), start=1):
            print(
                f"\npart {chunk} of 6: {tally.structures} structures, {len(tally.violations)} "
                f"violations, {tally.missing} given up, {tally.refused} requests refused, "
                f"{time.perf_counter() - began:.0f} s so far; {dict(tally.requests)}",
                flush=True,
            )
            tallies.append(tally)
    violations = [fault for tally in tallies for fault in tally.violations]
    assert sum(tally.structures for tally in tallies) >= 10_000
    assert not violations, violations[:5]


@pytest.mark.parametrize(
    ("fault", "change"),
    [
        ("composition", lambda s: s.replace(0, "O")),
        ("atoms closer than 0.7 Å", lambda s: s.translate_sites([0], [0.45, 0.5, 0.5])),
        ("space group", lambda s: s.translate_sites([0], [0.02, 0.03, 0.05])),
        ("number of atoms", lambda s: s.make_supercell([2, 2, 1])),
    ],
)
def test_the_comparison_sees_faults(fault: str, change: Any) -> None:
    salt = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    request = Request(formula="CsCl", spacegroup="221", z=(1, 2))
    assert faults("group", request, salt) == []
    change(salt)
    assert fault in faults("group", request, salt)
