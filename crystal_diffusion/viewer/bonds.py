"""Which atoms of an infinite crystal are joined, and around which a polyhedron is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crystal_diffusion.viewer import elements

#: Longest bond, in sums of covalent radii.
LONGEST_BOND = 1.3
#: Of the contacts of one atom, those longer than this times the shortest (both in sums of covalent
#: radii) are left out, so that the Ti-O cage of a perovskite is not hidden by its Sr-O contacts.
WEAKEST_BOND = 1.2
#: A cation of at most this many neighbours keeps all of them; the twelve of a perovskite's large
#: cation are measured at the shorter bonds of their anions as well.
MOST_OWN = 8
#: Pauling difference from which the less electronegative partner counts as a cation.
CATION_DIFFERENCE = 0.4
#: Cations of at most this many neighbours are completed at the border; eight of a fluorite would
#: hide the cell.
MOST_COMPLETED = 6
#: Beyond this number of atoms in the cell bonds are left out, as nothing could be seen.
MOST_ATOMS_WITH_BONDS = 3000


@dataclass(frozen=True, eq=False)
class Bonds:
    """The bonds of an infinite crystal, each once, the less electronegative atom first.

    Attributes:
        first: ``(bonds,)`` an atom of the cell.
        second: ``(bonds,)`` the atom that it is bonded to.
        shift: ``(bonds, 3)`` whole cells by which the second atom is moved.
        outward: ``(bonds,)`` bool: where the first atom is drawn, the second is drawn as well,
            though it lies outside of the picture's cell.
        inward: ``(bonds,)`` bool: likewise from the second to the first (a hydrogen atom).
        centres: ``(atoms,)`` bool, cations that have a coordination polyhedron.
    """

    first: np.ndarray
    second: np.ndarray
    shift: np.ndarray
    outward: np.ndarray
    inward: np.ndarray
    centres: np.ndarray

    def __len__(self) -> int:
        return len(self.first)


def no_bonds(atoms: int) -> Bonds:
    """The bonds of a crystal that is drawn without."""
    none, nothing = np.zeros(0, int), np.zeros(0, bool)
    return Bonds(none, none, np.zeros((0, 3), int), nothing, nothing, np.zeros(atoms, bool))


def make_bonds(frac: np.ndarray, cell: np.ndarray, numbers: np.ndarray) -> Bonds:
    """Bonds, what they complete at the border, and centres of polyhedra.

    A cation is completed, and has a polyhedron from four neighbours on, when all its neighbours
    are more electronegative by at least 0.4 (Pauling); completed only when these are nonmetals and
    at most six. A nonmetal keeps its hydrogen atoms.

    Args:
        frac: ``(atoms, 3)`` in [0, 1).
        cell: ``(3, 3)`` rows in Å.
        numbers: ``(atoms,)``.
    """
    count = len(numbers)
    if not 0 < count <= MOST_ATOMS_WITH_BONDS:
        return no_bonds(count)
    first, second, shift = periodic_bonds(frac, cell, numbers)
    chi = np.array([elements.electronegativity(int(z)) for z in numbers])
    nonmetal = elements.is_nonmetal(numbers)
    polar = (chi[second] - chi[first] >= CATION_DIFFERENCE) & (chi[first] > 0)
    neighbours = np.bincount(first, minlength=count)
    others = np.bincount(first[~polar], minlength=count)
    metals = np.bincount(first[~nonmetal[second]], minlength=count)
    centres = (neighbours >= 4) & (others == 0)
    complete = (neighbours > 0) & (neighbours <= MOST_COMPLETED) & (others == 0) & (metals == 0)

    nonzero = shift != 0
    leading = np.take_along_axis(shift, nonzero.argmax(1)[:, None], 1)[:, 0]
    once = (chi[second] > chi[first]) | (
        (chi[second] == chi[first]) & ((first < second) | ((first == second) & (leading > 0)))
    )
    first, second, shift = first[once], second[once], shift[once]
    hydrogen = (numbers[first] == 1) & nonmetal[second]
    return Bonds(first, second, shift, complete[first] | hydrogen, hydrogen, centres)


def periodic_bonds(
    frac: np.ndarray, cell: np.ndarray, numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bonds of the infinite crystal: ``first (bonds,)``, ``second (bonds,)``, ``shift (bonds, 3)``.

    A contact is a bond when it is not longer than 1.3 times the sum of the covalent radii, not
    longer than 1.2 times (in the same measure) the shortest contact of either atom (for the
    neighbours of a cation that has at most eight: the shortest contact of the cation), and not
    between two cations: atoms that both have a more electronegative neighbour, unless both are
    nonmetals. Each bond comes twice, once from each end.
    """
    from scipy.spatial import cKDTree

    radius = np.array([elements.covalent_radius(int(z)) for z in numbers])
    reach = 2 * LONGEST_BOND * float(radius.max())
    counts = np.ceil(reach / heights(cell)).astype(int)
    cells = np.stack(
        np.meshgrid(*[np.arange(-n, n + 1) for n in counts], indexing="ij"), -1
    ).reshape(-1, 3)
    points = ((frac[None] + cells[:, None]) @ cell).reshape(-1, 3)
    home = frac @ cell
    near = cKDTree(points).query_ball_point(home, reach)
    first = np.repeat(np.arange(len(frac)), [len(n) for n in near])
    flat = np.concatenate([np.asarray(n, int) for n in near])
    second, shift = flat % len(frac), cells[flat // len(frac)]
    distance = np.linalg.norm(points[flat] - home[first], axis=1)
    ratio = distance / (radius[first] + radius[second])
    keep = (distance > 1e-6) & (ratio <= LONGEST_BOND)
    first, second, shift, ratio = first[keep], second[keep], shift[keep], ratio[keep]

    chi = np.array([elements.electronegativity(int(z)) for z in numbers])
    nonmetal = elements.is_nonmetal(numbers)
    cation = np.zeros(len(frac), bool)
    pulls = (chi[second] - chi[first] >= CATION_DIFFERENCE) & (chi[first] > 0)
    cation[first[pulls]] = True
    keep = ~(cation[first] & cation[second]) | (nonmetal[first] & nonmetal[second])
    first, second, shift, ratio = first[keep], second[keep], shift[keep], ratio[keep]

    shortest = np.full(len(frac), np.inf)
    np.minimum.at(shortest, first, ratio)
    keep = ratio <= WEAKEST_BOND * np.minimum(shortest[first], shortest[second])
    # A cation of few neighbours keeps them though its anions have shorter bonds: LiO6 beside PO4.
    gain = chi[second] - chi[first]
    middle = np.where(gain > 0, first, second)
    own = (np.abs(gain) >= CATION_DIFFERENCE) & (np.minimum(chi[first], chi[second]) > 0)
    own &= ratio <= WEAKEST_BOND * shortest[middle]
    few = np.bincount(first[own & (gain > 0)], minlength=len(frac)) <= MOST_OWN
    keep |= own & few[middle]
    return first[keep], second[keep], shift[keep]


def heights(cell: np.ndarray) -> np.ndarray:
    """Distances between opposite faces of a cell in Å, ``(3,)``."""
    return np.asarray(1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0))
