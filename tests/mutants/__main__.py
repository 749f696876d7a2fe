"""Which errors do the tests notice? ``make mutants`` puts them in one at a time and says.

``list.toml`` holds the errors: signs, transpositions, numbers off by one, swapped branches, each
as an exact piece of source text and what stands there instead. The package is copied to a
temporary folder, one error is put in, its tests run until the first fails: first the test that
noticed it when the list was made, then all others of its group. An error that no test notices is
named; a text that is no longer found stops the run at once, so the list cannot rot.

With ``--state FILE`` what is done is kept, line by line: the same command goes on where it was, and
errors whose file and tests did not change since are not run again.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("list.toml")
PACKAGE = "crystal_diffusion"
#: What a test run needs beside the package.
COPIED = (PACKAGE, "tests", "recipes", "benchmarks", "pyproject.toml")
#: Least share of errors that must be noticed.
WANTED = 0.95
#: Seconds after which a run counts as stuck, which is noticed too.
PATIENCE = 900.0
#: Exit status of such a run here.
STUCK = -99
#: Read once and shared by all runs: none of it is changed by an error.
HEAVY = ("torch", "pymatgen.core", "pymatgen.analysis.structure_matcher", "scipy.optimize", "ase",
         "ase.io", "spglib", "moyopy", "gemmi", "hypothesis", "pytest", "safetensors.torch",
         "typer.testing", "matplotlib.figure", "pyarrow", "beartype", "jaxtyping")  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One error: where, what stands there, what stands there instead, and who should notice."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: "noticed", "stuck" (noticed too) or "unnoticed"; seconds; last words."""

    mutant: Mutant
    ended: str
    seconds: float
    words: str


def read_mutants(path: Path = LIST) -> list[Mutant]:
    """All errors of the list; the texts are checked by :func:`broken`."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    groups: dict[str, list[str]] = data["tests"]
    found = []
    for entry in data["mutant"]:
        tests = [test for name in entry["tests"] for test in groups.get(name, [name])]
        unique = tuple(dict.fromkeys([*([entry["first"]] if "first" in entry else []), *tests]))
        found.append(Mutant(entry["name"], entry["file"], entry["old"], entry["new"], unique))
    return found


def broken(mutants: Sequence[Mutant], root: Path = ROOT) -> list[str]:
    """What is wrong with a list: texts not found exactly once, tests that do not exist."""
    problems = []
    names = [mutant.name for mutant in mutants]
    problems += [
        f"{name!r} is there twice" for name in sorted({n for n in names if names.count(n) > 1})
    ]
    for mutant in mutants:
        file = root / PACKAGE / mutant.file
        times = file.read_text(encoding="utf-8").count(mutant.old) if file.is_file() else 0
        if times != 1:
            problems.append(
                f"{mutant.name!r}: its text is {times} times in {mutant.file}, not once"
            )
        if mutant.old == mutant.new:
            problems.append(f"{mutant.name!r} changes nothing")
        problems += [
            f"{mutant.name!r}: there is no {test}"
            for test in mutant.tests
            if not (root / test.split("::")[0]).exists()
        ]
    return problems


def _pytest(folder: Path, tests: Sequence[str], log: Path) -> int:
    """Run tests in a copy, in a child of this process that has the heavy libraries already."""
    child = os.fork()
    if child == 0:
        _run_in_child(folder, tests, log)
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.1)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return STUCK


def _run_in_child(folder: Path, tests: Sequence[str], log: Path) -> None:
    os.setpgid(0, 0)
    os.chdir(folder)
    sys.path[:] = [str(folder), *(p for p in sys.path if p not in ("", str(ROOT)))]
    os.environ["PYTHONPATH"] = str(folder)
    for name in [m for m in sys.modules if m.split(".")[0] in (PACKAGE, "tests")]:
        del sys.modules[name]
    code = 99
    try:
        with log.open("w") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
            import pytest

            code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--tb=line", *tests]))
            sys.stdout.flush()
    finally:
        os._exit(code)


def _last_words(log: Path) -> str:
    lines = [x for x in log.read_text(errors="replace").splitlines() if x.startswith("FAILED")]
    return lines[0].removeprefix("FAILED ").split(" - ")[0] if lines else ""


def _try(mutant: Mutant) -> Outcome:
    """One error in this worker's own copy."""
    folder = _copy_of(os.getpid())
    file = folder / PACKAGE / mutant.file
    whole = file.read_text(encoding="utf-8")
    if whole.count(mutant.old) != 1:
        raise SystemExit(f"{mutant.name!r}: its text is not once in {mutant.file}")
    log = folder / "log.txt"
    began = time.monotonic()
    try:
        file.write_text(whole.replace(mutant.old, mutant.new), encoding="utf-8")
        code = _pytest(folder, mutant.tests, log)
    finally:
        file.write_text(whole, encoding="utf-8")
    if code in (2, 3, 4, 5) and "SyntaxError" in log.read_text(errors="replace"):
        raise SystemExit(
            f"{mutant.name!r} is not Python:\n{log.read_text(errors='replace')[-2000:]}"
        )
    ended = {0: "unnoticed", STUCK: "stuck"}.get(code, "noticed")
    return Outcome(mutant, ended, time.monotonic() - began, _last_words(log))


