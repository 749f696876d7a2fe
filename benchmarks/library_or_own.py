"""Libraries that could stand where own code stands: time, and answers that differ.

    python benchmarks/library_or_own.py [--n 300]

Crystals and compositions are those of the shipped library, drawn with a fixed seed. `pebble`,
`loky` and `lazy_loader` are timed where they are installed. Times are processor time of one core.
"""

from __future__ import annotations

import argparse
import io
import logging
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from crystal_diffusion.cell_geometry import lattice_from_parameters
from crystal_diffusion.data.demo_table import DEMO_CRYSTALS
from crystal_diffusion.data.orbits import expand
from crystal_diffusion.data.reduction import reduce_arrays
from crystal_diffusion.data.space_groups import make_operations
from crystal_diffusion.physics.neutrality import is_neutral_possible
from crystal_diffusion.proposals.library import default_library
from crystal_diffusion.runs.cif_writer import cif_text
from crystal_diffusion.runs.folder import extxyz_text


def milliseconds(work: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """Mean processor time of one item; the first is done once before."""
    work(items[0])
    began = time.process_time()
    for item in items:
        work(item)
    return 1000 * (time.process_time() - began) / len(items)


def expansion() -> None:
    """Orbits of sites that are printed with few digits, by gemmi and here.

    The group is looked for again in the atoms, with a tolerance of 0.001 Å.
    """
    import gemmi
    import moyopy

    operations = {
        c.space_group: make_operations(list(gemmi.SpaceGroup(c.space_group).operations()))
        for c in DEMO_CRYSTALS
    }

    def ours(item: tuple[Any, int]) -> tuple[np.ndarray, np.ndarray]:
        crystal, digits = item
        sites = np.round([site[1:] for site in crystal.sites], digits)
        found = expand(
            sites, operations[crystal.space_group], lattice_from_parameters(crystal.cell)
        )
        return found.frac_coords, found.rows

    def theirs(item: tuple[Any, int]) -> tuple[np.ndarray, np.ndarray]:
        crystal, digits = item
        small = gemmi.SmallStructure()
        small.cell = gemmi.UnitCell(*crystal.cell)
        small.spacegroup = gemmi.SpaceGroup(crystal.space_group)
        small.setup_cell_images()
        for row, (_, *position) in enumerate(crystal.sites):
            site = gemmi.SmallStructure.Site()
            site.label = str(row)
            site.fract = gemmi.Fractional(*np.round(position, digits).tolist())
            small.add_site(site)
        found = small.get_all_unit_cell_sites()
        return np.array([s.fract.tolist() for s in found]), np.array([int(s.label) for s in found])

    def same_group(item: tuple[Any, int], coords: np.ndarray, rows: np.ndarray) -> bool:
        crystal, _ = item
        numbers = [gemmi.Element(crystal.sites[row][0]).atomic_number for row in rows]
        lattice = lattice_from_parameters(crystal.cell)
        cell = moyopy.Cell(lattice.tolist(), coords.tolist(), numbers)
        found = moyopy.MoyoDataset(cell, symprec=1e-3).number
        return bool(found == gemmi.SpaceGroup(crystal.space_group).number)

    for digits in (6, 4, 3):
        items = [(crystal, digits) for crystal in DEMO_CRYSTALS]
        for name, way in (("ours", ours), ("gemmi", theirs)):
            kept = sum(same_group(item, *way(item)) for item in items)
            print(
                f"expansion, {digits} digits, {name}: {milliseconds(way, items):.2f} ms, the group "
                f"is there to 0.001 Å in {kept} of {len(items)}"
            )


def writers(structures: Sequence[Any]) -> None:
    """CIF and extended XYZ of structures, by pymatgen, ASE and here, and what comes back."""
    import ase.io
    from pymatgen.io.ase import AseAtomsAdaptor
    from pymatgen.io.cif import CifParser, CifWriter
    from pymatgen.symmetry.analyzer import SymmetryUndeterminedError

    def back(text: str) -> Any:
        return CifParser(io.StringIO(text)).parse_structures(primitive=False)[0]

    def distances(s: Any) -> np.ndarray:
        return np.sort(s.distance_matrix.ravel())

    def by_pymatgen(s: Any) -> str:
        try:
            return str(CifWriter(s, symprec=1e-4))
        except SymmetryUndeterminedError:
            return str(CifWriter(s))

    ways: dict[str, Callable[[Any], str]] = {
        "ours": lambda s: cif_text(s, "x"),
        "pymatgen, P1": lambda s: str(CifWriter(s)),
        "pymatgen, symprec 1e-4": by_pymatgen,
    }
    for name, write in ways.items():
        took = milliseconds(write, structures)
        some = structures[:60]
        read = [back(write(s)) for s in some]
        all_there = sum(len(r) == len(s) for r, s in zip(read, some, strict=True))
        farthest = max(
            float(
                np.abs(
                    np.sort(r.distance_matrix.ravel()) - np.sort(s.distance_matrix.ravel())
                ).max()
            )
            for r, s in zip(read, some, strict=True)
            if len(r) == len(s)
        )
        print(
            f"CIF, {name}: {took:.2f} ms; {all_there} of {len(some)} come back with as many atoms, "
            f"distances to {farthest:.0e} Å"
        )

    atoms = [AseAtomsAdaptor.get_atoms(s) for s in structures]

    def by_ase(a: Any) -> str:
        text = io.StringIO()
        ase.io.write(text, a, format="extxyz")
        return text.getvalue()

    def lost(text: str, s: Any) -> float:
        read = ase.io.read(io.StringIO(text), format="extxyz")
        return float(np.abs(read.get_positions() - s.cart_coords).max())

    ours = max(lost(extxyz_text(s, "x"), s) for s in structures)
    theirs = max(lost(by_ase(a), s) for a, s in zip(atoms, structures, strict=True))
    print(
        f"extended XYZ: ours {milliseconds(lambda s: extxyz_text(s, 'x'), structures):.3f} ms, "
        f"positions to {ours:.0e} Å; ASE {milliseconds(by_ase, atoms):.3f} ms, {theirs:.0e} Å"
    )


def reduction(structures: Sequence[Any]) -> None:
    """Primitive cells: moyopy's standard one, and here, where no atom may move."""
    import moyopy

    cells = [
        (np.array(s.lattice.matrix), np.array(s.frac_coords), np.array(s.atomic_numbers))
        for s in (structure * (2, 1, 1) for structure in structures)
    ]

    def theirs(cell: Any) -> Any:
        basis, positions, numbers = cell
        moyo = moyopy.Cell(basis.tolist(), positions.tolist(), numbers.tolist())
        return moyopy.MoyoDataset(moyo, symprec=1e-3).prim_std_cell

    turned = 0
    for cell, structure in zip(cells, structures, strict=True):
        found = np.array(theirs(cell).basis)
        change = found @ np.linalg.inv(structure.lattice.matrix)
        turned += bool(np.abs(change - np.round(change)).max() > 1e-3)
    own = milliseconds(lambda c: reduce_arrays(*c), cells)
    print(
        f"primitive cells of doubled ones: ours {own:.2f} "
        f"ms, moyopy's standard cell {milliseconds(theirs, cells):.2f} ms, in another orientation "
        f"or lattice in {turned} of {len(cells)}"
    )


def neutrality(structures: Sequence[Any]) -> None:
    """The same question to SMACT and to ours, of compositions of known crystals."""
    from smact.screening import smact_validity

    compounds = [s.composition for s in structures if len(s.composition) > 1]
    ours = [is_neutral_possible([int(e.Z) for e, n in c.items() for _ in range(int(n))])
            for c in compounds]  # fmt: skip
    theirs = [bool(smact_validity(c)) for c in compounds]
    same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    counts = [[int(e.Z) for e, n in c.items() for _ in range(int(n))] for c in compounds]
    print(
        f"neutrality of known compounds, n = {len(compounds)}: possible by ours {sum(ours)}, by "
        f"SMACT {sum(theirs)}, the same answer {same}; "
        f"ours {milliseconds(is_neutral_possible, counts):.2f} ms, "
        f"SMACT {milliseconds(smact_validity, compounds):.2f} ms"
    )


def imports() -> None:
    """What an import adds to the start of a bare interpreter, the least of seven."""

    def took(statement: str) -> float | None:
        least = float("inf")
        for _ in range(7):
            code = (
                "import time, sys, importlib, os, typing\nb = time.process_time()\n"
                f"try:\n    {statement}\nexcept ImportError:\n    print('-')\n"
                "else:\n    print(time.process_time() - b)"
            )
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
            if done.stdout.strip() == "-":
                return None
            least = min(least, 1000 * float(done.stdout))
        return least

    for name in ("crystal_diffusion", "platformdirs", "lazy_loader", "concurrent.futures.process",
                 "pebble", "loky"):  # fmt: skip
        time_ = took(f"import {name}")
        print(f"import {name}: " + ("not installed" if time_ is None else f"{time_:.1f} ms"))


def main() -> None:
    """Print one line for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=300)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    library = default_library()
    rows = np.random.default_rng(0).permutation(len(library.entry_type))[: args.n]
    structures = [library.structure(int(row)) for row in rows]
    expansion()
    writers(structures)
    reduction(structures)
    neutrality(structures)
    imports()


if __name__ == "__main__":
    main()
