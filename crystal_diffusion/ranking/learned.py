"""The built-in ranking: which of several candidates for one composition is the crystal?

Scores are log-odds inside one list of candidates of one composition; lists of different
compositions cannot be compared. Trained only on the crystals of the shipped library.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.errors import InputError
from crystal_diffusion.files import atomic_write
from crystal_diffusion.pretrained import asset_path
from crystal_diffusion.proposals.alignment import Frame, neighbour_fingerprint
from crystal_diffusion.proposals.environments import Environments, environments
from crystal_diffusion.proposals.prototypes import Proposal, PrototypeProposer
from crystal_diffusion.ranking.candidates import Candidate
from crystal_diffusion.ranking.network import Floats32, candidate_scores, candidate_vectors

if TYPE_CHECKING:
    from pymatgen.core import Structure

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


def default_ranker_path() -> Path:
    """Where the shipped ranker lies."""
    return asset_path("ranker.npz")


def feature_matrix(proposals: Sequence[Proposal]) -> NDArray[np.float64]:
    """``(proposals, features)`` numbers of one list: absolute, and relative to the list's best."""
    values = np.array([[p.features[name] for name in FEATURES] for p in proposals], dtype=float)
    group = np.array([p.features["space_group"] for p in proposals])
    unknown = np.isnan(values[:, -2:])
    values = np.nan_to_num(values)
    place = (values[:, 0][None] > values[:, 0][:, None]).sum(1)
    system = np.digitize(group, SYSTEMS)[:, None] == np.arange(len(SYSTEMS))
    return np.concatenate(
        [
            values,
            unknown,
            values[:, :3] - values[:, :3].max(0),
            place[:, None] / 10.0,
            values[:, 5:6] - values[:, 5:6].max(0),
            system,
        ],
        1,
    ).astype(float)


def environments_of(structure: Structure) -> Environments:
    """Environments of the atoms of a structure."""
    return environments(
        structure.lattice.matrix, structure.frac_coords, np.array(structure.atomic_numbers)
    )


def element_fingerprint(structure: Structure) -> NDArray[np.float64]:
    """``(elements, neighbours)`` neighbour distances by element, elements ascending."""
    _, roles = np.unique(np.array(structure.atomic_numbers), return_inverse=True)
    frame = Frame(
        np.array(structure.lattice.matrix), np.array(structure.frac_coords), roles.astype(np.int64)
    )
    return neighbour_fingerprint(frame)


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

    def score(self, candidates: Sequence[Candidate], *, novel: bool = False) -> NDArray[np.float64]:
        """``(candidates,)`` scores of one list, higher is better.

        Args:
            novel: the answer wanted is a crystal that the library does not hold: types in which
                it holds this composition already come last.

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
        proposals = self.sources(candidates)
        known = np.array([proposal is not None for proposal in proposals], dtype=bool)
        present = [proposal for proposal in proposals if proposal is not None]
        width = len(self.networks[0]["fm"])
        features = np.zeros((len(candidates), width))
        if present:
            features[known] = feature_matrix(present)
        crystals = [environments_of(candidate.structure) for candidate in candidates]
        total = np.zeros(len(candidates))
        for weights in self.networks:
            vectors, energies = candidate_vectors(weights, crystals)
            raw = candidate_scores(weights, vectors, energies, features.astype(np.float32), known)
            raw = raw.astype(float)
            total += raw - np.logaddexp.reduce(raw)
        residual = np.array([candidate.residual for candidate in candidates], dtype=float)
        total = total / len(self.networks) - self.residual_weight * np.nan_to_num(residual)
        if novel:
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

    def sources(self, candidates: Sequence[Candidate]) -> list[Proposal | None]:
        """The proposal of each candidate; candidates from noise take that of their type."""
        sources = [candidate.proposal for candidate in candidates]
        open_rows = [row for row, source in enumerate(sources) if source is None]
        given = [source for source in sources if source is not None]
        if not open_rows or not given:
            return sources
        prints = [element_fingerprint(source.structure) for source in given]
        for row in open_rows:
            own = element_fingerprint(candidates[row].structure)
            gaps = [float(np.abs(own - other).mean()) for other in prints]
            best = int(np.argmin(gaps))
            if gaps[best] < SAME_TYPE:
                sources[row] = given[best]
        return sources

    def order(self, proposals: Sequence[Proposal], *, novel: bool = False) -> list[Proposal]:
        """Proposals of one composition, best first, each with its new score; see :meth:`score`."""
        candidates = [Candidate(p.structure, "prototype", p) for p in proposals]
        scores = self.score(candidates, novel=novel)
        return [
            replace(proposals[row], score=float(scores[row]))
            for row in np.argsort(-scores, kind="stable")
        ]

    def score_structures(
        self,
        structures: Sequence[Structure],
        composition: Mapping[int, int] | str,
        proposer: PrototypeProposer | None = None,
    ) -> NDArray[np.float64]:
        """Scores of structures of one composition, wherever they came from.

        Structures of a known type take the numbers of that type from the library; all are scored
        in one list with the prototype candidates of the composition, whose scores are left out.
        """
        maker = proposer or PrototypeProposer()
        pool = maker.propose(composition, n=30)
        candidates = [Candidate(structure, "noise") for structure in structures]
        candidates += [Candidate(proposal.structure, "prototype", proposal) for proposal in pool]
        return self.score(candidates)[: len(structures)]

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
