"""Files that are whole or not there, and ids as file names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crystal_diffusion.errors import InputError


@contextmanager
def atomic_write(path: Path, *, flush: bool = False) -> Iterator[Path]:
    """Give a path to write to; what was written there takes the place of ``path`` at the end.

    After a kill or an error the file is what it was before; no half of it is ever seen.

    Args:
        path: the file that shall hold the new content.
        flush: wait for the disk, so that it survives a loss of power too; slow for many files.

    Yields:
        The file to write, in the same folder, with an ending of its own.

    Raises:
        InputError: when the disk is full or the folder cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        yield part
        if flush:
            with part.open("rb") as handle:
                os.fsync(handle.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(
            f"{path}: could not be written ({error.strerror or error}); free some space or choose "
            "another place to write to."
        ) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str, *, flush: bool = True) -> None:
    """Write a text file with `atomic_write`, in UTF-8.

    Args:
        path: the file.
        text: what it shall hold.
        flush: wait for the disk, so that it survives a loss of power too; slow for many files.

    Raises:
        InputError: when the disk is full or the folder cannot be written.
    """
    with atomic_write(path, flush=flush) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def file_name(key: str) -> str:
    """An id as a file name: letters, digits, ``. _ - ~ +``; anything else becomes ``_``."""
    return "".join(c if c.isalnum() or c in "._-~+" else "_" for c in key).lstrip(".") or "_"
