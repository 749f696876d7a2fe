"""What a stage has found so far: one JSON line per id, on disk before it counts as done.

A kill can cut the last line short; it is taken off when the file is opened again. Lines written
with other settings are not used.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crystal_diffusion.errors import InputError

log = logging.getLogger(__name__)


class StageLog:
    """Append-only results of one stage.

    Attributes:
        path: the ``.jsonl`` file.
        settings: what the results depend on, as one string; part of every line.
        rows: usable results by id.
    """

    def __init__(self, path: Path, settings: str) -> None:
        self.path, self.settings = path, settings
        self.rows: dict[str, dict[str, Any]] = {}
        if path.exists():
            self._read()

    def _read(self) -> None:
        raw = self.path.read_bytes()
        whole = raw[: raw.rfind(b"\n") + 1]
        if len(whole) < len(raw):
            log.warning("%s: the last line was cut short; it is done again", self.path)
            with self._open("r+b") as stream:
                stream.truncate(len(whole))
        for line in whole.decode("utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
                key, used, body = row["id"], row["settings"], row["row"]
            except (ValueError, KeyError, TypeError):
                log.warning("%s: a line is damaged; that crystal is done again", self.path)
                continue
            if used == self.settings:
                self.rows[key] = body

    def _open(self, mode: str) -> Any:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return self.path.open(mode)
        except OSError as error:
            raise InputError(
                f"{self.path}: cannot be written ({error.strerror}); choose another folder "
                "with --out"
            ) from error

    def add(self, key: str, row: Mapping[str, Any]) -> None:
        """Record a result; when this returns, it is on the disk.

        Raises:
            InputError: the disk is full or the folder cannot be written.
        """
        self.add_many({key: row})

    def add_many(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Record several results with one write."""
        text = "".join(
            json.dumps({"id": key, "settings": self.settings, "row": dict(row)}) + "\n"
            for key, row in rows.items()
        )
        with self._open("ab") as stream:
            try:
                stream.write(text.encode("utf-8"))
                stream.flush()
                os.fsync(stream.fileno())
            except OSError as error:
                raise InputError(
                    f"{self.path}: cannot be written ({error.strerror}); free some space and start "
                    "again, what is done is kept"
                ) from error
        self.rows.update((key, dict(row)) for key, row in rows.items())

    def clear(self) -> None:
        """Forget everything (a stage that is done for all crystals at once starts anew)."""
        self.rows = {}
        self.path.unlink(missing_ok=True)
