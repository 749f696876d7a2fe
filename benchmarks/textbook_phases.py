"""Textbook phases with their published cells: are they known, in the right formula and group?

Elements, salts, oxides, carbides, nitrides, chalcogenides, intermetallics, each built from its
structure type and lattice constants as textbooks give them (rounded; no database was read), and
asked of the index of known crystals.

    python benchmarks/textbook_phases.py
"""

from __future__ import annotations

import argparse
import time

from pymatgen.core import Lattice, Structure

from crystal_diffusion.known.index import load_known
from crystal_diffusion.known.novelty import nearest_known

#: Structure type → space group, Bravais lattice, and sites by letter of the formula.
TYPES: dict[str, tuple[int, str, list[tuple[str, list[float]]]]] = {
    "fcc": (225, "cubic", [("A", [0, 0, 0])]),
    "bcc": (229, "cubic", [("A", [0, 0, 0])]),
    "hcp": (194, "hexagonal", [("A", [1 / 3, 2 / 3, 0.25])]),
    "diamond": (227, "cubic", [("A", [0, 0, 0])]),
    "graphite": (194, "hexagonal", [("A", [0, 0, 0.25]), ("A", [1 / 3, 2 / 3, 0.25])]),
    "rock salt": (225, "cubic", [("A", [0, 0, 0]), ("B", [0.5, 0.5, 0.5])]),
    "CsCl": (221, "cubic", [("A", [0, 0, 0]), ("B", [0.5, 0.5, 0.5])]),
    "zincblende": (216, "cubic", [("A", [0, 0, 0]), ("B", [0.25, 0.25, 0.25])]),
    "wurtzite": (186, "hexagonal", [("A", [1 / 3, 2 / 3, 0]), ("B", [1 / 3, 2 / 3, 0.38])]),
    "NiAs": (194, "hexagonal", [("A", [0, 0, 0]), ("B", [1 / 3, 2 / 3, 0.25])]),
    "h-BN": (194, "hexagonal", [("A", [1 / 3, 2 / 3, 0.25]), ("B", [1 / 3, 2 / 3, 0.75])]),
    "fluorite": (225, "cubic", [("A", [0, 0, 0]), ("B", [0.25, 0.25, 0.25])]),
    "rutile": (136, "tetragonal", [("A", [0, 0, 0]), ("B", [0.305, 0.305, 0])]),
    "pyrite": (205, "cubic", [("A", [0, 0, 0]), ("B", [0.385, 0.385, 0.385])]),
    "CdI2": (164, "hexagonal", [("A", [0, 0, 0]), ("B", [1 / 3, 2 / 3, 0.25])]),
    "MoS2": (194, "hexagonal", [("A", [1 / 3, 2 / 3, 0.25]), ("B", [1 / 3, 2 / 3, 0.621])]),
    "AlB2": (191, "hexagonal", [("A", [0, 0, 0]), ("B", [1 / 3, 2 / 3, 0.5])]),
    "corundum": (167, "hexagonal", [("A", [0, 0, 0.352]), ("B", [0.306, 0, 0.25])]),
    "perovskite": (221, "cubic", [("A", [0, 0, 0]), ("B", [0.5] * 3), ("C", [0.5, 0.5, 0])]),
    "ReO3": (221, "cubic", [("A", [0, 0, 0]), ("B", [0.5, 0, 0])]),
    "Cu3Au": (221, "cubic", [("A", [0, 0, 0]), ("B", [0, 0.5, 0.5])]),
    "CaB6": (221, "cubic", [("A", [0, 0, 0]), ("B", [0.202, 0.5, 0.5])]),
    "A15": (223, "cubic", [("A", [0, 0, 0]), ("B", [0.25, 0, 0.5])]),
    "Laves": (227, "cubic", [("A", [0, 0, 0]), ("B", [0.625] * 3)]),
    "spinel": (227, "cubic", [("A", [0, 0, 0]), ("B", [0.625] * 3), ("C", [0.3875] * 3)]),
    "cuprite": (224, "cubic", [("A", [0.25] * 3), ("B", [0, 0, 0])]),
    "half-Heusler": (216, "cubic", [("A", [0, 0, 0]), ("B", [0.5] * 3), ("C", [0.25] * 3)]),
    "Heusler": (225, "cubic", [("A", [0, 0, 0]), ("B", [0.5] * 3), ("C", [0.25] * 3)]),
}

