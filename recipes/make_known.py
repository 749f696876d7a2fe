"""Make the index of known crystals that ships with the package.

The crystals of the library, the validation rows of all sets (with structure), the test rows
without coordinates, and for each the energy of diep at its published cell
(`recipes/known_energies.py`).

    python recipes/make_known.py ENERGIES.jsonl --data ../shared/data
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from known_energies import QuotientEnergy
from pymatgen.core import Lattice, Structure

from crystal_diffusion.data import create_demo_dataset
from crystal_diffusion.known.index import KnownCrystals, empty_rows, known_path
from crystal_diffusion.pretrained import card_of, sha256
from crystal_diffusion.proposals.library import CrystalLibrary
from crystal_diffusion.proposals.quantisation import COORD_STEPS, encode_cell

#: Validation sets with structure, and the name of their rows.
VALIDATION = {
    "mp_20/val.parquet": "MP-20 (Materials Project), validation",
    "mpts_52/val.parquet": "MPTS-52 (Materials Project), validation",
    "perov_5/val.parquet": "Perov-5 (computed), validation",
    "carbon_24/val.parquet": "Carbon-24 (computed), validation",
}
HELD_OUT = "Materials Project, no coordinates at hand"
#: Crystals that everybody knows and the tables lack: the training tables leave out every pair of
#: formula and group that a benchmark asks for, so diamond silicon went with a clathrate. The
#: crystals of the demo data set, and two more with their measured cells.
TEXTBOOK = "textbook crystals with measured cells"


def textbook() -> Iterator[tuple[str, Structure]]:
    """Names and structures of `TEXTBOOK`."""
    for item in create_demo_dataset():
        name = str(item["name"]).replace(" ", "-")
        lattice, numbers = np.array(item["lattice"], float), item["atom_types"].tolist()
        yield f"textbook-{name}", Structure(lattice, numbers, item["positions"])
    diamond = Lattice.cubic(5.658)
    yield "textbook-germanium", Structure.from_spacegroup(227, diamond, ["Ge"], [[0, 0, 0]])
    layers = Lattice.hexagonal(3.407, 5.695)
    sites = [[0, 0, 0], [1 / 3, 2 / 3, 0.25]]
    yield (
        "textbook-titanium-disulfide",
        Structure.from_spacegroup(164, layers, ["Ti", "S"], sites),
    )


def known_pairs(data: Path, library: CrystalLibrary) -> Iterator[tuple[str, int]]:
    """Reduced formula and space group of all rows of the tables."""
    import pyarrow.parquet
    from pymatgen.core import Composition

    groups = library.space_group
    for entry in range(len(library)):
        yield library.formula(entry), int(groups[entry])
    for file in [*VALIDATION, "known/held_out.parquet"]:
        columns = ["formula", "spacegroup_number"]
        for row in pyarrow.parquet.read_table(data / file, columns=columns).to_pylist():
            yield Composition(row["formula"]).reduced_formula, int(row["spacegroup_number"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("energies", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--date", default=datetime.date.today().isoformat())
    parser.add_argument("--out", type=Path, default=known_path())
    options = parser.parse_args()
    import pyarrow.parquet
    from pymatgen.core import Composition, Element

    energies: dict[str, float] = {}
    for line in options.energies.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if row["energy_per_atom"] is not None:
            energies[row["id"]] = row["energy_per_atom"]
    library = CrystalLibrary.load()
    ids = set(library.ids)
    energy = [energies.get(key, math.nan) for key in library.ids]
    origins = ["Materials Project v2025.02.12"]
    names, origin, groups, volumes, compositions = [], [], [], [], []
    cells, coords, numbers, sizes = [], [], [], []
    for file, name in VALIDATION.items():
        origins.append(name)
        for row in pyarrow.parquet.read_table(options.data / file).to_pylist():
            if row["material_id"] in ids:
                continue
            ids.add(row["material_id"])
            cell = [row[k] for k in ("a", "b", "c", "alpha", "beta", "gamma")]
            matrix = np.array(Lattice.from_parameters(*cell).matrix)
            kinds, counts = np.unique(row["atomic_numbers"], return_counts=True)
            names.append(row["material_id"])
            origin.append(len(origins) - 1)
            groups.append(row["spacegroup_number"])
            volumes.append(abs(np.linalg.det(matrix)) / counts.sum())
            compositions.append((kinds, counts))
            cells.append(encode_cell(matrix))
            fractional = np.reshape(row["frac_coords"], (-1, 3)) % 1
            coords.append(np.rint(fractional * COORD_STEPS).astype(np.int64) % COORD_STEPS)
            numbers.append(np.array(row["atomic_numbers"], np.uint8))
            sizes.append(len(numbers[-1]))
            energy.append(energies.get(row["material_id"], math.nan))
    origins.append(TEXTBOOK)
    model = QuotientEnergy()
    before = {(str(f), int(g)) for f, g in known_pairs(options.data, library)}
    for name, crystal in textbook():
        structure = crystal.get_primitive_structure()
        group = int(structure.get_space_group_info(symprec=0.1)[1])
        formula = structure.composition.reduced_formula
        if (formula, group) in before and formula not in ("Si", "Ge", "MoS2", "TiS2"):
            continue
        matrix = np.array(structure.lattice.matrix)
        content = np.array([site.specie.Z for site in structure], np.int64)
        kinds, counts = np.unique(content, return_counts=True)
        names.append(name)
        origin.append(len(origins) - 1)
        groups.append(group)
        volumes.append(structure.volume / len(structure))
        compositions.append((kinds, counts))
        cells.append(encode_cell(matrix))
        fractional = structure.frac_coords % 1
        coords.append(np.rint(fractional * COORD_STEPS).astype(np.int64) % COORD_STEPS)
        numbers.append(content.astype(np.uint8))
        sizes.append(len(content))
        graph = model.graph(matrix, fractional, content)
        energy.append(model.energies([graph])[0])
    origins.append(HELD_OUT)
    for row in pyarrow.parquet.read_table(options.data / "known/held_out.parquet").to_pylist():
        if row["material_id"] in ids:
            continue
        ids.add(row["material_id"])
        reduced = Composition(row["formula"])
        factor = row["num_sites"] / reduced.num_atoms
        kinds = np.array([Element(symbol).Z for symbol in reduced.get_el_amt_dict()])
        counts = np.array([round(n * factor) for n in reduced.get_el_amt_dict().values()])
        names.append(row["material_id"])
        origin.append(len(origins) - 1)
        groups.append(row["spacegroup_number"])
        volumes.append(row["volume_per_atom"])
        compositions.append((kinds, counts))
        energy.append(row["diep_energy_per_atom"])
    elements, amounts = empty_rows(len(names))
    for place, (kinds, counts) in enumerate(compositions):
        elements[place, : len(kinds)], amounts[place, : len(kinds)] = kinds, counts
    own = np.array(origin, np.uint8)
    known = KnownCrystals(
        library,
        tuple(names),
        np.concatenate([library.elements, elements]),
        np.concatenate([library.type_counts[library.entry_type], amounts]),
        np.concatenate([library.space_group, np.array(groups, np.uint8)]),
        np.concatenate([library.volume_per_atom, np.array(volumes)]),
        np.array(energy, float),
        np.concatenate([np.zeros(len(library), np.uint8), own]),
        tuple(origins),
        np.array(cells, np.uint16),
        np.concatenate(coords).astype(np.uint16),
        np.concatenate(numbers),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        options.date,
        "diep",
        "2.0.0",
    )
    known.save(options.out)
    began = time.process_time()
    again = KnownCrystals.load(options.out, library)
    seconds = time.process_time() - began
    assert np.array_equal(again.energy, known.energy, equal_nan=True) or (
        np.nanmax(np.abs(again.energy - known.energy)) < 1e-4
    )
    print(f"{len(again):,} rows, {os.path.getsize(options.out) / 1e6:.2f} MB, {seconds:.2f} s")
    for place, name in enumerate(again.origins):
        rows = again.origin == place
        print(f"{rows.sum():8,} {name}, energy for {np.isfinite(again.energy[rows]).sum():,}")
    missing = int((~np.isfinite(again.energy)).sum())
    print(f"without energy: {missing:,}")
    write_card(options.out, again, missing)


def write_card(out: Path, known: KnownCrystals, missing: int) -> None:
    """The card beside the file."""
    counts = "\n".join(
        f"- {int((known.origin == place).sum()):,}: {name}"
        for place, name in enumerate(known.origins)
    )
    card_of(out).write_text(
        f"""+++
