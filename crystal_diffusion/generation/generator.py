"""CrystalGenerator: a loaded model and its verb, ``generate``."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_diffusion.crystal import MASK_ELEMENT
from crystal_diffusion.data.tables import CrystalArrays
from crystal_diffusion.diffusion.joint import JointDiffusion
from crystal_diffusion.diffusion.sampler import LONG_STEPS, SamplerSettings
from crystal_diffusion.errors import InputError, RequestError, refuse_unknown
from crystal_diffusion.generation.asking import (
    PropertySelection,
    judged,
    label_warnings,
    likeliest,
    resolved,
)
from crystal_diffusion.generation.cells import Cells, cells_of
from crystal_diffusion.generation.finishing import Finished, finish
from crystal_diffusion.generation.knowledge import (
    Knowledge,
    own_knowledge,
)
from crystal_diffusion.generation.neutral import neutral_sizes
from crystal_diffusion.generation.plan import Plan, Planner, Proposer
from crystal_diffusion.generation.request import Request
from crystal_diffusion.generation.result import Clock, Crystals, GenerationResult
from crystal_diffusion.generation.rows import make_row
from crystal_diffusion.generation.sampling import batches, sample_plans
from crystal_diffusion.generation.settings import GenerationSettings
from crystal_diffusion.generation.trials import Trials
from crystal_diffusion.parallel import one_thread_each, side_by_side
from crystal_diffusion.physics.report import ValidationReport
from crystal_diffusion.physics.validator import PhysicsValidator

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.generation.by_label import ByLabel
    from crystal_diffusion.generation.choices import ChoicePlanner
    from crystal_diffusion.generation.like_training import LikeTraining
    from crystal_diffusion.generation.symmetric import TemplateSource
    from crystal_diffusion.generation.uncertainty import SampleSpread
    from crystal_diffusion.matching import NearestKnown
    from crystal_diffusion.proposals.library import CrystalLibrary
    from crystal_diffusion.proposals.prototypes import Proposal, PrototypeProposer
    from crystal_diffusion.ranking.candidates import Candidate, Pool
    from crystal_diffusion.ranking.scorers import Floats
    from crystal_diffusion.skeletons.distribution import SkeletonModel

log = logging.getLogger(__name__)

#: Crystals of one run; they are held in memory until it ends.
MOST_AT_ONCE = 1_000_000

#: Fields of the settings that may be given as keywords, and the keywords of `generate` itself.
_SETTINGS = tuple(name for name in GenerationSettings.__dataclass_fields__ if name != "symmetry")
_SAMPLER = ("sampling_steps", "eta", "repulsion")
_OWN = ("n", "seed", "as_atoms", "settings", "symmetry", "text")

#: Called with the number of crystals finished.
ProgressCallback = Callable[[int], None]


class CrystalGenerator:
    """A trained joint model with its training set, ready to generate.

    Args:
        model: the network and its processes.
        header: what the checkpoint says of itself.
        training: the crystals it was trained on, for novelty and for prototypes.
        path: where it was loaded from.
        knowledge: library, scorer, known crystals and shares; from the training set alone when
            left out.
        address: what :func:`load` takes to load it again; None where it is in no file.
        library_wish: which library :func:`load` was asked for.
    """

    def __init__(
        self,
        model: JointDiffusion,
        header: Mapping[str, Any] | None = None,
        training: CrystalArrays | None = None,
        path: Path | None = None,
        knowledge: Knowledge | None = None,
        address: str | None = None,
        library_wish: str | None = None,
    ) -> None:
        self.model = model
        self.header = dict(header or {})
        self.training = training
        self.path = path
        self.knowledge = knowledge or own_knowledge(model, training)
        self.address = address
        self.library_wish = library_wish

    @cached_property
    def known_elements(self) -> tuple[int, ...]:
        """Atomic numbers met in training."""
        return tuple(self.model.config.elements) or tuple(range(1, 95))

    @property
    def knows_pretrained(self) -> bool:
        """Whether it is the pretrained model, or was adapted from it."""
        return self.knowledge.pretrained

    @property
    def library(self) -> CrystalLibrary | None:
        """Prototypes; None where there are none."""
        return self.knowledge.library

    @property
    def proposer(self) -> PrototypeProposer | None:
        """Finds prototypes for a composition."""
        return self.knowledge.proposer

    def generate(
        self,
        formula: str | None = None,
        n: int = 1,
        *,
        seed: int = 0,
        as_atoms: bool = False,
        settings: GenerationSettings | None = None,
        symmetry: str | float | None = None,
        text: str | None = None,
        **request: Any,
    ) -> Crystals:
        """New crystals as pymatgen ``Structure`` (or ASE ``Atoms``), best first.

        Each carries id, score, rank, start and confidence in ``.properties`` (``.info``); the list
        has ``to_dataframe()``.

        Args:
            formula: exact composition; leave out for the other questions.
            n: how many.
            seed: crystal i of a seed is always the same.
            as_atoms: return ASE ``Atoms``.
            settings: see :class:`GenerationSettings`.
            symmetry: "learned", "free" or the share of noise starts that get a space group first;
                short for the field of ``settings``.
            text: the request in words, alone or with fields that it does not name; what is ignored
                of it is logged as a warning.
            **request: any other field of :class:`Request`, for example ``elements=("Li", "O")``,
                ``num_atoms=(8, 16)``, ``lattice=(5, 5, 5, 90, 90, 90)``, ``spacegroup="225"``;
                or of :class:`GenerationSettings`, such as ``scorer="diep"``, ``noise_share=1``;
                or ``sampling_steps``, ``eta``, ``repulsion`` as on the command line.

        Raises:
            RequestError: when no crystal can meet the request.
        """
        chosen = {k: request.pop(k) for k in list(request) if k in _SETTINGS}
        sampler = {k: request.pop(k) for k in list(request) if k in _SAMPLER}
        known = [*Request.__dataclass_fields__, *_SETTINGS, *_SAMPLER, *_OWN]
        refuse_unknown("generate", request, known)
        if sampler and (settings is not None or "sampler" in chosen):
            raise InputError(
                f"generate: {', '.join(sampler)} is given beside whole settings; put it into "
                "their sampler=SamplerSettings(...)."
            )
        if sampler:
            chosen["sampler"] = SamplerSettings.of(**sampler)
        if chosen:
            settings = replace(settings or GenerationSettings(), **chosen)
        asked = Request(formula=formula, **request)
        if text is not None:
            from crystal_diffusion.generation.words import read_text

            reading = read_text(text)
            for left in reading.ignored:
                log.warning("ignored in the text: %s (%s)", left.words, left.reason)
            asked = reading.joined(asked)
        if symmetry is not None:
            settings = replace(settings or GenerationSettings(), symmetry=symmetry)
        result = self.run(asked, n, seed=seed, settings=settings)
        return Crystals(result, as_atoms)

    def __repr__(self) -> str:
        """What it knows, in a line."""
        name = self.address or "a model in no file"
        trained = self.header.get("trained_on")
        known = f", trained on {trained}" if trained else ""
        return (
            f"CrystalGenerator({name}: {len(self.known_elements)} elements, up to "
            f"{self.model.config.max_train_atoms} atoms{known}); ask it with generate(formula, n=…)"
        )

    def sample_with_uncertainty(
        self, formula: str, n_samples: int = 10, *, seed: int = 0, **request: Any
    ) -> SampleSpread:
        """Mean and spread per site over samples of one composition, all from noise.

        A mean of coordinates as they are sampled is meaningless: see
        :func:`.uncertainty.spread_of`, which aligns them first.

        Args:
            formula: exact composition.
            n_samples: how many to draw.
            seed: of the run.
            **request: other fields of :class:`Request`.

        Raises:
            RequestError: when no sample could be made.
            InputError: for fewer than two samples.
        """
        from crystal_diffusion.generation.uncertainty import spread_of

        if n_samples < 2:
            raise InputError(f"n_samples is {n_samples}; a spread needs at least 2.")
        settings = GenerationSettings(noise_share=1.0, group=False)
        asked = Request(formula=formula, **request)
        result = self.run(asked, n_samples, seed=seed, settings=settings)
        if not len(result):
            raise RequestError(f"none of {n_samples} samples of {formula} passed the checks.")
        return spread_of(list(result))

    def sample_conditional(
        self,
        condition: Mapping[str, Any],
        guidance_scale: float = 1.5,
        n: int = 1,
        *,
        select: int = 4,
        seed: int = 0,
        **request: Any,
    ) -> list[Structure]:
        """New crystals with properties, likeliest inside first.

        Args:
            condition: by property a target value (within the property's tolerance), a pair or a
                text, for example ``{"bandgap": 2.5, "density": (3.0, 4.0)}``.
            guidance_scale: how strongly it steers; 0 not at all.
            n: how many; ``select`` candidates are made for each of them.
            **request: any other field of :class:`Request`.

        Raises:
            RequestError: for a property that this model does not predict, or an impossible range.
        """
        settings = GenerationSettings(guidance=guidance_scale, select=select)
        return list(
            self.run(Request(properties=condition, **request), n, seed=seed, settings=settings)
        )

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
        check_numbers(n, first, seed)
        request = self.understood(request)
        times = settings.select if request.ranges else 1
        with one_thread_each(self.model.device) as workers:
            result, reports = self.make(
                request,
                n * times,
                seed,
                first * times,
                settings,
                wanted=n * times,
                progress=None if progress is None else lambda done: progress(done // times),
                whole=describe,
                workers=workers,
                keep=keep,
            )
            if request.ranges:
                reports = self.select(result, reports, request, n, settings)
            if describe and reports:
                try:
                    self.describe(result, reports, settings)
                except KeyboardInterrupt:
                    if not keep:
                        raise
                    self.describe_briefly(result, reports)
        return result

    def understood(self, request: Request) -> Request:
        """The request with its properties by the names that are predicted.

        Raises:
            RequestError: for a property that this model does not predict.
        """
        if not request.ranges:
            return request
        return replace(request, properties=resolved(request.ranges, self.knowledge.properties))

    def select(
        self,
        result: GenerationResult,
        reports: Mapping[str, ValidationReport],
        request: Request,
        n: int,
        settings: GenerationSettings,
    ) -> dict[str, ValidationReport]:
        """Keep the ``n`` candidates that are likeliest inside the ranges asked for.

        Returns:
            The reports of those kept; ``result`` is changed likewise.
        """
        judge = self.knowledge.properties
        if judge is None:
            raise RequestError("this model predicts no properties, so none can be asked for.")
        from crystal_diffusion.matching import StructureMatch

        clock = Clock()
        warnings = label_warnings(request.ranges, judge)
        for warning in warnings:
            log.warning("%s", warning)
        names = list(result.structures)
        found = judged(list(result.structures.values()), request.ranges, judge)
        chances = dict(zip(names, found.together.tolist(), strict=True))
        matcher = StructureMatch()
        last: frozenset[str] = frozenset()
        if settings.known_last and self.knowledge.known is not None:
            near = self.knowledge.known.nearest_many(list(result.structures.values()), matcher)
            pairs = zip(names, near, strict=True)
            last = frozenset(name for name, one in pairs if one is not None and one.matches)
        kept = likeliest(result.structures, found.together, n, matcher, last)

        def expected(some: Sequence[str]) -> float:
            return float(np.mean([chances[name] for name in some])) if some else 0.0

        result.selection = PropertySelection(
            request.ranges,
            len(names),
            len(kept),
            (expected(names), expected(kept)),
            warnings,
            {name: found.cells(names.index(name)) for name in kept},
        )
        result.structures = {name: result.structures[name] for name in kept}
        result.plans = {name: result.plans[name] for name in kept}
        result.originals = {k: v for k, v in result.originals.items() if k in result.plans}
        # Candidates that were given up matter only where too few are left to choose from.
        result.missing = dict(list(result.missing.items())[: max(0, n - len(kept))])
        clock.lap("select")
        result.seconds.update(clock.seconds)
        return {name: reports[name] for name in kept}

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
        check_numbers(n, first, seed)
        validator = settings.validator or PhysicsValidator()
        clock = Clock()
        pools: dict[str, Pool] = {}
        planner = self._planner(request, seed, settings, wanted, pools)
        pending = planner.plans([(i, 0) for i in range(first, first + n)])
        told = None
        if request.ranges:
            from crystal_diffusion.generation.told import told_denoiser

            told = told_denoiser(self.model, request.ranges, settings.guidance)
        clock.lap("plan")

        made: dict[int, tuple[Plan, Finished]] = {}
        rejected: Counter[str] = Counter()
        missing: dict[int, str] = {}
        interrupted = False
        while pending:
            again: list[tuple[int, int]] = []
            trials = Trials(pending, self._tries(settings), self.knowledge.stability)
            tasks = batches(trials.plans, workers)
            drawn = side_by_side(
                [
                    partial(
                        sample_plans,
                        self._network(b, settings) if told is None else self.model,
                        b,
                        settings,
                        told,
                    )
                    for b in tasks
                ],
                workers,
            )
            try:
                for batch, structures in zip(tasks, drawn, strict=True):
                    clock.lap("sample")
                    for plan, structure in zip(batch, structures, strict=True):
                        trials.add(
                            plan,
                            finish(
                                structure,
                                plan,
                                validator,
                                tolerance=settings.idealise,
                                whole=whole,
                            ),
                        )
                    for plan, finished in trials.decided():
                        if finished.failure is None:
                            made[plan.index] = (plan, finished)
                            continue
                        rejected[finished.failure.name] += 1
                        if plan.attempt + 1 < settings.max_attempts:
                            again.append((plan.index, plan.attempt + 1))
                        else:
                            missing[plan.index] = finished.failure.reason
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
            pending = planner.plans(again)
        ids = {index: crystal_id(index, first + n) for index in sorted(made)}
        result = GenerationResult(
            structures={ids[i]: made[i][1].structure for i in ids},
            rows=[],
            rejected=dict(rejected),
            missing=missing,
            plans={ids[i]: made[i][0] for i in ids},
            seconds=clock.seconds,
            interrupted=interrupted,
            originals={
                ids[i]: original for i in ids if (original := made[i][1].original) is not None
            },
            pools=pools,
            formula_units=planner.cells.units,
        )
        return result, {ids[i]: made[i][1].report for i in ids}

    def _tries(self, settings: GenerationSettings) -> int:
        """How often a skeleton is filled for each crystal from noise; once without a judge."""
        judged = self.knowledge.stability is not None and settings.scorer != "none"
        return settings.tries if judged else 1

    def _network(self, plans: Sequence[Plan], settings: GenerationSettings) -> JointDiffusion:
        """The model, or its student for a few steps from noise; that knows given elements only."""
        one, sampler = plans[0], settings.sampler
        few = sampler.calls(composition_given=one.composition_given) <= LONG_STEPS
        known = not any(MASK_ELEMENT in plan.atomic_numbers for plan in plans)
        if few and known and one.kind == "noise" and not sampler.eta and self.knowledge.student:
            return self.knowledge.student
        return self.model

    def _planner(
        self,
        request: Request,
        seed: int,
        settings: GenerationSettings,
        wanted: int,
        pools: dict[str, Pool],
    ) -> Planner | ChoicePlanner:
        """Makes plans; one planner for each choice of elements where they are left open."""
        if not request.open_elements:
            return self._plain_planner(request, seed, settings, wanted, pools)
        from crystal_diffusion.generation.choices import ChoicePlanner

        return ChoicePlanner(
            request,
            seed,
            self.known_elements,
            self.library,
            lambda asked: self._plain_planner(asked, seed, settings, wanted, pools),
        )

    def _plain_planner(
        self,
        request: Request,
        seed: int,
        settings: GenerationSettings,
        wanted: int,
        pools: dict[str, Pool],
    ) -> Planner:
        share = self.knowledge.noise_share if settings.noise_share is None else settings.noise_share
        wanted_prototypes = request.formula and share < 1 and not request.symmetric
        propose = self._proposals(settings, pools) if wanted_prototypes else None
        largest = self.model.config.max_train_atoms
        cells = cells_of(request, largest, self.proposer if request.formula else None)
        templates = self._templates(request, settings, largest, cells)
        sizes = self.sizes()
        if request.charge_neutral and request.elements and not request.symmetric:
            sizes = neutral_sizes(request.elements, request.num_atoms, sizes)
        return Planner(
            request,
            seed,
            known=self.known_elements,
            sizes=sizes,
            largest=largest,
            cells=cells,
            noise_share=share,
            propose=propose,
            templates=templates,
            like=self._by_label(request, seed, settings)
            or self._like_training(request, seed, settings),
            wanted=wanted,
        )

    def _templates(
        self, request: Request, settings: GenerationSettings, largest: int, cells: Cells
    ) -> TemplateSource | None:
        """What chooses space groups and Wyckoff positions."""
        from crystal_diffusion.generation.symmetric import template_source

        return template_source(
            request,
            self._skeletons(request, settings),
            self.known_elements,
            cells.drawn,
            largest=largest,
            asked=settings.symmetry,
            default=self.knowledge.symmetric,
            types=self.knowledge.types if cells.drawn else None,
        )

    def _skeletons(self, request: Request, settings: GenerationSettings) -> SkeletonModel:
        """The model of skeletons, told what is asked of properties."""
        base = self.knowledge.skeletons
        if not request.ranges:
            return base
        from crystal_diffusion.generation.told import told_skeletons

        own = self.knowledge.skeletons_file is not None
        return told_skeletons(base, request.ranges, settings.guidance, adapted=own)

    def _by_label(
        self, request: Request, seed: int, settings: GenerationSettings
    ) -> ByLabel | None:
        """What draws starts from crystals with the labels asked for, where they may be of any kind.

        None where nothing is asked, steering is off, or no known crystal has the label.
        """
        knowledge = self.knowledge
        named = request.formula or request.symmetric or request.host or request.lattice
        if named or not request.ranges or settings.guidance <= 0 or knowledge.labels is None:
            return None
        from crystal_diffusion.generation.by_label import NOISE_SHARE, ByLabel

        share = NOISE_SHARE if settings.noise_share is None else settings.noise_share
        if share >= 1 or self.proposer is None:
            return None
        excluded = request.named_elements.excluded
        found = ByLabel(
            self.proposer,
            knowledge.labels,
            request.ranges,
            seed,
            known=[z for z in self.known_elements if z not in excluded],
            named=request.named_elements.required,
            sizes=request.num_atoms or (1, self.model.config.max_train_atoms),
            noise_share=share,
            neutral=request.charge_neutral,
            judge=knowledge.properties if settings.select > 1 else None,
        )
        return found if len(found) else None

    def _like_training(
        self, request: Request, seed: int, settings: GenerationSettings
    ) -> LikeTraining | None:
        """What draws crystals like the user's own, where no composition or symmetry is named."""
        likeness = settings.like_training
        free = not (request.formula or request.symmetric or request.host or request.lattice)
        if not free and likeness is not None:
            raise RequestError(
                "like_training chooses compositions and structure types; drop it, or the formula, "
                "symmetry, host or lattice."
            )
        if likeness is None:
            likeness = self.knowledge.like_training
        if not free or likeness is None:
            return None
        if self.proposer is None:
            raise RequestError(
                "like_training needs a model that holds crystals of yours; train one first, or "
                "leave --like-training out."
            )
        from crystal_diffusion.generation.like_training import LikeTraining

        try:
            return LikeTraining(
                self.proposer,
                likeness,
                seed,
                known=self.known_elements,
                required=request.named_elements.required,
                excluded=sorted(request.named_elements.excluded),
                sizes=request.num_atoms,
                neutral=request.charge_neutral,
            )
        except RequestError as problem:
            if settings.like_training is not None:
                raise
            log.warning("All crystals start from noise: %s", problem)
            return None

    def _proposals(self, settings: GenerationSettings, pools: dict[str, Pool]) -> Proposer | None:
        """What finds prototypes for the cells of a formula, best first.

        Args:
            pools: what they were chosen among is put here.
        """
        proposer = self.proposer
        if proposer is None:
            return None
        from crystal_diffusion.ranking.order import best_proposals

        scorer = None if settings.scorer in ("none", "residual") else self.knowledge.scorer

        def propose(cells: Sequence[Mapping[int, int]], count: int) -> Sequence[Proposal]:
            units = [math.gcd(*cell.values()) for cell in cells]
            best, pool = best_proposals(
                proposer, scorer, cells[0], count, units=units, known_last=settings.known_last
            )
            if best:
                pools[best[0].structure.composition.reduced_formula] = pool
            return best

        return propose

    def scores(self, result: GenerationResult, settings: GenerationSettings) -> Floats | None:
        """One score for each crystal of a result, in its order; None where none is asked for."""
        return self._scores(result, settings)[0]

    def _scores(
        self, result: GenerationResult, settings: GenerationSettings
    ) -> tuple[Floats | None, Floats | None]:
        """Scores, and the energies in eV/atom of a potential that ranks, in order of a result."""
        from crystal_diffusion.ranking.candidates import Pool
        from crystal_diffusion.ranking.scorers import score_with_energies, scorer_for

        scorer = scorer_for(settings.scorer, self.knowledge.scorer, self.model)
        if scorer is None:
            return None, None
        candidates = _candidates(result)
        # Where no types were looked up, a score must not depend on what else was made either.
        formulas = {c.structure.composition.reduced_formula for c in candidates}
        pools = {formula: result.pools.get(formula, Pool(())) for formula in formulas}
        return score_with_energies(scorer, candidates, known_last=settings.known_last, pools=pools)

    def _confidence(
        self, result: GenerationResult, groups: Mapping[str, int | None], known_last: bool
    ) -> dict[str, float | None]:
        """Confidence of each crystal; how many to take goes into the result, and whence it is."""
        from crystal_diffusion.generation.confidence import (
            SHIPPED,
            confidences,
            sampled_confidences,
        )
        from crystal_diffusion.ranking.own_confidence import SampledCalibration

        names = list(result.structures)
        candidates, grouped = _candidates(result), [groups[name] for name in names]
        scorer, calibration = self.knowledge.scorer, self.knowledge.calibration
        if isinstance(calibration, SampledCalibration):
            result.confidence_source = calibration.source
            values, result.how_many = sampled_confidences(candidates, grouped, scorer, calibration)
            return dict(zip(names, values, strict=True))
        if scorer.log_odds:
            result.confidence_source = SHIPPED if calibration is None else calibration.source
        values, result.how_many = confidences(
            candidates,
            grouped,
            result.pools,
            scorer,
            self.proposer if scorer.log_odds else None,
            known_last=known_last,
            calibration=calibration,
        )
        return dict(zip(names, values, strict=True))

    def sizes(self) -> dict[int, int]:
        """How often each number of atoms occurs in the training set."""
        stored = self.header.get("sizes")
        if stored:
            return {int(k): int(v) for k, v in stored.items()}
        if self.training is None:
            return {}
        values, counts = np.unique(self.training.num_atoms, return_counts=True)
        return {int(v): int(c) for v, c in zip(values, counts, strict=True)}

    def describe_briefly(
        self, result: GenerationResult, reports: Mapping[str, ValidationReport]
    ) -> None:
        """Rows without what takes time to find: no known crystals, groups, scores and ranks.

        For a run that is interrupted while its crystals are described.
        """
        limit = self.model.config.max_train_atoms
        result.rows = [
            make_row(
                name,
                structure,
                result.plans[name],
                reports[name],
                None,
                limit,
                result.originals.get(name),
            )
            for name, structure in result.structures.items()
        ]
        result.rows = [
            replace(row, more=result.predictions(name))
            for name, row in zip(result.structures, result.rows, strict=True)
        ]
        result.interrupted = True

    def describe(
        self,
        result: GenerationResult,
        reports: Mapping[str, ValidationReport],
        settings: GenerationSettings,
    ) -> None:
        """Rows, nearest known crystals, duplicate groups, scores and ranks; sorts the result."""
        clock = Clock()
        from crystal_diffusion.matching import StructureMatch
        from crystal_diffusion.ranking.order import places

        limit = self.model.config.max_train_atoms
        names = list(result.structures)
        known = self.knowledge.known
        # One matcher for everything: it remembers the reduced form of each structure.
        matcher = StructureMatch()
        structures = [result.structures[name] for name in names]
        nearest: Sequence[NearestKnown | None] = [None] * len(names)
        if known is not None:
            nearest = known.nearest_many(structures, matcher)
        rows = {
            name: make_row(
                name,
                structure,
                result.plans[name],
                reports[name],
                near,
                limit,
                result.originals.get(name),
                compared=known is not None,
            )
            for name, structure, near in zip(names, structures, nearest, strict=True)
        }
        scores, energies = self._scores(result, settings)
        if energies is not None:
            for name, energy in zip(names, energies.tolist(), strict=True):
                told = round(energy, 5) if math.isfinite(energy) else None
                rows[name] = replace(rows[name], energy_per_atom_eV=told, potential=settings.scorer)
        order = places(
            result.structures,
            scores,
            group=settings.group,
            matcher=matcher,
        )
        if result.selection is not None:
            # Where properties were asked for the likeliest inside come first.
            stands = {place.name: place for place in order}
            order = [replace(stands[name], rank=i) for i, name in enumerate(names, start=1)]
        for place in order:
            score = None if place.score is None else round(place.score, 5)
            rows[place.name] = replace(
                rows[place.name],
                score=score,
                rank=place.rank,
                group=place.group,
                more=result.predictions(place.name),
            )
        groups = {place.name: place.group for place in order}
        sure = self._confidence(result, groups, settings.known_last)
        for name, value in sure.items():
            rows[name] = replace(rows[name], confidence=value)
        result.structures = {place.name: result.structures[place.name] for place in order}
        result.rows = [rows[place.name] for place in order]
        clock.lap("describe")
        result.seconds.update(clock.seconds)


def _candidates(result: GenerationResult) -> list[Candidate]:
    """The crystals of a result as candidates, in its order."""
    from crystal_diffusion.ranking.candidates import Candidate

    return [
        Candidate(
            structure,
            "prototype" if result.plans[name].kind == "prototype" else "noise",
            result.plans[name].proposal,
        )
        for name, structure in result.structures.items()
    ]


def check_numbers(n: int, first: int, seed: int) -> None:
    """Refuse numbers that no run can have.

    Raises:
        InputError: names the argument.
    """
    if n < 1:
        raise InputError(f"n is {n}; ask for at least 1 crystal.")
    if n > MOST_AT_ONCE:
        raise InputError(f"n is {n}; ask for {MOST_AT_ONCE} at once at most and go on with first.")
    if not 0 <= first < 2**62:
        raise InputError(f"first is {first}; give a whole number from 0 on.")
    if not 0 <= seed < 2**63:
        raise InputError(f"seed is {seed}; give a whole number from 0 on.")


def crystal_id(index: int, end: int) -> str:
    """The id of a crystal in a run of indices below ``end``.

    A letter first: readers of extended XYZ would turn "0007" into the number 7.
    """
    return f"cd{index:0{max(4, len(str(end - 1)))}d}"
