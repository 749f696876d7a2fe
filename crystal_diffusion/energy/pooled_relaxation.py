"""Relaxing many structures: one task each, any executor, a result for every id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pymatgen.core import Structure

from crystal_diffusion.energy.potentials import Potential, get_potential
from crystal_diffusion.energy.relaxation import RelaxLimits, RelaxResult, relax
from crystal_diffusion.parallel.executors import Executor, LocalExecutor


@dataclass(frozen=True)
class RelaxTask:
    """One structure to relax, as it travels to a worker."""

    structure: Structure
    potential: str | Potential
    limits: RelaxLimits


#: Calculators of this process by potential and version: weights are loaded once per worker.
_CALCULATORS: dict[tuple[str, str], Any] = {}


def _calculator(potential: Potential) -> Any:
    key = (potential.name, potential.version)
    if key not in _CALCULATORS:
        _CALCULATORS[key] = potential.calculator()
    return _CALCULATORS[key]


class LoadedOnce:
    """A potential whose calculator is this process's; made only when geometry has been checked."""

    def __init__(self, potential: Potential) -> None:
        self._potential = potential
        self.name, self.version = potential.name, potential.version
        self.functional, self.elements = potential.functional, potential.elements

    def calculator(self) -> Any:
        """The calculator of this process; its weights are loaded at the first call."""
        return _calculator(self._potential)


def relax_task(task: RelaxTask) -> RelaxResult:
    """Run one task in this process, using the process's own calculator."""
    return relax(task.structure, LoadedOnce(get_potential(task.potential)), limits=task.limits)


def relax_many(
    structures: Iterable[tuple[str, Structure]],
    potential: str | Potential = "pair",
    *,
    limits: RelaxLimits | None = None,
    executor: Executor | None = None,
    processes: int | None = None,
) -> Iterator[tuple[str, RelaxResult]]:
    """Relax structures in worker processes; yields ``(id, result)`` as they are done.

    A crash of the potential, or a worker that is killed, is the ``problem`` of that id alone.

    Args:
        structures: pairs of id and structure; taken one by one, so a generator is fine.
        potential: a name, or a `Potential` that can be sent to other processes.
        limits: criteria and limits.
        executor: where to run; `LocalExecutor(processes)` by default.
        processes: worker processes; the usable cores by default.

    Raises:
        InputError: unknown potential or impossible limits.
        MissingDependencyError: the potential's package is not installed.
    """
    chosen = get_potential(potential)  # refuse before anything is started
    limits = limits or RelaxLimits()
    executor = executor or LocalExecutor(processes, hard_limit_s=2 * limits.time_limit_s + 120)
    carried: str | Potential = potential if isinstance(potential, str) else chosen
    sent: dict[str, Structure] = {}

    def tasks() -> Iterator[tuple[str, RelaxTask]]:
        for key, structure in structures:
            sent[key] = structure
            yield key, RelaxTask(structure, carried, limits)

    for key, outcome in executor(relax_task, tasks()):
        start = sent.pop(key)
        if outcome.value is not None:
            yield key, outcome.value
        else:
            yield key, failed_result(start, chosen, outcome.problem)


def failed_result(structure: Structure, potential: Potential, problem: str) -> RelaxResult:
    """The result of a structure that has none: unchanged, no energy, and why."""
    nan = float("nan")
    return RelaxResult(
        structure=structure,
        energy=nan,
        energy_per_atom=nan,
        max_force=nan,
        stress=nan,
        converged=False,
        steps=0,
        potential=potential.name,
        potential_version=potential.version,
        seconds=0.0,
        potential_seconds=0.0,
        problem=problem,
    )