file = "{out.name}"
sha256 = "{sha256(out)}"
license = "CC-BY-4.0"
source = "Materials Project (CC-BY 4.0); MP-20, MPTS-52, Perov-5, Carbon-24 (data CC-BY 4.0, MIT)"
recipe = "recipes/make_known.py"
inputs = ["{'", "'.join([*VALIDATION, "known/held_out.parquet"])}", "library.npz"]
minutes = 70
+++

# Card: index of known crystals (`{out.name}`)

{known.title}. What it holds beside the library of prototypes (`library.npz`), and one energy a row:

{counts}

- For novelty and hulls only. Proposals, rankers and training never see what is not in the library
  (`tests/known/test_blind.py`). Rows of test sets have no coordinates: identifier, formula, space
  group at 0.1 Å, sites, volume per atom.
- Energies: {known.potential} {known.potential_version}, single points at the published cells
  (`recipes/known_energies.py`), kept to 0.0001 eV/atom; {missing:,} rows have none, because the
  potential lacks an element or no energy came out. `python recipes/known_energies.py` computes
  what a list of energies lacks, `python recipes/make_known.py` packs the list.
- Changed: coordinates kept to 1/65536 of the cell, edges to 0.001 Å, angles to 1/300 degree.
- Cite Jain et al., APL Materials 1, 011002 (2013); Xie et al. (2022) for MP-20, Perov-5 and
  Carbon-24; Baird et al. (2024) for MPTS-52.
""",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
