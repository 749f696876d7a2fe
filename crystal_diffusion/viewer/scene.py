"""What is drawn of a crystal: atoms, their images on the cell's border, bonds, cell, legend.

A scene holds no pixels. The PNG painter and the browser's viewer both draw from it, so both show
the same bonds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crystal_diffusion.errors import InputError
from crystal_diffusion.viewer import elements

#: An atom closer than this to a face of the cell (Å) is drawn on the opposite face as well.
BORDER = 0.15
#: Longest bond, in sums of covalent radii.
LONGEST_BOND = 1.25
#: Of the contacts of one atom, those longer than this times the shortest (both in sums of covalent
#: radii) are left out, so that the Ti-O cage of a perovskite is not hidden by its Sr-O contacts.
WEAKEST_BOND = 1.2
#: Pauling difference from which the less electronegative partner counts as a cation.
CATION_DIFFERENCE = 0.4
#: Beyond this number of atoms bonds are left out, as nothing could be seen.
MOST_ATOMS_WITH_BONDS = 3000


@dataclass(frozen=True, eq=False)
class Scene:
    """One crystal as it is drawn.

    Attributes:
        lattice: ``(3, 3)``, rows a, b, c in Å.
        frac_coords: ``(atoms, 3)`` in [0, 1), the atoms of one cell.
        numbers: ``(atoms,)`` atomic numbers, 0 where the element is not known.
        source: ``(drawn,)`` which atom of the cell each drawn atom is; the first ``atoms`` are
            the atoms themselves, the others their images on the border.
        shift: ``(drawn, 3)`` whole cells by which each drawn atom is moved.
        bonds: ``(bonds, 2)`` pairs of drawn atoms.
        title: a few words above the picture.
        halos: ``(atoms,)`` Å around each atom, for uncertain sites; None for none.
    """

    lattice: np.ndarray
    frac_coords: np.ndarray
    numbers: np.ndarray
    source: np.ndarray
    shift: np.ndarray
    bonds: np.ndarray
    title: str
    halos: np.ndarray | None = None

    @property
    def positions(self) -> np.ndarray:
        """``(drawn, 3)`` Cartesian positions in Å."""
        return np.asarray((self.frac_coords[self.source] + self.shift) @ self.lattice)

    @property
    def drawn_numbers(self) -> np.ndarray:
        """``(drawn,)`` atomic numbers of the drawn atoms."""
        return np.asarray(self.numbers[self.source])

    @property
    def legend(self) -> list[tuple[int, str, str, int]]:
        """Atomic number, symbol, colour ``#rrggbb`` and count in the cell, one entry an element."""
        present, counts = np.unique(self.numbers, return_counts=True)
        return [
            (int(z), elements.symbol(int(z)), elements.hex_colour(int(z)), int(n))
            for z, n in zip(present, counts, strict=True)
        ]

    @property
    def description(self) -> str:
        """One sentence for those who cannot see the picture."""
        parts = ", ".join(
            f"{count} {elements.name(z).lower() if z else 'atoms of unknown element'}"
            for z, _, _, count in self.legend
        )
        a, b, c = (float(x) for x in np.linalg.norm(self.lattice, axis=1))
        return (
            f"Unit cell {self.title}: {parts}; edges {a:.2f}, {b:.2f} and {c:.2f} Å; "
            f"{len(self.bonds)} bonds drawn."
        )

    def view(self) -> np.ndarray:
        """``(3, 3)`` rotation, rows right, up, towards the eye: c upwards, seen from a, b in front.

        The standard setting of crystallographic drawings, turned by 20 degrees and tilted by 12.
        """
        up = self.lattice[2] / np.linalg.norm(self.lattice[2])
        eye = np.cross(self.lattice[1], self.lattice[2])
        eye /= np.linalg.norm(eye)
        frame = np.array([np.cross(up, eye), up, eye])
        turn, tilt = np.deg2rad(-20.0), np.deg2rad(12.0)
        about_up = np.array(
            [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
        )
        about_right = np.array(
            [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]
        )
        return np.asarray(about_right @ about_up @ frame)

    def to_dict(self) -> dict[str, Any]:
        """Compact JSON-ready form for the browser; lengths in Å, fractions to 1e-6."""
        drawn = np.column_stack([self.source, self.shift])[len(self.numbers) :]
        return {
            "cell": np.round(self.lattice, 5).ravel().tolist(),
            "z": self.numbers.tolist(),
            "frac": np.round(self.frac_coords, 6).ravel().tolist(),
            "images": drawn.ravel().tolist(),
            "bonds": self.bonds.ravel().tolist(),
            "view": np.round(self.view(), 4).ravel().tolist(),
            "title": self.title,
            **({} if self.halos is None else {"halos": np.round(self.halos, 3).tolist()}),
        }


def element_table(numbers: Sequence[int] | np.ndarray) -> dict[str, list[Any]]:
    """Symbol, colour, drawn radius (Å) and name by atomic number, for the browser."""
    return {
        str(int(z)): [
            elements.symbol(int(z)),
            elements.hex_colour(int(z)),
            round(elements.sphere_radius(int(z)), 3),
            elements.name(int(z)),
        ]
        for z in np.unique(np.asarray(numbers, int))
    }


def make_scene(
    crystal: Any,
    lattice: Any = None,
    atom_types: Any = None,
    *,
    mask: Any = None,
    title: str | None = None,
    bonds: bool = True,
    images: bool = True,
    halos: Any = None,
) -> Scene:
    """The scene of one crystal.

    Args:
        crystal: a pymatgen ``Structure``, ASE ``Atoms``, or fractional coordinates
            ``(atoms, 3)`` as an array or CPU tensor.
        lattice: ``(3, 3)`` rows a, b, c in Å; needed with coordinates only.
        atom_types: ``(atoms,)`` atomic numbers or symbols; without them atoms are grey.
        mask: ``(atoms,)``, true or 1 where there is an atom.
        title: words above the picture; by default the formula.
        bonds: draw bonds.
        images: repeat atoms on the border of the cell.
        halos: ``(atoms,)`` Å, drawn around the atoms.

    Raises:
        InputError: for shapes that do not fit, numbers that are not finite, a cell without volume.
    """
    if lattice is None:
        frac, cell, numbers = _from_object(crystal)
    else:
        frac, cell, numbers = _from_arrays(crystal, lattice, atom_types, mask)
    if not (np.isfinite(frac).all() and np.isfinite(cell).all()):
        raise InputError(
            "positions and lattice must be finite numbers to be drawn, but some are NaN or "
            "infinite; validate the crystal first."
        )
    volume = abs(float(np.linalg.det(cell)))
    if volume < 1e-3:
        raise InputError(
            f"the lattice has a volume of {volume:.2g} Å³, so there is no cell to draw; give rows "
            "a, b, c in Å that are not in one plane."
        )
    frac = frac - np.floor(frac)
    frac[frac >= 1.0] = 0.0  # -1e-17 wraps to exactly 1
    source, shift = _drawn_atoms(frac, cell, images)
    pairs = (
        _drawn_bonds(frac, cell, numbers, source, shift)
        if bonds and 0 < len(numbers) <= MOST_ATOMS_WITH_BONDS
        else np.zeros((0, 2), int)
    )
    around = None if halos is None else np.asarray(halos, dtype=float)
    if around is not None and around.shape != (len(numbers),):
        raise InputError(f"halos has shape {around.shape} for {len(numbers)} atoms; give one each.")
    said = _formula(numbers) if title is None else title
    return Scene(cell, frac, numbers, source, shift, pairs, said, around)


def _from_object(crystal: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates, cell, numbers of a Structure (disorder: most frequent species) or Atoms."""
    if hasattr(crystal, "get_scaled_positions"):
        return (
            np.array(crystal.get_scaled_positions(wrap=False), float),
            np.array(crystal.cell, float),
            np.array(crystal.numbers, int),
        )
    if hasattr(crystal, "lattice") and hasattr(crystal, "frac_coords"):
        numbers = [
            int(getattr(max(site.species.items(), key=lambda item: item[1])[0], "Z", 0))
            for site in crystal
        ]
        return (
            np.array(crystal.frac_coords, float).reshape(-1, 3),
            np.array(crystal.lattice.matrix, float),
            np.array(numbers, int),
        )
    raise InputError(
        f"cannot draw a {type(crystal).__name__} alone; give a pymatgen Structure, ASE Atoms, or "
        "fractional coordinates together with a lattice."
    )


def _array(values: Any) -> np.ndarray:
    """A NumPy copy of an array, list or tensor (also one that carries gradients)."""
    return np.array(values.detach().cpu().numpy() if hasattr(values, "detach") else values)


def _from_arrays(
    positions: Any, lattice: Any, atom_types: Any, mask: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    frac, cell = _array(positions).astype(float), _array(lattice).astype(float)
    if frac.ndim != 2 or frac.shape[1] != 3:
        raise InputError(
            f"positions has shape {frac.shape}, expected (atoms, 3) fractional coordinates; "
            "draw one crystal of a batch at a time, such as generated[0]."
        )
    if cell.shape != (3, 3):
        raise InputError(f"lattice has shape {cell.shape}, expected (3, 3), rows a, b, c in Å.")
    numbers = np.zeros(len(frac), int) if atom_types is None else _numbers(_array(atom_types))
    if numbers.shape != (len(frac),):
        raise InputError(
            f"atom_types has shape {numbers.shape}, expected ({len(frac)},) to fit positions."
        )
    if mask is not None:
        keep = _array(mask).astype(float) > 0.5
        if keep.shape != (len(frac),):
            raise InputError(
                f"mask has shape {keep.shape}, expected ({len(frac)},) to fit positions."
            )
        frac, numbers = frac[keep], numbers[keep]
    return frac, cell, numbers


def _numbers(atom_types: np.ndarray) -> np.ndarray:
    if atom_types.dtype.kind in "iufb":
        return atom_types.astype(int)
    from ase.data import atomic_numbers

    unknown = sorted({str(s) for s in atom_types.ravel()} - set(atomic_numbers))
    if unknown:
        raise InputError(
            f"atom_types holds {unknown[0]!r}, which is no element; use symbols or atomic numbers."
        )
    return np.array([atomic_numbers[str(s)] for s in atom_types.ravel()], int)


def _formula(numbers: np.ndarray) -> str:
    """Reduced formula, less electronegative elements first (Pauling, 1932)."""
    present, counts = np.unique(numbers, return_counts=True)
    order = sorted(
        range(len(present)), key=lambda i: (elements.electronegativity(int(present[i])), i)
    )
    if len(present) == 0:
        return "empty cell"
    if list(present) == [0]:
        return f"{counts[0]} atoms"
    counts = counts // np.gcd.reduce(counts)
    return "".join(
        elements.symbol(int(present[i])) + (str(counts[i]) if counts[i] > 1 else "") for i in order
    )


def _heights(cell: np.ndarray) -> np.ndarray:
    """Distances between opposite faces of the cell in Å, ``(3,)``."""
    return np.asarray(1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0))


def _drawn_atoms(frac: np.ndarray, cell: np.ndarray, images: bool) -> tuple[np.ndarray, np.ndarray]:
    """Source and shift of all drawn atoms: those of the cell, then the images on the border."""
    source, shift = np.arange(len(frac)), np.zeros((len(frac), 3), int)
    if not images or len(frac) == 0:
        return source, shift
    border = np.minimum(BORDER / _heights(cell), 0.25)
    step = np.where(frac < border, 1, np.where(frac > 1 - border, -1, 0))
    corners = np.indices((2, 2, 2)).reshape(3, -1).T[1:]  # all but (0, 0, 0)
    moves = step[:, None, :] * corners[None]
    wanted = np.abs(moves).sum(-1) == corners.sum(-1)[None]
    atom, corner = np.nonzero(wanted)
    return np.concatenate([source, atom]), np.concatenate([shift, moves[atom, corner]])


def periodic_bonds(
    frac: np.ndarray, cell: np.ndarray, numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bonds of the infinite crystal: ``first (bonds,)``, ``second (bonds,)``, ``shift (bonds, 3)``.

    A contact is a bond when it is not longer than 1.25 times the sum of the covalent radii, not
    longer than 1.2 times (in the same measure) the shortest contact of either atom, and not
    between two cations: atoms that both have a more electronegative neighbour, unless both are
    nonmetals. Each bond comes twice, once from each end.
    """
    from scipy.spatial import cKDTree

    radius = np.array([elements.covalent_radius(int(z)) for z in numbers])
    reach = 2 * LONGEST_BOND * float(radius.max())
    counts = np.ceil(reach / _heights(cell)).astype(int)
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
    return first[keep], second[keep], shift[keep]


def _drawn_bonds(
    frac: np.ndarray,
    cell: np.ndarray,
    numbers: np.ndarray,
    source: np.ndarray,
    shift: np.ndarray,
) -> np.ndarray:
    """Pairs of drawn atoms that are bonded."""
    first, second, move = periodic_bonds(frac, cell, numbers)
    index = {(int(s), *map(int, v)): n for n, (s, v) in enumerate(zip(source, shift, strict=True))}
    by_atom: dict[int, list[tuple[int, int, int, int]]] = {}
    for i, j, (x, y, z) in zip(first.tolist(), second.tolist(), move.tolist(), strict=True):
        by_atom.setdefault(i, []).append((j, x, y, z))
    pairs = []
    for here, (atom, (u, v, w)) in enumerate(zip(source.tolist(), shift.tolist(), strict=True)):
        for j, x, y, z in by_atom.get(atom, ()):
            there = index.get((j, u + x, v + y, w + z), -1)
            if there > here:
                pairs.append((here, there))
    return np.array(pairs, int).reshape(-1, 2)
