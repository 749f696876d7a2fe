"""A PNG of a scene without a browser: spheres, sticks and faces shaded pixel by pixel, with depth.

The picture is orthographic, like crystallographic drawings: parallel edges stay parallel. Shading
is the model of Phong (1975): ambient, diffuse and specular light from the upper left.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crystal_diffusion.cell_geometry import edge_lengths
from crystal_diffusion.errors import InputError
from crystal_diffusion.files import atomic_write, make_folder
from crystal_diffusion.viewer import elements
from crystal_diffusion.viewer.formulas import formula_mathtext

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from crystal_diffusion.viewer.scene import Scene

#: Colours of texts, and margin of a text in pixels.
INK, QUIET, FONT = "#16181d", "#555a66", 16
#: Radius of a bond in Å.
BOND_RADIUS = 0.11
#: Radius of a cell edge in Å.
EDGE_RADIUS = 0.025
_EDGE_COLOUR = np.array([0.36, 0.38, 0.44], np.float32)
_LIGHT = np.array([-0.42, 0.56, 0.71])
_LIGHT = _LIGHT / np.linalg.norm(_LIGHT)
_HALF = _LIGHT + np.array([0.0, 0.0, 1.0])
_HALF = _HALF / np.linalg.norm(_HALF)
#: Share of the background mixed into the farthest point, so that depth can be seen.
_FOG = 0.35
#: Opacity of the face of a polyhedron.
_FACE = 0.5


class _Canvas:
    """Colour and depth of every pixel; x to the right, y upwards, z towards the eye, all in Å."""

    def __init__(
        self, width: int, height: int, scale: float, low: np.ndarray, high: np.ndarray
    ) -> None:
        centre = (low + high) / 2
        self.near, self.span = float(high[2]), max(float(high[2] - low[2]), 1e-6)
        self.colour = np.zeros((height, width, 4), np.float32)
        self.depth = np.full((height, width), -np.inf, np.float32)
        self.x = ((np.arange(width) + 0.5 - width / 2) / scale + centre[0]).astype(np.float32)
        self.y = (-(np.arange(height) + 0.5 - height / 2) / scale + centre[1]).astype(np.float32)

    def window(self, low: np.ndarray, high: np.ndarray) -> tuple[slice, slice]:
        """Rows and columns that cover a rectangle."""
        columns = np.searchsorted(self.x, [low[0], high[0]])
        rows = np.searchsorted(-self.y, [-high[1], -low[1]])
        return slice(int(rows[0]), int(rows[1])), slice(int(columns[0]), int(columns[1]))

    def put(
        self,
        where: tuple[slice, slice],
        hit: np.ndarray,
        depth: np.ndarray,
        normal: tuple[np.ndarray, np.ndarray, np.ndarray],
        colour: np.ndarray,
    ) -> None:
        """Draw the pixels that are hit and nearer than what is there."""
        hit &= depth > self.depth[where]
        if not hit.any():
            return
        nx, ny, nz = (n[hit] for n in normal)
        diffuse = np.clip(nx * _LIGHT[0] + ny * _LIGHT[1] + nz * _LIGHT[2], 0, 1)
        shine = np.clip(nx * _HALF[0] + ny * _HALF[1] + nz * _HALF[2], 0, 1) ** 40
        rim = 0.82 + 0.18 * np.clip(nz * 2.2, 0, 1)  # a darker rim sets light atoms off the paper
        light = (0.44 + 0.60 * diffuse) * rim
        shaded = colour[None] * light[:, None] + 0.42 * shine[:, None]
        seen = depth[hit]
        fog = _FOG * np.clip((self.near - seen) / self.span, 0, 1)[:, None]
        pixels = np.ones((len(seen), 4), np.float32)
        pixels[:, :3] = np.clip(shaded, 0, 1) * (1 - fog) + fog
        self.colour[where][hit] = pixels
        self.depth[where][hit] = seen

    def sphere(self, centre: np.ndarray, radius: float, colour: np.ndarray) -> None:
        where = self.window(centre[:2] - radius, centre[:2] + radius)
        dx = (self.x[where[1]] - centre[0])[None, :] / radius
        dy = (self.y[where[0]] - centre[1])[:, None] / radius
        left = 1 - dx * dx - dy * dy
        hit = left > 0
        nz = np.sqrt(np.where(hit, left, 0))
        shape = hit.shape
        normal = (np.broadcast_to(dx, shape), np.broadcast_to(dy, shape), nz)
        self.put(where, hit, centre[2] + radius * nz, normal, colour)

    def stick(self, start: np.ndarray, end: np.ndarray, radius: float, colour: np.ndarray) -> None:
        """A cylinder without caps."""
        axis = end - start
        length = float(np.linalg.norm(axis))
        if length < 1e-9:
            return
        axis = axis / length
        flat = float(np.hypot(axis[0], axis[1]))
        if flat < 1e-3:  # seen along its axis: nothing but the cap, which an atom hides
            return
        where = self.window(
            np.minimum(start, end)[:2] - radius, np.maximum(start, end)[:2] + radius
        )
        px = (self.x[where[1]] - start[0])[None, :]
        py = (self.y[where[0]] - start[1])[:, None]
        along = (px * axis[0] + py * axis[1]) / flat  # in the plane of the paper
        across = (px * -axis[1] + py * axis[0]) / flat
        inside = 1 - (across / radius) ** 2
        hit = inside > 0
        bulge = np.sqrt(np.where(hit, inside, 0))  # cosine of the angle around the axis
        # normal = bulge * (towards the eye, perpendicular to the axis) + across * (in the paper)
        toward = np.array([-axis[0] * axis[2], -axis[1] * axis[2], flat * flat]) / flat
        side = across / radius
        nx = bulge * toward[0] - side * axis[1] / flat
        ny = bulge * toward[1] + side * axis[0] / flat
        nz = bulge * toward[2]
        reach = (along + radius * bulge * axis[2]) / flat  # distance along the axis from the start
        hit &= (reach >= 0) & (reach <= length)
        depth = start[2] + reach * axis[2] + radius * nz
        self.put(where, hit, depth, (nx, ny, nz), colour)

    def face(self, corners: np.ndarray, colour: np.ndarray) -> None:
        """A flat, convex, translucent polygon over everything that is drawn behind it.

        Args:
            corners: ``(corners, 3)`` in order around the face.
            colour: red, green, blue.
        """
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
        normal = normal / max(float(np.linalg.norm(normal)), 1e-12)
        if abs(normal[2]) < 1e-3:  # seen from its edge
            return
        normal = normal if normal[2] > 0 else -normal
        where = self.window(corners.min(0)[:2], corners.max(0)[:2])
        x, y = self.x[where[1]][None, :], self.y[where[0]][:, None]
        steps = np.roll(corners, -1, 0) - corners
        sides = [
            step[0] * (y - corner[1]) - step[1] * (x - corner[0])
            for corner, step in zip(corners, steps, strict=True)
        ]
        hit = np.logical_or(
            np.logical_and.reduce([s >= 0 for s in sides]),
            np.logical_and.reduce([s <= 0 for s in sides]),
        )
        along = (x - corners[0, 0]) * normal[0] + (y - corners[0, 1]) * normal[1]
        hit &= corners[0, 2] - along / normal[2] > self.depth[where]
        light = 0.62 + 0.42 * max(float(normal @ _LIGHT), 0.0)
        veil = np.append(np.clip(colour * light, 0, 1), 1.0).astype(np.float32)
        part = self.colour[where]
        part[..., :3] *= part[..., 3:]
        mixed = (1 - _FACE) * part + _FACE * veil
        mixed[..., :3] /= np.maximum(mixed[..., 3:], 1e-6)
        part[..., :3] /= np.maximum(part[..., 3:], 1e-6)
        self.colour[where] = np.where(hit[..., None], mixed, part)

    def halo(self, centre: np.ndarray, radius: float, colour: np.ndarray) -> None:
        """A veil over everything within ``radius`` of a point, a third of the colour."""
        where = self.window(centre[:2] - radius, centre[:2] + radius)
        dx = (self.x[where[1]] - centre[0])[None, :] / radius
        dy = (self.y[where[0]] - centre[1])[:, None] / radius
        inside = (dx**2 + dy**2 <= 1)[..., None]
        part = self.colour[where]
        veil = np.concatenate([colour, [1.0]]).astype(np.float32)
        mixed = np.where(part[..., 3:] > 0, 0.67 * part + 0.33 * veil, 0.33 * veil)
        self.colour[where] = np.where(inside, mixed, part)

    def picture(self, supersampling: int) -> np.ndarray:
        """``(height, width, 4)`` RGBA in [0, 1], edges smoothed by averaging."""
        rgba = self.colour.copy()
        rgba[..., :3] *= rgba[..., 3:]
        rgba = np.add.reduce([rgba[k::supersampling] for k in range(supersampling)])
        rgba = np.add.reduce([rgba[:, k::supersampling] for k in range(supersampling)])
        rgba[..., :3] /= np.maximum(rgba[..., 3:], 1e-6)
        rgba[..., 3] /= supersampling**2
        return np.asarray(rgba)


def cell_edges(lattice: np.ndarray) -> np.ndarray:
    """``(12, 2, 3)`` start and end of the edges of the cell in Å."""
    edges = []
    for axis in range(3):
        for corner in range(4):
            start = np.zeros(3)
            others = [i for i in range(3) if i != axis]
            start[others[0]], start[others[1]] = corner & 1, corner >> 1
            end = start.copy()
            end[axis] = 1
            edges.append((start @ lattice, end @ lattice))
    return np.array(edges)


@dataclass(frozen=True, eq=False)
class SeenScene:
    """A scene as seen: x to the right, y upwards, z towards the eye, all in Å.

    Attributes:
        atoms: ``(drawn, 3)``.
        radii: ``(drawn,)``.
        edges: ``(12, 2, 3)`` of the cell or supercell.
        low: ``(3,)`` smallest coordinates of all that is drawn; high: the largest.
    """

    atoms: np.ndarray
    radii: np.ndarray
    edges: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def scale(self, width: float, height: float) -> float:
        """Pixels per Å with which all fits into a picture."""
        size = np.maximum(self.high - self.low, 1.0)
        return 0.94 * float(min(width / size[0], height / size[1]))


def project(scene: Scene) -> SeenScene:
    """Turn a scene so that it is seen from the direction of its look."""
    turn = scene.view()
    atoms = scene.positions @ turn.T
    block = scene.cell * np.array(scene.look.supercell)[:, None]
    edges = (cell_edges(block) + scene.origin) @ turn.T
    radii = np.array([elements.sphere_radius(int(z)) for z in scene.drawn_numbers])
    corners = edges.reshape(-1, 3)
    low, high = corners.min(0), corners.max(0)
    if len(atoms):
        low = np.minimum(low, (atoms - radii[:, None]).min(0))
        high = np.maximum(high, (atoms + radii[:, None]).max(0))
    return SeenScene(atoms, radii, edges, low, high)


def render(scene: Scene, width: int, height: int, supersampling: int = 2) -> np.ndarray:
    """The bare picture, ``(height, width, 4)`` RGBA in [0, 1] on a transparent ground."""
    seen = project(scene)
    atoms, radii = seen.atoms, seen.radii
    scale = supersampling * seen.scale(width, height)
    canvas = _Canvas(width * supersampling, height * supersampling, scale, seen.low, seen.high)
    colours = [np.array(elements.colour(int(z)), np.float32) for z in scene.drawn_numbers]
    for position, radius, colour in zip(atoms, radii, colours, strict=True):
        canvas.sphere(position, float(radius), colour)
    for i, j in scene.drawing.bonds:
        step = (atoms[j] - atoms[i]) / max(float(np.linalg.norm(atoms[j] - atoms[i])), 1e-9)
        surface_i, surface_j = atoms[i] + step * radii[i], atoms[j] - step * radii[j]
        middle = (surface_i + surface_j) / 2
        canvas.stick(atoms[i], middle, BOND_RADIUS, colours[i])
        canvas.stick(middle, atoms[j], BOND_RADIUS, colours[j])
    thickness = max(EDGE_RADIUS, 1.1 * supersampling / scale)
    for start, end in seen.edges:
        # In pieces: a slanting edge in one piece would touch every pixel of the picture.
        joints = start + np.linspace(0, 1, 13)[:, None] * (end - start)
        for left, right in itertools.pairwise(joints):
            canvas.stick(left, right, thickness, _EDGE_COLOUR)
    _polyhedra(canvas, scene, atoms, colours, thickness)
    if scene.halos is not None:
        # Beyond the sphere, where it can be seen.
        reach = radii + scene.halos[scene.drawing.source]
        for position, radius, colour in zip(atoms, reach, colours, strict=True):
            canvas.halo(position, float(radius), colour)
    return canvas.picture(supersampling)


def _polyhedra(
    canvas: _Canvas,
    scene: Scene,
    atoms: np.ndarray,
    colours: list[np.ndarray],
    thickness: float,
) -> None:
    """Faces from back to front, and their edges."""
    faces = scene.drawing.faces
    drawn = {tuple(sorted(e)) for _, f in faces for e in zip(f, (*f[1:], f[0]), strict=True)}
    owner = {tuple(sorted(e)): c for c, f in faces for e in zip(f, (*f[1:], f[0]), strict=True)}
    for i, j in sorted(drawn):
        canvas.stick(atoms[i], atoms[j], 0.8 * thickness, 0.7 * colours[owner[i, j]])
    for centre, face in sorted(faces, key=lambda f: float(atoms[list(f[1]), 2].mean())):
        canvas.face(atoms[list(face)], colours[centre])


def draw(scene: Scene, *, width: int = 900, height: int = 760) -> Figure:
    """A matplotlib figure with title, picture, axes and legend (no display is opened).

    Args:
        width: pixels.
        height: pixels.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    left, bottom, wide, high = frame(width, height)
    figure.figimage(render(scene, wide, high), xo=left, yo=bottom, origin="upper")
    paper = figure.add_axes((0, 0, 1, 1))
    paper.set_xlim(0, width)
    paper.set_ylim(0, height)
    paper.set_axis_off()
    paper.patch.set_alpha(0)
    size = FONT * unit(width, height)
    title = formula_mathtext(f"{scene.title}   {scene.subtitle}".strip())
    paper.text(size, height - size, title, fontsize=14 * unit(width, height), va="top", color=INK)
    paper.text(
        width - size, height - 1.2 * size, dimensions(scene), va="top", ha="right", color=QUIET,
        fontsize=9.5 * unit(width, height),
    )  # fmt: skip
    _legend(paper, scene, width, height)
    _axes(paper, scene, unit(width, height))
    if scene.look.labels:
        _labels(paper, scene, (left, bottom, wide, high))
    return figure


