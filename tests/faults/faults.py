"""The fault campaign: kills, Ctrl-C, full disks, read-only folders and two writers at a time.

``python tests/faults/faults.py --rounds 100``

Every verb is stopped at random moments and started again with the same words until it ends by
itself; what it leaves must be what an undisturbed run leaves (crystals, ids, energies; weights bit
for bit), and in between no reader may take a part for the whole. Prints a table; exit code 1 where
anything was lost, mixed up or read as complete.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pymatgen.core import Lattice, Structure

from crystal_diffusion.errors import CrystalDiffusionError
from crystal_diffusion.runs.folder import RunFolder
from crystal_diffusion.runs.reading import read_rows
from crystal_diffusion.viewer.report_data import gather

#: Starts of one round before it counts as never ending.
_MOST_STARTS = 60


@dataclass
class Verb:
    """A command that is disturbed.

    Attributes:
        name: of the row of the table.
        words: the command line below a folder.
        result: what it leaves, as something that can be compared.
        whole: raises or says False where the folder is not a whole result.
    """

    name: str
    words: Callable[[Path], list[str]]
    result: Callable[[Path], object]
    whole: Callable[[Path], bool]
    seconds: float = 10.0
    counts: Counter[str] = field(default_factory=Counter)


def sources(folder: Path) -> Path:
    """Six small crystals as CIFs."""
    place = folder / "cifs"
    if not place.is_dir():
        place.mkdir()
        for number in range(6):
            cell = Lattice.orthorhombic(5.5 + 0.1 * number, 5.6, 5.7)
            structure = Structure.from_spacegroup(
                1, cell, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5 + 0.01 * number]]
            )
            structure.to(filename=str(place / f"x{number}.cif"))
    return place


def tensors(path: Path) -> str:
    """The weights of a model file, without its header."""
    raw = path.read_bytes()
    return hashlib.sha256(raw[8 + int.from_bytes(raw[:8], "little") :]).hexdigest()


def run_of(path: Path) -> object:
    """Ids and cells of a run."""
    found = RunFolder.open(path).structures()
    return {k: np.round(s.lattice.matrix, 6).tolist() for k, s in found.items()}


def screened(path: Path) -> object:
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


VERBS = [
    Verb(
        "train",
        lambda f: ["train", str(sources(f)), "--steps", "60", "--dim", "16", "--layers", "1",
                   "--from-scratch", "--device", "cpu", "--out", str(f / "out"), "--quiet"],
        lambda f: tensors(f / "out" / "model.safetensors"),
        lambda f: (f / "out" / "model.md").is_file(),
    ),
    Verb(
        "generate",
        lambda f: ["generate", "--formula", "NaCl", "-n", "6", "--seed", "1", "--steps", "4",
                   "--device", "cpu", "--out", str(f / "out"), "--quiet"],
        lambda f: run_of(f / "out"),
        lambda f: readable(f / "out"),
    ),
    Verb(
        "screen",
        lambda f: ["screen", str(sources(f)), "--stages", "validate,group,relax,rank",
                   "--potentials", "pair", "--executor", "here", "--steps", "5",
                   "--profile", "permissive", "--out", str(f / "out"), "--quiet"],
        lambda f: screened(f / "out"),
        lambda f: readable(f / "out"),
    ),
]  # fmt: skip


def start(words: list[str], limit: int | None = None) -> subprocess.Popen[bytes]:
    """The command in a process group of its own; files may not grow beyond the limit."""

    def prepare() -> None:
        os.setsid()
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    return subprocess.Popen(
        [sys.executable, "-m", "crystal_diffusion", *words], stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, preexec_fn=prepare,
    )  # fmt: skip


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Exit code and what was said."""
    _, said = process.communicate()
    return process.returncode, said.decode("utf-8", "replace")


