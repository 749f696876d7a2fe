"""What is done with damaged input, in the process that calls: the result is a word.

"read": accepted; "refused": one sentence of ours; anything else is raised and is a fault.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import random
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import mutations
import numpy as np
import seeds
import typer

from crystal_diffusion.app.jobs import Jobs
from crystal_diffusion.data.check import check_source
from crystal_diffusion.data.readers import iter_crystals
from crystal_diffusion.discovery.loop import Discovery
from crystal_diffusion.discovery.reporting import write_discovery
from crystal_diffusion.errors import CrystalDiffusionError
from crystal_diffusion.prediction.model import load_properties
from crystal_diffusion.runs.folder import RunFolder
from crystal_diffusion.runs.reading import read_rows
from crystal_diffusion.runs.rows import relaxed_structures
from crystal_diffusion.screening.pipeline import screen
from crystal_diffusion.screening.settings import ScreenSettings, read_candidates
from crystal_diffusion.skeletons.distribution import SkeletonModel
from crystal_diffusion.training.checkpoint import read_tensors
from crystal_diffusion.viewer.report import write_report
from crystal_diffusion.viewer.report_data import gather


def readers(number: int, folder: Path) -> str:
    """A damaged file of some format, read, ordered and, now and then, checked."""
    rng = random.Random(f"readers {number}")
    files = seeds.files()
    name = rng.choice(list(files))
    raw = files[name]
    if ".json" in name and not name.endswith(".gz") and rng.random() < 0.5:
        raw = mutations.damage_json(raw, rng)
    else:
        raw = mutations.damage(raw, rng, tuple(files.values()))
    path = folder / name
    path.write_bytes(raw)
    disorder = rng.choice(("skip", "order"))
    good = 0
    try:
        for record in iter_crystals(
            path, disorder=disorder, left_handed="swap", primitive=rng.random() < 0.1
        ):
            if record.structure is None:
                if not record.problem:
                    raise AssertionError("a crystal without structure and without reason")
                continue
            good += 1
            lattice, coords = record.structure.lattice.matrix, record.structure.frac_coords
            if not (np.isfinite(lattice).all() and np.isfinite(coords).all()):
                raise AssertionError("a crystal with numbers that are not finite was accepted")
            if abs(np.linalg.det(lattice)) < 1e-9:
                raise AssertionError("a crystal without volume was accepted")
        if number % 10 == 0:
            check_source(path, disorder=disorder, processes=1)
    except CrystalDiffusionError:
        return "refused"
    finally:
        path.unlink(missing_ok=True)
    return "read" if good else "refused"


def runs(number: int, folder: Path) -> str:
    """A run folder with damaged files: opened, reported, screened again."""
    rng = random.Random(f"runs {number}")
    files = dict(seeds.run_folder())
    important = [n for n in files if not n.startswith(("cif/", "relaxed/"))]
    for name in rng.sample(important, rng.choice((1, 1, 1, 2, 3))):
        if name.endswith((".json", ".jsonl")) and rng.random() < 0.7:
            files[name] = mutations.damage_json(files[name], rng)
        elif rng.random() < 0.1:
            del files[name]
        else:
            files[name] = mutations.damage(files[name], rng)
    path = folder / "run"
    for name, raw in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(raw)
    answers = []
    try:
        answers = [
            _said(lambda: RunFolder.open(path).structures()),
            _said(lambda: RunFolder.open(path).rows()),
            _said(lambda: RunFolder.open(path).rejected()),
            _said(lambda: relaxed_structures(path)),
            _said(lambda: read_rows(path / "screening.jsonl")),
            _said(lambda: gather(path)),
        ]
        if number % 4 == 0:
            answers.append(_said(lambda: write_report(path)))
        if number % 8 == 0:
            answers.append(_said(lambda: _screen(path)))
    finally:
        shutil.rmtree(path, ignore_errors=True)
    return "refused" if "refused" in answers else "read"


def _screen(path: Path) -> None:
    settings = ScreenSettings(
        stages=("group", "rank"), potentials=("pair",), executor="here", cache=path / "cache"
    )
    screen(read_candidates(path), settings)


def _said(call: object) -> str:
    try:
        call()  # type: ignore[operator]
    except CrystalDiffusionError:
        return "refused"
    return "read"


def models(number: int, folder: Path) -> str:
    """A model folder with a damaged file, loaded as ``generate`` and ``predict`` load it."""
    rng = random.Random(f"models {number}")
    adapted = number % 3 == 2
    files = dict(seeds.adapted_folder() if adapted else seeds.model_folder())
    names = [n for n in files if n.endswith(".safetensors")] + ["training_set.npz"]
    name = rng.choice(names)
    raw = files[name]
    if name != "training_set.npz" and rng.random() < 0.6:
        raw = _damaged_header(raw, rng)
    else:
        raw = mutations.damage(raw, rng) if len(raw) < 300_000 else _flipped(raw, rng)
    path = folder / "model"
    path.mkdir()
    for other, content in (files | {name: raw}).items():
        (path / other).write_bytes(content)
    try:
        if name == "state.safetensors":
            answers = [_said(lambda: read_tensors(path / name))]
        else:
            answers = [_said(lambda: _loaded(path)), _said(lambda: _inspected(path / name))]
            if adapted:
                answers += [
                    _said(lambda: SkeletonModel.load(path / "skeletons.safetensors")),
                    _said(lambda: _predicted(path)),
                ]
    finally:
        shutil.rmtree(path, ignore_errors=True)
    return "refused" if "refused" in answers else "read"


def _damaged_header(raw: bytes, rng: random.Random) -> bytes:
    """The header of a file of tensors changed: as bytes, as JSON, or our own entry in it."""
    length = int.from_bytes(raw[:8], "little")
    header = raw[8 : 8 + length]
    way = rng.random()
    if way < 0.2:
        header = mutations.damage(header, rng)
    elif way < 0.4:
        header = mutations.damage_json(header, rng)
    else:
        # Ours, inside that of the format: what it says changes, the tensors stay.
        tree = json.loads(header)
        own = json.loads(tree["__metadata__"]["crystal_diffusion"])
        if rng.random() < 0.8:
            # As a file of before there was a checksum, so that what it says is looked at.
            own.pop("header_sha256", None)
        damaged = mutations.damage_json(json.dumps(own).encode(), rng)
        tree["__metadata__"]["crystal_diffusion"] = damaged.decode("utf-8", "replace")
        header = json.dumps(tree).encode()
    return len(header).to_bytes(8, "little") + header + raw[8 + length :]


def _loaded(path: Path) -> None:
    from crystal_diffusion.generation.loading import load

    generator = load(path, "cpu")
    if generator.path is None:
        raise AssertionError("a model of a folder without its folder")


def _inspected(file: Path) -> None:
    """What ``inspect`` says, without its table."""
    if file.suffix != ".safetensors":
        return
    from crystal_diffusion.cli.inspect import inspect

    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(typer.Exit):
        inspect(file)


def _predicted(path: Path) -> None:
    """A crystal judged by what the folder has of the user's own."""
    told = load_properties(path).predict([seeds.crystals()["salt"]])
    if not told.refused and not np.isfinite(told.values).any():
        raise AssertionError("nothing was predicted, and nothing was refused")


