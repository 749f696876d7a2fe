"""The documented command for several processes: one of them decides, speaks and writes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crystal_diffusion.data.demo import create_demo_dataset
from crystal_diffusion.runs.folder import cif_text
from crystal_diffusion.training.checkpoint import STATE_FILE, read_header

ROOT = Path(__file__).parents[2]
#: As in docs/training.md, which `test_the_command_is_the_documented_one` holds against it.
COMMAND = "torchrun --nproc-per-node 2 -m crystal_diffusion train my_cifs/ --out model/"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    from pymatgen.core import Structure

    (tmp_path / "my_cifs").mkdir()
    for number, row in enumerate(create_demo_dataset()[:8]):
        crystal = Structure(row["lattice"], row["atom_types"], row["positions"])
        (tmp_path / "my_cifs" / f"{number}.cif").write_text(cif_text(crystal, f"c{number}"))
    return tmp_path


def start(work: Path, *further: str) -> subprocess.Popen[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "PET_MASTER_PORT": str(port),  # torchrun's own way to set --master-port
    }
    return subprocess.Popen(
        [*torchrun, *COMMAND.split()[1:], "--dim", "32", "--layers", "2", *further],
        cwd=work,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def steps_of(folder: Path) -> list[int]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [row["step"] for row in map(json.loads, lines) if "loss" in row]


def test_the_command_is_the_documented_one() -> None:
    assert COMMAND in (ROOT / "docs" / "training.md").read_text()


@pytest.mark.parametrize("length", [("--steps", "24"), ("--minutes", "0.03")])
def test_two_processes_train_and_one_speaks(work: Path, length: tuple[str, str]) -> None:
    process = start(work, *length)
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err[-3000:]
    assert out.count("Model: model") == 1
    assert err.count("M parameters") == 1
    steps = steps_of(work / "model")
    assert len(set(steps)) == len(steps)
    if length[0] == "--steps":
        assert steps[-1] == 24
    assert (work / "model" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert not list((work / "model").glob("*.part"))


def test_ctrl_c_in_the_second_process_ends_both_with_a_checkpoint(work: Path) -> None:
    process = start(work, "--steps", "100000")
    metrics = work / "model" / "metrics.jsonl"
    until = time.monotonic() + 600
    while not metrics.exists() and time.monotonic() < until:
        time.sleep(0.2)
    second = [pid for pid in children(process.pid) if rank_of(pid) == "1"]
    assert len(second) == 1
    os.kill(second[0], signal.SIGINT)
    _, err = process.communicate(timeout=900)
    assert process.returncode != 0
    assert "interrupted at step" in err
    assert int(read_header(work / "model" / STATE_FILE)["step"]) == steps_of_state(err)


def steps_of_state(text: str) -> int:
    return int(text.split("interrupted at step ")[1].split(";")[0])


def children(parent: int) -> list[int]:
    listed = Path(f"/proc/{parent}/task/{parent}/children")
    if not listed.exists():
        pytest.skip("no list of child processes on this system")
    return [int(word) for word in listed.read_text().split()]


def rank_of(pid: int) -> str:
    words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next((w[5:].decode() for w in words if w.startswith(b"RANK=")), "")
