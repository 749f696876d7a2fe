"""Benchmarks of structure prediction: our kinds of start beside the baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_diffusion import chemistry
from crystal_diffusion.data.readers import iter_crystals
from crystal_diffusion.errors import InputError
from crystal_diffusion.evaluation.baselines import NearestNeighbourCopy, RandomPlacement
from crystal_diffusion.evaluation.benchmark import run_benchmark
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.request import Request
from crystal_diffusion.generation.result import GenerationResult
from crystal_diffusion.generation.settings import GenerationSettings

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.evaluation.table import EvaluationTable

#: Published benchmarks whose splits have the columns of ``iter_crystals``.
BENCHMARKS = ("mp20", "mpts52", "perov5", "carbon24")
#: Predictors that can be asked for by name.
PREDICTORS = ("all", "noise", "prototypes", "copy", "random")


class AllStarts:
    """Prototype and noise starts together, ranked: the generator as a user gets it."""

    def __init__(self, generator: CrystalGenerator, settings: GenerationSettings) -> None:
        self.generator = generator
        self.settings = settings

    def __call__(
        self, compositions: Sequence[Mapping[str, int]], candidates: int, seed: int
    ) -> list[list[Structure]]:
        """Candidates for each composition, best first; an unknown element gives none."""
        return [self._one(c, candidates, seed) for c in compositions]

    def _one(self, composition: Mapping[str, int], count: int, seed: int) -> list[Structure]:
        formula = "".join(f"{el}{n}" for el, n in composition.items())
        known = set(self.generator.known_elements)
        if not all(chemistry.atomic_number(el) in known for el in composition):
            return []
        result = self.generator.run(
            Request(formula=formula, z=(1, 1)),
            count,
            seed=seed,
            settings=self.settings,
            describe=False,
        )
        return ranked(self.generator, result, self.settings)


def ranked(
    generator: CrystalGenerator, result: GenerationResult, settings: GenerationSettings
) -> list[Structure]:
    """Structures of a result, best score first."""
    structures = list(result)
    scores = generator.scores(result, settings) if structures else None
    if scores is None:
        return structures
    return [structures[i] for i in np.argsort(-scores, kind="stable")]


class Prototypes:
    """Substitution into known structure types, in the order of votes; no network, no ranker."""

    def __init__(self, proposer: Any) -> None:
        self.proposer = proposer

    def __call__(
        self, compositions: Sequence[Mapping[str, int]], candidates: int, seed: int
    ) -> list[list[Structure]]:
        """Candidates for each composition, most votes first."""
        answers = []
        for composition in compositions:
            counts = {chemistry.atomic_number(el): n for el, n in composition.items()}
            answers.append([p.structure for p in self.proposer.propose(counts, n=candidates)])
        return answers


def predictors_for(
    generator: CrystalGenerator, names: Sequence[str], settings: GenerationSettings
) -> dict[str, Any]:
    """Predictors by name; see :data:`PREDICTORS`.

    Raises:
        InputError: for an unknown name, or a model without training set where one is needed.
    """
    unknown = [name for name in names if name not in PREDICTORS]
    if unknown:
        raise InputError(
            f"predictor {unknown[0]!r} is not known; choose from {', '.join(PREDICTORS)}."
        )
    made: dict[str, Any] = {}
    for name in names:
        if name == "all":
            made["all starts, ranked"] = AllStarts(generator, settings)
        elif name == "noise":
            made["from noise"] = AllStarts(
                generator, replace(settings, noise_share=1.0, scorer="none")
            )
        elif name == "random":
            made["random placement"] = RandomPlacement()
        else:
            if generator.library is None:
                raise InputError(f"predictor {name!r} needs the training set of the model.")
            if name == "prototypes":
                made["prototype substitution"] = Prototypes(generator.proposer)
            else:
                from crystal_diffusion.matching import ReferenceIndex

                library = generator.library
                references = ReferenceIndex.from_structures(
                    {library.id_of(i): library.structure(i) for i in range(len(library))}
                )
                made["nearest-neighbour copy"] = NearestNeighbourCopy(references)
    return made


def benchmark(
    generator: CrystalGenerator,
    name: str,
    split: str | Path,
    *,
    n: int | None = None,
    candidates: int = 20,
    seed: int = 0,
    predictors: Sequence[str] = ("all", "noise", "prototypes", "random"),
    settings: GenerationSettings | None = None,
    processes: int | None = None,
    out: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, EvaluationTable]:
    """Ask for the compositions of a split and compare with its crystals.

    Args:
        name: one of :data:`BENCHMARKS`; it is printed with the figures.
        split: file with the true structures.
        n: use only this many targets, drawn with the seed.

    Raises:
        InputError: for an unknown name or an unreadable split.
    """
    if name not in BENCHMARKS:
        raise InputError(f"benchmark {name!r} is not known; choose from {', '.join(BENCHMARKS)}.")
    settings = settings or GenerationSettings(noise_share=0.2, known_last=True)
    targets = {
        record.id: record.structure
        for record in iter_crystals(str(split), primitive=True)
        if record.structure is not None
    }
    if not targets:
        raise InputError(
            f"{split} holds no crystal that can be read; see `crystal-diffusion check {split}`."
        )
    return run_benchmark(
        name,
        predictors_for(generator, predictors, settings),
        targets,
        n,
        candidates=candidates,
        seed=seed,
        processes=processes,
        out=out,
        progress=progress,
        info={
            "training set": generator.header.get("trained_on", "the model's own"),
            "known structures of a composition last": settings.known_last,
        },
    )