#: Type → phases: elements in the order of the letters, then a and, where there is one, c in Å.
PHASES: dict[str, str] = {
    "fcc": "Al 4.05, Cu 3.61, Ag 4.09, Au 4.08, Ni 3.52, Pd 3.89, Pt 3.92, Pb 4.95, Ca 5.58, "
    "Ir 3.84, Rh 3.80, Sr 6.08",
    "bcc": "Li 3.51, Na 4.29, K 5.33, Fe 2.87, W 3.16, Mo 3.15, V 3.03, Nb 3.30, Ta 3.30, Ba 5.02",
    "hcp": "Mg 3.21 5.21, Ti 2.95 4.68, Zn 2.66 4.95, Co 2.51 4.07, Zr 3.23 5.15, Be 2.29 3.58, "
    "Re 2.76 4.46, Ru 2.71 4.28, Y 3.65 5.73",
    "diamond": "C 3.57, Si 5.43, Ge 5.66, Sn 6.49",
    "graphite": "C 2.46 6.71",
    "rock salt": "Na-Cl 5.64, K-Cl 6.29, Li-F 4.03, Na-F 4.63, K-Br 6.60, Na-Br 5.97, Li-Cl 5.14, "
    "Na-I 6.47, K-I 7.07, Mg-O 4.21, Ca-O 4.81, Sr-O 5.16, Ba-O 5.54, Ni-O 4.18, Mn-O 4.44, "
    "Co-O 4.26, Ti-C 4.33, Ti-N 4.24, Zr-C 4.70, Zr-N 4.58, V-N 4.13, V-C 4.17, Nb-C 4.47, "
    "Ta-C 4.46, Hf-C 4.64, Cr-N 4.15, Pb-S 5.94, Pb-Se 6.12, Pb-Te 6.46, Mg-S 5.20, Ca-S 5.69, "
    "Ag-Cl 5.55, Ag-Br 5.77, Sc-N 4.50, Li-H 4.08, Na-H 4.88",
    "CsCl": "Cs-Cl 4.12, Cs-Br 4.29, Cs-I 4.57, Tl-Cl 3.83, Ni-Al 2.89, Fe-Al 2.91, Cu-Zn 2.95",
    "zincblende": "Zn-S 5.41, Ga-As 5.65, Ga-P 5.45, In-Sb 6.48, In-P 5.87, Al-As 5.66, "
    "Cd-Te 6.48, Zn-Se 5.67, Zn-Te 6.10, Si-C 4.36, B-N 3.62, Cu-Cl 5.42, Ga-Sb 6.10, Al-P 5.46",
    "wurtzite": "Zn-O 3.25 5.21, Ga-N 3.19 5.19, Al-N 3.11 4.98, Cd-S 4.14 6.72, Be-O 2.70 4.38, "
    "Cd-Se 4.30 7.01, In-N 3.54 5.70",
    "NiAs": "Ni-As 3.62 5.03, Co-Te 3.89 5.36",
    "h-BN": "B-N 2.50 6.66",
    "fluorite": "Ca-F 5.46, Ba-F 6.20, Sr-F 5.80, Ce-O 5.41, Th-O 5.60, U-O 5.47, O-Li 4.62, "
    "O-Na 5.55, S-Li 5.71, S-Na 6.53, Si-Mg 6.35, Cd-F 5.39",
    "rutile": "Ti-O 4.59 2.96, Sn-O 4.74 3.19, Mg-F 4.62 3.05, Ru-O 4.49 3.11, Ir-O 4.50 3.15, "
    "Zn-F 4.70 3.13",
    "pyrite": "Fe-S 5.42, Mn-S 6.10, Co-S 5.54",
    "CdI2": "Cd-I 4.24 6.84, Ti-S 3.41 5.70, Zr-S 3.66 5.83, Sn-S 3.65 5.90",
    "MoS2": "Mo-S 3.16 12.30, W-S 3.15 12.32, Mo-Se 3.29 12.93",
    "AlB2": "Mg-B 3.09 3.52, Ti-B 3.03 3.23, Zr-B 3.17 3.53, Al-B 3.01 3.25",
    "corundum": "Al-O 4.76 12.99, Cr-O 4.96 13.59, Fe-O 5.04 13.75, Ti-O 5.16 13.61",
    "perovskite": "Sr-Ti-O 3.91, Ba-Ti-O 4.00, K-Mg-F 3.99, K-Ta-O 3.99, Sr-Zr-O 4.10, "
    "Ba-Zr-O 4.19",
    "ReO3": "Re-O 3.75, Al-F 3.58",
    "Cu3Au": "Au-Cu 3.75, Al-Ni 3.57, Sc-Al 4.10, Ti-Pt 3.91, Fe-Ni 3.55",
    "CaB6": "Ca-B 4.15, La-B 4.16",
    "A15": "Si-Cr 4.56, Sn-Nb 5.29, Si-V 4.72",
    "Laves": "Mg-Cu 7.03, Ca-Al 8.04, Y-Al 7.86",
    "spinel": "Mg-Al-O 8.08, Zn-Al-O 8.09, Mg-Cr-O 8.33",
    "cuprite": "Cu-O 4.27, Ag-O 4.72",
    "half-Heusler": "Ti-Sn-Ni 5.93, Li-As-Mg 6.19",
    "Heusler": "Al-Mn-Cu 5.95, Al-Ti-Ni 5.88",
}


