"""What was fetched so far, beside the table that it shall become: a killed fetch goes on.

JSON lines: first the request, then one line a page. A line is whole or it does not count.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from crystal_diffusion.data.provenance import NOT_KNOWN, Provenance
from crystal_diffusion.errors import InputError

_SUFFIX = ".unfinished"


@dataclass(frozen=True)
class Page:
    """One answer of a database.

    Attributes:
        cursor: what was asked for: an address or a position.
        next: what to ask for next; empty when this is the last page.
        entries: as the database sent them.
        origin: what all entries share of their provenance; ``retrieved_at`` is the time of this
            answer.
        total: how many entries there are in all, where the database says so.
    """

    cursor: str
    next: str
    entries: tuple[Any, ...]
    origin: Provenance = NOT_KNOWN
    total: int | None = None


@dataclass(frozen=True)
class PageHead:
    """A page that was fetched before, without its entries."""

    cursor: str
    next: str
    entries: int
    origin: Provenance
    total: int | None


def now() -> str:
    """The time, ISO 8601 in UTC."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def journal_path(out: Path) -> Path:
    """The journal of a table."""
    return out.with_name(out.name + _SUFFIX)


class Journal:
    """The pages of one fetch on disk; one process at a time writes it.

    Raises:
        InputError: when an unfinished fetch of another request is there, when another process
            writes it, or when the folder cannot be written.
    """

    def __init__(self, out: Path, request: Mapping[str, Any]) -> None:
        self.path = journal_path(out)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
        except OSError as error:
            raise InputError(
                f"{self.path} could not be written ({error.strerror}); give a folder that exists "
                "and has space."
            ) from error
        try:
            _lock(self._file.fileno(), self.path)
            self._keep_whole_lines()
            self._begin(dict(request))
        except BaseException:
            self._file.close()
            raise

    def _keep_whole_lines(self) -> None:
        """Cut off a last line that a kill left half written."""
        self._file.seek(0)
        end = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            end += len(line)
        self._file.truncate(end)

    def _begin(self, request: dict[str, Any]) -> None:
        self._file.seek(0)
        first = self._file.readline()
        if not first:
            self._write({"request": request})
            return
        try:
            stored = json.loads(first)["request"]
        except (ValueError, KeyError, TypeError):
            stored = None
        if stored == request:
            return
        if not self._file.readline():
            # Nothing was fetched: there is nothing to lose.
            self._file.truncate(0)
            self._write({"request": request})
        else:
            raise InputError(
                f"{self.path} holds the unfinished fetch of another request; finish that one, "
                "delete the file, or give another --out."
            )

    def pages(self) -> Iterator[Page]:
        """What is there, in order.

        Raises:
            InputError: when the file is damaged.
        """
        with self.path.open("rb") as file:
            next(file)
            for line in file:
                try:
                    data = json.loads(line)
                    origin = Provenance(**data.pop("origin"))
                    page = Page(**{**data, "entries": tuple(data["entries"]), "origin": origin})
                except (ValueError, KeyError, TypeError) as error:
                    raise InputError(
                        f"{self.path} is damaged ({error}); delete it and fetch again."
                    ) from error
                yield page

    def add(self, page: Page) -> None:
        """Keep one page.

        Raises:
            InputError: when the disk is full.
        """
        self._write(asdict(page))

    def _write(self, data: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(data).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise InputError(
                f"{self.path} could not be written ({error.strerror}); free some space, then run "
                "the same command again."
            ) from error

    def remove(self) -> None:
        """The journal is no longer needed."""
        self.path.unlink(missing_ok=True)

    def remove_if_empty(self) -> None:
        """Leave nothing behind where nothing was fetched."""
        self._file.seek(0)
        self._file.readline()
        if not self._file.readline():
            self.remove()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()


def _lock(descriptor: int, path: Path) -> None:
    """Refuse when another process holds the file; systems without such locks do without."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise InputError(
            f"{path} is being written by another process; wait for it, or give another --out."
        ) from error