def folders(number: int, folder: Path) -> str:
    """Discoveries and folders of the app with damaged files, opened as their commands do."""
    rng = random.Random(f"folders {number}")
    discovery = number % 2 == 0
    files = dict(seeds.discovery_folder() if discovery else seeds.app_folder())
    for name in rng.sample(list(files), rng.choice((1, 1, 2))):
        if name.endswith((".json", ".jsonl")) and rng.random() < 0.7:
            files[name] = mutations.damage_json(files[name], rng)
        elif rng.random() < 0.1:
            del files[name]
        else:
            files[name] = mutations.damage(files[name], rng)
    path = folder / "work"
    path.mkdir()
    for name, raw in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(raw)
    try:
        return _said(lambda: _discovered(path) if discovery else _listed(path, rng))
    finally:
        shutil.rmtree(path, ignore_errors=True)


@functools.lru_cache(maxsize=1)
def _known() -> tuple[Any, Any]:
    """A generator, and the index of known crystals for a potential without weights."""
    sys.path.append(str(Path(__file__).parent.parent / "faults"))
    from verbs import use_springs

    from crystal_diffusion.generation.loading import load
    from crystal_diffusion.known import index

    use_springs()
    return load(None, "cpu"), index.load_known()


def _discovered(path: Path) -> None:
    generator, known = _known()
    discovery = Discovery(path, seeds.DISCOVERY, generator, known)
    discovery._open_logs()
    discovery._clock_of_logs()
    if discovery._next_round() < 1:
        raise AssertionError("there is no such round")
    found = discovery.found()
    # Where a round was lost, others must not take its place.
    names = {entry["id"] for row in discovery.rounds.rows.values() for entry in row["candidates"]}
    if not {one.id for one in found} <= names:
        raise AssertionError("a verdict without its candidate")
    write_discovery(path, seeds.DISCOVERY, found, known, 1.0)


