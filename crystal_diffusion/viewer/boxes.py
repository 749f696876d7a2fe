"""The cell that a picture shows of an infinite crystal: the conventional one, or as given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from crystal_diffusion.cell_geometry import cell_angles, edge_lengths
from crystal_diffusion.errors import InputError

#: Tolerance in Å within which a crystal counts as symmetric, as in the tables of a run.
SYMMETRY_TOLERANCE = 0.1
CONVENTIONAL, GIVEN = "conventional", "given"
#: Edges this near to each other (share) or angles (degrees) are those of the same cell.
_SAME_EDGE, _SAME_ANGLE = 0.02, 1.0
#: An axis clearly shorter than the others points to the eye: then fewest atoms hide each other.
_CLEARLY_SHORTER = 0.8


@dataclass(frozen=True, eq=False)
class Box:
    """A parallelepiped in an infinite crystal.

    Attributes:
        name: ``"conventional"`` or ``"given"``.
        axes: ``(3, 3)`` rows a, b, c in fractional coordinates of the crystal's own lattice.
        origin: ``(3,)`` its corner, likewise.
    """

    name: str
    axes: np.ndarray
    origin: np.ndarray

    def view(self, lattice: np.ndarray) -> np.ndarray:
        """``(3, 3)`` rotation, rows right, up, towards the eye.

        c points upwards and the a* direction to the eye, turned by 20 and tilted by 12 degrees,
        as crystallographic drawings are. Where b or c is clearly the shortest edge, the view is
        along that one (c: b upwards).

        Args:
            lattice: ``(3, 3)`` of the crystal, rows in Å.
        """
        rows = self.axes @ lattice
        edges = edge_lengths(rows)
        short = int(np.argmin(np.round(edges, 3)))
        clearly = edges[short] < _CLEARLY_SHORTER * np.delete(edges, short).min()
        towards, upwards = {1: (1, 2), 2: (2, 1)}.get(short, (0, 2)) if clearly else (0, 2)
        up = rows[upwards] / edges[upwards]
        eye = np.cross(rows[(towards + 1) % 3], rows[(towards + 2) % 3])
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

    def along(self, lattice: np.ndarray, axis: int) -> np.ndarray:
        """``(3, 3)`` rotation that looks along an axis, c upwards (along c: b)."""
        rows = self.axes @ lattice
        eye = rows[axis] / np.linalg.norm(rows[axis])
        top = rows[1 if axis == 2 else 2]
        up = top - (top @ eye) * eye
        up /= np.linalg.norm(up)
        return np.array([np.cross(up, eye), up, eye])


def given_box() -> Box:
    """The cell of the crystal itself."""
    return Box(GIVEN, np.eye(3), np.zeros(3))


def conventional_box(lattice: np.ndarray, frac: np.ndarray, numbers: np.ndarray) -> Box | None:
    """The conventional standard cell; None where the crystal is given in a conventional cell.

    No atom is moved: the tolerance of 0.1 Å only decides which group the crystal has.

    Args:
        lattice: ``(3, 3)`` rows in Å.
        frac: ``(atoms, 3)``.
        numbers: ``(atoms,)``; 0, an unknown element, counts as one kind.
    """
    try:
        found = _standard(lattice, frac, numbers)
    except InputError:
        return None
    axes, origin = np.array(found.std_linear).T, np.array(found.std_origin_shift)
    if abs(np.linalg.det(axes)) < 1e-6:
        return None
    same_size = abs(abs(np.linalg.det(axes)) - 1) < 1e-6
    if same_size and (found.number <= 2 or _alike(lattice, np.array(found.std_cell.basis))):
        return None
    return Box(CONVENTIONAL, axes, origin - np.floor(origin + 1e-9))


def _standard(lattice: np.ndarray, frac: np.ndarray, numbers: np.ndarray) -> Any:
    from crystal_diffusion.symmetry.cells import make_cell
    from crystal_diffusion.symmetry.detection import symmetry_dataset

    kinds = np.where(numbers == 0, 119, numbers)
    return symmetry_dataset(make_cell(lattice, frac, kinds), SYMMETRY_TOLERANCE)


def _alike(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two cells have the same edges and angles, in whatever order."""
    edges, others = (np.sort(edge_lengths(c)) for c in (first, second))
    angles, other = (np.sort(cell_angles(c)) for c in (first, second))
    return bool(
        np.allclose(edges, others, rtol=_SAME_EDGE) and np.allclose(angles, other, atol=_SAME_ANGLE)
    )
