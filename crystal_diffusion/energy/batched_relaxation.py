"""Many relaxations at once, their energies and forces in one call each step: for a GPU.

Every relaxation is the one of `relaxation`, with its checks, criteria and limits, in a thread that
sleeps while it waits for energy, forces and stress. When all of them wait, one call answers them
all, so a batch takes as many calls as its longest relaxation takes steps, and a crystal that ends
makes room for the next at once. The optimiser and its limits are not written a
second time, which is what makes the answers agree with those of single relaxations (up to the
rounding of batched sums).

The neighbour lists and the optimiser stay on the processor (about 5 ms for a step of a crystal).
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import NDArray
from pymatgen.core import Structure

from crystal_diffusion.energy.potentials import Potential, get_potential
from crystal_diffusion.energy.relaxation import RelaxLimits, RelaxResult, relax_unguarded
from crystal_diffusion.errors import InputError

log = logging.getLogger(__name__)

#: Atoms evaluated together; a batch that is too large for the memory is halved.
ATOMS_PER_BATCH = 1024


@dataclass(frozen=True)
class Evaluation:
    """Energy (eV), forces ``(atoms, 3)`` (eV/Å) and stress ``(3, 3)`` (eV/Å³) of one crystal."""

    energy: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64]


#: Evaluates many crystals in one call, answers in order.
BatchEvaluator = Callable[[Sequence[Atoms]], list[Evaluation]]


class _Abandoned(Exception):
    """The caller has gone; the relaxation ends."""


@dataclass(eq=False)
class _RelaxJob:
    """One relaxation in its thread, and what it asks for or has come to."""

    key: str
    structure: Structure
    inbox: queue.SimpleQueue[_RelaxJob]
    wake: threading.Event = field(default_factory=threading.Event)
    atoms: Atoms | None = None
    reply: Evaluation | Exception | None = None
    result: RelaxResult | None = None
    error: Exception | None = None

    @property
    def ended(self) -> bool:
        """Whether the relaxation has come to its end."""
        return self.result is not None or self.error is not None

    def ask(self, atoms: Atoms) -> Evaluation:
        """Called in the thread: hand over the atoms and sleep until the answer is there."""
        self.atoms = atoms
        self.inbox.put(self)
        self.wake.wait()
        self.wake.clear()
        if isinstance(self.reply, Evaluation):
            return self.reply
        raise self.reply or _Abandoned()

    def answer(self, reply: Evaluation | Exception) -> None:
        """Called outside: wake the thread with this."""
        self.reply = reply
        self.wake.set()

    def run(self, potential: Potential, limits: RelaxLimits) -> None:
        """The thread."""
        try:
            calculator = _Asking(self)
            self.result = relax_unguarded(self.structure, potential, limits, None, calculator)
        except Exception as error:  # told where the answers are collected
            self.error = error
        self.inbox.put(self)


class _Asking(Calculator):
    """An ASE calculator that lets its job ask."""

    implemented_properties = ["energy", "forces", "stress"]

    def __init__(self, job: _RelaxJob) -> None:
        super().__init__()
        self._job = job

    def calculate(
        self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes
    ) -> None:
        """Energy, forces and stress of ``atoms``."""
        super().calculate(atoms, properties, system_changes)
        asked: Any = self.atoms
        answer = self._job.ask(asked)
        stress = answer.stress
        self.results = {
            "energy": answer.energy,
            "forces": answer.forces,
            "stress": stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]],  # Voigt's order
        }


def relax_batched(
    structures: Iterable[tuple[str, Structure]],
    potential: str | Potential,
    *,
    limits: RelaxLimits | None = None,
    device: str = "auto",
    evaluate: BatchEvaluator | None = None,
    atoms_per_batch: int = ATOMS_PER_BATCH,
) -> Iterator[tuple[str, RelaxResult]]:
    """Relax structures in batches; yields ``(id, result)`` as they are done.

    The time limit counts for a structure from its start to its end, waiting included: a batch of
    many crystals needs a longer one.

    Args:
        structures: pairs of id and structure; taken one by one.
        potential: a name of ``EVALUATORS``, or any potential where ``evaluate`` is given.
        limits: criteria and limits of each relaxation.
        device: ``auto``, ``cuda``, ``cuda:1``, ``cpu``.
        evaluate: energies, forces and stresses of many crystals; made by name if not given.
        atoms_per_batch: crystals are taken in while fewer atoms than this are being relaxed.

    Raises:
        InputError: a potential without batches, an unknown device, impossible limits.
        MissingDependencyError: the potential's package is not installed.
    """
    chosen, limits = get_potential(potential), limits or RelaxLimits()
    if atoms_per_batch < 1:
        raise InputError(f"atoms_per_batch: {atoms_per_batch} given, but it must be 1 or more")
    evaluate = evaluate or make_evaluator(chosen.name, device)
    return _relax_batched(iter(structures), chosen, limits, evaluate, atoms_per_batch)


def _relax_batched(
    source: Iterator[tuple[str, Structure]],
    potential: Potential,
    limits: RelaxLimits,
    evaluate: BatchEvaluator,
    atoms_per_batch: int,
) -> Iterator[tuple[str, RelaxResult]]:
    inbox: queue.SimpleQueue[_RelaxJob] = queue.SimpleQueue()
    active: list[_RelaxJob] = []
    running = 0
    try:
        while True:
            while sum(len(job.structure) for job in active) < atoms_per_batch:
                following = next(source, None)
                if following is None:
                    break
                job = _RelaxJob(*following, inbox)
                active.append(job)
                threading.Thread(target=job.run, args=(potential, limits), daemon=True).start()
                running += 1
            for _ in range(running):  # until each of them asks or has ended
                inbox.get()
            running = 0
            ended = [job for job in active if job.ended]
            active = [job for job in active if not job.ended]
            for job in ended:
                if job.result is None:
                    raise job.error or RuntimeError(f"{job.key}: ended without a result")
                yield job.key, job.result
            if ended:
                continue
            if not active:
                return
            _answer(active, evaluate)
            running = len(active)
    finally:
        for job in active:
            job.answer(_Abandoned())


def _answer(jobs: Sequence[_RelaxJob], evaluate: BatchEvaluator) -> None:
    """One call for all; where it fails, halves, down to the crystal whose fault it is."""
    try:
        answers = evaluate([job.atoms for job in jobs if job.atoms is not None])
    except Exception as error:
        if len(jobs) == 1:
            jobs[0].answer(error)
            return
        log.info("a batch of %d crystals failed (%s); it is halved", len(jobs), error)
        middle = len(jobs) // 2
        _answer(jobs[:middle], evaluate)
        _answer(jobs[middle:], evaluate)
        return
    for job, answer in zip(jobs, answers, strict=True):
        job.answer(answer)


def make_evaluator(name: str, device: str = "auto") -> BatchEvaluator:
    """Evaluates many crystals at once with the potential of that name.

    Raises:
        InputError: the potential has no batches, or the device is not there.
    """
    from crystal_diffusion.device import resolve_device

    if name not in EVALUATORS:
        raise InputError(
            f"potential {name!r} has no batches; choose from {', '.join(sorted(EVALUATORS))}, or "
            "another --executor"
        )
    return EVALUATORS[name](str(resolve_device(device)))


def _diep(device: str) -> BatchEvaluator:
    import torch
    from diep.pretrained import make_calculator
    from torch_geometric.data import Batch

    from crystal_diffusion.energy.shared_triangles import share_maps

    calculator = share_maps(make_calculator(device=device))

    def evaluate(crystals: Sequence[Atoms]) -> list[Evaluation]:
        graphs, lattices = [], []
        for atoms in crystals:
            wrapped = atoms.copy()
            wrapped.wrap()  # neighbour searches are as large as the box around the atoms
            graph, lattice, _ = calculator.graph_converter.get_graph(wrapped)
            graphs.append(graph)
            lattices.append(lattice)
        batch = Batch.from_data_list(graphs).to(device)
        state = torch.zeros(len(crystals), 2, device=device)
        found = calculator.potential(batch, torch.cat(lattices).to(device), state)
        energies, forces, stresses = (part.detach().cpu().double().numpy() for part in found[:3])
        ends = list(itertools.accumulate(map(len, crystals)))
        stresses = stresses.reshape(-1, 3, 3) * calculator.stress_weight
        return [
            Evaluation(float(energy), forces[end - len(atoms) : end], stress)
            for energy, end, atoms, stress in zip(
                energies.reshape(-1), ends, crystals, stresses, strict=True
            )
        ]

    return evaluate


def _chgnet(weights: str) -> Callable[[str], BatchEvaluator]:
    def make(device: str) -> BatchEvaluator:
        with contextlib.redirect_stdout(io.StringIO()):
            from chgnet.model.dynamics import CHGNetCalculator
            from chgnet.model.model import CHGNet

            model = CHGNet.load(model_name=weights, use_device=device, verbose=False)
            calculator = CHGNetCalculator(model, use_device=device, on_isolated_atoms="error")

        def evaluate(crystals: Sequence[Atoms]) -> list[Evaluation]:
            from pymatgen.io.ase import AseAtomsAdaptor

            graphs = [model.graph_converter(AseAtomsAdaptor.get_structure(a)) for a in crystals]
            found = model.predict_graph(graphs, task="efs", batch_size=len(graphs))
            found = [found] if isinstance(found, dict) else found
            return [
                Evaluation(
                    float(one["e"]) * (len(atoms) if model.is_intensive else 1),
                    np.asarray(one["f"], np.float64),
                    np.asarray(one["s"], np.float64) * calculator.stress_weight,
                )
                for one, atoms in zip(found, crystals, strict=True)
            ]

        return evaluate

    return make


#: name of the potential → maker of its evaluator for a device.
EVALUATORS: dict[str, Callable[[str], BatchEvaluator]] = {
    "diep": _diep,
    "chgnet": _chgnet("0.3.0"),
    "chgnet-r2scan": _chgnet("r2scan"),
}