def unit(width: int, height: int) -> float:
    """Scale of texts: 1 for the usual size of 900 by 760 pixels."""
    return min(width / 900, height / 760)


def frame(width: int, height: int) -> tuple[int, int, int, int]:
    """Left, bottom, width and height of the crystal in a picture, pixels."""
    u = unit(width, height)
    top, bottom, margin = round(44 * u), round(52 * u), round(12 * u)
    return margin, bottom, width - 2 * margin, height - top - bottom


def dimensions(scene: Scene) -> str:
    """Atoms and edges of the shown cell, and how often it is repeated."""
    a, b, c = edge_lengths(scene.cell)
    repeat = scene.look.supercell
    many = "" if repeat == (1, 1, 1) else f" · {repeat[0]} × {repeat[1]} × {repeat[2]} cells"
    return f"{scene.atoms} atoms · {a:.2f} × {b:.2f} × {c:.2f} Å{many}"


def _labels(paper: Axes, scene: Scene, area: tuple[int, int, int, int]) -> None:
    """The symbol on each atom that is not hidden behind another one."""
    seen = project(scene)
    left, bottom, width, height = area
    scale = seen.scale(width, height)
    middle = (seen.low + seen.high) / 2
    for n in visible_labels(seen):
        x, y = (seen.atoms[n, :2] - middle[:2]) * scale
        paper.text(
            left + width / 2 + x, bottom + height / 2 + y,
            elements.symbol(int(scene.drawn_numbers[n])),
            fontsize=min(13.0, max(5.0, 0.75 * seen.radii[n] * scale)),
            ha="center", va="center", color="#000000",
        )  # fmt: skip


