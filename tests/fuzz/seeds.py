"""Sound files of every format, run folders and models, to be damaged."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import sqlite3
import tarfile
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from ase import Atoms
from pymatgen.core import Lattice, Structure

from crystal_diffusion.app.jobs import Jobs
from crystal_diffusion.crystal import CrystalBatch, to_atoms
from crystal_diffusion.data.tables import CrystalArrays
from crystal_diffusion.data.training_set import save_training_set
from crystal_diffusion.diffusion.joint import JointConfig, JointDiffusion, LatticeStatistics
from crystal_diffusion.discovery.loop import DiscoverySettings
from crystal_diffusion.discovery.records import hash_of
from crystal_diffusion.discovery.wish import Budget
from crystal_diffusion.energy.relaxation import RelaxLimits
from crystal_diffusion.generation.loading import base_header
from crystal_diffusion.known.novelty import Novelty
from crystal_diffusion.physics.facts import crystal_facts
from crystal_diffusion.prediction.descriptors import BRIEF_COLUMNS
from crystal_diffusion.prediction.distribution import GRID, Calibration
from crystal_diffusion.prediction.own import Fitted, OwnProperty, Recipe, Worth, save_own
from crystal_diffusion.pretrained import model_path
from crystal_diffusion.runs.folder import RunFolder, cif_text, extxyz_text
from crystal_diffusion.runs.rows import structure_row
from crystal_diffusion.screening.pipeline import screen
from crystal_diffusion.screening.settings import ScreenSettings, read_candidates
from crystal_diffusion.screening.stage_log import StageLog
from crystal_diffusion.skeletons.network import SkeletonConfig, SkeletonNetwork
from crystal_diffusion.skeletons.weights import save_network
from crystal_diffusion.training.checkpoint import read_tensors, save_model, write_tensors
from crystal_diffusion.training.config import TrainingConfig
from crystal_diffusion.training.loop import fit


def crystals() -> dict[str, Structure]:
    """Cubic, triclinic, hexagonal and one atom."""
    salt = Structure.from_spacegroup(
        225, Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    perovskite = Structure(
        Lattice.cubic(3.905),
        ["Sr", "Ti", "O", "O", "O"],
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    )
    skewed = Structure(
        Lattice.from_parameters(4.1, 5.2, 6.3, 81, 97, 102),
        ["Li", "Fe", "O", "O"],
        [[0.1, 0.2, 0.3], [0.6, 0.7, 0.8], [0.35, 0.1, 0.6], [0.9, 0.55, 0.2]],
    )
    zinc = Structure(Lattice.hexagonal(2.66, 4.95), ["Zn", "Zn"], [[1 / 3, 2 / 3, 0.25],
                     [2 / 3, 1 / 3, 0.75]])  # fmt: skip
    iron = Structure(Lattice.cubic(2.87), ["Fe"], [[0, 0, 0]])
    return {"salt": salt, "perovskite": perovskite, "skewed": skewed, "zinc": zinc, "iron": iron}


SYMMETRIC_CIF = b"""data_NaCl
_cell_length_a 5.64(1)
_cell_length_b 5.64(1)
_cell_length_c 5.64(1)
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
_space_group_IT_number 225
_chemical_formula_sum 'Na1 Cl1'
loop_
_symmetry_equiv_pos_as_xyz
'x,y,z'
'-x,-y,z'
'x+1/2,y+1/2,z'
'x+1/2,y,z+1/2'
'x,y+1/2,z+1/2'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Na1 Na1+ 0 0 0 1.0
Cl1 Cl1- 0.5 0.5 0.5 1.0
"""
PARTIAL_CIF = b"""data_alloy
_cell_length_a 3.6
_cell_length_b 3.6
_cell_length_c 3.6
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'P m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Cu1 Cu 0 0 0 0.75
Au1 Au 0 0 0 0.25
O1 O 0.5 0.5 0.5 0.5
"""


@cache
def files() -> dict[str, bytes]:
    """Name → content, one or more for every format that is read."""
    found = crystals()
    out: dict[str, bytes] = {"symmetric.cif": SYMMETRIC_CIF, "partial.cif": PARTIAL_CIF}
    out["plain.cif"] = cif_text(found["skewed"], "skewed").encode()
    out["two.cif"] = out["plain.cif"] + SYMMETRIC_CIF
    from pymatgen.io.vasp import Poscar

    out["zinc.vasp"] = Poscar(found["zinc"]).get_str().encode()
    out["skewed.poscar"] = Poscar(found["skewed"]).get_str().encode()
    out["some.extxyz"] = "".join(extxyz_text(s, n) for n, s in found.items()).encode()
    entries = [{"id": n, "structure": s.as_dict(), "band_gap": 1.5} for n, s in found.items()]
    out["list.json"] = json.dumps(entries[:2]).encode()
    out["one.json"] = json.dumps(found["perovskite"].as_dict()).encode()
    plain = [
        {
            "id": name,
            "lattice": s.lattice.matrix.tolist(),
            "positions": s.frac_coords.tolist(),
            "atom_types": [int(z) for z in s.atomic_numbers],
        }
        for name, s in found.items()
    ]
    out["rows.jsonl"] = "\n".join(json.dumps(row) for row in plain).encode()
    cells = [cif_text(s, n).replace('"', '""') for n, s in found.items()]
    rows = [f'{n},1.5,"{text}"' for n, text in zip(found, cells, strict=True)]
    out["table.csv"] = ("material_id,band_gap,cif\n" + "\n".join(rows) + "\n").encode()
    with tempfile.TemporaryDirectory() as folder:
        out |= _binary(Path(folder), found)
    out |= _from_elsewhere(found, out)
    out["plain.cif.gz"] = gzip.compress(out["plain.cif"], mtime=0)
    out["rows.jsonl.gz"] = gzip.compress(out["rows.jsonl"], mtime=0)
    return out


def _in_metres(structure: Structure) -> dict[str, object]:
    """The atoms of an archive of NOMAD."""
    return {
        "labels": [site.specie.symbol for site in structure],
        "positions": (structure.cart_coords * 1e-10).tolist(),
        "lattice_vectors": (structure.lattice.matrix * 1e-10).tolist(),
        "periodic": [True, True, True],
    }


def _from_elsewhere(found: dict[str, Structure], plain: dict[str, bytes]) -> dict[str, bytes]:
    """What databases and other generators hand out: responses, archives, tensors."""
    attributes = [
        {
            "lattice_vectors": s.lattice.matrix.tolist(),
            "cartesian_site_positions": s.cart_coords.tolist(),
            "species_at_sites": [site.specie.symbol for site in s],
            "species": [
                {"name": e.symbol, "chemical_symbols": [e.symbol], "concentration": [1.0]}
                for e in s.composition
            ],
            "nsites": len(s),
        }
        for s in found.values()
    ]
    entries = [
        {"id": name, "type": "structures", "attributes": a}
        for name, a in zip(found, attributes, strict=True)
    ]
    response = {"data": entries, "meta": {"provider": {"prefix": "x"}}, "links": {"next": None}}
    zipped, taped, tensors = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("plain.cif", "symmetric.cif"):
            archive.writestr(zipfile.ZipInfo(name), plain[name])
    with tarfile.open(fileobj=taped, mode="w") as tape:
        for name in ("plain.cif", "symmetric.cif"):
            member = tarfile.TarInfo(name)
            member.size = len(plain[name])
            tape.addfile(member, io.BytesIO(plain[name]))
    coords = np.concatenate([s.frac_coords for s in found.values()])
    torch.save(
        {
            "frac_coords": torch.tensor(coords),
            "atom_types": torch.tensor([int(z) for s in found.values() for z in s.atomic_numbers]),
            "num_atoms": torch.tensor([len(s) for s in found.values()]),
            "lengths": torch.tensor([s.lattice.abc for s in found.values()]),
            "angles": torch.tensor([s.lattice.angles for s in found.values()]),
        },
        tensors,
    )
    archives = [
        {
            "entry_id": name,
            "archive": {
                "run": [{"system": [{"atoms": _in_metres(s)}]}],
                "results": {
                    "material": {"chemical_formula_reduced": s.composition.reduced_formula}
                },
            },
        }
        for name, s in found.items()
    ]
    texts, entries_of = io.BytesIO(), io.BytesIO()
    cifs = {"id": list(found), "cif": [plain["plain.cif"].decode()] * len(found)}
    pq.write_table(pa.table({**cifs, "formula": ["x"] * len(found)}), texts)
    pq.write_table(
        pa.Table.from_pylist([{"id": e["id"], **e["attributes"]} for e in entries]), (entries_of)
    )
    return {
        "nomad.json": json.dumps({"data": archives}).encode(),
        "cifs.parquet": texts.getvalue(),
        "entries.parquet": entries_of.getvalue(),
        "optimade.json": json.dumps(response).encode(),
        "cifs.zip": zipped.getvalue(),
        "cifs.tar.gz": gzip.compress(taped.getvalue(), mtime=0),
        "eval_gen.pt": tensors.getvalue(),
    }


def _binary(folder: Path, found: dict[str, Structure]) -> dict[str, bytes]:
    import pyarrow
    import pyarrow.parquet
    from ase.db import connect
    from ase.io.trajectory import Trajectory

    atoms: list[Atoms] = [to_atoms(s) for s in found.values()]
    with Trajectory(str(folder / "a.traj"), "w") as writer:
        for name, frame in zip(found, atoms, strict=True):
            frame.info["id"] = name
            writer.write(frame)
    database = connect(str(folder / "a.db"))
    for name, frame in zip(found, atoms, strict=True):
        database.write(frame, name=f"n{name}", band_gap=1.5)
    cells = np.array([s.lattice.parameters for s in found.values()])
    table = pyarrow.table(
        {
            "material_id": list(found),
            **{n: cells[:, i] for i, n in enumerate(("a", "b", "c", "alpha", "beta", "gamma"))},
            "atomic_numbers": [list(map(int, s.atomic_numbers)) for s in found.values()],
            "frac_coords": [s.frac_coords.ravel().tolist() for s in found.values()],
            "band_gap": [1.5] * len(found),
        }
    )
    pyarrow.parquet.write_table(table, folder / "a.parquet")
    names = {"a.traj": "some.traj", "a.db": "some.db", "a.parquet": "some.parquet"}
    return {new: (folder / old).read_bytes() for old, new in names.items()}


@cache
def run_folder() -> dict[str, bytes]:
    """The files of a small screened run, by path below its folder."""
    found = {name: s for name, s in crystals().items() if name != "zinc"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        run = RunFolder.create(path)
        rows = [
            {"id": n, **crystal_facts(s), "rank": i, "valid": True, "checks": [], "warnings": []}
            for i, (n, s) in enumerate(found.items(), 1)
        ]
        run.write_structures(found, rows)
        run.write_rejected({"minimum_distance": 3, "density": 1})
        run.write_manifest({"command": ["x"], "n": 4, "made": 4, "seed": 1, "request": {}})
        settings = ScreenSettings(
            stages=("validate", "group", "relax", "rank"), potentials=("pair",), executor="here",
            profile="permissive", limits=RelaxLimits(max_steps=2), cache=Path(folder) / "cache",
        )  # fmt: skip
        screen(read_candidates(path), settings)
        return {
            str(p.relative_to(path)): p.read_bytes()
            for p in sorted(path.rglob("*"))
            if p.is_file() and p.suffix != ".db" and p.name != ".lock"
        }


@cache
def model_folder() -> dict[str, bytes]:
    """A small trained model: weights, state, training set."""
    coords = [np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])] * 4
    cells = np.stack([np.diag([4.0 + 0.1 * i, 4.2, 5.0]) for i in range(4)])
    data = CrystalBatch.from_arrays(coords, cells, [np.array([11, 17])] * 4)
    config = JointConfig(
        network="transformer", network_options={"dim": 16, "layers": 1, "heads": 2},
        statistics=LatticeStatistics.from_batch(data), max_train_atoms=2, elements=(11, 17),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        model = JointDiffusion(config)
        fit(model, data, TrainingConfig(steps=2, tokens=32, precision="float32"), Path(folder))
        weights = dict(model.named_parameters())
        save_model(Path(folder) / "model.safetensors", model, weights, {"steps": 2})
        arrays = CrystalArrays(
            tuple("abcd"), cells, np.concatenate(coords), np.array([11, 17] * 4),
            np.arange(0, 9, 2), {},
        )  # fmt: skip
        save_training_set(Path(folder) / "training_set.npz", arrays)
        return {p.name: p.read_bytes() for p in sorted(Path(folder).iterdir())}


@cache
def adapted_folder() -> dict[str, bytes]:
    """A model without weights of its own, with skeletons and a property of the user's own."""
    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.manual_seed(0)
        tensors, header = read_tensors(model_path())
        header |= {"base": base_header(False), "evidence": {"bonus": 0.5, "weight": 0.1}}
        write_tensors(folder / "model.safetensors", dict(list(tensors.items())[:1]), header)
        network = SkeletonNetwork(SkeletonConfig(dim=16, layers=1, heads=2))
        extra = {"trust": [0.7, 0.1], "own_prior": False}
        save_network(folder / "skeletons.safetensors", network, extra)
        columns = len(BRIEF_COLUMNS)
        fitted = Fitted(
            Recipe("brief", 0.7, 0.1), np.zeros(columns), np.ones(columns),
            np.zeros((3, columns)), np.zeros(3), np.eye(3), 1.0, 0.5,
        )  # fmt: skip
        calibration = Calibration(np.linspace(-2, 2, len(GRID)), (0.05,), False, 0.0, 0.0, 3.0)
        worth = Worth(30, ("one was left out",), 0.1, 0.4, 0.7, 0.9)
        save_own(folder, [OwnProperty("hardness", fitted, calibration, worth)])
        files = {p.name: p.read_bytes() for p in sorted(folder.iterdir())}
    return {**files, "training_set.npz": model_folder()["training_set.npz"]}


