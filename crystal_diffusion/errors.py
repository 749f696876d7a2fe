"""The few exceptions a caller may want to catch.

Every message names the file or argument, the cause and the remedy, in that order.
"""

from __future__ import annotations


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


class MissingDependencyError(CrystalDiffusionError, ImportError):
    """An optional package is needed; the message gives the command that installs it."""
