"""One run made in parts, in several processes or on a Ray cluster.

A crystal depends on its seed and index only, so parts of fixed size give the same crystals under
every executor; grouping and ranking look at all of them together and are done at the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from crystal_diffusion.errors import InputError
from crystal_diffusion.generation.generator import CrystalGenerator, check_numbers, crystal_id
from crystal_diffusion.generation.loading import load
from crystal_diffusion.generation.request import Request
from crystal_diffusion.generation.result import GenerationResult
from crystal_diffusion.generation.settings import GenerationSettings
from crystal_diffusion.physics.report import ValidationReport

#: Crystals of a part.
PART = 50


@dataclass(frozen=True)
class Part:
    """Indices ``first`` to ``first + n`` of a run of ``wanted`` crystals."""

    model: str
    request: Request
    n: int
    seed: int
    first: int
    settings: GenerationSettings
    wanted: int
    library: str | None = None


@lru_cache(maxsize=1)
def _loaded(model: str, library: str | None) -> CrystalGenerator:
    return load(model, "cpu", library)


def make_part(part: Part) -> tuple[GenerationResult, dict[str, ValidationReport]]:
    """The crystals of a part; a worker loads the model once."""
    return _loaded(part.model, part.library).make(
        part.request, part.n, part.seed, part.first, part.settings, wanted=part.wanted
    )


def run_spread(
    generator: CrystalGenerator,
    request: Request,
    n: int,
    *,
    seed: int = 0,
    first: int = 0,
    settings: GenerationSettings | None = None,
    executor: str = "local",
    processes: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> GenerationResult:
    """As :meth:`CrystalGenerator.run`, the crystals made by an executor.

    Args:
        executor: "local", "here", "ray" or "ray:ADDRESS".
        processes: workers; the usable cores by default.

    Raises:
        InputError: for an unknown executor, or a model that is in no file.
        RequestError: when no crystal can meet the request.
    """
    # Not at the top: screening stands above generation.
    from crystal_diffusion.parallel.executors import make_executor

    check_numbers(n, first, seed)
    model = generator.address
    if model is None:
        raise InputError("the model is in no file; save it before workers can load it.")
    settings = settings or GenerationSettings()
    request = generator.understood(request)
    times = settings.select if request.ranges else 1
    kept, n, first = n, n * times, first * times
    parts = {
        str(start): Part(
            model,
            request,
            min(PART, first + n - start),
            seed,
            start,
            settings,
            n,
            generator.library_wish,
        )
        for start in range(first, first + n, PART)
    }
    answers: dict[int, tuple[GenerationResult, dict[str, ValidationReport]]] = {}
    missing: dict[int, str] = {}
    interrupted = False
    try:
        for key, outcome in make_executor(executor, processes)(make_part, parts.items()):
            part = parts[key]
            span = range(part.first, part.first + part.n)
            if outcome.value is None:
                missing.update(dict.fromkeys(span, outcome.problem))
            else:
                answers[part.first] = outcome.value
            if progress:
                count = sum(len(a) + len(a.missing) for a, _ in answers.values()) + len(missing)
                progress(count // times)
    except KeyboardInterrupt:
        # What other workers have finished is kept, as without an executor.
        if not answers:
            raise
        interrupted = True
        done = {
            i for p in parts.values() if p.first in answers for i in range(p.first, p.first + p.n)
        }
        left = set(range(first, first + n)) - done - set(missing)
        missing.update(dict.fromkeys(sorted(left), "the run was interrupted"))
    whole = GenerationResult({}, [], {}, missing, {}, {}, interrupted)
    reports = _join(whole, [answers[start] for start in sorted(answers)], first + n)
    if request.ranges:
        reports = generator.select(whole, reports, request, kept, settings)
    if reports:
        try:
            generator.describe(whole, reports, settings)
        except KeyboardInterrupt:
            generator.describe_briefly(whole, reports)
    return whole


def _join(
    whole: GenerationResult,
    parts: Sequence[tuple[GenerationResult, dict[str, ValidationReport]]],
    end: int,
) -> dict[str, ValidationReport]:
    """Put the parts into one result; the reports of all crystals by their ids in it."""
    reports: dict[str, ValidationReport] = {}
    rejected: Counter[str] = Counter()
    for result, found in parts:
        for name, plan in result.plans.items():
            own = crystal_id(plan.index, end)
            whole.structures[own] = result.structures[name]
            whole.plans[own] = plan
            if name in result.originals:
                whole.originals[own] = result.originals[name]
            reports[own] = found[name]
        whole.pools.update(result.pools)
        whole.formula_units = result.formula_units
        rejected.update(result.rejected)
        whole.missing.update(result.missing)
        for stage, seconds in result.seconds.items():
            whole.seconds[stage] = whole.seconds.get(stage, 0.0) + seconds
    whole.rejected = dict(rejected)
    return reports
