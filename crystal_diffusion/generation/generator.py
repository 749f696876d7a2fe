"""CrystalGenerator: a loaded model and its verb, ``generate``."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_diffusion import chemistry
from crystal_diffusion.crystal import to_atoms
from crystal_diffusion.data.tables import CrystalArrays
from crystal_diffusion.data.training_set import TRAINING_SET_FILE, load_training_set
from crystal_diffusion.device import resolve_device
from crystal_diffusion.diffusion.joint import JointDiffusion
from crystal_diffusion.errors import CheckpointError, InputError, RequestError
from crystal_diffusion.generation.clock import Clock
from crystal_diffusion.generation.neutral import neutral_decoder, neutral_sizes
from crystal_diffusion.generation.plan import Plan, Planner, Proposer
from crystal_diffusion.generation.request import Request
from crystal_diffusion.generation.rows import make_row
from crystal_diffusion.generation.sampling import batches, sample_plans
from crystal_diffusion.generation.settings import GenerationResult, GenerationSettings
from crystal_diffusion.parallel import one_thread_each, side_by_side
from crystal_diffusion.physics.report import CheckResult, ValidationReport
from crystal_diffusion.physics.validator import PhysicsValidator
from crystal_diffusion.training.checkpoint import MODEL_FILE, file_hash, load_model

if TYPE_CHECKING:
    from pymatgen.core import Structure

log = logging.getLogger(__name__)

#: Called with the number of crystals finished.
ProgressCallback = Callable[[int], None]


class CrystalGenerator:
    """A trained joint model with its training set, ready to generate.

    Args:
        model: the network and its processes.
        header: what the checkpoint says of itself.
        training: the crystals it was trained on, for novelty and for prototypes.
        path: where it was loaded from.
    """

    def __init__(
        self,
        model: JointDiffusion,
        header: Mapping[str, Any] | None = None,
        training: CrystalArrays | None = None,
        path: Path | None = None,
        in_the_box: bool = False,
    ) -> None:
        self.model = model
        self.header = dict(header or {})
        self.training = training
        self.path = path
        self.in_the_box = in_the_box

    @cached_property
    def known_elements(self) -> tuple[int, ...]:
        """Atomic numbers met in training."""
        return tuple(self.model.config.elements) or tuple(range(1, 95))

    @cached_property
    def library(self) -> Any:
        """Prototypes: the shipped library for the model in the box, else the training set."""
        from crystal_diffusion.proposals.library import ReferenceLibrary

        if self.in_the_box:
            return ReferenceLibrary.load()
        if self.training is None:
            return None
        structures = [self.training.crystal(i).to_structure() for i in range(len(self.training))]
        return ReferenceLibrary.from_structures(structures, ids=list(self.training.ids))

    @cached_property
    def proposer(self) -> Any:
        """Finds prototypes for a composition."""
        from crystal_diffusion.proposals.prototypes import PrototypeProposer

        return None if self.library is None else PrototypeProposer(self.library)

    @cached_property
    def reference(self) -> Any:
        """Index of known crystals, for the nearest one of each row."""
        from crystal_diffusion.generation.reference import reference_index

        return reference_index(self)

    def generate(
        self,
        formula: str | None = None,
        n: int = 1,
        *,
        seed: int = 0,
        as_atoms: bool = False,
        settings: GenerationSettings | None = None,
        **request: Any,
    ) -> list[Any]:
        """New crystals as pymatgen ``Structure`` (or ASE ``Atoms``), best first.

        Args:
            formula: exact composition; leave out for the other questions.
            n: how many.
            seed: crystal i of a seed is always the same.
            as_atoms: return ASE ``Atoms``.
            settings: see :class:`GenerationSettings`.
            **request: any other field of :class:`Request`, for example ``elements=("Li", "O")``,
                ``num_atoms=(8, 16)``, ``lattice=(5, 5, 5, 90, 90, 90)``, ``spacegroup="225"``.

        Raises:
            RequestError: when no crystal can meet the request.
        """
        asked = Request(formula=formula, **request)
        result = self.run(asked, n, seed=seed, settings=settings)
        structures = list(result)
        return [to_atoms(s) for s in structures] if as_atoms else structures

    def run(
        self,
        request: Request,
        n: int,
        *,
        seed: int = 0,
        first: int = 0,
        settings: GenerationSettings | None = None,
        progress: ProgressCallback | None = None,
        describe: bool = True,
        keep: bool = False,
    ) -> GenerationResult:
        """Generate with everything that is known about each crystal.

        Args:
            request: what is asked for.
            n: number of crystals; ``first`` is the index of the first of them.
            describe: make rows, nearest known crystals, groups and ranks; off for speed.
            keep: end with what is made when Ctrl-C is pressed, instead of losing it.
        """
        settings = settings or GenerationSettings()
        with one_thread_each(self.model.device) as workers:
            result, reports = self.make(
                request,
                n,
                seed,
                first,
                settings,
                wanted=n,
                progress=progress,
                whole=describe,
                workers=workers,
                keep=keep,
            )
            if describe and reports:
                self.describe(result, reports, settings)
        return result

    def make(
        self,
        request: Request,
        n: int,
        seed: int,
        first: int,
        settings: GenerationSettings,
        *,
        wanted: int,
        progress: ProgressCallback | None = None,
        whole: bool = True,
        workers: int = 1,
        keep: bool = False,
    ) -> tuple[GenerationResult, dict[str, ValidationReport]]:
        """Crystals and the reports that let them pass, without rows, groups and ranks.

        Args:
            wanted: crystals of the whole run, of which these may be a part.
            whole: apply all checks; otherwise those of the geometry.
            workers: batches that are sampled side by side, in threads.
            keep: as in :meth:`run`.
        """
        if n < 1:
            raise InputError(f"n is {n}; ask for at least 1 crystal.")
        validator = settings.validator or PhysicsValidator()
        clock = Clock()
        planner = self._planner(request, seed, settings, wanted)
        allowed = planner.allowed()
        decode = neutral_decoder(allowed, len(request.elements)) if request.charge_neutral else None
        prototype_sampler = replace(settings.sampler, steps=settings.prototype_steps)
        pending = [planner.plan(i, 0) for i in range(first, first + n)]
        clock.lap("plan")

        def draw(batch: list[Plan]) -> list[Structure]:
            return sample_plans(
                self.model,
                batch,
                request,
                settings.sampler,
                prototype_sampler,
                settings.prototype_level,
                allowed,
                decode,
            )

        made: dict[int, tuple[Plan, Structure, ValidationReport]] = {}
        rejected: Counter[str] = Counter()
        missing: dict[int, str] = {}
        interrupted = False
        while pending:
            again: list[Plan] = []
            tasks = batches(pending, workers)
            drawn = side_by_side([partial(draw, b) for b in tasks], workers)
            try:
                for batch, structures in zip(tasks, drawn, strict=True):
                    clock.lap("sample")
                    for plan, structure in zip(batch, structures, strict=True):
                        report, failure = _checked(validator, structure, request, whole)
                        if failure is None:
                            made[plan.index] = (plan, structure, report)
                            continue
                        rejected[failure.name] += 1
                        if plan.attempt + 1 < settings.max_attempts:
                            again.append(planner.plan(plan.index, plan.attempt + 1))
                        else:
                            missing[plan.index] = failure.reason
                    clock.lap("check")
                    if progress:
                        progress(len(made) + len(missing))
            except KeyboardInterrupt:
                if not (keep and made):
                    raise
                interrupted = True
                left = set(range(first, first + n)) - set(made) - set(missing)
                missing.update(dict.fromkeys(sorted(left), "the run was interrupted"))
                break
            finally:
                drawn.close()
            pending = again
        ids = {index: crystal_id(index, first + n) for index in sorted(made)}
        result = GenerationResult(
            structures={ids[i]: made[i][1] for i in ids},
            rows=[],
            rejected=dict(rejected),
            missing=missing,
            plans={ids[i]: made[i][0] for i in ids},
            seconds=clock.seconds,
            interrupted=interrupted,
        )
        return result, {ids[i]: made[i][2] for i in ids}

    def _planner(
        self, request: Request, seed: int, settings: GenerationSettings, wanted: int
    ) -> Planner:
        novel = settings.novel
        if novel is None:
            novel = 0.5 if self.in_the_box else 1.0
        propose: Proposer | None = None
        if request.formula and novel < 1 and not request.symmetric and self.proposer is not None:
            from crystal_diffusion.generation.ranking import best_proposals

            def propose(composition: Mapping[int, int], count: int) -> Sequence[Any]:
                return best_proposals(self, composition, count, settings)

        templates = None
        if request.symmetric:
            from crystal_diffusion.generation.symmetric import template_source

            largest = self.model.config.max_train_atoms
            contents = [
                {chemistry.atomic_number(el): n for el, n in unit.items()}
                for unit in request.compositions(largest)
            ]
            templates = template_source(request, self.known_elements, contents)
        sizes = self.sizes()
        if request.charge_neutral and request.elements and not request.symmetric:
            sizes = neutral_sizes(request.elements, request.num_atoms, sizes)
        return Planner(
            request,
            seed,
            known=self.known_elements,
            sizes=sizes,
            largest=self.model.config.max_train_atoms,
            novel=novel,
            propose=propose,
            templates=templates,
            wanted=wanted,
        )

    def sizes(self) -> dict[int, int]:
        """How often each number of atoms occurs in the training set."""
        stored = self.header.get("sizes")
        if stored:
            return {int(k): int(v) for k, v in stored.items()}
        if self.training is None:
            return {}
        values, counts = np.unique(self.training.num_atoms, return_counts=True)
        return {int(v): int(c) for v, c in zip(values, counts, strict=True)}

    def describe(
        self,
        result: GenerationResult,
        reports: Mapping[str, ValidationReport],
        settings: GenerationSettings,
    ) -> None:
        """Rows, nearest known crystals, duplicate groups, scores and ranks; sorts the result."""
        clock = Clock()
        from crystal_diffusion.generation.ranking import group_and_rank
        from crystal_diffusion.matching import StructureMatch

        limit = self.model.config.max_train_atoms
        names = list(result.structures)
        known = self.reference
        # One matcher for everything: it remembers the reduced form of each structure.
        matcher = StructureMatch()
        structures = [result.structures[name] for name in names]
        nearest = [None] * len(names) if known is None else known.nearest_many(structures, matcher)
        rows = {
            name: make_row(name, structure, result.plans[name], reports[name], near, limit)
            for name, structure, near in zip(names, structures, nearest, strict=True)
        }
        order = group_and_rank(self, result, rows, settings, matcher)
        result.structures = {name: result.structures[name] for name in order}
        result.rows = [rows[name] for name in order]
        clock.lap("describe")
        result.seconds.update(clock.seconds)


def _checked(
    validator: PhysicsValidator, structure: Structure, request: Request, whole: bool
) -> tuple[ValidationReport, CheckResult | None]:
    """The report, and the check that speaks against the structure if there is one."""
    report = validator.validate(structure, geometry_only=not whole)
    failure = report.errors[0] if report.errors else None
    if failure is None and request.charge_neutral:
        charge = validator.check("charge_neutrality", structure)
        failure = None if charge.passed else charge
    return report, failure


def crystal_id(index: int, end: int) -> str:
    """The id of a crystal in a run of indices below ``end``.

    A letter first: readers of extended XYZ would turn "0007" into the number 7.
    """
    return f"cd{index:0{max(4, len(str(end - 1)))}d}"


def load(model: str | Path | None = None, device: str = "auto") -> CrystalGenerator:
    """A model folder or file that ``train`` wrote; without argument the one in the box.

    Raises:
        CheckpointError: when it is missing, damaged or of another version.
    """
    if model is None:
        from crystal_diffusion.pretrained import model_path

        path = model_path()
        network, header = load_model(path, resolve_device(device))
        return CrystalGenerator(network, header, None, path, in_the_box=True)
    path = Path(model)
    if not path.exists():
        raise CheckpointError(
            f"{path}: no such model; give the folder that `crystal-diffusion train` wrote."
        )
    network, header = load_model(path, resolve_device(device))
    folder = path if path.is_dir() else path.parent
    stored = folder / TRAINING_SET_FILE
    training = load_training_set(stored) if stored.is_file() else None
    if training is None:
        log.warning(
            "%s: no %s beside the weights, so nearest training crystals are unknown",
            folder,
            TRAINING_SET_FILE,
        )
    return CrystalGenerator(network, header, training, folder)


def model_hash(generator: CrystalGenerator) -> str:
    """sha256 of the weights file."""
    if generator.path is None:
        raise RequestError("the model was not loaded from a file, so it has no hash.")
    path = generator.path / MODEL_FILE if generator.path.is_dir() else generator.path
    return file_hash(path)
