"""How much a foreign file may ask for: bytes, announced counts, processor time.

A file says how many atoms, columns, operations or bytes it holds before it shows them. Nothing is
reserved on its word: what it announces is compared with these bounds, and with what is there.
"""

from __future__ import annotations

import signal
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

MIB = 2**20
#: What a compressed file may grow to: this much, and this many times its size, bytes.
EXPANDED_FREE, EXPANDED_TIMES = 16 * MIB, 50
#: Atoms of one crystal.
MOST_ATOMS = 10_000
#: Images of the sites of one CIF block under its operations.
MOST_IMAGES = 200_000
#: Sites of a cell with partial occupancy that is to be ordered; the work grows with the square.
MOST_ORDERED_SITES = 1_000
#: Characters of one line of comments, and of one id that is used as it is.
LONGEST_LINE, LONGEST_ID = MIB, 1_000
#: Columns of a table.
MOST_COLUMNS = 2_000
#: Fractional coordinates beyond this have lost the digits that say where the atom is.
LARGEST_COORDINATE = 1e6
#: Seconds of processor time for one crystal: this, and this for each MiB of its file.
SECONDS, SECONDS_PER_MIB = 3.5, 4.0


class TooMuch(ValueError):
    """A file asks for more than the bounds allow."""


def expand_gzip(raw: bytes) -> bytes:
    """The content of gzipped bytes, all members of them.

    Raises:
        TooMuch: when it is larger than the bounds allow.
        ValueError: when the data is broken.
    """
    limit = EXPANDED_FREE + EXPANDED_TIMES * len(raw)
    parts: list[bytes] = []
    size = 0
    rest = raw
    while rest:
        expander = zlib.decompressobj(wbits=31)
        try:
            part = expander.decompress(rest, limit - size + 1)
        except zlib.error as error:
            raise ValueError(f"its gzip data is broken: {error}") from error
        size += len(part)
        if size > limit:
            raise TooMuch(
                f"its {len(raw)} bytes unpack to more than {limit // MIB} MiB; unpack it yourself "
                "if you trust it"
            )
        if not expander.eof:
            raise ValueError("its gzip data is broken: it ends too early")
        parts.append(part)
        # Zeros may follow the last member.
        rest = expander.unused_data.lstrip(b"\0")
    return b"".join(parts)


def seconds_for(path: Path) -> float:
    """Processor time that one crystal of this file may take."""
    try:
        return SECONDS + SECONDS_PER_MIB * path.stat().st_size / MIB
    except OSError:
        return SECONDS


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise :class:`TooMuch` in the block once it has used that much processor time.

    Works in the main thread of a process on systems that have such timers, unless somebody else
    uses them; elsewhere the block is not watched.

    Raises:
        TooMuch: when the time is over.
    """
    if not _may_watch():
        yield
        return
    try:
        _limits.append(seconds)
        # Again every half second: parsers swallow the first exception and go on.
        signal.setitimer(signal.ITIMER_PROF, seconds, 0.5)
        yield
    finally:
        # First, so that a signal that comes while this runs does not undo it.
        _limits.clear()
        signal.setitimer(signal.ITIMER_PROF, 0.0)


#: The limit of the block that is watched; empty outside of one.
_limits: list[float] = []


def _may_watch() -> bool:
    """Whether this thread may have a timer that nobody else uses; its signal is then ours.

    The handler stays: to set it again for each crystal would cost more than the watching.
    """
    if not hasattr(signal, "setitimer") or _limits:
        return False
    if threading.current_thread() is not threading.main_thread():
        return False
    found = signal.getsignal(signal.SIGPROF)
    if found is signal.SIG_DFL:
        signal.signal(signal.SIGPROF, _over)
    return found in (signal.SIG_DFL, _over)


def _over(number: int, frame: FrameType | None) -> None:
    if _limits:
        text = f"it took longer than {_limits[0]:.0f} s of processor time; simplify the entry"
        raise TooMuch(text)
