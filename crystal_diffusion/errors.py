"""The few exceptions a caller may want to catch.

Every message names the file or argument, the cause and the remedy, in that order.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class CrystalDiffusionError(Exception):
    """Base of all errors this library raises on purpose."""


class InputError(CrystalDiffusionError, ValueError):
    """An argument, a file or a crystal that cannot be used as it is."""


class RequestError(InputError):
    """A request that no crystal can meet (atoms that do not fit, a group without assignment)."""


class CheckpointError(CrystalDiffusionError):
    """A checkpoint that is missing, truncated, or written by another version."""


class TrainingError(CrystalDiffusionError):
    """Training stopped: the message gives the step, the batch and the remedy."""


class SourceError(CrystalDiffusionError):
    """A database that cannot be reached, refuses, or sends something else than was asked for."""


class WorkerError(CrystalDiffusionError):
    """A worker process ended without an answer."""


class MissingDependencyError(CrystalDiffusionError, ImportError):
    """An optional package is needed; the message gives the command that installs it."""


#: Other words for keywords, as they are on the command line or in other packages.
_KEYWORDS = {
    "space_group": "spacegroup",
    "natoms": "num_atoms",
    "number": "n",
    "num_samples": "n",
    "composition": "formula",
    "potentials": "potential",
    "properties": "property",
    "cell_parameters": "lattice",
    "steps": "sampling_steps",
    "churn": "eta",
    "novel": "noise_share",
    "new": "known_last",
    "rank": "scorer",
}


def refuse_unknown(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse keywords that a function does not have.

    Raises:
        InputError: with the nearest name.
    """
    names = list(known)
    for name in given:
        if name in names:
            continue
        meant = _KEYWORDS.get(name, name)
        close = [meant] if meant in names else get_close_matches(name, names, 1, 0.6)
        offer = f"did you mean {close[0]}?" if close else f"it takes {', '.join(names)}."
        raise InputError(f"{function} has no keyword {name!r}; {offer}")
