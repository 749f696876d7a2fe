"""Named crystals and a small screened run, written file by file."""

from __future__ import annotations

import json
from pathlib import Path

from pymatgen.core import Lattice, Structure

from crystal_diffusion.runs.folder import RunFolder, extxyz_text
from tests.crystals import perovskite, rock_salt


def write_run(path: Path, *, screened: bool = True) -> Path:
    """Four crystals: three magnesium oxides (two alike) and one with an odd id and no structure."""
    made = {
        "c000": rock_salt("Mg", "O", 4.30),
        "c001": rock_salt("Mg", "O", 4.31),
        "c002": Structure(Lattice.cubic(2.7), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        "c003": perovskite(),
    }
    check = {
        "name": "minimum_distance", "passed": True, "value": 2.1, "limit": ">= 0.7", "unit": "Å",
        "reason": "fine", "source": "Pauli exclusion", "severity": "error",
    }  # fmt: skip
    odd = {
        **check, "name": "charge_neutrality", "passed": False, "value": None, "limit": "sum 0",
        "reason": "no charges <script>alert(1)</script> add up", "severity": "warning",
    }  # fmt: skip
    rows = [
        {
            "id": name,
            "formula": structure.composition.reduced_formula,
            "num_atoms": len(structure),
            "space_group_0.1": 225 if place < 2 else 221,
            "volume_per_atom_A3": round(structure.volume / len(structure), 4),
            "density_g_cm3": round(float(structure.density), 4),
            "min_distance_A": 2.1 + place / 10,
            "nearest_train_id": "periclase",
            "nearest_train_distance": 0.1,
            "start": "noise",
            "rank": place + 1,
            "group": max(place - 1, 0),
            "seed": 4081871446793490460 + place,
            "valid": True,
            "warnings": ["charge_neutrality"],
            "checks": [check, odd],
        }
        for place, (name, structure) in enumerate(made.items())
    ]
    folder = RunFolder.create(path)
    folder.write_structures(made, rows)
    folder.write_rejected({"contacts": 5, "density": 1})
    folder.write_manifest(
        {
            "command": ["crystal-diffusion", "generate", "--formula", "MgO"],
            "request": {"formula": "MgO", "cell": None},
            "n": 4,
            "made": 4,
            "seed": 1,
            "model": {"name": "pretrained", "sha256": "abc123"},
            "training_statistics": {"volume_per_atom_A3": [9.3, 9.5, 10.2, 12.0, 18.0]},
        }
    )
    if screened:
        _screen(path, made)
    return path


def _screen(path: Path, made: dict[str, Structure]) -> None:
    energies = {"c000": -6.0, "c002": -5.2, "c003": None}
    rows = []
    for place, name in enumerate(made):
        energy = energies.get(name)
        rows.append(
            {
                "id": name,
                "valid": True,
                "problem": "no reference energy for Sr" if name == "c003" else "",
                "group": max(place - 1, 0),
                "duplicate_of": "c000" if name == "c001" else None,
                "potential": "pair",
                "potential_version": "1",
                "energy_per_atom_eV": energy,
                "formation_energy_eV_atom": None if energy is None else energy + 3.0,
                "energy_above_hull_eV_atom": None if energy is None else energy + 6.0,
                "converged": None if energy is None else name == "c000",
                "max_force_eV_A": None if energy is None else 0.01,
                "novel": None if energy is None else name == "c002",
                "nearest_known_id": "mp-1265",
                "rank": {"c000": 1, "c002": 2}.get(name),
            }
        )
    (path / "screening.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    relaxed = {k: made[k].copy().scale_lattice(made[k].volume * 0.97) for k in ("c000", "c002")}
    (path / "relaxed.extxyz").write_text("".join(extxyz_text(s, k) for k, s in relaxed.items()))
    reference = {
        "mp-153": ({"Mg": 2.0}, -1.5),
        "mp-12957": ({"O": 8.0}, -4.5),
        "mp-1265": ({"Mg": 1.0, "O": 1.0}, -6.0),
    }
    system = {
        "references": [
            {"id": k, "composition": c, "energy_per_atom_eV": e} for k, (c, e) in reference.items()
        ],
        "candidates": [
            {
                "id": k,
                "composition": {"Mg": 1.0, "O": 1.0},
                "energy_per_atom_eV": e,
                "energy_above_hull_eV_atom": e + 6.0,
            }
            for k, e in (("c000", -6.0), ("c002", -5.2))
        ],
    }
    (path / "hull.json").write_text(
        json.dumps({"potential": "pair", "potential_version": "1", "systems": {"Mg-O": system}})
    )
