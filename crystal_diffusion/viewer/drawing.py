"""What of an infinite crystal is drawn: the atoms in a box, what completes them, bonds, polyhedra.

The same rules are in ``web/cell.js``, for the browser; a test compares both.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crystal_diffusion.viewer.bonds import heights

if TYPE_CHECKING:
    from crystal_diffusion.viewer.scene import Scene

#: An atom closer than this to a face of the box (Å) is drawn on the opposite face as well.
BORDER = 0.15
#: Points this near to a plane (share of the largest distance) are corners of the same face.
_IN_PLANE = 0.02


@dataclass(frozen=True, eq=False)
class Drawing:
    """Drawn atoms and what joins them.

    Attributes:
        source: ``(drawn,)`` which atom of the crystal's cell each drawn atom is.
        shift: ``(drawn, 3)`` whole cells by which it is moved.
        home: how many of them are the content of the box, each atom once; they come first.
        inside: how many lie in the box or on its border; those after them complete others.
        bonds: ``(bonds, 2)`` pairs of drawn atoms.
        faces: corners of each face of each polyhedron, drawn atoms in order around the face; with
            the drawn atom in the middle of the polyhedron.
    """

    source: np.ndarray
    shift: np.ndarray
    home: int
    inside: int
    bonds: np.ndarray
    faces: list[tuple[int, tuple[int, ...]]]


def draw(scene: Scene) -> Drawing:
    """The atoms, bonds and polyhedra of a scene."""
    source, shift, home = _in_box(scene)
    inside = len(source)
    index = {
        (i, x, y, z): n
        for n, (i, (x, y, z)) in enumerate(zip(source.tolist(), shift.tolist(), strict=True))
    }
    neighbours = _neighbours(scene)
    if scene.look.images and (scene.look.polyhedra or scene.completed):
        _complete(scene, index, neighbours, inside)
    keys = np.array(list(index), int).reshape(-1, 4)
    bonds, faces = [], []
    for (i, x, y, z), here in index.items():
        around = []
        for j, u, v, w, outward in neighbours[i]:
            there = index.get((j, x + u, y + v, z + w), -1)
            around.append(there)
            if outward and there >= 0 and min(here, there) < inside:
                bonds.append((here, there))
        if scene.look.polyhedra and here < inside and scene.bonds.centres[i] and -1 not in around:
            corners = (scene.frac_coords[keys[around, 0]] + keys[around, 1:]) @ scene.lattice
            faces += [(here, tuple(around[k] for k in face)) for face in hull_faces(corners)]
    pairs = np.array(bonds if scene.look.bonds else [], int).reshape(-1, 2)
    return Drawing(keys[:, 0], keys[:, 1:], home, inside, pairs, faces)


def _in_box(scene: Scene) -> tuple[np.ndarray, np.ndarray, int]:
    """Source and shift of the atoms in the box, each once, then their images on its border."""
    frac, box = scene.frac_coords, scene.box
    repeat = np.array(scene.look.supercell, float)
    corners = np.array(list(itertools.product((0, 1), repeat=3))) * repeat @ box.axes + box.origin
    low = np.floor(corners.min(0) - 1.01).astype(int)
    high = np.ceil(corners.max(0) + 0.01).astype(int)
    cells = np.stack(
        np.meshgrid(*[np.arange(a, b + 1) for a, b in zip(low, high, strict=True)], indexing="ij"),
        -1,
    ).reshape(-1, 3)
    inverse = np.linalg.inv(box.axes)
    place = (frac[None] + cells[:, None] - box.origin) @ inverse  # (cells, atoms, 3) in the box
    border = np.minimum(BORDER / heights(box.axes @ scene.lattice), 0.25)
    home = ((place >= -border) & (place < repeat - border)).all(-1)
    near = ((place > -border) & (place < repeat + border)).all(-1) & ~home
    parts = [np.argwhere(home)]
    if scene.look.images:
        parts.append(np.argwhere(near))
    found = np.concatenate(parts)
    return found[:, 1], cells[found[:, 0]], len(parts[0])


def _neighbours(scene: Scene) -> list[list[tuple[int, int, int, int, bool]]]:
    """Bonds by atom: the other atom, whole cells, and whether the bond starts here."""
    found: list[list[tuple[int, int, int, int, bool]]] = [[] for _ in scene.numbers]
    both = zip(
        scene.bonds.first.tolist(),
        scene.bonds.second.tolist(),
        scene.bonds.shift.tolist(),
        strict=True,
    )
    for i, j, (x, y, z) in both:
        found[i].append((j, x, y, z, True))
        found[j].append((i, -x, -y, -z, False))
    return found


def _complete(
    scene: Scene,
    index: dict[tuple[int, int, int, int], int],
    neighbours: list[list[tuple[int, int, int, int, bool]]],
    inside: int,
) -> None:
    """Add the neighbours outside of the box of atoms whose coordination is drawn completely."""
    bonds = scene.bonds
    outward = {
        (i, j, *move)
        for i, j, move, yes in zip(
            bonds.first.tolist(), bonds.second.tolist(), map(tuple, bonds.shift.tolist()),
            bonds.outward.tolist(), strict=True,
        )
        if yes
    }  # fmt: skip
    inward = {
        (j, i, *(-m for m in move))
        for i, j, move, yes in zip(
            bonds.first.tolist(), bonds.second.tolist(), bonds.shift.tolist(),
            bonds.inward.tolist(), strict=True,
        )
        if yes
    }  # fmt: skip
    wanted = outward | inward if scene.completed else set()
    for i, x, y, z in list(index)[:inside]:
        whole = scene.look.polyhedra and bool(bonds.centres[i])
        for j, u, v, w, _ in neighbours[i]:
            if whole or (i, j, u, v, w) in wanted:
                index.setdefault((j, x + u, y + v, z + w), len(index))


def hull_faces(points: np.ndarray) -> list[tuple[int, ...]]:
    """Faces of the convex hull of a few points, corners in order around each.

    Corners of one plane make one face, so a cube has six. Empty where all points lie in a plane.

    Args:
        points: ``(points, 3)``.
    """
    middle = points.mean(0)
    reach = float(np.abs(points - middle).max()) or 1.0
    faces: dict[tuple[int, ...], tuple[int, ...]] = {}
    for i, j, k in itertools.combinations(range(len(points)), 3):
        normal = np.cross(points[j] - points[i], points[k] - points[i])
        length = float(np.linalg.norm(normal))
        if length < 1e-6 * reach * reach:
            continue
        normal = normal / length
        height = (points - points[i]) @ normal
        if (height > _IN_PLANE * reach).any():
            normal, height = -normal, -height
        flat = np.abs(height) <= _IN_PLANE * reach
        if (height > _IN_PLANE * reach).any() or flat.all():
            continue
        corners = np.flatnonzero(flat)
        if (key := tuple(corners.tolist())) in faces:
            continue
        centre = points[corners].mean(0)
        right = (points[i] - centre) / max(float(np.linalg.norm(points[i] - centre)), 1e-12)
        up = np.cross(normal, right)
        away = points[corners] - centre
        around = np.argsort(np.arctan2(away @ up, away @ right))
        faces[key] = tuple(corners[around].tolist())
    return list(faces.values())