def _listed(path: Path, rng: random.Random) -> None:
    """The jobs of an app as its page asks for them; none of their workers is started."""
    jobs = Jobs(path, at_once=1)
    jobs._start = lambda job: jobs._set(job.id, state="failed")  # type: ignore[method-assign]
    try:
        jobs.look()
        for job in jobs.all():
            jobs.view(job)
            jobs.answers(job.id)
            try:
                jobs.plan(job.kind, jobs.answers(job.id), job.id)
            except CrystalDiffusionError:
                pass
        if rng.random() < 0.3 and jobs.all():
            jobs.remove(jobs.all()[0].id)
    except sqlite3.DatabaseError:
        # The server answers with the name of the file.
        raise CrystalDiffusionError("the table of jobs is damaged") from None
    finally:
        jobs.close()


def _flipped(raw: bytes, rng: random.Random) -> bytes:
    data = bytearray(raw)
    for _ in range(rng.choice((1, 2, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


#: Not drawn: it takes a minute whatever is asked of it.
_LONG_VERBS = ("demo",)
#: With these the app would begin to serve; without them it is given a file as its folder.
_LEFT_OUT = {"app": ("--folder", "--browser", "--no-browser")}


@functools.lru_cache(maxsize=1)
def _options() -> dict[str, tuple[tuple[str, bool], ...]]:
    """Every verb of the command line, and its options with whether they take a value."""
    from typer.main import get_command

    from crystal_diffusion.cli import verbs

    commands = get_command(verbs).commands
    return {
        name: tuple(
            (option, not getattr(parameter, "is_flag", False))
            for parameter in command.params
            for option in (*parameter.opts, *parameter.secondary_opts)
            if option.startswith("-") and option not in _LEFT_OUT.get(name, ())
        )
        for name, command in commands.items()
        if name not in _LONG_VERBS
    }


_ODD = (
    "", "0", "-1", "7", "nan", "inf", "-inf", "1e300", "1e-300", "99999999999999999999", "x",
    "x[/y]",
    "[bold]", "a,b,,c", "../..", "/", "/proc/self/mem", "a" * 300, "a" * 4000, "\udcff\udcfe", "é☃",
    "1-", "8-4", "1-999999999", "5,5,5,90,90,90", "5,5,5,1,1,170", "1e300,5,5,90,90,90",
    "NaCl",
    "Na0", "Xx2", "Fm-3m", "231", "225", "Na:1a", "postgresql://nobody@127.0.0.1:1/x", "ray:x",
    "=1+1", "cuda:99", "-", "--", "{run}", "{cif}", "{model}", "{cif}/x",
)  # fmt: skip


#: What a verb is told first where that is no file of crystals.
_FIRST = {
    "benchmark": ("mp20", "x"),
    "fetch": ("optimade", "icsd", "cod", "mp", "x"),
}


def arguments(number: int, folder: Path) -> str:
    """A command line with at least one odd word; only verbs and words that end soon."""
    from crystal_diffusion.cli import main

    rng = random.Random(f"arguments {number}")
    options = _options()
    verb = rng.choice(list(options))
    run, model, cif = folder / "run", folder / "model", folder / "one.cif"
    for name, raw in seeds.run_folder().items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(raw)
    model.mkdir()
    for name, raw in seeds.model_folder().items():
        (model / name).write_bytes(raw)
    cif.write_bytes(seeds.SYMMETRIC_CIF)
    places = {"{run}": str(run), "{cif}": str(cif), "{model}": str(model)}

    def odd() -> str:
        word = rng.choice(_ODD)
        for name, place in places.items():
            word = word.replace(name, place)
        return word

    source = {"dft": run, "report": run, "screen": run, "evaluate": run, "inspect": model}
    first = str(source.get(verb, model if verb in ("generate", "distill") else cif))
    if verb in _FIRST:
        first = rng.choice(_FIRST[verb])
    if rng.random() < 0.2 or verb == "cache":
        first = odd()
    words = [verb] if verb in ("app", "discover", "doctor") else [verb, first]
    # A small run where nothing else is odd; the odd words come after and win.
    words += {
        "generate": ["-n", "1", "--sampling-steps", "2", "--max-attempts", "1", "--formula", "NaCl",
                     "--out", str(folder / "new")],
        "train": ["--steps", "1", "--dim", "16", "--layers", "1", "--out", str(folder / "new")],
        "screen": ["--stages", "validate,rank", "--executor", "here"],
        "relax": ["--potential", "pair", "--executor", "here", "--relax-steps", "1",
                  "--out", str(folder / "new")],
        "check": [], "view": ["--out", str(folder / "x.html")],
        "benchmark": ["--split", str(cif), "-n", "1", "--candidates", "1"],
        "cache": ["--folder", str(folder)],
        "app": ["--folder", str(cif), "--no-browser"],
        "discover": ["--budget", "1", "--batch", "1", "--most-atoms", "6", "--potential", "pair",
                     "--executor", "here", "--out", str(folder / "new")],
        "distill": ["--steps", "1", "--out", str(folder / "new")],
        "fetch": ["all", "--provider", "http://127.0.0.1:9", "--out", str(folder / "new.parquet")],
    }.get(verb, [])  # fmt: skip
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        option, takes_value = rng.choice(options[verb] or (("", False),))
        if option and rng.random() < 0.9:
            words += [option, odd()] if takes_value else [option]
        else:
            words.append(odd())
    before = sys.argv, os.getcwd()
    captured = io.TextIOWrapper(io.BytesIO(), errors="backslashreplace")
    code: object = 0
    try:
        os.chdir(folder)
        sys.argv = ["crystal-diffusion", *words]
        with contextlib.redirect_stdout(captured), contextlib.redirect_stderr(captured):
            main()
    except SystemExit as stop:
        code = stop.code
    finally:
        sys.argv = before[0]
        os.chdir(before[1])
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    captured.flush()
    text = captured.buffer.getvalue().decode("utf-8", "replace")  # type: ignore[attr-defined]
    if code == 70 or "Traceback (most recent call last)" in text:
        raise AssertionError(f"{words}: traceback: {text[-1500:]}")
    return "read" if code in (0, 1, None) else "refused"


TARGETS = {
    "readers": readers,
    "runs": runs,
    "models": models,
    "arguments": arguments,
    "folders": folders,
}
