"""Jobs of the app: one table, a worker process each; they outlive the app and its end.

The table says what was asked and when; whether a worker lives is read from its lock, how it ended
from the file it wrote last. So a restart of the app, or a kill of either, loses nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from crystal_diffusion.app import worker
from crystal_diffusion.app.forms import Commands, commands, spoken
from crystal_diffusion.errors import InputError
from crystal_diffusion.files import below, make_folder, write_text

_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, title TEXT NOT NULL, answers TEXT NOT NULL,
    commands TEXT NOT NULL, out TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL,
    started REAL, ended REAL, pid INTEGER, exit_code INTEGER, problem TEXT NOT NULL DEFAULT ''
)
"""
_ID = re.compile(r"[0-9a-f]{12}")
#: Bytes of a log that are kept for the page.
_LOG_TAIL = 16_384
#: A worker that has not taken its lock after this many seconds never started.
_STARTS_WITHIN_S = 60.0
QUEUED, RUNNING, DONE, PARTIAL, FAILED, CANCELLED, LOST = (
    "queued", "running", "done", "partial", "failed", "cancelled", "lost",
)  # fmt: skip


#: By the exit code of the command line.
_STATES = {0: DONE, 1: PARTIAL, 130: CANCELLED}


@dataclass(frozen=True)
class Job:
    """One job as the table has it.

    Attributes:
        id: twelve hexadecimal digits.
        kind: of its form.
        title: a few words.
        commands: words of its command lines.
        out: folder with its result, relative to the app's folder; empty for none.
        state: queued, running, done, partial (some crystals failed), failed, cancelled or lost
            (its process was killed).
        created, started, ended: seconds since 1970.
        pid: process of its worker.
        exit_code: of the command line.
        problem: why it failed, one sentence.
    """

    id: str
    kind: str
    title: str
    commands: tuple[tuple[str, ...], ...]
    out: str
    state: str
    created: float
    started: float | None
    ended: float | None
    pid: int | None
    exit_code: int | None
    problem: str

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.state not in (QUEUED, RUNNING)


