"""CIFs in all settings of gemmi's tables, read by this program, gemmi, ASE and pymatgen.

    python benchmarks/cif_settings.py --out settings.jsonl

For each setting one crystal (two general positions and the origin, in a cell of its crystal
system) is written in six ways: by name with choice, by Hall symbol, by both, by the bare name and
the number, by its operations alone, and by operations, name and number. Each reader's atoms are
compared with the images that gemmi's operations make: as many, and at the same places (0.001 Å).
The group of what this program read is found again by spglib from the atoms.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import gemmi
import numpy as np

from crystal_diffusion.data.cif import parse_cif

#: General in every setting: in the cells below no two images are nearer than 2 Å.
SITES = (("Na", (0.0, 0.0, 0.0)), ("Si", (0.4743, 0.0825, 0.3234)), ("O", (0.5922, 0.8622, 0.2285)))
WAYS = ("name", "Hall", "name and Hall", "bare name, number", "operations", "operations, name")
TOLERANCE_A = 1e-3
#: What a reader makes of a text: elements and fractional coordinates.
Atoms = tuple[list[str], np.ndarray]


def cell_of(group: gemmi.SpaceGroup) -> tuple[float, ...]:
    """A cell of the crystal system and setting, with no metric symmetry beyond it."""
    number = group.number
    if number <= 2:
        return (42.0, 44.6, 48.2, 83.0, 97.0, 105.0)
    if number <= 15:
        parts = group.hm.split()[1:]
        axis = next(i for i, part in enumerate(parts) if part != "1")
        angles = [90.0, 90.0, 90.0]
        angles[axis] = 103.0
        return (42.0, 44.6, 48.2, *angles)
    if number <= 74:
        return (42.0, 44.6, 48.2, 90.0, 90.0, 90.0)
    if number <= 142:
        return (42.0, 42.0, 48.2, 90.0, 90.0, 90.0)
    if group.ext == "R":
        return (42.0, 42.0, 42.0, 75.0, 75.0, 75.0)
    if number <= 194:
        return (42.0, 42.0, 48.2, 90.0, 90.0, 120.0)
    return (42.0, 42.0, 42.0, 90.0, 90.0, 90.0)


def text_of(group: gemmi.SpaceGroup, way: str) -> str:
    """The CIF of the setting's crystal."""
    cell = cell_of(group)
    tags = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = ["data_x", *(f"_cell_{t} {v}" for t, v in zip(tags, cell, strict=True))]
    if way in ("name", "name and Hall", "operations, name"):
        lines.append(f"_space_group_name_H-M_alt '{group.xhm()}'")
    if way == "bare name, number":
        lines.append(f"_space_group_name_H-M_alt '{group.hm}'")
    if way in ("bare name, number", "operations, name"):
        lines.append(f"_space_group_IT_number {group.number}")
    if way in ("Hall", "name and Hall"):
        quote = '"' if "'" in group.hall else "'"
        lines.append(f"_space_group_name_Hall {quote}{group.hall}{quote}")
    if way.startswith("operations"):
        lines += ["loop_", "_space_group_symop_operation_xyz"]
        lines += [f"'{operation.triplet()}'" for operation in group.operations()]
    lines += ["loop_", "_atom_site_label", "_atom_site_type_symbol"]
    lines += [f"_atom_site_fract_{axis}" for axis in "xyz"]
    lines += [f"{el}1 {el} {x} {y} {z}" for el, (x, y, z) in SITES]
    return "\n".join(lines) + "\n"


def truth_of(group: gemmi.SpaceGroup) -> Atoms:
    """The images of the sites under gemmi's operations, each once."""
    elements: list[str] = []
    coords: list[np.ndarray] = []
    for element, site in SITES:
        found: list[np.ndarray] = []
        for operation in group.operations():
            image = np.array(operation.apply_to_xyz(list(site))) % 1.0
            if not any(np.abs((image - f + 0.5) % 1.0 - 0.5).max() < 1e-6 for f in found):
                found.append(image)
        elements += [element] * len(found)
        coords += found
    return elements, np.array(coords)


def ours(text: str, _: Path) -> Atoms:
    """This program."""
    (crystal,) = parse_cif(text, "x", "x")
    if crystal.problem is not None:
        raise ValueError(crystal.problem)
    names = [gemmi.Element(int(z)).name for z in crystal.atomic_numbers]
    return names, crystal.frac_coords


