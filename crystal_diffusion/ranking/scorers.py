"""Scorers: which of several candidates is the crystal? One protocol, several judges.

Scores compare candidates of one composition only.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.errors import InputError
from crystal_diffusion.ranking.candidates import Candidate, Pool, by_composition
from crystal_diffusion.ranking.learned import Ranker, default_ranker
from crystal_diffusion.ranking.stability import StabilityOpinion

if TYPE_CHECKING:
    from crystal_diffusion.diffusion.joint import JointDiffusion

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
#: eV/atom that weigh as much as one unit of the built-in score (docs/experiments.md, n = 150).
POTENTIAL_SCALE = 0.3
#: Crystals of one size that the network judges in one call.
_BATCH = 64
#: What the candidates of each reduced formula are judged against.
Pools: TypeAlias = Mapping[str, Pool]
NO_POOLS: Pools = MappingProxyType({})


class Scorer(Protocol):
    """Judges candidates from structures and what their plans say of them."""

    @property
    def log_odds(self) -> bool:
        """Whether scores are log-odds within a composition, fit to be added to other evidence."""
        ...

    def score(
        self, candidates: Sequence[Candidate], *, known_last: bool = False, pools: Pools = NO_POOLS
    ) -> Floats:
        """``(candidates,)`` higher is better.

        Args:
            known_last: types in which the library holds the composition already come last.
            pools: what the candidates of each reduced formula are judged against; those of a
                formula without one against each other.
        """
        ...


@dataclass(frozen=True, eq=False)
class ResidualScorer:
    """The network's own denoising residual, negative: how little it would still change."""

    model: JointDiffusion
    log_odds: bool = False

    def score(
        self, candidates: Sequence[Candidate], *, known_last: bool = False, pools: Pools = NO_POOLS
    ) -> Floats:
        """See :class:`Scorer`."""
        return -self.residuals(candidates)

    def residuals(self, candidates: Sequence[Candidate]) -> Floats:
        """``(candidates,)`` denoising residual of each, batched by size."""
        from crystal_diffusion.crystal import CrystalBatch
        from crystal_diffusion.ranking.residual import denoising_residual

        out = np.zeros(len(candidates))
        sizes: dict[int, list[int]] = {}
        for row, candidate in enumerate(candidates):
            sizes.setdefault(len(candidate.structure), []).append(row)
        for members in sizes.values():
            for first in range(0, len(members), _BATCH):
                part = members[first : first + _BATCH]
                batch = CrystalBatch.from_structures([candidates[i].structure for i in part])
                out[part] = denoising_residual(self.model, batch).numpy()
        return out


@dataclass(frozen=True, eq=False)
class LearnedScorer:
    """Log-odds of the learned ranker within each composition.

    Attributes:
        ranker: the shipped one when left out.
        residual: gives the residuals, for rankers that weigh them.
        stability: what the predicted formation energy adds; nothing when left out.
    """

    ranker: Ranker | None = None
    residual: ResidualScorer | None = None
    stability: StabilityOpinion | None = None
    log_odds: bool = True

    def score(
        self, candidates: Sequence[Candidate], *, known_last: bool = False, pools: Pools = NO_POOLS
    ) -> Floats:
        """See :class:`Scorer`."""
        ranker = self.ranker or default_ranker()
        listed = list(candidates)
        if ranker.residual_weight and self.residual is not None:
            residuals = self.residual.residuals(listed)
            listed = [replace(c, residual=float(r)) for c, r in zip(listed, residuals, strict=True)]
        scores = np.zeros(len(listed))
        for rows in by_composition(listed):
            pool = pools.get(listed[rows[0]].structure.composition.reduced_formula)
            mine = [listed[row] for row in rows]
            scores[rows] = ranker.score(mine, known_last=known_last, pool=pool)
            if self.stability is not None:
                scores[rows] += self.stability.opinion(mine, pool)
        return scores