#: Of the discovery below; a folder holds one.
DISCOVERY = DiscoverySettings(
    budget=Budget(relaxations=4), potential="springs", executor="here", per_round=2
)


@cache
def discovery_folder() -> dict[str, bytes]:
    """A discovery of two rounds, by path below its folder."""
    found = crystals()
    names = ("salt", "skewed", "perovskite", "iron")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "wish.txt").write_text(DISCOVERY.key)
        place = folder / "discovery"
        rounds = StageLog(place / "rounds.jsonl", DISCOVERY.key)
        entries = [
            {"id": f"00{i // 2 + 1}-00{i % 2}", "start": "prototype", "kind": "x", "guess": 0.1,
             "structure": structure_row(found[n])}
            for i, n in enumerate(names)
        ]  # fmt: skip
        for number in (1, 2):
            rounds.add(str(number), {"candidates": entries[2 * number - 2 : 2 * number]})
        relaxed = [
            {"energy_per_atom_eV": -1.0, "converged": True, "steps": 3, "seconds": 0.1,
             "problem": "", "structure": entry["structure"], "clock": 1.0}
            for entry in entries
        ]  # fmt: skip
        keys = [str(entry["id"]) for entry in entries]
        log = StageLog(place / "relaxed.jsonl", DISCOVERY.key)
        log.bind({key: hash_of(entry) for key, entry in zip(keys, entries, strict=True)})
        log.add_many(dict(zip(keys, relaxed, strict=True)))
        verdicts = StageLog(place / "verdicts.jsonl", DISCOVERY.key)
        verdicts.bind({key: hash_of(row) for key, row in zip(keys, relaxed, strict=True)})
        novelty = Novelty(True, "", "x", 0.5, False).to_dict()
        for i, key in enumerate(keys):
            verdicts.add(
                key,
                {"above_hull": 0.01 * i, "accepted": i < 2, "novelty": novelty, "twin": "",
                 "second": None, "agrees": None, "note": ""},
            )  # fmt: skip
        return {
            str(p.relative_to(folder)): p.read_bytes()
            for p in sorted(folder.rglob("*"))
            if p.is_file()
        }