class Jobs:
    """All jobs of one folder.

    Attributes:
        folder: ``jobs.sqlite``, ``jobs/ID/`` with log and results, ``uploads/ID/``.
        at_once: workers that may run side by side.
    """

    def __init__(self, folder: Path, at_once: int = 1) -> None:
        self.folder = make_folder(folder)
        self.at_once = at_once
        make_folder(folder / "jobs")
        make_folder(folder / "uploads")
        self._lock = threading.RLock()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        try:
            self._table = sqlite3.connect(folder / "jobs.sqlite", check_same_thread=False)
            self._table.row_factory = sqlite3.Row
            self._table.execute("PRAGMA journal_mode=WAL")
            self._table.execute(_TABLE)
            self._table.commit()
            # A damaged index loses jobs that the list still shows.
            told = self._table.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if told != "ok":
                raise ValueError(str(told).splitlines()[0])
            self.all()
        except (sqlite3.Error, ValueError, TypeError, IndexError, RecursionError) as error:
            raise InputError(
                f"{folder / 'jobs.sqlite'}: cannot be used ({error}); choose another --folder, or "
                "move that file away to begin with an empty list."
            ) from error

    def close(self) -> None:
        """Close the table; workers go on."""
        with self._lock:
            self._table.close()

    def all(self) -> list[Job]:
        """All jobs, the newest first."""
        with self._lock:
            rows = self._table.execute("SELECT * FROM jobs ORDER BY created DESC").fetchall()
        return [_job(row) for row in rows]

    def get(self, key: str) -> Job:
        """One job.

        Raises:
            KeyError: when there is none of that id.
        """
        with self._lock:
            row = self._table.execute("SELECT * FROM jobs WHERE id = ?", (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        return _job(row)

    def place(self, key: str) -> Path:
        """The folder of a job."""
        return below(self.folder, "jobs", key)

    def result(self, job: Job) -> Path | None:
        """The folder with a job's result; None where there is none."""
        return below(self.folder, *job.out.split("/")) if job.out else None

    def plan(self, kind: str, answers: Mapping[str, Any], key: str) -> Commands:
        """The command lines of a filled form, with what it names looked up.

        Raises:
            InputError: for answers that cannot be, ids that are not here, jobs not ended.
        """
        planned = commands(kind, answers, key)
        for name in ("model", "run"):
            if answers.get(name):
                try:
                    job = self.get(str(answers[name]))
                except KeyError:
                    raise InputError(f"There is no {name} {answers[name]} here.") from None
                if job.state not in (DONE, PARTIAL, CANCELLED):
                    raise InputError(f"The {name} {job.id} is {job.state}; choose one that ended.")
        for name in ("files", "host"):
            if answers.get(name):
                place = below(self.folder, "uploads", str(answers[name]))
                if not place.is_dir() or not any(place.iterdir()):
                    raise InputError("The files are not here; drop them again.")
        if answers.get("host"):
            files = list(below(self.folder, "uploads", str(answers["host"])).iterdir())
            if len(files) != 1:
                raise InputError(f"Host: {len(files)} files were dropped; give one.")
            before = f"uploads/{answers['host']}"
            whole = tuple(
                tuple(w.replace(before, f"{before}/{files[0].name}") for w in one)
                for one in planned.commands
            )
            planned = Commands(whole, planned.out, planned.title)
        return planned

    def add(self, kind: str, answers: Mapping[str, Any]) -> Job:
        """Put a filled form into the queue.

        Raises:
            InputError: as :meth:`plan`, and when the folder cannot be written.
        """
        key = secrets.token_hex(6)
        planned = self.plan(kind, answers, key)
        place = make_folder(self.place(key))
        if planned.out.endswith("/predicted"):
            make_folder(place / "predicted")  # for the table that the command will write
        with self._lock:
            self._table.execute(
                "INSERT INTO jobs (id, kind, title, answers, commands, out, state, created) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    key, kind, planned.title, json.dumps(dict(answers)),
                    json.dumps(planned.commands), planned.out, QUEUED, time.time(),
                ),
            )  # fmt: skip
            self._table.commit()
        self.look()
        return self.get(key)

    def answers(self, key: str) -> dict[str, Any]:
        """What was filled in, to ask again; nothing where that is damaged."""
        with self._lock:
            row = self._table.execute("SELECT answers FROM jobs WHERE id = ?", (key,)).fetchone()
        try:
            return dict(json.loads(row["answers"])) if row else {}
        except (ValueError, TypeError, RecursionError):
            return {}

    def look(self) -> None:
        """See which workers have ended, and start those that wait."""
        with self._lock:
            jobs = self.all()
            for job in jobs:
                if job.state == RUNNING:
                    self._see(job)
            jobs = self.all()
            running = [job for job in jobs if job.state == RUNNING]
            busy = {job.out for job in running if job.out}
            for job in reversed(jobs):
                if job.state == QUEUED and len(running) < self.at_once and job.out not in busy:
                    self._start(job)
                    running.append(job)
                    busy.add(job.out)

    def _start(self, job: Job) -> None:
        place = self.place(job.id)
        # What runs follows from the answers alone: the folder may be one that somebody sent.
        try:
            planned = self.plan(job.kind, self.answers(job.id), job.id)
            make_folder(place)
            write_text(place / "job.json", json.dumps({"commands": planned.commands}))
        except InputError as error:
            self._end(job, FAILED, None, str(error)[:500])
            return
        environment = {
            **os.environ,
            "CRYSTAL_DIFFUSION_PROGRESS": str((place / "progress.json").resolve()),
            "PYTHONPATH": os.pathsep.join(
                [str(Path(worker.__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
            ).rstrip(os.pathsep),
            "COLUMNS": "110",
            "PYTHONUNBUFFERED": "1",
        }
        try:
            with (place / "log.txt").open("ab") as log:
                child = subprocess.Popen(
                    [sys.executable, str(Path(worker.__file__)), str(place.resolve())],
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                )
        except OSError as error:
            self._end(job, FAILED, None, f"its process could not be started ({error.strerror})")
            return
        self._children[job.id] = child
        self._set(job.id, state=RUNNING, started=time.time(), pid=child.pid)

    def _see(self, job: Job) -> None:
        """Take note where a running worker has ended."""
        child = self._children.get(job.id)
        if child is not None and child.poll() is None:
            return
        place = self.place(job.id)
        if self._lives(place):
            return
        end = place / "end.json"
        if end.is_file():
            code = _code(end)
            state = FAILED if code is None else _STATES.get(code, FAILED)
            self._end(job, state, code, self._problem(place) if state == FAILED else "")
        elif child is None and time.time() - (job.started or 0) < _STARTS_WITHIN_S:
            return
        else:
            self._kill(job)
            asked = (place / "stop").exists()
            self._end(
                job,
                CANCELLED if asked else LOST,
                None if child is None else child.returncode,
                ""
                if asked
                else "its process was killed, or the disk is full; the same request "
                "can be started again",
            )
        self._children.pop(job.id, None)

    @staticmethod
    def _lives(place: Path) -> bool:
        """Whether a worker holds its lock."""
        lock = FileLock(place / "worker.lock", timeout=0, is_singleton=False)
        try:
            with lock:
                return False
        except Timeout:
            return True

    @staticmethod
    def _problem(place: Path) -> str:
        """The line of the log that says why."""
        lines = log_tail(place).splitlines()
        named = [line for line in lines if line.startswith(("error:", "fault:", "short:"))]
        return (named or lines or ["it ended without a word"])[-1][:500]

    def stop(self, key: str) -> None:
        """Ask a job to end and keep what is finished; a second time: at once."""
        with self._lock:
            job = self.get(key)
            if job.state == QUEUED:
                self._end(job, CANCELLED, None, "")
            if job.state != RUNNING or job.pid is None:
                return
            asked = self.place(key) / "stop"
            if asked.exists():
                self._kill(job)
                return
            asked.touch()
            with contextlib.suppress(OSError):
                os.kill(job.pid, signal.SIGINT)

    @staticmethod
    def _kill(job: Job) -> None:
        """End a worker and all it started."""
        if job.pid is None:
            return
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(job.pid, signal.SIGKILL)
            else:
                os.kill(job.pid, signal.SIGTERM)

    def remove(self, key: str) -> None:
        """Remove a job that has ended, with its results.

        Raises:
            InputError: while it runs, or another job that uses its results does.
        """
        place = f"jobs/{key}/"
        with self._lock:
            job = self.get(key)
            if not job.is_over:
                raise InputError("The job has not ended; stop it first.")
            for other in self.all():
                used = any(word.startswith(place) for one in other.commands for word in one)
                if used and not other.is_over:
                    raise InputError(
                        f"{other.title!r} uses its results and has not ended; stop that first."
                    )
            self._table.execute("DELETE FROM jobs WHERE id = ?", (key,))
            self._table.commit()
        shutil.rmtree(self.place(key), ignore_errors=True)

    def _set(self, key: str, **values: Any) -> None:
        names = ", ".join(f"{name} = ?" for name in values)
        with self._lock:
            self._table.execute(f"UPDATE jobs SET {names} WHERE id = ?", (*values.values(), key))
            self._table.commit()

    def _end(self, job: Job, state: str, code: int | None, problem: str) -> None:
        self._set(job.id, state=state, ended=time.time(), exit_code=code, problem=problem)

    def view(self, job: Job, log: bool = True) -> dict[str, Any]:
        """A job for the page: its row, its command line, progress and the end of its log."""
        place = self.place(job.id)
        result = self.result(job)
        plain: dict[str, Any] = {
            "id": job.id,
            "kind": job.kind,
            "title": job.title,
            "state": job.state,
            "created": job.created,
            "started": job.started,
            "ended": job.ended,
            "problem": job.problem,
            "command": spoken(job.commands),
            "progress": _progress(place) if job.state == RUNNING else None,
            "has_report": bool(result and (result / "report.html").is_file()),
            "has_run": bool(result and (result / "manifest.json").is_file()),
            "has_files": bool(result and result.is_dir()),
            "has_model": bool(result and (result / "model.safetensors").is_file()),
            "run": job.out.split("/")[1] if job.out.endswith("/run") else "",
        }
        return plain | ({"log": log_tail(place)} if log else {})


def log_tail(place: Path) -> str:
    """The end of a job's log."""
    try:
        with (place / "log.txt").open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - _LOG_TAIL))
            return log.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _code(end: Path) -> int | None:
    """The exit code that a worker wrote last; None where the file is damaged."""
    try:
        code = json.loads(end.read_text(encoding="utf-8"))["exit_code"]
        return code if isinstance(code, int) and abs(code) < 2**31 else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return None


def _progress(place: Path) -> dict[str, Any] | None:
    try:
        told = json.loads((place / "progress.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def _job(row: sqlite3.Row) -> Job:
    """A row as a job; ValueError, TypeError or IndexError (no such column) for damaged ones."""
    words = tuple(tuple(map(str, one)) for one in json.loads(row["commands"]))
    texts = ("id", "kind", "title", "out", "state", "problem")
    numbers = ("created", "started", "ended", "pid", "exit_code")
    if not all(isinstance(row[name], str) for name in texts) or not _ID.fullmatch(row["id"]):
        raise ValueError("a job has no name")
    if not all(row[name] is None or isinstance(row[name], int | float) for name in numbers):
        raise ValueError(f"the times of {row['id']} are no numbers")
    if row["out"] and any(part in ("", ".", "..") for part in row["out"].split("/")):
        raise ValueError(f"the result of {row['id']} is in no folder of the app")
    return Job(
        **{name: row[name] for name in row.keys() if name not in ("commands", "answers")},
        commands=words,
    )