@dataclass(frozen=True, eq=False)
class EnergyScorer:
    """Negative single-point energy per atom (eV) of an installed potential.

    A failure ranks last and is logged.
    """

    potential: str
    log_odds: bool = False

    def __post_init__(self) -> None:
        from crystal_diffusion.energy.potentials import POTENTIALS

        if self.potential not in POTENTIALS:
            raise InputError(
                f"scorer {self.potential!r} is not known; choose score, residual, none or one of "
                f"{sorted(POTENTIALS)}."
            )

    def score(
        self, candidates: Sequence[Candidate], *, known_last: bool = False, pools: Pools = NO_POOLS
    ) -> Floats:
        """See :class:`Scorer`."""
        from crystal_diffusion.crystal import to_atoms
        from crystal_diffusion.energy.potentials import get_potential

        calculator = get_potential(self.potential).calculator()
        scores = np.full(len(candidates), -np.inf)
        for row, candidate in enumerate(candidates):
            atoms = to_atoms(candidate.structure)
            atoms.calc = calculator
            try:
                energy = float(atoms.get_potential_energy()) / len(atoms)
            except Exception as error:  # a potential may fail in any way on a strange crystal
                log.warning("%s failed on candidate %d: %s", self.potential, row, error)
                continue
            if np.isfinite(energy):
                scores[row] = -energy
        return scores


@dataclass(frozen=True, eq=False)
class JoinedScorer:
    """Log-odds less the energy in eV/atom over POTENTIAL_SCALE.

    The energy is the potential's own, not one above the best candidate: so the score of a crystal
    is the same whatever else was made. A failure ranks last; where all of a composition fail, the
    built-in score decides alone.
    """

    built_in: Scorer
    energy: Scorer
    log_odds: bool = True

    def score(
        self, candidates: Sequence[Candidate], *, known_last: bool = False, pools: Pools = NO_POOLS
    ) -> Floats:
        """See :class:`Scorer`."""
        energies = self.energy.score(candidates, known_last=known_last)
        return self.joined(candidates, energies, known_last=known_last, pools=pools)

    def joined(
        self,
        candidates: Sequence[Candidate],
        energies: Floats,
        *,
        known_last: bool = False,
        pools: Pools = NO_POOLS,
    ) -> Floats:
        """The score from negative energies (eV/atom) that are there already."""
        energies = energies.copy()
        for rows in by_composition(list(candidates)):
            if not np.isfinite(energies[rows]).any():
                energies[rows] = 0.0
        own = self.built_in.score(candidates, known_last=known_last, pools=pools)
        return np.asarray(own + energies / POTENTIAL_SCALE, dtype=float)


def score_with_energies(
    scorer: Scorer,
    candidates: Sequence[Candidate],
    *,
    known_last: bool = False,
    pools: Pools = NO_POOLS,
) -> tuple[Floats, Floats | None]:
    """Scores, and the energies in eV/atom that they were made with; NaN where a potential failed.

    No energies from a scorer without a potential. None is worked out twice.
    """
    energy = scorer.energy if isinstance(scorer, JoinedScorer) else scorer
    if not isinstance(energy, EnergyScorer):
        return scorer.score(candidates, known_last=known_last, pools=pools), None
    found = energy.score(candidates, known_last=known_last)
    energies = np.where(np.isfinite(found), -found, np.nan)
    if isinstance(scorer, JoinedScorer):
        found = scorer.joined(candidates, found, known_last=known_last, pools=pools)
    return found, energies


def scorer_for(name: str, built_in: Scorer, model: JointDiffusion) -> Scorer | None:
    """The scorer of a wish: "score", "residual", "none", or the name of a potential.

    Raises:
        InputError: for another name.
    """
    if name == "none":
        return None
    if name == "score":
        return built_in
    if name == "residual":
        return ResidualScorer(model)
    energy = EnergyScorer(name)
    # A score that is no log-odds has no scale on which an energy could be added.
    return JoinedScorer(built_in, energy) if built_in.log_odds else energy
