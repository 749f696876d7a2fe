"""Zip and tar archives, read member by member in memory; nothing is unpacked to where it says.

Announced and real sizes are bounded, links and folders are passed over, and the names inside are
labels, never paths.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from crystal_diffusion.data.bounds import EXPANDED_FREE, EXPANDED_TIMES, MIB, TooMuch

_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
#: Names of archives.
ENDINGS = (".zip", *_TARS)
#: Bytes of one member, and members of one archive.
LARGEST_MEMBER, MOST_MEMBERS = 512 * MIB, 2_000_000


@dataclass(frozen=True)
class ArchiveFile:
    """One file in an archive: its name there, without a leading ``./``, and its bytes."""

    name: str
    content: bytes


def is_archive(path: Path) -> bool:
    """Whether a name is that of an archive."""
    return path.name.lower().endswith(ENDINGS)


def archive_stem(path: Path) -> str:
    """The name without the ending of an archive."""
    lower = path.name.lower()
    ending = max((e for e in ENDINGS if lower.endswith(e)), key=len, default="")
    return path.name[: len(path.name) - len(ending)]


def members(path: Path, wanted: Callable[[str], bool]) -> Iterator[ArchiveFile]:
    """The wanted files of an archive, in its order.

    Args:
        path: the archive.
        wanted: decides by the name in the archive.

    Raises:
        TooMuch: when the archive is, or says that it is, larger than the bounds allow.
        ValueError: when it is damaged or encrypted.
    """
    found = _zipped(path, wanted) if path.name.lower().endswith(".zip") else _taped(path, wanted)
    try:
        yield from found
    except TooMuch:
        raise
    except (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error) as error:
        raise ValueError(f"the archive is damaged: {error}") from error
    except (EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"the archive cannot be unpacked: {error}") from error


def bounded_size(path: Path) -> int:
    """Bytes that an archive may unpack to."""
    return EXPANDED_FREE + EXPANDED_TIMES * path.stat().st_size


def check_zip(path: Path) -> None:
    """Refuse a zip that announces more than the bounds allow, before anything of it is read.

    Raises:
        TooMuch: naming what it announces.
        ValueError: when it is no zip.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_announced(path, archive.infolist())
    except zipfile.BadZipFile as error:
        raise ValueError(f"the archive is damaged: {error}") from error


def _check_announced(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    announced = sum(entry.file_size for entry in entries)
    if announced > bounded_size(path):
        raise TooMuch(
            f"its {path.stat().st_size} bytes announce {announced // MIB} MiB; unpack it yourself "
            "if you trust it"
        )
    if len(entries) > MOST_MEMBERS:
        raise TooMuch(f"it has {len(entries)} members; {MOST_MEMBERS} are the most")


def _zipped(path: Path, wanted: Callable[[str], bool]) -> Iterator[ArchiveFile]:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        _check_announced(path, entries)
        for entry in entries:
            name = _plain_name(entry.filename)
            if entry.is_dir() or not name or not wanted(name):
                continue
            if entry.file_size > LARGEST_MEMBER:
                raise TooMuch(f"{name} has {entry.file_size // MIB} MiB; give it by itself")
            with archive.open(entry) as file:
                content = file.read(entry.file_size + 1)
            if len(content) > entry.file_size:
                raise TooMuch(f"{name} is larger than it says; the archive is not to be trusted")
            yield ArchiveFile(name, content)


def _taped(path: Path, wanted: Callable[[str], bool]) -> Iterator[ArchiveFile]:
    with _expanded(path) as raw:
        bounded = cast("IO[bytes]", _Bounded(raw, bounded_size(path)))
        with tarfile.open(fileobj=bounded, mode="r|") as archive:
            for count, entry in enumerate(archive):
                if count >= MOST_MEMBERS:
                    raise TooMuch(f"it has more than {MOST_MEMBERS} members")
                name = _plain_name(entry.name)
                if not entry.isreg() or not name or not wanted(name):
                    continue
                if entry.size > LARGEST_MEMBER:
                    raise TooMuch(f"{name} has {entry.size // MIB} MiB; give it by itself")
                file = archive.extractfile(entry)
                if file is not None:
                    yield ArchiveFile(name, file.read())


def _expanded(path: Path) -> IO[bytes]:
    """The tar inside, whatever it is compressed with: what it is decides, not its name."""
    with path.open("rb") as file:
        head = file.read(6)
    if head.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.open(path))
    if head.startswith(b"BZh"):
        return cast("IO[bytes]", bz2.open(path))
    if head.startswith(b"\xfd7zXZ"):
        return cast("IO[bytes]", lzma.open(path))
    return path.open("rb")


class _Bounded:
    """A stream that ends with an error once more came out of it than it may hold."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file, self._left, self._limit = file, limit, limit

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > self._left:
            size = self._left + 1
        content: Any = self._file.read(min(size, LARGEST_MEMBER + 1))
        self._left -= len(content)
        if self._left < 0 or len(content) > LARGEST_MEMBER:
            raise TooMuch(
                f"it unpacks to more than {self._limit // MIB} MiB; unpack it yourself if you "
                "trust it"
            )
        return bytes(content)


def _plain_name(name: str) -> str:
    """The name of a member as a label; empty for what systems add by themselves."""
    parts = [
        part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", ".")
    ]
    if not parts or any(part.startswith((".", "__MACOSX")) for part in parts if part != ".."):
        return ""
    return "/".join(part for part in parts if part != "..")
