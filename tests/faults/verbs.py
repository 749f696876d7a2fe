"""The commands that are disturbed. A further one is one entry of ``VERBS``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import app_session
import numpy as np
from children import run
from pymatgen.core import Lattice, Structure

from crystal_diffusion.errors import CrystalDiffusionError
from crystal_diffusion.runs.folder import RunFolder
from crystal_diffusion.runs.reading import read_rows
from crystal_diffusion.viewer.report_data import gather


@dataclass(frozen=True)
class Verb:
    """A command that is disturbed.

    Attributes:
        name: of the row of the table.
        words: the command line, its output below a folder; the second value is the address of a
            database on this machine.
        result: what it leaves in the folder, as something that can be compared.
        whole: whether what is there passes for a whole result.
        prepare: done once before all rounds, in the process that starts them.
        keeps: Ctrl-C keeps what is finished as a whole result of fewer parts.
        runs: what runs the words, in a process of its own.
        workers: further processes that a signal may meet.
    """

    name: str
    words: Callable[[Path, str], list[str]]
    result: Callable[[Path], Any]
    whole: Callable[[Path], bool]
    prepare: Callable[[], None] = lambda: None
    keeps: bool = False
    runs: Callable[[list[str]], int] = run
    workers: Callable[[Path], list[int]] = lambda _: []


def crystals(count: int) -> dict[str, Structure]:
    """Small crystals."""
    found = {}
    for number in range(count):
        cell = Lattice.orthorhombic(5.5 + 0.1 * number, 5.6, 5.7)
        coords = [[0, 0, 0], [0.5, 0.5, 0.5 + 0.01 * number]]
        found[f"x{number}"] = Structure.from_spacegroup(1, cell, ["Na", "Cl"], coords)
    return found


def sources(folder: Path) -> Path:
    """Six small crystals as CIFs."""
    place = folder / "cifs"
    if not place.is_dir():
        place.mkdir()
        for name, structure in crystals(6).items():
            structure.to(filename=str(place / f"{name}.cif"))
    return place


def tensors(path: Path) -> str:
    """The weights of a model file, without its header."""
    raw = path.read_bytes()
    return hashlib.sha256(raw[8 + int.from_bytes(raw[:8], "little") :]).hexdigest()


def run_of(path: Path) -> dict[str, Any]:
    """Ids and cells of a run."""
    found = RunFolder.open(path).structures()
    return {k: np.round(s.lattice.matrix, 6).tolist() for k, s in found.items()}


def screened(path: Path) -> list[dict[str, Any]]:
    """Ids, validity and steps of a screening."""
    keys = ("id", "valid", "converged", "steps", "problem")
    return [{k: row.get(k) for k in keys} for row in read_rows(path / "screening.jsonl")]


def readable(path: Path) -> bool:
    """Whether a folder passes for a whole run."""
    try:
        RunFolder.open(path).structures()
        return not any("incomplete" in gap for gap in gather(path).gaps)
    except CrystalDiffusionError:
        return False


def discovered(path: Path) -> dict[str, Any]:
    """Verdicts by id."""
    lines = (path / "discovery" / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return {row["id"]: row["row"] for row in rows if "id" in row}


def fetched(path: Path) -> dict[str, Any]:
    """Ids and cells of a table."""
    from crystal_diffusion.data.tables import parquet_arrays

    arrays = parquet_arrays(path)
    return {k: np.round(c, 6).tolist() for k, c in zip(arrays.ids, arrays.lattice, strict=True)}


def asked(folder: Path) -> dict[str, Any]:
    """What the app has of its jobs: none may be forgotten, and those that ended are right."""
    return {
        "forgotten": app_session.forgotten(folder),
        "tables": app_session.finished(folder)[:1],
    }


def use_springs() -> None:
    """A potential for discoveries that needs no weights; the index of known crystals as if its."""
    from crystal_diffusion.energy import potentials
    from crystal_diffusion.energy.pair_potential import PAIR_ELEMENTS, PairPotential
    from crystal_diffusion.known import index

    made = potentials.NamedPotential("springs", "1", "test", PAIR_ELEMENTS, PairPotential)
    potentials.POTENTIALS["springs"] = lambda: made
    known = replace(index.load_known(), potential="springs", potential_version="1")
    index.load_known = lambda *_: known


VERBS = [
    Verb(
        "train",
        lambda f, _: ["train", str(sources(f)), "--steps", "40", "--dim", "16", "--layers", "1",
                      "--from-scratch", "--device", "cpu", "--out", str(f / "out"), "--quiet"],
        lambda f: tensors(f / "out" / "model.safetensors"),
        lambda f: (f / "out" / "model.md").is_file(),
    ),
    Verb(
        "generate",
        lambda f, _: ["generate", "--formula", "NaCl", "-n", "6", "--seed", "1",
                      "--sampling-steps", "4", "--device", "cpu", "--out", str(f / "out"),
                      "--quiet"],
        lambda f: run_of(f / "out"),
        lambda f: readable(f / "out"),
        keeps=True,
    ),
    Verb(
        "screen",
        lambda f, _: ["screen", str(sources(f)), "--stages", "validate,group,relax,rank",
                      "--potentials", "pair", "--executor", "here", "--relax-steps", "5",
                      "--profile", "permissive", "--out", str(f / "out"), "--quiet"],
        lambda f: screened(f / "out"),
        lambda f: readable(f / "out"),
    ),
    Verb(
        "discover",
        lambda f, _: ["discover", "--elements", "Na,Sb,S", "--budget", "4", "--per-round", "2",
                      "--most-atoms", "8", "--above-hull", "20", "--potential", "springs",
                      "--second", "none", "--executor", "here", "--out", str(f / "out"),
                      "--quiet"],
        lambda f: discovered(f / "out"),
        lambda f: (f / "out" / "report.md").is_file(),
        prepare=use_springs,
    ),
    Verb(
        "fetch",
        lambda f, address: ["fetch", "optimade", "nelements=2", "--provider", address,
                            "--out", str(f / "out.parquet"), "--quiet"],
        lambda f: fetched(f / "out.parquet"),
        lambda f: (f / "out.parquet").is_file(),
    ),
    Verb(
        "app",
        lambda f, _: ["app", str(f / "out")],
        lambda f: asked(f / "out"),
        lambda f: bool(app_session.finished(f / "out")),
        runs=app_session.use_app,
        workers=lambda f: app_session.workers(f / "out"),
    ),
]  # fmt: skip
