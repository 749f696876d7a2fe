"""What a stage has found so far: one JSON line per id, on disk before it counts as done.

A line belongs to a crystal and to settings: it says the hash of both, and is used only where both
agree. A file that was replaced under its old name, or a run made anew, is done again. A kill can
cut the last line short; it is taken off when the file is opened again.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from crystal_diffusion.errors import InputError
from crystal_diffusion.files import append_to, atomic_write, make_folder
from crystal_diffusion.runs.reading import check_row

log = logging.getLogger(__name__)


class StageLog:
    """Append-only results of one stage.

    Attributes:
        path: the ``.jsonl`` file.
        settings: what the results depend on beside the crystal, as one string.
        contents: hash of each crystal by id (`runs.rows.structure_hash`).
        rows: usable results by id.
    """

    def __init__(
        self,
        path: Path,
        settings: str,
        contents: Mapping[str, str] | None = None,
        check: Callable[[Mapping[str, Any]], None] = check_row,
    ) -> None:
        self.path, self.settings, self._check = path, settings, check
        self.contents: Mapping[str, str] = {}
        self.rows: dict[str, dict[str, Any]] = {}
        #: (id, content) → row, of the settings asked for.
        self._stored: dict[tuple[str, str], dict[str, Any]] = {}
        if path.exists():
            self._read()
        self.bind(contents or {})

    def bind(self, contents: Mapping[str, str]) -> None:
        """Use the results of these crystals, and only where their content is the same."""
        self.contents = dict(contents)
        self.rows = {
            key: row
            for (key, content), row in self._stored.items()
            if self.contents.get(key, "") == content
        }

    def _read(self) -> None:
        try:
            raw = self.path.read_bytes()
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror}).") from error
        whole = raw[: raw.rfind(b"\n") + 1]
        if len(whole) < len(raw):
            log.warning("%s: the last line was cut short; it is done again", self.path)
            with atomic_write(self.path) as part:
                part.write_bytes(whole)
        for line in whole.decode("utf-8", errors="replace").split("\n"):
            if not line:
                continue
            try:
                entry = json.loads(line)
                key, used, body = entry["id"], entry["settings"], entry["row"]
                content = entry.get("content", "")
                if not (isinstance(key, str) and isinstance(body, dict)):
                    raise TypeError
                self._check(body)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                log.warning("%s: a line is damaged; that crystal is done again", self.path)
                continue
            if used == self.settings and isinstance(content, str):
                self._stored[key, content] = body

    def add(self, key: str, row: Mapping[str, Any]) -> None:
        """Record a result; when this returns, it is on the disk.

        Raises:
            InputError: the disk is full or the folder cannot be written.
        """
        self.add_many({key: row})

    def add_many(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Record several results with one write."""
        text = "".join(
            json.dumps(
                {
                    "id": key,
                    "settings": self.settings,
                    "content": self.contents.get(key, ""),
                    "row": dict(row),
                }
            )
            + "\n"
            for key, row in rows.items()
        )
        make_folder(self.path.parent)
        with append_to(self.path) as stream:
            try:
                stream.write(text.encode("utf-8"))
                stream.flush()
                os.fsync(stream.fileno())
            except OSError as error:
                raise InputError(
                    f"{self.path}: cannot be written ({error.strerror}); free some space and start "
                    "again, what is done is kept"
                ) from error
        for key, row in rows.items():
            self._stored[key, self.contents.get(key, "")] = dict(row)
            self.rows[key] = dict(row)

    def clear(self) -> None:
        """Forget everything (a stage that is done for all crystals at once starts anew).

        Raises:
            InputError: the file cannot be removed.
        """
        self.rows, self._stored = {}, {}
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be removed ({error.strerror}).") from error
