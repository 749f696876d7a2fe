"""Single-point energies of known crystals with diep, each at its published cell.

One JSON line per crystal is appended to OUT, so a stopped run goes on where it was. What hulls
need comes first: the elements, then for each reduced formula its lowest crystal (by published
hull distance where there is one, the smallest cell otherwise), then the others by size.

    python recipes/known_energies.py OUT.jsonl TABLE.parquet [TABLE.parquet ...]
    python recipes/known_energies.py --check 60 OUT.jsonl TABLE.parquet   # against the package

A published crystal repeats itself: atoms that symmetry maps onto each other have one energy, and
bonds of one length and surroundings carry one message. `QuotientEnergy` evaluates each of these
once and weighs it with its number, which for the crystals of the Materials Project is several
times faster than one pass over all atoms; ``--check`` compares it with the calculator of diep.
It knows diep 2.0.0 from within and refuses another version.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

#: The version whose layers `QuotientEnergy` repeats.
VERSION = "2.0.0"
#: Symmetry is looked for at this distance (Å); a site that is off by less is moved onto it.
SYMPREC = 0.003
#: Lengths closer than this (Å) count as one.
GRAIN = 2e-4
#: Crystals are evaluated together until they have this many bonds of their own.
BONDS_PER_BATCH = 3000


@dataclass(frozen=True)
class Quotient:
    """What is left of a crystal when equal atoms, bonds and triangles are counted only once.

    Attributes:
        numbers: atomic number of each orbit ``(orbits,)``.
        multiplicity: atoms of each orbit in the primitive cell ``(orbits,)``.
        source, target: orbits of the two atoms of each kind of bond ``(bonds,)``.
        length: Å ``(bonds,)``; ``count``: bonds of the kind that leave one atom of the source.
        pair_bond, pair_orbit: kind of bond and end orbit of each pair of these ``(pairs,)``.
        entry_pair, entry_triangle, entry_weight: sparse matrix (pairs, triangles) of the weights
            with which triangles add to a pair.
        triangle_numbers: atomic numbers (first, center, second) ``(triangles, 3)``.
        triangle_sides: lengths (center-first, center-second, first-second) ``(triangles, 3)``.
    """

    numbers: NDArray[np.int64]
    multiplicity: NDArray[np.float64]
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    length: NDArray[np.float64]
    count: NDArray[np.float64]
    pair_bond: NDArray[np.int64]
    pair_orbit: NDArray[np.int64]
    entry_pair: NDArray[np.int64]
    entry_triangle: NDArray[np.int64]
    entry_weight: NDArray[np.float64]
    triangle_numbers: NDArray[np.int64]
    triangle_sides: NDArray[np.float64]


def envelope(length: NDArray[np.float64], cutoff: float) -> NDArray[np.float64]:
    """Polynomial that ends smoothly at the cutoff (Gasteiger et al. 2020, exponent 3)."""
    ratio = length / cutoff
    inside = 1 - 10 * ratio**3 + 15 * ratio**4 - 6 * ratio**5
    return np.where(length <= cutoff, inside, 0.0)


def primitive(
    matrix: NDArray[np.float64], fractional: NDArray[np.float64], numbers: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Primitive cell and the orbit of each of its atoms; the cell as it is where none is found."""
    import moyopy

    cell = moyopy.Cell(matrix.tolist(), fractional.tolist(), numbers.tolist())
    try:
        found = moyopy.MoyoDataset(cell, symprec=SYMPREC)
    except Exception:
        return matrix, fractional, numbers, np.arange(len(numbers))
    small = found.prim_std_cell
    orbits = np.empty(len(small.numbers), np.int64)
    orbits[np.asarray(found.mapping_std_prim)] = np.asarray(found.orbits)
    orbits = np.unique(orbits, return_inverse=True)[1]
    basis = np.asarray(small.basis, dtype=float)
    before, after = abs(np.linalg.det(matrix)), abs(np.linalg.det(basis))
    # A cell whose volume per atom moved is not the crystal that was published.
    if abs(after / len(orbits) / (before / len(numbers)) - 1) > 2e-3:
        return matrix, fractional, numbers, np.arange(len(numbers))
    return basis, np.asarray(small.positions), np.asarray(small.numbers), orbits