def phases() -> dict[str, tuple[Structure, int]]:
    """Structure and space group of every phase, by formula and type."""
    found = {}
    for kind, listed in PHASES.items():
        group, system, sites = TYPES[kind]
        for entry in listed.split(", "):
            words = entry.split()
            symbols = words[0].split("-")
            lengths = [float(word) for word in words[1:]]
            lattice = {
                "cubic": lambda x: Lattice.cubic(x[0]),
                "tetragonal": lambda x: Lattice.tetragonal(*x),
                "hexagonal": lambda x: Lattice.hexagonal(*x),
            }[system](lengths)
            species = [symbols["ABC".index(letter)] for letter, _ in sites]
            structure = Structure.from_spacegroup(group, lattice, species, [x for _, x in sites])
            primitive = structure.get_primitive_structure()
            found[f"{primitive.composition.reduced_formula} {kind}"] = (primitive, group)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.parse_args()
    known, listed = load_known(), phases()
    began = time.process_time()
    answers = nearest_known([structure for structure, _ in listed.values()], known, {})
    seconds = time.process_time() - began
    recognised, right = 0, 0
    for (name, (structure, group)), answer in zip(listed.items(), answers, strict=True):
        if answer.novel is not False or answer.nearest_known_id is None:
            print(f"  not known: {name}, nearest {answer.nearest_known_id} {answer.problem}")
            continue
        recognised += 1
        row = known.row_of[answer.nearest_known_id]
        same_group = int(known.space_group[row]) == group
        own = {site.specie.Z: 0 for site in structure}
        for site in structure:
            own[site.specie.Z] += 1
        right += same_group and row in known.of_composition(own)
        if not same_group:
            print(f"  {name}: {known.id_of(row)} has group {known.space_group[row]}")
    print(known.title)
    print(f"{len(listed)} textbook phases, {recognised} known, {right} in the right formula and")
    print(f"group; {seconds:.1f} s of one core")


if __name__ == "__main__":
    main()