def disturbed(verb: Verb, kind: int, wanted: object, rng: random.Random) -> str:
    """One round: stop at random moments until the command ends by itself; what came of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = verb.words(folder)
        for _ in range(_MOST_STARTS):
            process = start(words)
            try:
                process.wait(rng.uniform(0.3, 1.0) * verb.seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, kind)
            code, said = ended(process)
            if "Traceback" in said:
                return f"traceback: {said[-600:]}"
            if code == 0:
                return "same" if verb.result(folder) == wanted else "another result"
            if (
                code == 2
                and (folder / "out" / "manifest.json").exists()
                and verb.name == "generate"
            ):
                # Ctrl-C kept what was finished: a whole run of fewer crystals.
                kept = verb.result(folder)
                assert isinstance(kept, dict) and isinstance(wanted, dict)
                return "same" if all(wanted.get(k) == v for k, v in kept.items()) else "mixed up"
            if kind == signal.SIGKILL and verb.whole(folder) and verb.result(folder) != wanted:
                return "a part was read as the whole"
            if code not in (-kind, 130, 1) and code != 0:
                return f"exit code {code}: {said[-300:]}"
    return "did not end"


def full_disk(verb: Verb, wanted: object, rng: random.Random) -> str:
    """Writes fail from some size on; the error is one sentence, then the command completes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = verb.words(folder)
        code, said = ended(start(words, rng.choice((200, 1_000, 4_000, 20_000))))
        if "Traceback" in said:
            return f"traceback: {said[-600:]}"
        if code == 0 and verb.result(folder) != wanted:
            return "lost without a word"
        code, said = ended(start([*words, *(["--overwrite"] if verb.name == "generate" else [])]))
        if code != 0:
            return f"exit code {code}: {said[-300:]}"
        return "same" if verb.result(folder) == wanted else "another result"


def two_writers(verb: Verb, wanted: object, rng: random.Random) -> str:
    """Two of the same command at once: one ends well, the other is refused or does the same."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = verb.words(folder)
        first = start(words)
        time.sleep(rng.uniform(0, 0.5) * verb.seconds)
        second = start(words)
        answers = [ended(first), ended(second)]
        if any("Traceback" in said for _, said in answers):
            return f"traceback: {answers}"
        if sorted(code for code, _ in answers)[0] != 0:
            return f"none ended well: {answers}"
        return "same" if verb.result(folder) == wanted else "another result"


def no_folder(verb: Verb, wanted: object, rng: random.Random) -> str:
    """The output cannot be a folder: a file is there, or the name is too long."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "file").write_text("x")
        place = rng.choice((folder / "file", folder / "file" / "x", folder / ("n" * 300)))
        words = [str(place) if w == str(folder / "out") else w for w in verb.words(folder)]
        code, said = ended(start(words))
        if "Traceback" in said or code != 2 or not said.strip():
            return f"exit code {code}: {said[-600:]}"
        return "same" if (folder / "file").read_text() == "x" else "overwrote a file"


def main() -> int:
    """Run the campaign of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100, help="kills of each verb")
    parser.add_argument("--verbs", default="train,generate,screen")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    kinds: dict[str, Callable[[Verb, object, random.Random], str]] = {
        "kill": lambda v, w, r: disturbed(v, signal.SIGKILL, w, r),
        "Ctrl-C": lambda v, w, r: disturbed(v, signal.SIGINT, w, r),
        "full disk": full_disk,
        "two writers": two_writers,
        "no folder": no_folder,
    }
    share = {"kill": 1.0, "Ctrl-C": 0.5, "full disk": 0.1, "two writers": 0.1, "no folder": 0.1}
    found: dict[str, Counter[str]] = {}
    for verb in VERBS:
        if verb.name not in options.verbs.split(","):
            continue
        with tempfile.TemporaryDirectory() as name:
            began = time.monotonic()
            code, said = ended(start(verb.words(Path(name))))
            verb.seconds = time.monotonic() - began
            if code != 0:
                raise SystemExit(f"{verb.name} fails undisturbed: {said}")
            wanted = verb.result(Path(name))
        for kind, attempt in kinds.items():
            rng = random.Random(f"{options.seed} {verb.name} {kind}")
            counts = found.setdefault(f"{verb.name}, {kind}", Counter())
            for _ in range(max(1, round(options.rounds * share[kind]))):
                answer = attempt(verb, wanted, rng)
                counts["same" if answer == "same" else "wrong"] += 1
                if answer != "same":
                    print(f"{verb.name}, {kind}: {answer}", flush=True)
            print(f"{verb.name}, {kind}: {dict(counts)}", flush=True)
    print("| disturbed | rounds | same end | wrong or lost |\n|---|---|---|---|")
    for row, counts in found.items():
        print(f"| {row} | {counts.total()} | {counts['same']} | {counts['wrong']} |")
    print(json.dumps({k: dict(v) for k, v in found.items()}))
    return int(any(counts["wrong"] for counts in found.values()))


if __name__ == "__main__":
    sys.exit(main())
