"""The built-in ranking: which of several candidates for one composition is the crystal?

Scores are log-odds inside one list of candidates of one composition; lists of different
compositions cannot be compared. Trained only on the crystals of the shipped library.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.errors import InputError
from crystal_diffusion.files import atomic_write
from crystal_diffusion.pretrained import asset_path
from crystal_diffusion.proposals.prototypes import Proposal
from crystal_diffusion.ranking.candidates import (
    Candidate,
    Pool,
    element_fingerprint,
    environments_of,
)
from crystal_diffusion.ranking.network import Floats32, candidate_scores, candidate_vectors

if TYPE_CHECKING:
    from pymatgen.core import Structure

Floats64: TypeAlias = NDArray[np.float64]

#: Numbers of a proposal that the network sees, in this order.
FEATURES = (
    "log_share",
    "log_share_sharp",
    "log_share_broad",
    "log_votes",
    "nearest",
    "log_members",
    "volume_spread",
    "misfit",
    "hull",
    "hull_nearest",
)
#: First space group after each crystal system that is told apart.
SYSTEMS = (3, 16, 75, 143, 195, 231)
#: What a known crystal loses where a new one is wanted.
KNOWN_PENALTY = 20.0
#: A candidate from noise this near to a prototype candidate (mean difference of neighbour
#: distances, in (V/N)^(1/3)) takes over its numbers.
SAME_TYPE = 0.08
#: eV/atom by which a known crystal above the lowest known one of its composition loses one unit:
#: the thermal energy at room temperature.
KNOWN_ENERGY_SCALE = 0.025
#: Distance of elements (see ``similarity.py``) below which the nearest crystal of a type is itself.
SAME_CRYSTAL = 1e-6
#: Score per eV/atom of the guessed energy where no type can be compared with: what the networks
#: take for the first 0.2 eV/atom above the lowest of a list (9 to 11 for six compositions).
ALONE_WEIGHT = 10.0


def default_ranker_path() -> Path:
    """Where the shipped ranker lies."""
    return asset_path("ranker.npz")


def feature_matrix(
    proposals: Sequence[Proposal], pool: Sequence[Proposal] | None = None
) -> NDArray[np.float64]:
    """``(proposals, features)`` numbers of each: absolute, and relative to the best of a pool.

    Args:
        pool: what the relative numbers refer to; the list itself when left out.
    """
    values = _feature_values(proposals)
    against = values if pool is None else _feature_values(pool)
    group = np.array([p.features["space_group"] for p in proposals])
    unknown = np.isnan(values[:, -2:])
    values = np.nan_to_num(values)
    against = np.nan_to_num(against)
    place = (against[:, 0][None] > values[:, 0][:, None]).sum(1)
    system = np.digitize(group, SYSTEMS)[:, None] == np.arange(len(SYSTEMS))
    return np.concatenate(
        [
            values,
            unknown,
            values[:, :3] - against[:, :3].max(0),
            place[:, None] / 10.0,
            values[:, 5:6] - against[:, 5:6].max(0),
            system,
        ],
        1,
    ).astype(float)


def _feature_values(proposals: Sequence[Proposal]) -> NDArray[np.float64]:
    return np.array([[p.features[name] for name in FEATURES] for p in proposals], dtype=float)


def _raised(proposals: Sequence[Proposal | None], against: Sequence[Proposal]) -> Floats64:
    """``(proposals,)`` eV/atom of known crystals above the lowest known one of the composition.

    Zero for what is not known, and where the library has no energy.
    """

    def energy(proposal: Proposal | None) -> float:
        if proposal is None or proposal.features["nearest"] > SAME_CRYSTAL:
            return math.nan
        return proposal.features["hull_nearest"]

    values = np.array([energy(proposal) for proposal in proposals], dtype=float)
    known = np.array([energy(proposal) for proposal in against], dtype=float)
    if np.isnan(known).all():
        return np.zeros(len(proposals))
    return np.asarray(np.nan_to_num(np.maximum(values - np.nanmin(known), 0.0)), dtype=float)


@lru_cache(maxsize=1)
def default_ranker() -> Ranker:
    """The shipped ranker, read once per process."""
    return Ranker.load()


@dataclass(frozen=True, eq=False)
class Ranker:
    """Scores candidates of one composition against each other.

    Attributes:
        networks: weights of one or more networks, whose log-probabilities are averaged.
        residual_weight: what one unit of the denoising residual takes from a score.
    """

    networks: tuple[Mapping[str, Floats32], ...]
    residual_weight: float = 0.0

    def score(
        self, candidates: Sequence[Candidate], *, known_last: bool = False, pool: Pool | None = None
    ) -> NDArray[np.float64]:
        """``(candidates,)`` scores of one list, higher is better.

        Args:
            known_last: the answer wanted is a crystal that the library does not hold: types in
                which it holds this composition already come last.
            pool: what the candidates are judged against, so that a score does not depend on the
                other candidates; the list itself when left out. In an empty pool the guessed
                energy counts as it is, with ALONE_WEIGHT.

        Raises:
            InputError: the candidates are not all of one composition.
        """
        if not candidates:
            return np.zeros(0)
        formulas = {candidate.structure.composition.reduced_formula for candidate in candidates}
        if len(formulas) > 1:
            raise InputError(
                f"Candidates of {len(formulas)} compositions ({', '.join(sorted(formulas)[:3])}) "
                "were given in one list; rank one composition at a time."
            )
        proposals = self.sources(candidates, pool)
        crystals = [environments_of(candidate.structure) for candidate in candidates]
        if pool is None:
            listed, against = proposals, [p for p in proposals if p is not None]
        else:
            crystals += pool.environments
            listed, against = [*proposals, *pool.proposals], list(pool.proposals)
        known = np.array([proposal is not None for proposal in listed], dtype=bool)
        features = np.zeros((len(listed), len(self.networks[0]["fm"])))
        if known.any():
            present = [proposal for proposal in listed if proposal is not None]
            features[known] = feature_matrix(present, against)
        first = 0 if pool is None else len(candidates)
        total = np.zeros(len(candidates))
        for weights in self.networks:
            vectors, energies = candidate_vectors(weights, crystals)
            alone = not len(energies[first:])
            above = np.zeros_like(energies) if alone else energies - energies[first:].min()
            raw = candidate_scores(weights, vectors, above, features.astype(np.float32), known)
            raw = raw.astype(float)
            shift = ALONE_WEIGHT * energies if alone else np.logaddexp.reduce(raw[first:])
            total += raw[: len(candidates)] - shift
        residual = np.array([candidate.residual for candidate in candidates], dtype=float)
        total = total / len(self.networks) - self.residual_weight * np.nan_to_num(residual)
        total -= _raised(proposals, against) / KNOWN_ENERGY_SCALE
        if known_last:
            held = [proposal is not None and proposal.features["known"] for proposal in proposals]
            total -= KNOWN_PENALTY * np.array(held, dtype=float)
        return np.asarray(total, dtype=float)

    def formation_energy(self, structures: Sequence[Structure]) -> NDArray[np.float64]:
        """``(structures,)`` formation energy in eV/atom as the networks guess it.

        A by-product of training; see the card for its error on formulas that were not trained on.
        """
        if not structures:
            return np.zeros(0)
        crystals = [environments_of(structure) for structure in structures]
        found = [candidate_vectors(weights, crystals)[1] for weights in self.networks]
        return np.asarray(np.mean(found, axis=0), dtype=float)

    def sources(
        self, candidates: Sequence[Candidate], pool: Pool | None = None
    ) -> list[Proposal | None]:
        """The proposal of each candidate; candidates from noise take that of their type.

        Args:
            pool: where the types are looked for; among the candidates when left out.
        """
        if pool is not None and not pool.proposals:
            return [None] * len(candidates)
        sources = [candidate.proposal for candidate in candidates]
        open_rows = [row for row, source in enumerate(sources) if source is None]
        given = [source for source in sources if source is not None]
        if pool is not None:
            given = list(pool.proposals)
        if not open_rows or not given:
            return sources
        if pool is not None:
            prints = pool.fingerprints
        else:
            prints = [element_fingerprint(source.structure) for source in given]
        for row in open_rows:
            own = element_fingerprint(candidates[row].structure)
            gaps = [float(np.abs(own - other).mean()) for other in prints]
            best = int(np.argmin(gaps))
            if gaps[best] < SAME_TYPE:
                sources[row] = given[best]
        return sources

    def order(self, proposals: Sequence[Proposal], *, known_last: bool = False) -> list[Proposal]:
        """Proposals of one composition, best first, each with its new score; see :meth:`score`."""
        candidates = [Candidate(p.structure, "prototype", p) for p in proposals]
        scores = self.score(candidates, known_last=known_last)
        return [
            replace(proposals[row], score=float(scores[row]))
            for row in np.argsort(-scores, kind="stable")
        ]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one ``.npz`` file."""
        target = Path(path)
        arrays: dict[str, Any] = {
            f"{index}/{name}": np.asarray(value, dtype=np.float32)
            for index, weights in enumerate(self.networks)
            for name, value in weights.items()
        }
        with atomic_write(target) as part, part.open("wb") as stream:
            np.savez_compressed(stream, residual_weight=np.array(self.residual_weight), **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> Ranker:
        """Read a ranker; without ``path``, the one that is shipped.

        Raises:
            InputError: no such file, or not a ranker.
        """
        source = default_ranker_path() if path is None else Path(path)
        networks: dict[int, dict[str, Floats32]] = {}
        try:
            with np.load(source, allow_pickle=False) as data:
                for key in data.files:
                    index, _, name = key.partition("/")
                    if name:
                        networks.setdefault(int(index), {})[name] = data[key]
                weight = float(data["residual_weight"])
            if not networks or any("fm" not in weights for weights in networks.values()):
                raise ValueError("no networks in it")
        except (OSError, ValueError, KeyError) as problem:
            raise InputError(
                f"{source} is not a ranker ({problem}); give a file written by save(), or "
                "reinstall the package."
            ) from problem
        return cls(tuple(networks[index] for index in sorted(networks)), weight)
