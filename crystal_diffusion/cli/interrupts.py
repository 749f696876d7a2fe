"""Ctrl-C that is not lost: Python throws away what is raised in finalisers and weak references."""

from __future__ import annotations

import signal
import weakref
from types import FrameType

#: Seconds until it is tried again.
_SOON_S = 0.01


def keep_interrupts() -> None:
    """Let Ctrl-C wait for the end of code in which Python would print it and go on.

    After a long call into a library the first Python code is often the callback of a weak
    reference. Nothing is changed where somebody else listens to Ctrl-C.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if _swallows(frame):
        import threading

        again = threading.Timer(_SOON_S, signal.raise_signal, (signal.SIGINT,))
        again.daemon = True
        again.start()
        return
    raise KeyboardInterrupt


def _swallows(frame: FrameType | None) -> bool:
    """Whether a frame, or one that called it, is such code."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__del__" or code.co_filename == weakref.__file__:
            return True
        frame = frame.f_back
    return False