@cache
def app_folder() -> dict[str, bytes]:
    """A folder of the app: a job that ended, one whose worker is gone, one that waits."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jobs = Jobs(folder)
        jobs.close()
        keys = ("0123456789ab", "1123456789ab", "2123456789ab")
        with contextlib.closing(sqlite3.connect(folder / "jobs.sqlite")) as table:
            table.execute("PRAGMA journal_mode=DELETE")
            for key, state in zip(keys, ("done", "running", "queued"), strict=True):
                table.execute(
                    "INSERT INTO jobs (id, kind, title, answers, commands, out, state, created, "
                    "started, pid) VALUES (?, 'check', 'x', ?, ?, ?, ?, 1.0, 1.0, NULL)",
                    (key, json.dumps({"files": keys[0]}), json.dumps([["check", "uploads"]]),
                     f"jobs/{key}/run", state),
                )  # fmt: skip
            table.commit()
        files = {"jobs.sqlite": (folder / "jobs.sqlite").read_bytes()}
    for key in keys:
        files[f"jobs/{key}/job.json"] = json.dumps({"commands": [["check", "uploads"]]}).encode()
        files[f"jobs/{key}/log.txt"] = b"$ crystal-diffusion check\nerror: x\n"
        files[f"jobs/{key}/progress.json"] = json.dumps({"done": 1, "total": 2}).encode()
        files[f"jobs/{key}/end.json"] = json.dumps({"exit_code": 2}).encode()
    return files


def recompressed(raw: bytes, change: Any) -> bytes:
    """An ``.npz`` whose first array is changed inside, with sound checksums."""
    with np.load(io.BytesIO(raw)) as stored:
        arrays = {name: stored[name] for name in stored.files}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **change(arrays))
    return buffer.getvalue()
