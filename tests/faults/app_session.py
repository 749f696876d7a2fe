"""The app and its user as one command: start it, ask for a prediction, wait until that has ended.

Started again after a kill, it finds the job of before and waits for it, or asks again where it was
lost. Workers are processes of their own, as the app starts them; they are stopped apart.
"""

from __future__ import annotations

import contextlib
import csv
import os
import re
import signal
import sqlite3
import sys
import time
from pathlib import Path

import requests
import uvicorn  # noqa: F401  imported once, for all children
from children import run

import crystal_diffusion.app.server  # noqa: F401
from crystal_diffusion.app.jobs import CANCELLED, DONE, FAILED, LOST, PARTIAL
from crystal_diffusion.runs.folder import cif_text

_ADDRESS = re.compile(r"(http://127\.0\.0\.1:\d+)/\?token=(\S+)")
#: Keys of jobs whose request was answered.
_ASKED = "asked"
#: Requests of one visit; on a full disk none of them can end well.
_MOST_TRIES = 3


def use_app(words: list[str]) -> int:
    """One visit; the exit code of the app, 0 where the prediction ended well.

    Args:
        words: ``app`` and the folder of the app.
    """
    folder = Path(words[1])
    reading, writing = os.pipe()
    app = os.fork()
    if not app:
        os.close(reading)
        os.dup2(writing, 1)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8")
        code = 70
        try:
            code = run(["app", "--folder", str(folder), "--port", "0", "--no-browser"])
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as told:
        first = told.readline()
        found = _ADDRESS.search(first)
        if found is None:
            sys.stdout.write(first + told.read())
            return os.waitstatus_to_exitcode(os.waitpid(app, 0)[1])
        try:
            _visit(folder, found[1], found[2])
        finally:
            os.kill(app, signal.SIGINT)
            code = os.waitstatus_to_exitcode(os.waitpid(app, 0)[1])
    return code


def _visit(folder: Path, base: str, token: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.get(f"{base}/", params={"token": token}, timeout=60)
        session.headers["Origin"] = base
        asked = 0
        while True:
            jobs = session.get(f"{base}/api/jobs", timeout=60).json()
            state = jobs[0]["state"] if jobs else LOST
            if state in (DONE, PARTIAL):
                return
            if state in (LOST, FAILED, CANCELLED):
                if asked == _MOST_TRIES:
                    print(f"the job is {state}: {jobs[0]['problem'] if jobs else ''}", flush=True)
                    raise SystemExit(2)
                _ask(folder, session, base)
                asked += 1
            time.sleep(0.2)


def _ask(folder: Path, session: requests.Session, base: str) -> None:
    """Drop crystals and ask for their properties."""
    from verbs import crystals

    key = session.post(f"{base}/api/uploads", timeout=60).json()["id"]
    for name, structure in crystals(2).items():
        text = cif_text(structure, name)
        session.put(
            f"{base}/api/uploads/{key}/{name}.cif", data=text.encode(), timeout=60
        ).raise_for_status()
    answer = session.post(
        f"{base}/api/jobs", json={"kind": "predict", "answers": {"files": key}}, timeout=60
    )
    answer.raise_for_status()
    with (folder.parent / _ASKED).open("a") as asked:
        asked.write(answer.json()["id"] + "\n")


def jobs_of(folder: Path) -> dict[str, tuple[str, int | None]]:
    """State and process of each job of an app, the newest first; none before there is a table."""
    table = folder / "jobs.sqlite"
    if not table.is_file():
        return {}
    with contextlib.closing(sqlite3.connect(table, timeout=30)) as connection:
        try:
            rows = connection.execute("SELECT id, state, pid FROM jobs ORDER BY created DESC")
            return {key: (state, pid) for key, state, pid in rows}
        except sqlite3.OperationalError:
            return {}


def forgotten(folder: Path) -> list[str]:
    """Jobs whose request was answered and that are not in the table."""
    asked = folder.parent / _ASKED
    said = asked.read_text().split() if asked.is_file() else []
    return sorted(set(said) - set(jobs_of(folder)))


def finished(folder: Path) -> list[list[dict[str, str]]]:
    """Tables of the jobs that ended well; the paths of files in them are left out."""
    tables = []
    for key, (state, _) in jobs_of(folder).items():
        if state in (DONE, PARTIAL):
            table = folder / "jobs" / key / "predicted" / "properties.csv"
            rows = csv.DictReader(table.read_text(encoding="utf-8").splitlines())
            tables.append([{k: v for k, v in row.items() if k != "source"} for row in rows])
    return tables


def workers(folder: Path) -> list[int]:
    """Processes of jobs that live."""
    found = [pid for _, pid in jobs_of(folder).values() if pid is not None]
    return [pid for pid in found if _lives(pid, folder)]


def _lives(pid: int, folder: Path) -> bool:
    """Whether it is still a process of this folder: numbers are given to others again."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return False
    return str(folder) in words