def with_gemmi(text: str, _: Path) -> Atoms:
    """Gemmi's small structures."""
    small = gemmi.make_small_structure_from_block(gemmi.cif.read_string(text).sole_block())
    sites = small.get_all_unit_cell_sites()
    return [s.element.name for s in sites], np.array([s.fract.tolist() for s in sites])


def with_ase(text: str, path: Path) -> Atoms:
    """ASE's reader."""
    import ase.io

    path.write_text(text, encoding="utf-8")
    atoms = ase.io.read(str(path))
    return atoms.get_chemical_symbols(), atoms.get_scaled_positions()


def with_pymatgen(text: str, _: Path) -> Atoms:
    """pymatgen's parser."""
    from pymatgen.io.cif import CifParser

    structure = CifParser.from_str(text).parse_structures(primitive=False)[0]
    return [site.specie.symbol for site in structure], structure.frac_coords


READERS: dict[str, Callable[[str, Path], Atoms]] = {
    "this program": ours,
    "gemmi": with_gemmi,
    "ASE": with_ase,
    "pymatgen": with_pymatgen,
}


def verdict(found: Atoms, wanted: Atoms, lattice: np.ndarray) -> str:
    """``right``, ``other number`` or ``other positions``."""
    if Counter(found[0]) != Counter(wanted[0]):
        return "other number"
    for element in set(wanted[0]):
        one = found[1][[e == element for e in found[0]]]
        two = wanted[1][[e == element for e in wanted[0]]]
        step = one[:, None] - two[None]
        apart = np.linalg.norm((step - np.round(step)) @ lattice, axis=-1)
        if apart.min(1).max() > TOLERANCE_A or apart.min(0).max() > TOLERANCE_A:
            return "other positions"
    return "right"


def group_number(found: Atoms, lattice: np.ndarray) -> int:
    """The space group that spglib finds in the atoms."""
    import spglib

    numbers = [gemmi.Element(element).atomic_number for element in found[0]]
    dataset = spglib.get_symmetry_dataset((lattice, found[1], numbers), symprec=1e-3)
    return 0 if dataset is None else int(dataset.number)


def main() -> None:
    """Print the table; ``--out`` takes one JSON line a setting, way and reader."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--readers", nargs="*", default=list(READERS), choices=list(READERS))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    groups = list(gemmi.spacegroup_table())
    counts: Counter[tuple[str, str, str]] = Counter()
    other_groups: list[str] = []
    rows: list[str] = []
    started = time.perf_counter()
    with TemporaryDirectory() as folder:
        for group in groups:
            wanted = truth_of(group)
            lattice = np.array(gemmi.UnitCell(*cell_of(group)).orth.mat.tolist()).T
            for way in WAYS:
                text = text_of(group, way)
                for reader in options.readers:
                    reason = ""
                    try:
                        found = READERS[reader](text, Path(folder) / "x.cif")
                        result = verdict(found, wanted, lattice)
                    # Readers refuse in every way there is; here each is one answer.
                    except Exception as error:
                        result, reason = "refused", " ".join(str(error).split())[:120]
                    counts[way, reader, result] += 1
                    row = {"setting": group.xhm(), "way": way, "reader": reader, "result": result}
                    rows.append(json.dumps({**row, "reason": reason}))
                    if reader == "this program" and result == "right" and way == "name":
                        number = group_number(found, lattice)
                        if number != group.number:
                            other_groups.append(f"{group.xhm()}: {number}")
    if options.out is not None:
        options.out.write_text("\n".join(rows) + "\n", encoding="utf-8")
    print(f"{len(groups)} settings, {time.perf_counter() - started:.0f} s, {platform.machine()}")
    results = ("right", "other number", "other positions", "refused")
    print(f"| written by | reader | {' | '.join(results)} |\n|---|---|---|---|---|---|")
    for way in WAYS:
        for reader in options.readers:
            line = " | ".join(str(counts[way, reader, result]) for result in results)
            print(f"| {way} | {reader} | {line} |")
    print(f"group found again from the atoms: all but {len(other_groups)} {other_groups}")


if __name__ == "__main__":
    main()