def quotient(
    matrix: NDArray[np.float64],
    fractional: NDArray[np.float64],
    numbers: NDArray[np.int64],
    cutoff: float,
    triple_cutoff: float,
) -> Quotient:
    """The quotient graph of a crystal."""
    from pymatgen.optimization.neighbors import find_points_in_spheres

    matrix, fractional, numbers, orbit = primitive(matrix, fractional % 1.0, numbers)
    fractional = fractional - np.floor(fractional)
    positions = np.ascontiguousarray(fractional @ matrix)
    _, first = np.unique(orbit, return_index=True)
    kinds = numbers[first]
    source, atom, image, length = find_points_in_spheres(
        positions,
        np.ascontiguousarray(positions[first]),
        r=cutoff,
        pbc=np.ones(3, np.int64),
        lattice=np.ascontiguousarray(matrix),
        tol=1e-8,
    )
    real = length > 1e-8
    source, atom, image, length = source[real], atom[real], image[real], length[real]
    order = np.argsort(source, kind="stable")
    source, atom, image, length = source[order], atom[order], image[order], length[order]
    vectors = positions[atom] + image @ matrix - positions[first][source]
    target = orbit[atom]
    shell = np.unique(
        np.stack([kinds[target], np.round(length / GRAIN).astype(np.int64)]),
        axis=1,
        return_inverse=True,
    )[1].reshape(-1)
    # Triangles: pairs of different bonds of one atom, both within the three-body cutoff.
    ones, twos = [], []
    for center in range(len(first)):
        own = np.flatnonzero((source == center) & (length <= triple_cutoff))
        one, two = np.meshgrid(own, own, indexing="ij")
        apart = one != two
        ones.append(one[apart])
        twos.append(two[apart])
    one, two = np.concatenate(ones), np.concatenate(twos)
    across = np.linalg.norm(vectors[one] - vectors[two], axis=1)
    low, high = np.minimum(shell[one], shell[two]), np.maximum(shell[one], shell[two])
    shells = int(shell.max(initial=0)) + 1
    key = ((kinds[source[one]] * shells + low) * shells + high) * 65536 + np.round(
        across / GRAIN
    ).astype(np.int64)
    _, where, triangle = np.unique(key, return_index=True, return_inverse=True)
    triangle = triangle.reshape(-1)
    # Bonds are one kind when they join the same orbits, equally long, and see the same triangles.
    rng = np.random.default_rng(0)
    marks = rng.random(len(where)), rng.random(len(first))
    print_ = np.bincount(
        one, marks[0][triangle] * (1 + marks[1][target[two]]), minlength=len(source)
    )
    same = np.stack([source, target, shell, np.round(print_ * 1e7).astype(np.int64)])
    _, bond, _kind, count = np.unique(
        same, axis=1, return_index=True, return_inverse=True, return_counts=True
    )
    kept = np.full(len(source), -1)
    kept[bond] = np.arange(len(bond))
    inside = kept[one] >= 0
    one, two, triangle = one[inside], two[inside], triangle[inside]
    pair_key = kept[one] * len(first) + target[two]
    pairs, pair = np.unique(pair_key, return_inverse=True)
    fade = envelope(length, triple_cutoff)
    sides = np.stack([length[one], length[two], across[inside]], axis=1)
    corners = np.stack([kinds[target[one]], kinds[source[one]], kinds[target[two]]], axis=1)
    _used, spot, triangle = np.unique(triangle, return_index=True, return_inverse=True)
    return Quotient(
        kinds,
        np.bincount(orbit).astype(float),
        source[bond],
        target[bond],
        length[bond],
        count.astype(float),
        pairs // len(first),
        pairs % len(first),
        pair.reshape(-1),
        triangle.reshape(-1),
        fade[one] * fade[two],
        corners[spot],
        sides[spot],
    )