#: Where the copies are; "source" is what stood there when the run began.
_PARENT: Path


def _key(mutant: Mutant, root: Path) -> str:
    """What the outcome of an error hangs on: itself, the file it is in, its tests."""
    digest = hashlib.sha256(repr((mutant.name, mutant.file, mutant.old, mutant.new)).encode())
    digest.update((root / PACKAGE / mutant.file).read_bytes())
    for test in mutant.tests:
        place = root / test.split("::")[0]
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _done(state: Path | None) -> dict[str, tuple[str, float, str]]:
    """What an earlier run found, by key."""
    if state is None or not state.is_file():
        return {}
    lines = [json.loads(line) for line in state.read_text().splitlines() if line.endswith("}")]
    return {line["key"]: (line["ended"], line["seconds"], line["words"]) for line in lines}


def _snapshot() -> None:
    """Copy what a run needs, so that work may go on here meanwhile."""
    folder = _PARENT / "source"
    folder.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            skipped = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=skipped)
        else:
            shutil.copy(ROOT / name, folder / name)
    # Compiled files are checked by content: a file changed within a second is seen.
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "."],
        cwd=folder, check=False, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def _copy_of(worker: int) -> Path:
    folder = _PARENT / str(worker)
    if not folder.exists():
        shutil.copytree(_PARENT / "source", folder)
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the list; 0 where enough is noticed."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--only", default="", help="only errors whose name or file has this in it")
    parser.add_argument("--workers", type=int, default=0, help="runs side by side; 0 = one a core")
    parser.add_argument("--check", action="store_true", help="only check that all texts are found")
    parser.add_argument("--no-baseline", action="store_true", help="do not run the tests unchanged")
    parser.add_argument("--state", type=Path, help="keep what is done here, and go on from it")
    args = parser.parse_args(arguments)
    mutants = [m for m in read_mutants() if args.only in m.name or args.only in m.file]
    if not mutants:
        print("no such error in the list", file=sys.stderr)
        return 2
    if args.check:
        if problems := broken(mutants):
            print("\n".join(problems), file=sys.stderr)
            return 2
        print(f"{len(mutants)} errors, all texts found")
        return 0
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    sys.dont_write_bytecode = True
    for name in HEAVY:
        importlib.import_module(name)
    workers = args.workers or len(os.sched_getaffinity(0))
    return _all(mutants, workers, not args.no_baseline, args.state)


def _all(mutants: Sequence[Mutant], workers: int, baseline: bool, state: Path | None) -> int:
    global _PARENT
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as place:
        _PARENT = Path(place)
        _snapshot()
        problems = broken(mutants, _PARENT / "source")
        if problems:
            print("\n".join(problems), file=sys.stderr)
            return 2
        keys = {mutant.name: _key(mutant, _PARENT / "source") for mutant in mutants}
        earlier = _done(state)
        outcomes = [
            Outcome(mutant, *earlier[keys[mutant.name]])
            for mutant in mutants
            if keys[mutant.name] in earlier
        ]
        open_ = [mutant for mutant in mutants if keys[mutant.name] not in earlier]
        if outcomes:
            print(f"{len(outcomes)} were done before, {len(open_)} are left", flush=True)
        if baseline and open_:
            folder = _copy_of(0)
            tests = list(dict.fromkeys(test for mutant in open_ for test in mutant.tests))
            if _pytest(folder, tests, folder / "log.txt") != 0:
                print((folder / "log.txt").read_text(errors="replace")[-3000:], file=sys.stderr)
                print("the tests fail without any error put in", file=sys.stderr)
                return 2
            print(f"the tests pass unchanged, {time.monotonic() - began:.0f} s", flush=True)
        with multiprocessing.get_context("fork").Pool(max(1, min(workers, len(open_)))) as pool:
            for outcome in pool.imap_unordered(_try, open_):
                outcomes.append(outcome)
                if state is not None:
                    with state.open("a") as stream:
                        line = {
                            "key": keys[outcome.mutant.name],
                            "name": outcome.mutant.name,
                            "ended": outcome.ended,
                            "seconds": round(outcome.seconds, 1),
                            "words": outcome.words,
                        }
                        stream.write(json.dumps(line) + "\n")
                print(
                    f"{outcome.ended:<9} {outcome.seconds:5.0f} s  {outcome.mutant.file}: "
                    f"{outcome.mutant.name}  {outcome.words}",
                    flush=True,
                )
    missed = [outcome.mutant for outcome in outcomes if outcome.ended == "unnoticed"]
    share = 1 - len(missed) / len(outcomes)
    for mutant in missed:
        print(f"not noticed: {mutant.file}: {mutant.name}")
    print(
        f"{len(outcomes) - len(missed)} of {len(outcomes)} errors noticed "
        f"({100 * share:.1f} %), {time.monotonic() - began:.0f} s"
    )
    return 0 if share >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
