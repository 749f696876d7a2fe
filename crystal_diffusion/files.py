"""Writing that is safe: whole or not at all, below its folder, by one command at a time.

Ids, names and links in a folder somebody sent are data. Every path made of them goes through
:func:`below`, every file is written beside its place under a name of its own and moved there, and
nothing is written through a symbolic link that lies in a results folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import signal
import stat
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from crystal_diffusion.errors import InputError

log = logging.getLogger(__name__)

#: Bytes of a file name made of an id; with endings and numbers it stays below the usual 255.
_LONGEST_NAME = 120
#: Name of the lock in a folder that is written to.
LOCK = ".lock"
#: Ending of files that are being written; what a kill leaves of them is removed later.
PART = ".part"


@contextmanager
def atomic_write(path: Path, *, flush: bool = False) -> Iterator[Path]:
    """Give a path to write to; what was written there takes the place of ``path`` at the end.

    After a kill or an error the file is what it was before; no half of it is ever seen. The file
    to write is new and has a name that nobody can guess, so no link planted there is followed.

    Args:
        path: the file that shall hold the new content.
        flush: wait for the disk, so that it survives a loss of power too; slow for many files.

    Yields:
        The file to write, in the same folder.

    Raises:
        InputError: when the disk is full or the folder cannot be written.
    """
    part = path.parent / f".{secrets.token_hex(6)}{PART}"
    try:
        # Made here with the permissions that the user's umask gives: some libraries, writing a
        # file of their own, let nobody but its owner read it.
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        os.close(handle)
        yield part
        os.chmod(part, mode)
        if flush:
            with part.open("rb") as written:
                os.fsync(written.fileno())
        os.replace(part, path)
    except OSError as error:
        _remove(part)
        raise InputError(
            f"{path}: could not be written ({error.strerror or error}); free some space or choose "
            "another place to write to."
        ) from error
    except BaseException:
        _remove(part)
        raise


def _remove(path: Path) -> None:
    """Remove what an error left; on a disk that refuses this too, the error itself matters."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, flush: bool = True) -> None:
    """Write a text file with `atomic_write`, in UTF-8.

    Args:
        path: the file.
        text: what it shall hold; what is no Unicode (half of a pair) becomes ``?``.
        flush: wait for the disk, so that it survives a loss of power too; slow for many files.

    Raises:
        InputError: when the disk is full or the folder cannot be written.
    """
    with atomic_write(path, flush=flush) as part:
        part.write_text(text, encoding="utf-8", errors="replace", newline="\n")


def append_to(path: Path) -> IO[bytes]:
    """Open a file to add to its end; a symbolic link is not followed.

    Raises:
        InputError: when it is a link, or cannot be written.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.fdopen(os.open(path, flags, 0o666), "ab")
    except OSError as error:
        reason = "it is a symbolic link" if path.is_symlink() else error.strerror
        raise InputError(
            f"{path}: cannot be written ({reason}); choose another folder with --out."
        ) from error


def refuse_file(folder: Path) -> None:
    """Refuse a file where a folder is to be made.

    Raises:
        InputError: names it.
    """
    if folder.is_file():
        raise InputError(f"{_short(folder)} is a file, a folder is needed; give another name.")


def make_folder(folder: Path) -> Path:
    """Make a folder and those above it.

    Raises:
        InputError: when that cannot be done; says why.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        refuse_file(folder)
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{_short(folder)}: cannot be made ({reason}); choose another place to write to."
        ) from error
    return folder


def _short(path: Path) -> str:
    text = str(path)
    return text if len(text) <= 200 else f"{text[:200]}…"


def below(folder: Path, *parts: str) -> Path:
    """The path of a file or folder that data names, kept below ``folder``.

    Args:
        folder: where it belongs.
        *parts: names of folders and of the file; each is a name, not a path.

    Raises:
        InputError: when a part is absolute, climbs out, or is a link that leads out.
    """
    path = folder
    for part in parts:
        if part in ("", ".", "..") or "/" in part or "\\" in part or "\0" in part:
            raise InputError(
                f"{folder}: {part[:80]!r} is no name of a file below it; correct the id."
            )
        path = path / part
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{path}: is a symbolic link that leads out of {folder}; remove it.")
    return path


def file_name(key: str) -> str:
    """An id as a file name: letters, digits, ``. _ - ~ +``; anything else becomes ``_``.

    Long ids are cut and get a hash, so that two of them stay two.
    """
    plain = "".join(c if c.isalnum() or c in "._-~+" else "_" for c in key).lstrip(".") or "_"
    raw = plain.encode("utf-8", "replace")
    if len(raw) <= _LONGEST_NAME:
        return plain
    mark = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{raw[: _LONGEST_NAME - 13].decode('utf-8', 'ignore')}~{mark}"


def file_names(keys: Iterable[str]) -> dict[str, str]:
    """A file name for each id, no two alike, also where capitals count as small letters."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for key in keys:
        name = file_name(key)
        if name.casefold() in taken:
            mark = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:12]
            name = f"{name}~{mark}"
        taken.add(name.casefold())
        names[key] = name
    return names


def cell_text(value: object) -> object:
    """A value for a cell of a CSV table; text that a spreadsheet would run is marked as text.

    Spreadsheets take cells that begin with ``= + - @`` for formulas; with an apostrophe before
    it they show the text. Numbers stay numbers.
    """
    if not isinstance(value, str) or not value or value[0] not in "=+-@\t\r\n":
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for one command; what a kill left of files being written is removed.

    The lock is the system's: it ends with the process, whatever ended that. Where a file system
    has no locks, the command goes on without.

    Raises:
        InputError: when another command holds it, or it cannot be written to.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK, timeout=0, is_singleton=False)
    held = True
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"{folder}: another command is writing to it; wait until it has ended, or choose "
            "another folder with --out."
        ) from error
    except NotImplementedError:
        held = False
        log.warning("%s: this file system has no locks; start one command at a time", folder)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror or error}); choose another folder with "
            "--out."
        ) from error
    try:
        for left in folder.glob(f".*{PART}"):
            _remove(left)
        yield
    finally:
        if held:
            lock.release()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait until the block has ended.

    Raises:
        KeyboardInterrupt: at the end, when it was pressed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt


def cache_folder() -> Path:
    """Folder for what was computed once and is worth keeping; made when first written to."""
    # platformdirs knows no more of this and takes 7 ms, a tenth of the time of `--help`.
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        root = Path(base) if base else Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        root = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME")
        root = Path(base) if base else Path.home() / ".cache"
    return root / "crystal_diffusion"


def remove_others(folder: Path, names: Iterable[str]) -> None:
    """Remove the CIFs of a folder of ours that are not of these names.

    Raises:
        InputError: when one cannot be removed.
    """
    kept = {f"{name}.cif" for name in names}
    try:
        for file in folder.glob("*.cif") if folder.is_dir() else ():
            if file.name not in kept:
                file.unlink()
    except OSError as error:
        raise InputError(f"{folder}: old files cannot be removed ({error.strerror}).") from error


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Make a folder; where the block fails and it was not there before, it goes again if empty.

    Raises:
        InputError: when it cannot be made.
    """
    try:
        there = folder.exists()
    except OSError:
        there = False
    make_folder(folder)
    try:
        yield folder
    except BaseException:
        if not there:
            with contextlib.suppress(OSError):
                _remove(folder / LOCK)
                folder.rmdir()
        raise


def in_use(folder: Path) -> bool:
    """Whether a folder holds anything that a user would miss."""
    return any(p.name != LOCK and not p.name.endswith(PART) for p in folder.iterdir())