class QuotientEnergy:
    """Energies of the released diep model from quotient graphs."""

    def __init__(self) -> None:
        from diep.pretrained import load_potential

        found = importlib.metadata.version("diep")
        if found != VERSION:
            sys.exit(f"diep {found} is installed, but this script repeats diep {VERSION}")
        self.potential = load_potential(stress=False)
        self.model = self.potential.model
        if self.potential.calc_repuls or self.model.include_state or self.model.is_intensive:
            sys.exit("the released model is not the one this script repeats")
        self.place = {int(z): i for i, z in enumerate(self.model.atomic_number_table.tolist())}
        self.model.diep_integrator._ensure_grid(torch.device("cpu"))

    def knows(self, numbers: NDArray[np.int64]) -> bool:
        """Whether the potential has all these elements."""
        return all(int(z) in self.place for z in numbers)

    def graph(
        self, matrix: NDArray[np.float64], fractional: NDArray[np.float64], z: NDArray[np.int64]
    ) -> Quotient:
        """The quotient graph at the cutoffs of the model."""
        return quotient(matrix, fractional, z, self.model.cutoff, self.model.threebody_cutoff)

    def _maps(self, planar: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """The integrator's grid of atoms in a plane: ``(n, atoms, 2)`` → ``(n, points)``."""
        integrator = self.model.diep_integrator
        grid = integrator._grid
        squared = ((planar.unsqueeze(2) - grid.points) ** 2).sum(-1)
        return integrator._integrate(
            squared,
            torch.sqrt(squared + integrator.softening_epsilon**2),
            torch.sqrt(numbers),
            grid.delta_area,
        )

    def _triangle_maps(self, graphs: Sequence[Quotient]) -> torch.Tensor:
        from diep.layers._diep_core import _canonicalize_triplets_batch

        sides = torch.tensor(np.concatenate([g.triangle_sides for g in graphs]))
        if not len(sides):
            return torch.zeros(0, self.model.diep_integrator.edge_dim)
        numbers = torch.tensor(np.concatenate([g.triangle_numbers for g in graphs])).float()
        one, two, across = sides.unbind(1)
        x = (one**2 + two**2 - across**2) / (2 * one)
        y = torch.sqrt(torch.clamp(two**2 - x**2, min=0.0))
        zero = torch.zeros_like(x)
        corners = torch.stack([one, zero, zero, zero, zero, zero, x, y, zero], 1).view(-1, 3, 3)
        planar, ordered = _canonicalize_triplets_batch(corners.float(), numbers)
        return torch.cat(
            [
                self._maps(planar[i : i + 1024], ordered[i : i + 1024])
                for i in range(0, len(x), 1024)
            ]
        )

    @torch.inference_mode()
    def energies(self, graphs: Sequence[Quotient]) -> list[float]:
        """Energy per atom (eV) of each crystal."""
        from scipy.sparse import csr_matrix

        model = self.model
        orbits = np.cumsum([0] + [len(g.numbers) for g in graphs])
        bonds = np.cumsum([0] + [len(g.source) for g in graphs])
        pairs = np.cumsum([0] + [len(g.pair_bond) for g in graphs])
        triangles = np.cumsum([0] + [len(g.triangle_sides) for g in graphs])

        def joined(name: str, shift: NDArray[np.int64] | None = None) -> NDArray[Any]:
            parts = [getattr(g, name) for g in graphs]
            if shift is not None:
                parts = [part + start for part, start in zip(parts, shift, strict=False)]
            return np.concatenate(parts)

        numbers = joined("numbers")
        source, target = joined("source", orbits), joined("target", orbits)
        length, count = joined("length"), joined("count")
        multiplicity = joined("multiplicity")
        matrix = csr_matrix(
            (
                joined("entry_weight").astype(np.float32),
                (joined("entry_pair", pairs), joined("entry_triangle", triangles)),
            ),
            shape=(int(pairs[-1]), int(triangles[-1])),
        )
        around = torch.from_numpy(matrix @ self._triangle_maps(graphs).numpy())
        pair_bond = torch.from_numpy(joined("pair_bond", bonds))
        pair_orbit = torch.from_numpy(joined("pair_orbit", orbits))

        half = torch.tensor(length / 2).float()
        zero = torch.zeros_like(half)
        planar = torch.stack([-half, zero, half, zero], 1).view(-1, 2, 2)
        ends = torch.tensor(np.stack([numbers[source], numbers[target]], 1)).float()
        radial = (
            self._maps(planar, ends) * torch.tensor(envelope(length, model.cutoff)).float()[:, None]
        )
        types = torch.tensor([self.place[int(z)] for z in numbers])
        nodes, edges, _ = model.embedding(types, radial, None)
        weight = torch.tensor(count * multiplicity[source] / multiplicity[target]).float()[:, None]
        from_, to = torch.from_numpy(source), torch.from_numpy(target)
        for three, block in zip(model.three_body_interactions, model.graph_layers, strict=True):
            sums = torch.zeros(len(source), around.shape[1])
            sums.index_add_(0, pair_bond, around * three.update_network_atom(nodes)[pair_orbit])
            edges = edges + three.update_network_bond(sums)
            conv = block.conv
            known = torch.hstack([nodes[from_], nodes[to], edges])
            edges = edges + conv.edge_update_func(known) * conv.edge_weight_func(radial)
            known = torch.hstack([nodes[from_], nodes[to], edges])
            message = conv.node_update_func(known) * conv.node_weight_func(radial) * weight
            nodes = nodes + torch.zeros_like(nodes).index_add_(0, to, message)
        atomic = model.final_layer.gated(nodes).reshape(-1).double().numpy()
        offset = self.potential.element_refs.property_offset.double().numpy()[types.numpy()]
        atomic = float(self.potential.data_std) * atomic + float(self.potential.data_mean) + offset
        sums = np.add.reduceat(atomic * multiplicity, orbits[:-1])
        return (sums / np.add.reduceat(multiplicity, orbits[:-1])).tolist()


@dataclass(frozen=True)
class Row:
    """One crystal of a table, as it stands there."""

    key: str
    formula: str
    matrix: NDArray[np.float64]
    fractional: NDArray[np.float64]
    numbers: NDArray[np.int64]


def read_rows(paths: Sequence[Path]) -> Iterator[Row]:
    """All crystals of the tables in the order in which hulls need them."""
    import pandas as pd
    import pyarrow.parquet
    from ase.geometry import cellpar_to_cell

    wanted = ["material_id", "formula", "num_sites", "a", "b", "c", "alpha", "beta", "gamma"]
    wanted += ["atomic_numbers", "frac_coords", "e_above_hull", "spacegroup_number"]
    frames = []
    for path in paths:
        frame = pyarrow.parquet.read_table(path).to_pandas()
        if "e_above_hull" not in frame:
            frame["e_above_hull"] = np.nan
        frame["far"] = 0 if path.parent.name.startswith("mp") else 1
        frames.append(frame[[*wanted, "far"]])
    table = pd.concat(frames, ignore_index=True).drop_duplicates("material_id")
    element = np.array([len(set(z)) == 1 for z in table.atomic_numbers])
    hull = table.e_above_hull.fillna(0.05 + 1e-4 * table.num_sites)
    table["hull"] = hull
    table["place"] = table.groupby("formula").hull.rank(method="first")
    stage = np.where(element, 0, np.where((table.place == 1) & (hull < 0.2), 1, 3))
    stage = np.where((stage == 3) & (table.place == 1), 2, stage)
    second = (stage == 3) & (table.place <= 3) & (hull < 0.06)
    stage = np.where(second, 1.5, stage)
    table["stage"] = np.where(table.far == 1, 4, stage)
    table = table.sort_values(["stage", "num_sites", "material_id"])
    for row in table.itertuples():
        cell = cellpar_to_cell([row.a, row.b, row.c, row.alpha, row.beta, row.gamma])
        fractional = np.reshape(np.asarray(row.frac_coords, dtype=float), (-1, 3))
        numbers = np.asarray(row.atomic_numbers, dtype=np.int64)
        yield Row(str(row.material_id), row.formula, cell, fractional, numbers)


def done_before(path: Path) -> set[str]:
    """Identifiers that have a line; a line cut short by a kill is dropped."""
    if not path.exists():
        return set()
    found = set()
    for line in path.read_text().splitlines():
        try:
            found.add(json.loads(line)["id"])
        except (ValueError, KeyError):
            continue
    return found


def run(out: Path, paths: Sequence[Path], minutes: float) -> None:
    """Compute what is not there yet."""
    done = done_before(out)
    model = QuotientEnergy()
    began, number = time.perf_counter(), 0
    keys: list[str] = []
    graphs: list[Quotient] = []
    with out.open("a") as stream:

        def write(key: str, energy: float | None, problem: str = "") -> None:
            row = {"id": key, "energy_per_atom": energy, "problem": problem}
            stream.write(json.dumps(row) + "\n")

        def evaluate() -> None:
            if graphs:
                for key, energy in zip(keys, model.energies(graphs), strict=True):
                    if math.isfinite(energy):
                        write(key, round(energy, 5))
                    else:
                        write(key, None, "the energy is not a number")
            keys.clear()
            graphs.clear()
            stream.flush()
            os.fsync(stream.fileno())

        for row in read_rows(paths):
            if row.key in done:
                continue
            if time.perf_counter() - began > 60 * minutes:
                break
            if not model.knows(row.numbers):
                write(row.key, None, "an element that diep does not know")
                continue
            graphs.append(model.graph(row.matrix, row.fractional, row.numbers))
            keys.append(row.key)
            number += 1
            if sum(len(g.source) for g in graphs) >= BONDS_PER_BATCH:
                evaluate()
            if number % 1000 == 0:
                spent = time.perf_counter() - began
                print(
                    f"{number} crystals, {spent:.0f} s, {1000 * spent / number:.2f} ms each",
                    flush=True,
                )
        evaluate()
    print(f"{number} crystals, {time.perf_counter() - began:.0f} s")


def check(paths: Sequence[Path], number: int) -> None:
    """Compare with the calculator of the package on random crystals, and time both."""
    from ase import Atoms
    from diep.pretrained import make_calculator

    model, calculator = QuotientEnergy(), make_calculator(stress=False)
    rows = [row for row in read_rows(paths) if model.knows(row.numbers)]
    chosen = np.random.default_rng(1).choice(len(rows), number, replace=False)
    rows = [rows[i] for i in sorted(chosen)]
    began = time.process_time()
    graphs = [model.graph(row.matrix, row.fractional, row.numbers) for row in rows]
    middle = time.process_time()
    own = []
    for start in range(0, number, 20):
        own += model.energies(graphs[start : start + 20])
    ended = time.process_time()
    theirs = []
    for row in rows:
        atoms = Atoms(row.numbers, scaled_positions=row.fractional, cell=row.matrix, pbc=True)
        atoms.calc = calculator
        theirs.append(atoms.get_potential_energy() / len(atoms))
    last = time.process_time()
    apart = 1000 * np.abs(np.array(own) - np.array(theirs))
    print(f"{number} crystals: graphs {1000 * (middle - began) / number:.1f} ms, energies")
    print(
        f"{1000 * (ended - middle) / number:.1f} ms, diep {1000 * (last - ended) / number:.1f} ms"
    )
    print(f"apart: median {np.median(apart):.4f}, largest {apart.max():.4f} meV/atom")
    for i in np.argsort(-apart)[:5]:
        print(rows[i].key, rows[i].formula, len(rows[i].numbers), round(apart[i], 3))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--check", type=int, help="compare this many crystals and end")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.check:
        check(options.tables, options.check)
    else:
        run(options.out, options.tables, options.minutes)


if __name__ == "__main__":
    main()
