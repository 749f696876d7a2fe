"""Ctrl-C during a finaliser comes after it; Python alone would print it and go on."""

from __future__ import annotations

import signal
import time
import weakref
from collections.abc import Iterator

import pytest

from crystal_diffusion.cli.interrupts import keep_interrupts


@pytest.fixture(autouse=True)
def listening() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    keep_interrupts()
    yield
    signal.signal(signal.SIGINT, before)


class Listened:
    pass


class Finalised:
    after = False

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)
        Finalised.after = True


def test_kind_17_ctrl_c_in_a_finaliser_is_not_thrown_away() -> None:
    with pytest.raises(KeyboardInterrupt):
        Finalised()
        time.sleep(5)
    assert Finalised.after


def test_kind_17_ctrl_c_in_a_callback_of_a_weak_reference_is_not_thrown_away() -> None:
    raising = compile("def now(_=None):\n    raise_signal(SIGINT)\n", weakref.__file__, "exec")
    names = {"raise_signal": signal.raise_signal, "SIGINT": signal.SIGINT}
    exec(raising, names)
    listened = Listened()
    reference = weakref.ref(listened, names["now"])
    with pytest.raises(KeyboardInterrupt):
        del listened
        time.sleep(5)
    assert reference() is None


def test_kind_17_elsewhere_it_comes_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert time.monotonic() - began < 1
