"""Screen a folder of 200 CIFs, ten of them broken, and print what became of each broken one.

190 crystals of the data set (at most ``--sites`` atoms; half written as this library writes CIFs,
half with symmetry operations as pymatgen does) and ten files that are wrong in ten ways. Then
`crystal-diffusion screen`, and on its results `report`, `view`, `validate` and `dft`, as a user
would call them. Prints exit codes, the recorded reasons, counts and seconds; the last line says
whether every broken file is recorded with a reason, every other one has gone through, and the exit
code tells. One or more of the 190 may have no energy (an element the potential does not know): that
is recorded too, and counted.

    python benchmarks/screen_folder.py --potential diep --steps 10
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from machine import describe
from make_references import DATA, read_table, structure_of
from pymatgen.core import Structure
from pymatgen.io.cif import CifWriter

from crystal_diffusion.runs.folder import cif_text

#: What is wrong with each file, how it is made from a sound CIF, and whether no crystal can be
#: read of it at all (the others are read and refused by the checks).
BROKEN = ("empty", "truncated", "text", "bytes", "partial", "squeezed", "unknown-element")
BROKEN += ("no-volume", "not-a-number", "two-atoms-in-one-place")


def broken(kind: str, structure: Structure) -> bytes:
    """A file that is wrong in one way."""
    sound = cif_text(structure, kind)
    element = structure[0].specie.symbol
    a, b, _c = structure.lattice.abc
    text = {
        "empty": "",
        "truncated": sound[: sound.index("_atom_site_fract_y")],
        "text": "Dear colleague, the structure is in the other mail.\n",
        "partial": sound.replace("  1\n", "  0.5\n"),
        "squeezed": cif_text(Structure(structure.lattice.matrix * 0.3, structure.species,
                                       structure.frac_coords), kind),
        "unknown-element": sound.replace(f"  {element}  ", "  Qq  "),
        "no-volume": sound.replace(f"_cell_length_a     {a:.10f}", "_cell_length_a     0.0"),
        "not-a-number": sound.replace(f"_cell_length_b     {b:.10f}", "_cell_length_b     abc"),
        "two-atoms-in-one-place": cif_text(
            Structure(structure.lattice, [*structure.species, element],
                      [*structure.frac_coords, structure.frac_coords[0] + 1e-4]), kind),
    }  # fmt: skip
    return b"\x00\xff\x1f\x8b" * 300 if kind == "bytes" else text[kind].encode()


def make_folder(folder: Path, data: Path, count: int, sites: int, seed: int) -> list[str]:
    """CIFs of both styles and the broken ones between them; returns the ids of the sound ones."""
    table = read_table(data)
    rows = table[(table.num_sites <= sites) & (table.kinds >= 2)]
    chosen = list(rows.sample(count, random_state=seed).itertuples())
    made = []
    for number, row in enumerate(chosen[len(BROKEN) :]):
        structure, name = structure_of(row), row.material_id
        if number % 2:
            (folder / f"{name}.cif").write_text(cif_text(structure, name))
        else:
            CifWriter(structure, symprec=0.01).write_file(folder / f"{name}.cif")
        made.append(name)
    for kind, row in zip(BROKEN, chosen, strict=False):
        (folder / f"{kind}.cif").write_bytes(broken(kind, structure_of(row)))
    return made


def verb(*arguments: str) -> tuple[int, str, float]:
    """Exit code, what was printed, seconds."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "crystal_diffusion", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("-n", type=int, default=200, help="files, the ten broken ones included")
    parser.add_argument("--sites", type=int, default=12)
    parser.add_argument("--potential", default="diep")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--competing", type=int, default=0, help="compounds for each system")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="keep folder and results here")
    options = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as temporary:
        root = options.keep or Path(temporary)
        folder, out = root / "cifs", root / "cifs-screened"
        folder.mkdir(parents=True, exist_ok=True)
        sound = make_folder(folder, options.data, options.n, options.sites, options.seed)
        print(f"files: {len(list(folder.iterdir()))}, sound {len(sound)}, broken {len(BROKEN)}")
        code, text, seconds = verb(
            "screen", str(folder), "--potentials", options.potential, "--relax-steps",
            str(options.steps), "--processes", str(options.processes), "--competing",
            str(options.competing), "--quiet",
        )  # fmt: skip
        print(f"screen: exit code {code}, {seconds:.0f} s wall time; it said: {text.strip()!r}")
        lines = (out / "screening.jsonl").read_text().splitlines()
        rows = {row["id"]: row for row in map(json.loads, lines)}
        for kind in BROKEN:
            print(f"  {kind}: {rows.get(kind, {}).get('problem', 'NOT RECORDED')[:150]}")
        others = [rows[key] for key in sound]
        energies = sum(row["energy_per_atom_eV"] is not None for row in others)
        doubles = sum(bool(row["duplicate_of"]) for row in others)
        refused = Counter(row["problem"][:120] for row in others if row["problem"])
        placed = sum(row["energy_above_hull_eV_atom"] is not None for row in others)
        print(f"sound ones: {energies} relaxed, {placed} with hull distance, {doubles} duplicates")
        for reason, number in refused.most_common():
            print(f"  {number} x {reason}")
        for arguments, expected in (
            (("report", str(out)), 0),
            (("view", str(out), "--relaxed", "--out", str(root / "gallery.html")), 0),
            (("validate", str(out / "relaxed"), "--rows", "0"), None),
            (("dft", str(out), "--top", "2", "--code", "gpaw"), 0),
            (("screen", str(out), "--potentials", options.potential, "--relax-steps",
              str(options.steps), "--competing", str(options.competing), "--quiet"), 1),
        ):  # fmt: skip
            other, said, seconds = verb(*arguments)
            last = said.strip().splitlines()[-1:] or [""]
            fits = "" if expected in (None, other) else f", EXPECTED {expected}"
            print(f"{arguments[0]}: exit code {other}{fits}, {seconds:.0f} s; {last[0][:120]}")
        again = (out / "screening.jsonl").read_text().splitlines()
        print(f"screened again in its own folder, rows unchanged: {again == lines}")
        size = (out / "report.html").stat().st_size / 1e6
        print(f"report: {size:.2f} MB")
        recorded = all(rows.get(kind, {}).get("problem") for kind in BROKEN)
        through = all(row["energy_per_atom_eV"] is not None or row["problem"]
                      or row["duplicate_of"] for row in others)  # fmt: skip
        print(
            f"all broken recorded, rest went on, exit code 1: {recorded and through and code == 1}"
        )


if __name__ == "__main__":
    main()
