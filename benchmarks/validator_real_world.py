"""The validator against the real world: false alarms on real crystals, planted defects caught.

    python benchmarks/validator_real_world.py ../shared/data/mp_2025 --seed 1

Reports on rows whose identifier has a CRC-32 divisible by ten: no table and no limit was fitted or
tuned on them. ``--tune`` looks at the other rows instead, which is where the limits were chosen.

Defects are planted in crystals of the sample that pass every geometry check without a warning and
have at least two atoms: what is wrong from the start cannot show a defect. Each case draws one
crystal at random.

* squeezed cell: all edges times 0.75, or one edge times 0.5, fractional coordinates kept;
* doubled atom: a copy of an atom at most 0.5 Å away from it;
* atom on a bond: an atom moved to the middle between another atom and its nearest neighbour;
* sheared angle: one angle of the reduced cell set to 15 to 30 degrees, edges kept;
* swapped ions: a cation and an anion change places;
* other valence: all atoms of one element replaced by one of no common oxidation state with it, of
  a covalent radius within 15 %.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
import zlib
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from crystal_diffusion import chemistry
from crystal_diffusion.cell_geometry import wrap
from crystal_diffusion.physics.crystal_geometry import CrystalGeometry
from crystal_diffusion.physics.distances import reduce_cell
from crystal_diffusion.physics.report import ValidationReport
from crystal_diffusion.physics.validator import CHECKS, PhysicsValidator

Defect = Callable[[CrystalGeometry, np.random.Generator], CrystalGeometry | None]


def wilson(hits: int, n: int) -> str:
    """Share with its 95 % interval (Wilson 1927)."""
    if n == 0:
        return "no cases"
    z, p = 1.96, hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return f"{100 * p:6.2f} % ({100 * low:.2f} to {100 * high:.2f}; {hits} of {n})"


def sample(folder: Path, n: int, seed: int, tune: bool) -> list[tuple[str, CrystalGeometry]]:
    """Random crystals of both files together."""
    from pymatgen.core import Lattice

    found = []
    for path in sorted(folder.glob("train_*.parquet")):
        ids = pq.read_table(path, columns=["material_id"]).column(0).to_pylist()
        held = np.array([zlib.crc32(i.encode()) % 10 == 0 for i in ids])
        found += [(path, row) for row in np.flatnonzero(~held if tune else held)]
    if n > len(found):
        raise SystemExit(f"only {len(found)} rows to draw from; ask for fewer than {n}.")
    chosen = np.random.default_rng(seed).choice(len(found), n, replace=False)
    out = []
    for path in sorted({found[k][0] for k in chosen}):
        table = pq.read_table(path).take([found[k][1] for k in chosen if found[k][0] == path])
        for row in table.to_pylist():
            cell = [row[name] for name in ("a", "b", "c", "alpha", "beta", "gamma")]
            lattice = Lattice.from_parameters(*cell).matrix
            frac = np.reshape(row["frac_coords"], (-1, 3))
            view = CrystalGeometry.from_arrays(wrap(frac), lattice, row["atomic_numbers"])
            out.append((row["material_id"], view))
    return out


def changed(view: CrystalGeometry, **fields: Any) -> CrystalGeometry:
    """A crystal with some arrays replaced and nothing remembered."""
    arrays = {
        "frac_coords": view.frac_coords,
        "lattice": view.lattice,
        "atomic_numbers": view.atomic_numbers,
    } | fields
    return CrystalGeometry.from_arrays(**arrays)


def squeeze(
    view: CrystalGeometry, rng: np.random.Generator, scale: float = 0.75
) -> CrystalGeometry:
    """All edges times ``scale``; by default in half of the cases one edge times 0.5 instead."""
    if scale == 0.75 and rng.random() < 0.5:
        factors = np.ones(3)
        factors[rng.integers(3)] = 0.5
        return changed(view, lattice=view.lattice * factors[:, None])
    return changed(view, lattice=view.lattice * scale)


def double(view: CrystalGeometry, rng: np.random.Generator, reach: float = 0.5) -> CrystalGeometry:
    """One atom more, at most ``reach`` Å from another of the same element."""
    atom = int(rng.integers(view.atoms))
    step = rng.normal(size=3)
    step *= reach * rng.random() / np.linalg.norm(step)
    place = view.frac_coords[atom] + step @ np.linalg.inv(view.lattice)
    return changed(
        view,
        frac_coords=wrap(np.vstack([view.frac_coords, place])),
        atomic_numbers=np.append(view.atomic_numbers, view.atomic_numbers[atom]),
    )


def onto_bond(
    view: CrystalGeometry, rng: np.random.Generator, any_bond: bool = False
) -> CrystalGeometry | None:
    """A third atom (an end only if there is no other) in the middle of a bond."""
    pairs = view.bonds if any_bond else view.pairs
    if len(pairs) == 0:
        return None
    bond = int(rng.integers(len(pairs)))
    if not any_bond:
        mine = np.flatnonzero(pairs.first == rng.integers(view.atoms))
        if len(mine) == 0:
            return None
        bond = int(mine[pairs.distance[mine].argmin()])
    i, j = int(pairs.first[bond]), int(pairs.second[bond])
    middle = 0.5 * (view.frac_coords[i] + view.frac_coords[j] + pairs.image[bond])
    others = [k for k in range(view.atoms) if k not in (i, j)] or ([j] if i != j else [])
    if not others:
        return None
    frac = view.frac_coords.copy()
    frac[others[int(rng.integers(len(others)))]] = middle
    return changed(view, frac_coords=wrap(frac))


def shear(
    view: CrystalGeometry, rng: np.random.Generator, angles: tuple[float, float] = (15.0, 30.0)
) -> CrystalGeometry | None:
    """One angle of the reduced cell set to a small value, the three edges kept."""
    cell = reduce_cell(view.lattice)
    lengths = np.linalg.norm(cell.rows, axis=1)
    unit = cell.rows / lengths[:, None]
    gram = unit @ unit.T
    i, j = ((1, 2), (0, 2), (0, 1))[int(rng.integers(3))]
    gram[i, j] = gram[j, i] = math.cos(math.radians(rng.uniform(*angles)))
    k = 3 - i - j
    if np.linalg.eigvalsh(gram).min() < 1e-3:
        # The third edge stands upright where the new angle leaves it no place.
        gram[i, k] = gram[k, i] = gram[j, k] = gram[k, j] = 0.0
    rows = np.linalg.cholesky(gram) * lengths[:, None]
    return changed(view, lattice=rows, frac_coords=wrap(view.frac_coords @ cell.inverse))


def swap_ions(view: CrystalGeometry, rng: np.random.Generator) -> CrystalGeometry | None:
    """One cation and one anion change places (antisite); where all swaps are alike, the same."""
    charges = view.assignment.mean_charges
    table = np.array([charges.get(int(z), 0.0) for z in view.atomic_numbers])
    up, down = np.flatnonzero(table > 0), np.flatnonzero(table < 0)
    if len(up) == 0 or len(down) == 0 or view.atoms < 3:
        return None
    i, j = int(rng.choice(up)), int(rng.choice(down))
    numbers = view.atomic_numbers.copy()
    numbers[[i, j]] = numbers[[j, i]]
    return changed(view, atomic_numbers=numbers)


def other_valence(view: CrystalGeometry, rng: np.random.Generator) -> CrystalGeometry | None:
    """One element replaced everywhere by one of another valence and similar size."""
    if view.assignment.kind != "ionic":
        return None
    radii = chemistry.covalent_radii(np.arange(chemistry.LAST_ELEMENT + 1))
    old = int(rng.choice(np.unique(view.atomic_numbers)))
    states = set(chemistry.COMMON_OXIDATION_STATES[old])
    choices = [
        z
        for z in range(1, 93)
        if abs(radii[z] / radii[old] - 1) < 0.15
        and chemistry.COMMON_OXIDATION_STATES[z]
        and not states & set(chemistry.COMMON_OXIDATION_STATES[z])
        and z not in view.atomic_numbers
    ]
    if not choices:
        return None
    new = int(rng.choice(choices))
    return changed(
        view, atomic_numbers=np.where(view.atomic_numbers == old, new, view.atomic_numbers)
    )


GEOMETRIC: dict[str, Defect] = {
    "squeezed cell": squeeze,
    "doubled atom": double,
    "atom on a bond": onto_bond,
    "sheared angle": shear,
}
CHEMICAL: dict[str, Defect] = {"swapped ions": swap_ions, "other valence": other_valence}


def plant(
    defect: Defect, base: list[CrystalGeometry], cases: int, rng: np.random.Generator
) -> list[CrystalGeometry]:
    """``cases`` crystals with the defect."""
    out: list[CrystalGeometry] = []
    tries = 0
    while len(out) < cases and tries < 50 * cases:
        tries += 1
        made = defect(base[int(rng.integers(len(base)))], rng)
        if made is not None:
            out.append(made)
    return out


def alarmed(report: ValidationReport) -> bool:
    """Any error or warning."""
    return not report.valid or bool(report.warnings)


def report_reality(
    validator: PhysicsValidator, crystals: list[tuple[str, CrystalGeometry]]
) -> list[ValidationReport]:
    """False alarms on real crystals."""
    start = time.process_time()
    reports = [validator.validate(view) for _, view in crystals]
    seconds = time.process_time() - start
    failed = [k for k, r in enumerate(reports) if not r.valid]
    print(f"\nreal crystals that fail an error-level check: {wilson(len(failed), len(reports))}")
    for k in failed:
        name, view = crystals[k]
        print(f"  {name} {chemistry.formula(view.atomic_numbers)}: {reports[k].errors[0].reason}")
    warned = Counter(c.name for r in reports for c in r.warnings)
    errors = Counter(c.name for r in reports for c in r.errors)
    notes = Counter(c.name for r in reports for c in r.notes)
    print("by check: errors, warnings, notes")
    for name in CHECKS:
        print(f"  {name:20s} {errors[name]:5d} {warned[name]:5d} {notes[name]:5d}")
    print(f"{1000 * seconds / len(reports):.2f} ms of processor time a crystal")
    return reports


def report_values(reports: list[ValidationReport]) -> None:
    """Quantiles of the values, to choose limits by."""
    for name in CHECKS:
        values = [r.check(name).value for r in reports]
        numbers = np.array([v for v in values if isinstance(v, float)])
        if len(numbers):
            q = np.quantile(numbers, [0.001, 0.002, 0.01, 0.05, 0.5, 0.95, 0.99, 0.998, 0.999])
            print(f"  {name:20s} n={len(numbers)} " + " ".join(f"{x:.3g}" for x in q))


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with the mp_2025 Parquet files")
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", default="default")
    parser.add_argument("--tune", action="store_true", help="use the rows that are for tuning")
    options = parser.parse_args()
    validator = PhysicsValidator(profile=options.profile)
    rng = np.random.default_rng(options.seed)
    crystals = sample(options.folder, options.n, options.seed, options.tune)
    print(
        f"profile {options.profile}, {len(crystals)} crystals of mp_2025, seed {options.seed}, "
        f"{'tuning' if options.tune else 'held-back'} rows, {platform.processor() or 'cpu'}, "
        f"Python {platform.python_version()}"
    )
    reports = report_reality(validator, crystals)
    if options.tune:
        report_values(reports)
    base = [
        view
        for (_, view), r in zip(crystals, reports, strict=True)
        if view.atoms > 1
        and all(r.check(c).passed for c in ("contacts", "volume_per_atom"))
        and r.valid
    ]
    print(f"\ndefects are planted in {len(base)} sound crystals; caught at error level:")
    for name, defect in GEOMETRIC.items():
        made = plant(defect, base, options.cases, rng)
        caught = [validator.validate(v, geometry_only=True) for v in made]
        print(f"  {name:16s} {wilson(sum(not r.valid for r in caught), len(caught))}")
        print(f"    by {dict(Counter(c.name for r in caught for c in r.errors))}")
    made = plant(partial(onto_bond, any_bond=True), base, options.cases, rng)
    caught = sum(not validator.validate(v, geometry_only=True).valid for v in made)
    print(f"  atom on any contact up to 1.2 times the typical one: {wilson(caught, len(made))}")
    print("  the same by strength")
    for scale in (0.65, 0.7, 0.75, 0.8, 0.85, 0.9):
        made = [squeeze(base[k % len(base)], rng, scale + 1e-9) for k in range(options.cases)]
        caught = sum(not validator.validate(v, geometry_only=True).valid for v in made)
        print(f"    all edges x {scale:.2f}       {wilson(caught, len(made))}")
    for angle in (15.0, 20.0, 30.0, 40.0, 50.0):
        made = [
            v
            for k in range(options.cases)
            if (v := shear(base[k % len(base)], rng, (angle, angle))) is not None
        ]
        caught = sum(not validator.validate(v, geometry_only=True).valid for v in made)
        print(f"    angle set to {angle:.0f}       {wilson(caught, len(made))}")
    ionic = [v for v in base if v.assignment.kind == "ionic"]
    sound = [alarmed(validator.validate(v)) for v in ionic]
    print("\nchemical defects in ionic crystals, caught by an error or a warning:")
    print(f"  false alarms     {wilson(sum(sound), len(sound))}")
    for name, defect in CHEMICAL.items():
        made = plant(defect, ionic, options.cases, rng)
        caught = [validator.validate(v) for v in made]
        print(f"  {name:16s} {wilson(sum(map(alarmed, caught)), len(caught))}")
        print(f"    by {dict(Counter(c.name for r in caught for c in (*r.errors, *r.warnings)))}")


if __name__ == "__main__":
    main()
