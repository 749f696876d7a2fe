"""How much a predicted formation energy says against a candidate.

The ranker knows what similar crystals look like; a network trained on formation energies alone
knows better what a crystal costs. The energy of a candidate above the lowest of the known types of
its composition lowers its log-odds, up to a limit: beyond it a crystal is out of the question
anyway, and energies of odd cells are not to be trusted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.ranking.candidates import Candidate, Pool

Floats: TypeAlias = NDArray[np.float64]
#: ``(structures,)`` formation energies in eV/atom; NaN where nothing is known.
FormationEnergies: TypeAlias = Callable[[Sequence["Structure"]], Floats]

#: Log-odds that a candidate loses for each eV/atom, and the eV/atom beyond which it loses no more;
#: fitted on lists of crystals that the networks had not met (``benchmarks/energy_in_ranking.py``).
WEIGHT, MOST_ABOVE = 6.0, 0.5
#: Crystals whose energies are kept.
_MOST_KNOWN = 50_000


@dataclass(frozen=True, eq=False)
class StabilityOpinion:
    """What the predicted formation energy adds to the log-odds of candidates.

    Attributes:
        energies: predicts them.
        weight: log-odds for each eV/atom.
    """

    energies: FormationEnergies
    weight: float = WEIGHT
    _known: dict[bytes, float] = field(default_factory=dict, init=False, repr=False)

    def opinion(self, candidates: Sequence[Candidate], pool: Pool | None) -> Floats:
        """``(candidates,)`` of one composition, 0 for the lowest, negative for higher ones.

        Args:
            pool: whose lowest energy is the reference; the candidates' own when left out. In an
                empty pool the energy counts as it is.
        """
        found = self.known_energies([candidate.structure for candidate in candidates])
        if np.isnan(found).any():  # an element that no labelled crystal had: nothing is said
            return np.zeros(len(candidates))
        if pool is not None and not pool.proposals:
            return np.asarray(-self.weight * found, dtype=float)
        against = found if pool is None else self._pool(pool)
        above = np.clip(found - against.min(), 0.0, MOST_ABOVE)
        return np.asarray(-self.weight * above, dtype=float)

    def _pool(self, pool: Pool) -> Floats:
        """Energies of a pool."""
        return self.known_energies([proposal.structure for proposal in pool.proposals])

    def known_energies(self, structures: Sequence[Structure]) -> Floats:
        """Energies in eV/atom, NaN where nothing is known.

        One crystal is judged once, as a candidate, of its pool, and when it is made. So what is
        said of it does not depend on what is asked beside it, not even by rounding.
        """
        names = [_name(structure) for structure in structures]
        new = {n: s for n, s in zip(names, structures, strict=True) if n not in self._known}
        if new:
            if len(self._known) + len(new) > _MOST_KNOWN:
                self._known.clear()
                new = dict(zip(names, structures, strict=True))
            self._known.update(zip(new, self.energies(list(new.values())).tolist(), strict=True))
        return np.array([self._known[name] for name in names], dtype=float)


def _name(structure: Structure) -> bytes:
    """A crystal by its content: structures may be changed in place."""
    numbers = np.array(structure.atomic_numbers, dtype=np.int64)
    parts = (numbers, structure.lattice.matrix, structure.frac_coords)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).digest()
