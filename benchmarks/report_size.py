"""The report of 1,000 structures: size, seconds, and what a real browser makes of it.

Crystals of the demonstration set (at most 20 atoms), each shaken anew, with the checks of the
validator, energies of the built-in pair potential and a relaxed state. The page is opened in
headless Chromium at 1440 and 390 pixels: seconds until it is ready, console errors, whether the
table sorts, a cell turns, and how many of the pictures exist at once.

    python benchmarks/report_size.py -n 1000 --pictures FOLDER
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "viewer"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from browser import WHY_SKIPPED, Browser, is_installed
from machine import describe
from pymatgen.core import Structure

from crystal_diffusion.data import CrystalStructureDataset, create_demo_dataset
from crystal_diffusion.energy.relaxation import RelaxLimits, relax
from crystal_diffusion.physics.facts import crystal_facts
from crystal_diffusion.physics.validator import PhysicsValidator
from crystal_diffusion.runs.folder import RunFolder, extxyz_text
from crystal_diffusion.viewer.report import write_report
from crystal_diffusion.workflows.data_card import training_statistics


def make_run(folder: Path, count: int) -> None:
    """A run with a screening table."""
    rng = np.random.default_rng(0)
    arrays = CrystalStructureDataset(create_demo_dataset()).arrays
    small = [k for k in range(len(arrays)) if arrays.num_atoms[k] <= 20]
    validator, point = PhysicsValidator(), RelaxLimits(max_steps=0)
    made, relaxed, rows, screened = {}, {}, [], []
    for number in range(count):
        known = arrays.crystal(small[number % len(small)]).to_structure()
        cell = known.lattice.matrix @ (np.eye(3) + rng.normal(0, 0.02, (3, 3)))
        coords = known.frac_coords @ cell + rng.normal(0, 0.05, (len(known), 3))
        name = f"c{number:04d}"
        made[name] = Structure(cell, known.species, coords, coords_are_cartesian=True)
        relaxed[name] = known
        verdict = validator.validate(made[name])
        energy = relax(known, "pair", limits=point).energy_per_atom
        rows.append(
            {
                "id": name,
                **crystal_facts(made[name]),
                "seed": int(rng.integers(1 << 62)),
                "start": "noise",
                "nearest_train_id": f"demo-{number % len(small)}",
                "nearest_train_distance": round(float(rng.random()), 5),
                "valid": verdict.valid,
                "warnings": [check.name for check in verdict.warnings],
                "checks": [check.to_dict() for check in verdict.checks],
            }
        )
        screened.append({"id": name, "valid": True, "energy_per_atom_eV": energy})
        screened[-1] |= {"potential": "pair", "converged": bool(number % 3), "steps": number % 99}
    for rank, row in enumerate(sorted(screened, key=lambda r: r["energy_per_atom_eV"]), 1):
        row["rank"] = rank
    run = RunFolder.create(folder)
    run.write_structures(made, rows)
    run.write_rejected({"contacts": count // 3})
    (folder / "screening.jsonl").write_text("".join(json.dumps(r) + "\n" for r in screened))
    frames = (extxyz_text(structure, name) for name, structure in relaxed.items())
    (folder / "relaxed.extxyz").write_text("".join(frames))
    run.write_manifest({"n": count, "training_statistics": training_statistics(arrays)})


def look(page: Path, width: int, height: int, pictures: Path | None) -> None:
    """Open the page in a window of that size and say what it does."""
    with Browser(width, height) as browser:
        began = time.perf_counter()
        browser.open(page)
        browser.wait('window.crystalReport && document.querySelector("#cards canvas")', 180)
        print(f"{width} px: ready after {time.perf_counter() - began:.1f} s")
        order = 'return document.querySelector("#crystals tbody tr th").textContent;'
        before = browser.run(order)
        heads = '[...document.querySelectorAll("#crystals thead th")]'
        began = time.perf_counter()
        browser.run(f'{heads}.find(e => e.textContent.startsWith("Volume per atom"))'
                    '.querySelector("button").click();')  # fmt: skip
        after = browser.run(order)
        seconds = time.perf_counter() - began
        print(f"  table sorted in {seconds:.2f} s, first row {before} -> {after}")
        browser.run('document.querySelector("#cards").scrollIntoView();')
        canvas = 'document.querySelector("#cards canvas")'
        browser.wait(f"{canvas}.cell", 60)
        shown = browser.run(f"return {canvas}.toDataURL();")
        browser.run(f"{canvas}.focus();")
        browser.press("ArrowLeft")
        browser.wait(f"{canvas}.toDataURL() !== {shown!r}")
        drawn = browser.run(
            'return [...document.querySelectorAll("#cards canvas")].filter(c => c.cell).length;'
        )
        wide = browser.run("return document.documentElement.scrollWidth;")
        print(f"  cell turned by a key; {drawn} pictures exist at once; page width {wide} px")
        print(f"  console errors: {browser.complaints() or 'none'}")
        if pictures is not None:
            browser.run("window.scrollTo(0, 0);")
            browser.screenshot(pictures / f"report-{width}.png")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--pictures", type=Path, help="keep screenshots in this folder")
    options = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        make_run(folder, options.n)
        began, spent = time.perf_counter(), time.process_time()
        page = write_report(folder)
        wall, spent = time.perf_counter() - began, time.process_time() - spent
        print(f"report of {options.n} crystals in two states: {page.stat().st_size / 1e6:.2f} MB, "
              f"written in {wall:.1f} s, {spent:.1f} s of processor time")  # fmt: skip
        if not is_installed():
            print(WHY_SKIPPED)
            return
        for width, height in ((1440, 900), (390, 844)):
            look(page, width, height, options.pictures)


if __name__ == "__main__":
    main()
