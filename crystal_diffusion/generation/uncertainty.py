"""Several samples of one composition: their mean, and how far each site spreads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pymatgen.core import Structure

    from crystal_diffusion.viewer.view import CrystalView

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SampleSpread:
    """Mean and spread over samples that are one structure.

    Attributes:
        mean: the mean crystal, in the cell of the first sample.
        spread: ``(atoms,)`` root mean square distance of a site from its mean, Å; NaN where no two
            samples are alike, as one sample alone says nothing of its spread.
        cell_spread: ``(6,)`` standard deviation of a, b, c (Å) and angles (degrees); NaN likewise.
        together: how many samples are this structure within the matcher's tolerance.
        samples: how many were drawn.
    """

    mean: Structure
    spread: Floats
    cell_spread: Floats
    together: int
    samples: int

    def __iter__(self) -> Iterator[Any]:
        """The pair ``mean, spread`` of the original design."""
        yield self.mean
        yield self.spread

    @property
    def share(self) -> float:
        """Share of the samples that are this structure: what the model is sure of first."""
        return self.together / self.samples

    def view(self, path: str | Path | None = None) -> CrystalView:
        """The mean crystal; around each sphere a halo as wide as the spread of the site."""
        from crystal_diffusion.viewer.scene import make_scene
        from crystal_diffusion.viewer.view import CrystalView

        title = f"{self.mean.composition.reduced_formula}, {self.together} of {self.samples} alike"
        halos = self.spread if self.together > 1 else None
        shown = CrystalView(make_scene(self.mean, title=title, halos=halos))
        if path is not None:
            shown.save(path)
        return shown


def spread_of(samples: Sequence[Structure]) -> SampleSpread:
    """Mean and spread of the largest set of samples that are one structure.

    Samples of one crystal differ by where the origin lies, by the order of equal atoms, by the
    choice of cell and by the operations of the space group. The mean of coordinates as they come is
    therefore meaningless; on a torus even more so, as the mean of 0.05 and 0.95 is 0.5 though both
    lie beside 0. Each sample is first laid on the best one by the lattice mapping, permutation and
    translation that pymatgen's matcher finds; only differences wrapped to the nearest image are
    averaged. Samples that are another structure are counted, never averaged.

    Args:
        samples: of one composition, best first; of sets of equal size the first wins.
    """
    from crystal_diffusion.matching import group_near

    groups = np.asarray(group_near(list(samples)))
    sizes = np.bincount(groups)
    chosen = [samples[int(i)] for i in np.flatnonzero(groups == int(np.argmax(sizes)))]
    first = chosen[0].get_primitive_structure().get_reduced_structure()
    laid = [first]
    for other in chosen[1:]:
        mapped = _laid_on(first, other)
        if mapped is not None:
            laid.append(mapped)
    base = np.asarray(first.frac_coords)
    steps = np.array([np.asarray(s.frac_coords) - base for s in laid])
    steps -= np.round(steps)
    # Where the crystal as a whole lies is a convention, no uncertainty.
    steps -= steps.mean(1, keepdims=True)
    cells = np.array([s.lattice.parameters for s in laid])
    from pymatgen.core import Lattice, Structure

    lattice = Lattice.from_parameters(*cells.mean(0))
    middle = steps.mean(0)
    off = (steps - middle) @ lattice.matrix
    spread = np.sqrt((off**2).sum(-1).mean(0))
    mean = Structure(lattice, first.species, base + middle)
    cell_spread = cells.std(0)
    if len(laid) < 2:
        spread, cell_spread = np.full_like(spread, np.nan), np.full_like(cell_spread, np.nan)
    return SampleSpread(mean, spread, cell_spread, len(laid), len(samples))


def _laid_on(first: Structure, other: Structure) -> Structure | None:
    """The other crystal in the cell, order and origin of the first; None where it has none."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(
        ltol=0.3, stol=0.5, angle_tol=10, primitive_cell=False, scale=True, attempt_supercell=False
    )
    reduced = other.get_primitive_structure().get_reduced_structure()
    if len(reduced) != len(first):
        return None
    try:
        mapped = matcher.get_s2_like_s1(first, reduced)  # type: ignore[no-untyped-call]
    except ValueError:
        return None
    return mapped if mapped is not None and len(mapped) == len(first) else None
