"""Relax reference crystals with a potential and write the file that is shipped with the package.

Elements first: for each, the four lowest crystals known to the data set and, for metals,
close-packed and body-centred cells; then stable compounds (hull distance at most 0.001 eV/atom
where it is known), small cells first, until the time is up. What is done is appended to
OUT.part.jsonl at once, so a stopped run goes on where it was.

    python recipes/make_references.py --minutes 60
    python recipes/make_references.py --first ids.txt     # these compounds before the others
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ase.build import bulk
from pymatgen.core import Lattice, Structure

from crystal_diffusion.energy.pair_potential import ATOMIC_VOLUMES
from crystal_diffusion.energy.pooled_relaxation import LoadedOnce
from crystal_diffusion.energy.potentials import get_potential
from crystal_diffusion.energy.relaxation import RelaxLimits, relax

DATA = Path("../shared/data/mp_2025/train_le20.parquet")


def read_table(path: Path):  # type: ignore[no-untyped-def]
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path).to_pandas()
    table["kinds"] = [len(set(numbers)) for numbers in table.atomic_numbers]
    return table


def structure_of(row) -> Structure:  # type: ignore[no-untyped-def]
    lattice = Lattice.from_parameters(row.a, row.b, row.c, row.alpha, row.beta, row.gamma)
    structure = Structure(lattice, row.atomic_numbers, np.reshape(row.frac_coords, (-1, 3)))
    return primitive(structure)


def primitive(structure: Structure) -> Structure:
    """Primitive cell as moyopy finds it at 0.01 Å; the cell as it is where that fails."""
    import moyopy

    cell = moyopy.Cell(
        structure.lattice.matrix.tolist(),
        structure.frac_coords.tolist(),
        [int(z) for z in structure.atomic_numbers],
    )
    try:
        found = moyopy.MoyoDataset(cell, symprec=0.01).prim_std_cell
    except Exception as error:
        print(f"primitive cell not found ({error}); the cell is used as it is", file=sys.stderr)
        return structure
    return Structure(found.basis, found.numbers, found.positions)


def elements(table, known: frozenset[str]) -> Iterator[tuple[str, Structure]]:  # type: ignore[no-untyped-def]
    """Candidates for the elemental references."""
    from pymatgen.core import Element

    rows = table[table.kinds == 1].copy()
    rows["symbol"] = [Element.from_Z(int(numbers[0])).symbol for numbers in rows.atomic_numbers]
    for symbol in sorted(known, key=lambda s: Element(s).Z):
        own = rows[rows.symbol == symbol].sort_values(
            ["e_above_hull", "num_sites"], na_position="last"
        )
        for row in own.head(4).itertuples():
            yield row.material_id, structure_of(row)
        volume = float(ATOMIC_VOLUMES[Element(symbol).Z])
        if not Element(symbol).is_metal:
            continue
        for kind, factor in (("fcc", 4.0), ("bcc", 2.0)):
            atoms = bulk(symbol, kind, a=(factor * volume) ** (1 / 3))
            yield (
                f"{symbol}-{kind}",
                Structure(atoms.cell.array, atoms.numbers, atoms.get_scaled_positions()),
            )
        a = (volume * 2 / (np.sqrt(3) / 2 * 1.633)) ** (1 / 3)
        atoms = bulk(symbol, "hcp", a=a, c=1.633 * a)
        yield (
            f"{symbol}-hcp",
            Structure(atoms.cell.array, atoms.numbers, atoms.get_scaled_positions()),
        )


def compounds(table, first: list[str], limit: float) -> Iterator[tuple[str, Structure]]:  # type: ignore[no-untyped-def]
    """Stable compounds: the wished ones, then all from small to large."""
    by_id = table.set_index("material_id", drop=False)
    for key in first:
        if key in by_id.index:
            row = by_id.loc[key]
            yield key, structure_of(row)
    stable = table[(table.e_above_hull <= limit) & (table.kinds > 1)]
    for row in stable.sort_values(["kinds", "num_sites", "material_id"]).itertuples():
        yield row.material_id, structure_of(row)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--potential", default="diep")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--first", type=Path, help="file of ids to relax before other compounds")
    parser.add_argument("--hull", type=float, default=0.001, help="largest hull distance, eV/atom")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--work", type=Path, help="where OUT.part.jsonl lies; beside OUT by default"
    )
    options = parser.parse_args()
    out = (
        options.out or Path("crystal_diffusion/pretrained") / f"references_{options.potential}.json"
    )
    part = (options.work or out.parent) / (out.name + ".part.jsonl")

    potential = LoadedOnce(get_potential(options.potential))
    limits = RelaxLimits(max_steps=options.steps, time_limit_s=120.0)
    done: dict[str, dict[str, object]] = {}
    if part.exists():
        for line in part.read_text().splitlines():
            entry = json.loads(line)
            done[entry["id"]] = entry
    table = read_table(options.data)
    first = options.first.read_text().split() if options.first else []
    began = time.perf_counter()
    assert potential.elements is not None

    def everything() -> Iterator[tuple[str, Structure]]:
        yield from elements(table, potential.elements)
        yield from compounds(table, first, options.hull)

    with part.open("a") as stream:
        for key, structure in everything():
            if key in done:
                continue
            if time.perf_counter() - began > 60 * options.minutes:
                break
            result = relax(structure, potential, limits=limits)
            counts = {k: int(v) for k, v in structure.composition.get_el_amt_dict().items()}
            entry = {
                "id": key,
                "composition": counts,
                "energy_per_atom_eV": None if result.problem else round(result.energy_per_atom, 6),
                "converged": result.converged,
                "max_force_eV_A": None if result.problem else round(result.max_force, 3),
                "max_stress_GPa": None if result.problem else round(result.stress, 3),
                "steps": result.steps,
                "problem": result.problem,
            }
            done[key] = entry
            stream.write(json.dumps(entry) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
    write(out, done, potential, limits)
    print(f"{len(done)} crystals, {time.perf_counter() - began:.0f} s, {out}")


def write(out: Path, done, potential, limits: RelaxLimits) -> None:  # type: ignore[no-untyped-def]
    """The shipped file: usable entries only, with what made them."""
    usable = [e for e in done.values() if not e["problem"] and abs(e["max_force_eV_A"]) < 0.3]
    text = {
        "potential": potential.name,
        "version": potential.version,
        "functional": potential.functional,
        "date": datetime.date.today().isoformat(),
        "source": "crystals of the Materials Project v2025.02.12 (CC-BY 4.0) with at most 20 sites "
        "and simple cells of the elements, relaxed with this potential",
        "fmax_eV_A": limits.fmax,
        "smax_GPa": limits.smax,
        "max_steps": limits.max_steps,
        "columns": ["id", "composition", "energy_per_atom_eV", "converged"],
        "entries": [
            [e["id"], e["composition"], e["energy_per_atom_eV"], e["converged"]] for e in usable
        ],
    }
    lines = json.dumps({k: v for k, v in text.items() if k != "entries"}, indent=1)[:-2]
    rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in text["entries"])
    temporary = out.with_suffix(out.suffix + ".part")
    temporary.write_text(f'{lines},\n "entries": [\n{rows}\n]}}\n')
    os.replace(temporary, out)


if __name__ == "__main__":
    main()