def visible_labels(seen: SeenScene) -> list[int]:
    """Drawn atoms whose middle no nearer atom covers."""
    flat, depth = seen.atoms[:, :2], seen.atoms[:, 2]
    free = []
    for n in range(len(flat)):
        near = np.linalg.norm(flat - flat[n], axis=1) < 0.9 * seen.radii
        if not (near & (depth > depth[n])).any():
            free.append(n)
    return free


def save_gallery(
    scenes: Sequence[Scene], path: str | Path, *, columns: int = 4, size: int = 300
) -> Path:
    """Several crystals in one PNG, each under its title.

    Args:
        scenes: in reading order; at least one.
        columns: pictures in a row.
        size: width of one picture in pixels.

    Raises:
        InputError: without any scene.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not scenes:
        raise InputError("a gallery needs at least one crystal.")
    rows = -(-len(scenes) // columns)
    title, margin = 40, 14
    height = size + title
    figure = Figure(
        figsize=(min(columns, len(scenes)) * size / 100, rows * height / 100),
        dpi=100,
        facecolor="white",
    )
    FigureCanvasAgg(figure)
    width, whole = figure.get_size_inches() * 100
    for place, scene in enumerate(scenes):
        left, below = place % columns * size, whole - (place // columns + 1) * height
        picture = render(scene, size - 2 * margin, size - 2 * margin)
        figure.figimage(picture, xo=left + margin, yo=below + margin, origin="upper")
        figure.text(
            (left + size / 2) / width,
            (below + size + title / 2) / whole,
            formula_mathtext(f"{scene.title}   {scene.subtitle}".strip()),
            fontsize=13,
            ha="center",
            va="center",
            color=INK,
        )
    target = Path(path)
    make_folder(target.parent)
    with atomic_write(target) as part:
        figure.savefig(part, format="png", dpi=100, pil_kwargs={"compress_level": 4})
    return target


def _legend(paper: Axes, scene: Scene, width: int, height: int) -> None:
    """Coloured discs with symbols in one line at the bottom right."""
    from matplotlib.patches import Circle

    u = unit(width, height)
    entries = scene.legend[:12]
    step = min(64.0 * u, (width - 140 * u) / max(len(entries), 1))
    left = width - 12 * u - step * len(entries)
    for place, (_, symbol, colour, _) in enumerate(entries):
        x = left + step * place + 10 * u
        paper.add_patch(
            Circle((x, 26 * u), 9 * u, facecolor=colour, edgecolor="#444a55", linewidth=0.8 * u)
        )
        paper.text(x + 15 * u, 25 * u, symbol, fontsize=11.5 * u, va="center", color=INK)


#: Colours of the arrows along a, b and c.
AXES = ("#b3261e", "#2b7a2b", "#1f4fb3")


def arrows(scene: Scene) -> list[tuple[float, float]]:
    """Where the unit vectors along a, b and c point in the picture, y upwards."""
    turn = scene.view()
    tips = [(turn @ (row / np.linalg.norm(row)))[:2] for row in scene.cell]
    return [(float(x), float(y)) for x, y in tips]


def _axes(paper: Axes, scene: Scene, u: float) -> None:
    """Three small arrows a, b, c at the bottom left."""
    origin = np.array([44.0, 40.0]) * u
    for (x, y), label, colour in zip(arrows(scene), "abc", AXES, strict=True):
        tip = np.array([x, y]) * 28 * u
        paper.annotate(
            "",
            xy=tuple(origin + tip),
            xytext=tuple(origin),
            arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.3 * u, "shrinkA": 0,
                        "shrinkB": 0, "mutation_scale": 8 * u},
        )  # fmt: skip
        length = float(np.linalg.norm(tip))
        away = tip / length * (length + 9 * u) if length > 6 * u else np.array([8.0, -8.0]) * u
        at_x, at_y = (float(v) for v in origin + away)
        paper.text(at_x, at_y, label, fontsize=9.5 * u, color=colour, ha="center", va="center")


def save_png(scene: Scene, path: str | Path, *, width: int = 900, height: int = 760) -> Path:
    """Write the PNG and return its path.

    Raises:
        InputError: for a size outside of 100 to 8000 pixels.
    """
    if not (100 <= width <= 8000 and 100 <= height <= 8000):
        raise InputError(
            f"a picture of {width} by {height} pixels cannot be drawn; give 100 to 8000 each way."
        )
    target = Path(path)
    make_folder(target.parent)
    picture = draw(scene, width=width, height=height)
    with atomic_write(target) as part:
        picture.savefig(part, format="png", dpi=100, pil_kwargs={"compress_level": 4})
    return target
