"""Group candidates that are the same crystal, score them, put the best first."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_diffusion.errors import InputError
from crystal_diffusion.matching import StructureMatch, group_near

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.generation.generator import CrystalGenerator
    from crystal_diffusion.generation.settings import GenerationResult, GenerationSettings

log = logging.getLogger(__name__)

#: Prototype candidates that the ranker chooses from.
POOL = 40
#: eV/atom that weigh as much as one unit of the built-in score (docs/experiments.md, n = 150).
POTENTIAL_SCALE = 0.3


def group_and_rank(
    generator: CrystalGenerator,
    result: GenerationResult,
    rows: dict[str, dict[str, Any]],
    settings: GenerationSettings,
    matcher: StructureMatch | None = None,
) -> list[str]:
    """Fill "group", "score" and "rank" of the rows; ids in order of rank.

    Scores are comparable within a composition only, so where a run has several compositions they
    are ranked by score within each, and listed in order of their best index.
    """
    names = list(rows)
    structures = [result.structures[name] for name in names]
    if settings.group:
        for name, group in zip(names, group_near(structures, matcher), strict=True):
            rows[name]["group"] = int(group)
    if settings.rank == "none":
        scores = np.arange(len(names), dtype=float)
        order = names
    else:
        scores = candidate_scores(generator, result, names, settings.rank, settings.new)
        for name, score in zip(names, scores, strict=True):
            rows[name]["score"] = round(float(score), 5)
        # Higher is better; the first of each group stands for it, its copies come after.
        position = {name: i for i, name in enumerate(names)}
        order = sorted(names, key=lambda n: (-scores[position[n]], position[n]))
        if settings.group:
            seen: set[int] = set()
            leaders: list[str] = []
            copies: list[str] = []
            for name in order:
                group = rows[name]["group"]
                (copies if group in seen else leaders).append(name)
                seen.add(group)
            order = leaders + copies
    for rank, name in enumerate(order, start=1):
        rows[name]["rank"] = rank
    return order


def best_proposals(
    generator: CrystalGenerator,
    composition: Mapping[int, int],
    count: int,
    settings: GenerationSettings,
) -> Sequence[Any]:
    """The best prototype candidates of one composition, by the shipped ranker where it is used.

    The ranker sees more candidates than are asked for: the order of votes alone leaves 1 to 2 %
    of the right types behind place 20.
    """
    from crystal_diffusion.proposals.ranker import default_ranker, default_ranker_path

    judged = settings.rank not in ("none", "residual")
    own = generator.in_the_box and judged and default_ranker_path().is_file()
    if not own and not settings.new:
        return list(generator.proposer.propose(composition, n=count))
    found = generator.proposer.propose(composition, n=max(POOL, count))
    if own:
        found = default_ranker().order(found, novel=settings.new)
    else:
        found = sorted(found, key=lambda p: bool(p.features["known"]))
    return list(found[:count])


def candidate_scores(
    generator: CrystalGenerator,
    result: GenerationResult,
    names: list[str],
    rank: str,
    new: bool = False,
) -> np.ndarray:
    """One score a candidate, higher is better.

    Args:
        rank: "score" for the built-in ranker, "residual" for the network's own denoising
            residual alone, else the name of an installed potential: the built-in score less the
            energy above the lowest candidate of the composition over :data:`POTENTIAL_SCALE`;
            the negative energy per atom (eV) alone for models that the ranker does not know.
        new: the ranker puts types last in which the library holds the composition already.
    """
    structures = [result.structures[name] for name in names]
    if rank == "residual":
        return -network_residuals(generator, structures)
    shipped = generator.in_the_box
    if rank == "score":
        # The shipped ranker was trained with the shipped library; other models judge themselves.
        if shipped:
            return built_in_scores(generator, result, names, new)
        return -network_residuals(generator, structures)
    scores = potential_scores(structures, rank)
    if not shipped:
        return scores
    formulas = np.array([structure.composition.reduced_formula for structure in structures])
    for formula in np.unique(formulas):
        rows = formulas == formula
        # Where the potential failed on all of them, the built-in score decides alone.
        best = scores[rows].max()
        scores[rows] = scores[rows] - best if np.isfinite(best) else 0.0
    return np.asarray(built_in_scores(generator, result, names, new) + scores / POTENTIAL_SCALE)


def built_in_scores(
    generator: CrystalGenerator, result: GenerationResult, names: list[str], new: bool
) -> np.ndarray:
    """Log-odds of the shipped ranker within each composition; by votes where it is missing."""
    from crystal_diffusion.proposals.ranker import Candidate, default_ranker, default_ranker_path

    structures = [result.structures[name] for name in names]
    if not default_ranker_path().is_file():
        residuals = network_residuals(generator, structures)
        return vote_scores([result.plans[name].proposal for name in names], residuals)
    ranker = default_ranker()
    residuals = np.full(len(names), np.nan)
    if ranker.residual_weight:
        residuals = network_residuals(generator, structures)
    scores = np.zeros(len(names))
    formulas = [structure.composition.reduced_formula for structure in structures]
    for formula in dict.fromkeys(formulas):
        rows = [row for row, other in enumerate(formulas) if other == formula]
        candidates = [
            Candidate(
                structures[row],
                "prototype" if result.plans[names[row]].kind == "prototype" else "noise",
                result.plans[names[row]].proposal,
                float(residuals[row]),
            )
            for row in rows
        ]
        scores[rows] = ranker.score(candidates, novel=new)
    return scores


def vote_scores(proposals: list[Any], residuals: np.ndarray) -> np.ndarray:
    """Prototypes by their share of votes, then candidates from noise by their residual.

    Substitution alone is right far more often than a single sample from noise (``docs/
    experiments.md``), so every prototype comes before every candidate from noise.
    """
    votes = np.array([np.nan if p is None else float(p.score) for p in proposals])
    known = np.isfinite(votes)
    lowest = votes[known].min() if known.any() else 0.0
    return np.where(known, votes, lowest - 1.0 - residuals)


def network_residuals(generator: CrystalGenerator, structures: list[Structure]) -> np.ndarray:
    """Denoising residual of each structure, batched by size."""
    from crystal_diffusion.crystal import CrystalBatch
    from crystal_diffusion.diffusion.residual import denoising_residual

    out = np.zeros(len(structures))
    sizes: dict[int, list[int]] = {}
    for index, structure in enumerate(structures):
        sizes.setdefault(len(structure), []).append(index)
    for members in sizes.values():
        for first in range(0, len(members), 64):
            part = members[first : first + 64]
            batch = CrystalBatch.from_structures([structures[i] for i in part])
            out[part] = denoising_residual(generator.model, batch).numpy()
    return out


def potential_scores(structures: list[Any], potential: str) -> np.ndarray:
    """Negative single-point energy per atom, eV; a failure ranks last and is logged."""
    from crystal_diffusion.crystal import to_atoms
    from crystal_diffusion.energy.potentials import POTENTIALS, get_potential

    if potential not in POTENTIALS:
        raise InputError(
            f"rank {potential!r} is not known; choose score, residual, none or one of "
            f"{sorted(POTENTIALS)}."
        )
    calculator = get_potential(potential).calculator()
    scores = np.full(len(structures), -np.inf)
    for index, structure in enumerate(structures):
        atoms = to_atoms(structure)
        atoms.calc = calculator
        try:
            energy = float(atoms.get_potential_energy()) / len(atoms)
        except Exception as error:  # a potential may fail in any way on a strange crystal
            log.warning("%s failed on candidate %d: %s", potential, index, error)
            continue
        if np.isfinite(energy):
            scores[index] = -energy
    return scores
