"""One crystal as it is to be shown: its atoms and bonds, the cell, what else is wanted.

A scene holds no pixels. The PNG, the SVG and the browser's viewer are all drawn from it, so all
show the same.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from crystal_diffusion.cell_geometry import cell_angles, edge_lengths
from crystal_diffusion.errors import InputError
from crystal_diffusion.viewer import elements
from crystal_diffusion.viewer.bonds import Bonds, make_bonds
from crystal_diffusion.viewer.boxes import CONVENTIONAL, GIVEN, Box, conventional_box, given_box
from crystal_diffusion.viewer.drawing import Drawing, draw

#: Directions of view: the standard one, or along an axis of the cell.
DIRECTIONS = ("standard", "a", "b", "c")
#: More atoms than these make a picture nobody can read, and a page that does not answer.
MOST_DRAWN = 20_000


@dataclass(frozen=True)
class Look:
    """What of a crystal is shown, and how.

    Attributes:
        cell: ``"conventional"`` (the standard one) or ``"given"``.
        supercell: how often the cell is repeated along a, b and c.
        direction: ``"standard"``, or the axis that points to the eye.
        bonds: draw bonds.
        images: repeat atoms on the border of the cell.
        complete: draw the neighbours of cations at the border also outside of the cell; None
            for: unless the bare cube shows every bond (rock salt, zinc blende, fluorite).
        polyhedra: draw coordination polyhedra.
        labels: write the symbol on each atom.
    """

    cell: str = CONVENTIONAL
    supercell: tuple[int, int, int] = (1, 1, 1)
    direction: str = "standard"
    bonds: bool = True
    images: bool = True
    complete: bool | None = None
    polyhedra: bool = False
    labels: bool = False

    def __post_init__(self) -> None:
        if self.cell not in (CONVENTIONAL, GIVEN):
            raise InputError(
                f"cell is {self.cell!r}; give {CONVENTIONAL!r} (the standard one) or {GIVEN!r}."
            )
        if self.direction not in DIRECTIONS:
            raise InputError(
                f"direction is {self.direction!r}; give one of {', '.join(DIRECTIONS)}."
            )
        if len(self.supercell) != 3 or any(not 1 <= n <= 20 for n in self.supercell):
            raise InputError(
                f"supercell is {self.supercell}; give three whole numbers from 1 to 20, such as "
                "(2, 2, 1)."
            )


def supercell_of(wanted: Any) -> tuple[int, int, int]:
    """Three repeats from ``2``, ``"2"``, ``"2x2x1"`` or ``(2, 2, 1)``.

    Raises:
        InputError: for anything else.
    """
    parts = re.split(r"[x×, ]+", wanted.strip()) if isinstance(wanted, str) else wanted
    try:
        numbers = [int(n) for n in parts] if np.iterable(parts) else [int(parts)]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3:
        raise InputError(f"supercell is {wanted!r}; give one number, such as 2, or three: 2x2x1.")
    return numbers[0], numbers[1], numbers[2]


@dataclass(frozen=True, eq=False)
class Scene:
    """One crystal and how it is shown.

    Attributes:
        lattice: ``(3, 3)``, rows a, b, c in Å, of the cell as given.
        frac_coords: ``(atoms, 3)`` in [0, 1), the atoms of that cell.
        numbers: ``(atoms,)`` atomic numbers, 0 where the element is not known.
        bonds: of the infinite crystal.
        boxes: cells that can be shown; the last one is the cell as given.
        title: a few words above the picture.
        look: what is shown of it.
        halos: ``(atoms,)`` Å around each atom, for uncertain sites; None for none.
        subtitle: words beside the title, such as the space group.
    """

    lattice: np.ndarray
    frac_coords: np.ndarray
    numbers: np.ndarray
    bonds: Bonds
    boxes: tuple[Box, ...]
    title: str
    look: Look = field(default_factory=Look)
    halos: np.ndarray | None = None
    subtitle: str = ""

    @property
    def box(self) -> Box:
        """The cell that is shown; where the crystal is given in it, both are the same."""
        return self.boxes[0 if self.look.cell == CONVENTIONAL else -1]

    @property
    def cell(self) -> np.ndarray:
        """``(3, 3)`` rows a, b, c in Å of the cell that is shown (one, not the supercell)."""
        return np.asarray(self.box.axes @ self.lattice)

    @property
    def origin(self) -> np.ndarray:
        """``(3,)`` corner of that cell in Å."""
        return np.asarray(self.box.origin @ self.lattice)

    @functools.cached_property
    def drawing(self) -> Drawing:
        """Drawn atoms, bonds and polyhedra."""
        return draw(self)

    @functools.cached_property
    def bare(self) -> bool:
        """Whether it is a cube of two elements that shows every bond, as textbooks draw it."""
        box = self.boxes[0]
        rows = box.axes @ self.lattice
        metric = rows @ rows.T / float(rows[0] @ rows[0])
        if len(np.unique(self.numbers)) != 2 or not np.allclose(metric, np.eye(3), atol=0.02):
            return False
        look = Look(complete=False)
        found = draw(replace(self, look=look, boxes=(box,)))
        ends = np.column_stack([found.source, found.shift])[found.bonds]
        kinds = {(a[0], b[0], *(b[1:] - a[1:])) for a, b in ends}
        return len(kinds) == len(self.bonds)

    @property
    def completed(self) -> bool:
        """Whether coordination is completed outside of the cell."""
        return not self.bare if self.look.complete is None else self.look.complete

    @property
    def positions(self) -> np.ndarray:
        """``(drawn, 3)`` Cartesian positions in Å."""
        found = self.drawing
        return np.asarray((self.frac_coords[found.source] + found.shift) @ self.lattice)

    @property
    def drawn_numbers(self) -> np.ndarray:
        """``(drawn,)`` atomic numbers of the drawn atoms."""
        return np.asarray(self.numbers[self.drawing.source])

    @property
    def cells(self) -> float:
        """How many cells as given the shown cell holds, such as 4 or 0.5."""
        return float(abs(np.linalg.det(self.box.axes)))

    @property
    def atoms(self) -> int:
        """Number of atoms in the shown cell."""
        return round(len(self.numbers) * self.cells)

    @property
    def legend(self) -> list[tuple[int, str, str, int]]:
        """Atomic number, symbol, colour ``#rrggbb`` and count in the cell, one entry an element."""
        present, counts = np.unique(self.numbers, return_counts=True)
        return [
            (int(z), elements.symbol(int(z)), elements.hex_colour(int(z)), round(n * self.cells))
            for z, n in zip(present, counts, strict=True)
        ]

    @property
    def description(self) -> str:
        """One sentence for those who cannot see the picture."""
        parts = ", ".join(
            f"{count} {elements.name(z).lower() if z else 'atoms of unknown element'}"
            for z, _, _, count in self.legend
        )
        a, b, c = (float(x) for x in edge_lengths(self.cell))
        kind = "Unit cell" if len(self.boxes) == 1 else f"{self.box.name.capitalize()} cell"
        if self.box.name == GIVEN and len(self.boxes) > 1:
            kind = "Cell as given"
        return f"{kind} of {self.title}: {parts}; edges {a:.2f}, {b:.2f} and {c:.2f} Å."

    @property
    def facts(self) -> str:
        """Atoms, edges, angles and volume of the shown cell."""
        return (
            f"{self.atoms} atoms · a, b, c = "
            + ", ".join(f"{e:.3f}" for e in edge_lengths(self.cell))
            + " Å · α, β, γ = "
            + ", ".join(f"{x:.2f}" for x in cell_angles(self.cell))
            + f"° · {abs(np.linalg.det(self.cell)):.2f} Å³"
        )

    def view(self) -> np.ndarray:
        """``(3, 3)`` rotation, rows right, up, towards the eye."""
        if self.look.direction == "standard":
            return self.box.view(self.lattice)
        return self.box.along(self.lattice, "abc".index(self.look.direction))

    def shown(self, **changes: Any) -> Scene:
        """The same crystal with another look, such as ``polyhedra=True``."""
        return replace(self, look=replace(self.look, **changes))

    def to_dict(self) -> dict[str, Any]:
        """Compact JSON-ready form for the browser; lengths in Å, fractions to 1e-6."""
        bonds = self.bonds
        table = np.column_stack(
            [bonds.first, bonds.second, bonds.shift, bonds.outward + 2 * bonds.inward]
        )
        boxes = [
            {
                "name": box.name,
                **(
                    {}
                    if box.name == GIVEN
                    else {
                        "axes": np.round(box.axes, 6).ravel().tolist(),
                        "origin": np.round(box.origin, 6).tolist(),
                    }
                ),
                "view": np.round(box.view(self.lattice), 4).ravel().tolist(),
            }
            for box in self.boxes
        ]
        default = Look()
        look = {k: v for k, v in vars(self.look).items() if v != getattr(default, k)}
        return {
            "cell": np.round(self.lattice, 5).ravel().tolist(),
            "z": self.numbers.tolist(),
            "frac": np.round(self.frac_coords, 6).ravel().tolist(),
            "bonds": table.astype(int).ravel().tolist(),
            "centres": np.flatnonzero(bonds.centres).tolist(),
            "boxes": boxes,
            **({"bare": True} if self.bare else {}),
            "title": self.title,
            **({"look": look} if look else {}),
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
    subtitle: str = "",
    look: Look | None = None,
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
        subtitle: words beside the title.
        look: what is shown of it.
        halos: ``(atoms,)`` Å, drawn around the atoms.

    Raises:
        InputError: for shapes that do not fit, numbers that are not finite, a cell without volume,
            a supercell of too many atoms.
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
    look = look or Look()
    bonds = make_bonds(frac, cell, numbers)
    around = None if halos is None else np.asarray(halos, dtype=float)
    if around is not None and around.shape != (len(numbers),):
        raise InputError(f"halos has shape {around.shape} for {len(numbers)} atoms; give one each.")
    said = _formula(numbers) if title is None else title
    standard = conventional_box(cell, frac, numbers) if len(numbers) > 0 else None
    boxes = (given_box(),) if standard is None else (standard, given_box())
    scene = Scene(cell, frac, numbers, bonds, boxes, said, look, around, subtitle)
    many = scene.atoms * int(np.prod(look.supercell))
    if many > MOST_DRAWN:
        raise InputError(
            f"the supercell has {many} atoms; at most {MOST_DRAWN} are drawn, repeat it less often."
        )
    return scene


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
