"""An SVG of a scene, for papers: balls, sticks and faces as shapes, drawn from back to front."""

from __future__ import annotations

import itertools
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crystal_diffusion.files import make_folder, write_text
from crystal_diffusion.viewer import elements
from crystal_diffusion.viewer.formulas import formula_svg
from crystal_diffusion.viewer.painting import (
    AXES,
    BOND_RADIUS,
    INK,
    QUIET,
    SeenScene,
    arrows,
    dimensions,
    frame,
    project,
    unit,
    visible_labels,
)

if TYPE_CHECKING:
    from crystal_diffusion.viewer.scene import Scene

#: Steps of depth; each mixes a little more of the paper into the colours.
_LEVELS, _FOG = 6, 0.35
#: Where the shading of a ball changes, and towards white (positive) or black.
_SHADES = ((0, 0.85), (12, 0.5), (35, 0.08), (60, -0.08), (82, -0.3), (100, -0.52))
_EDGE = "#5b606c"


class _Shapes:
    """Shapes with their depth, and the gradients that they use."""

    def __init__(self, seen: SeenScene, scale: float, x: float, y: float) -> None:
        self.seen, self.scale = seen, scale
        self.centre = (seen.low + seen.high) / 2
        self.x, self.y = x, y
        self.parts: list[tuple[float, str]] = []
        self.gradients: dict[str, str] = {}

    def at(self, point: np.ndarray) -> tuple[float, float]:
        """Pixels of a point; y downwards."""
        right, up, _ = (point - self.centre) * self.scale
        return self.x + float(right), self.y - float(up)

    def level(self, depth: float) -> int:
        low, high = float(self.seen.low[2]), float(self.seen.high[2])
        share = (high - depth) / max(high - low, 1e-6)
        return min(_LEVELS, max(0, round(_LEVELS * share)))

    def tone(self, colour: str, light: float, level: int) -> str:
        """A colour made lighter (positive) or darker, and paler with depth."""
        parts = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
        end = 255 if light > 0 else 0
        shaded = [p + (end - p) * abs(light) for p in parts]
        pale = [p + (255 - p) * _FOG * level / _LEVELS for p in shaded]
        return "#" + "".join(f"{round(p):02x}" for p in pale)

    def ball(self, centre: np.ndarray, radius: float, colour: str) -> None:
        level = self.level(float(centre[2]))
        name = f"b{colour[1:]}{level}"
        if name not in self.gradients:
            stops = "".join(
                f'<stop offset="{at}%" stop-color="{self.tone(colour, light, level)}"/>'
                for at, light in _SHADES
            )
            self.gradients[name] = (
                f'<radialGradient id="{name}" cx="0.46" cy="0.45" fx="0.36" fy="0.33" '
                f'r="0.55">{stops}</radialGradient>'
            )
        x, y = self.at(centre)
        self.parts.append(
            (
                float(centre[2]),
                f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{radius * self.scale:.2f}" '
                f'fill="url(#{name})"/>',
            )
        )

    def line(self, start: np.ndarray, end: np.ndarray, colour: str, width: float) -> None:
        (x1, y1), (x2, y2) = self.at(start), self.at(end)
        depth = float(start[2] + end[2]) / 2
        self.parts.append(
            (
                depth,
                f'<path d="M{x1:.2f},{y1:.2f}L{x2:.2f},{y2:.2f}" stroke="'
                f'{self.tone(colour, 0, self.level(depth))}" stroke-width="{width:.2f}"/>',
            )
        )

    def stick(self, start: np.ndarray, end: np.ndarray, colour: str) -> None:
        """A bond: dark outside, a light line along its middle."""
        (x1, y1), (x2, y2) = self.at(start), self.at(end)
        depth = float(start[2] + end[2]) / 2
        level, width = self.level(depth), max(1.5, 2 * BOND_RADIUS * self.scale)
        way = f'd="M{x1:.2f},{y1:.2f}L{x2:.2f},{y2:.2f}"'
        lines = "".join(
            f'<path {way} stroke="{self.tone(colour, light, level)}" '
            f'stroke-width="{width * part:.2f}"/>'
            for part, light in ((1, -0.42), (0.66, -0.08), (0.24, 0.42))
        )
        self.parts.append((depth, lines))

    def face(self, corners: np.ndarray, colour: str) -> None:
        points = " ".join(f"{x:.2f},{y:.2f}" for x, y in map(self.at, corners))
        depth = float(corners[:, 2].mean())
        edge = self.tone(colour, -0.35, self.level(depth))
        self.parts.append(
            (
                depth,
                f'<polygon points="{points}" fill="{colour}" fill-opacity="0.45" stroke="{edge}" '
                'stroke-width="0.8" stroke-linejoin="round"/>',
            )
        )


def svg_text(scene: Scene, *, width: int = 900, height: int = 760) -> str:
    """The picture as SVG text.

    Args:
        scene: what is drawn.
        width: pixels; an SVG can be scaled without loss.
        height: pixels.
    """
    seen = project(scene)
    left, bottom, wide, high = frame(width, height)
    x, y = left + wide / 2, height - bottom - high / 2
    shapes = _Shapes(seen, seen.scale(wide, high), x, y)
    colours = [elements.hex_colour(int(z)) for z in scene.drawn_numbers]
    for position, radius, colour in zip(seen.atoms, seen.radii, colours, strict=True):
        shapes.ball(position, float(radius), colour)
    _bonds(shapes, scene, colours)
    for start, end in seen.edges:
        for first, last in _uncovered(start, end, seen):
            shares = np.linspace(first, last, 2 + int(8 * (last - first)))
            joints = start + shares[:, None] * (end - start)
            for one, other in itertools.pairwise(joints):
                if _on_bond((one + other) / 2, scene, seen):
                    continue
                shapes.line(one, other, _EDGE, 1.3)
    for centre, face in scene.drawing.faces:
        shapes.face(seen.atoms[list(face)], colours[centre])
    body = "\n".join(part for _, part in sorted(shapes.parts, key=lambda p: p[0]))
    veils = _halos(shapes, scene, colours)
    labels = _labels(shapes, scene) if scene.look.labels else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" font-family="Helvetica, Arial, sans-serif">\n'
        f"<title>{escape(scene.description)}</title>\n"
        f"<defs>{''.join(shapes.gradients.values())}</defs>\n"
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n'
        f'<g fill="none">\n{body}\n</g>\n{veils}{labels}'
        f"{_words(scene, width, height)}</svg>\n"
    )


def _uncovered(start: np.ndarray, end: np.ndarray, seen: SeenScene) -> list[tuple[float, float]]:
    """The parts of a line that are not inside a ball, as shares of its length."""
    way = end - start
    away = start - seen.atoms
    square, along = float(way @ way), away @ way
    root = along**2 - square * ((away**2).sum(1) - seen.radii**2)
    inside = root > 0
    half = np.sqrt(root[inside])
    covered = np.column_stack([-along[inside] - half, -along[inside] + half]) / square
    free: list[tuple[float, float]] = []
    reached = 0.0
    for low, high in [*sorted(map(tuple, covered.tolist())), (1.0, 1.0)]:
        if min(low, 1.0) > reached:
            free.append((reached, min(low, 1.0)))
        reached = max(reached, high)
    return free


def _on_bond(point: np.ndarray, scene: Scene, seen: SeenScene) -> bool:
    """Whether a point of an edge lies in a bond, which then hides the edge."""
    if not len(scene.drawing.bonds):
        return False
    start, end = (seen.atoms[scene.drawing.bonds[:, k]] for k in (0, 1))
    way, away = end - start, point - start
    share = (away * way).sum(1) / (way * way).sum(1)
    aside = np.linalg.norm(away - share[:, None] * way, axis=1)
    return bool(((share > 0) & (share < 1) & (aside < BOND_RADIUS / 2)).any())


def save_svg(scene: Scene, path: str | Path, *, width: int = 900, height: int = 760) -> Path:
    """Write the SVG and return its path."""
    target = Path(path)
    make_folder(target.parent)
    write_text(target, svg_text(scene, width=width, height=height), flush=False)
    return target


def _bonds(shapes: _Shapes, scene: Scene, colours: list[str]) -> None:
    """Two sticks for each bond, from surface to surface, each in the colour of its atom."""
    atoms, radii = shapes.seen.atoms, shapes.seen.radii
    for i, j in scene.drawing.bonds:
        length = max(float(np.linalg.norm(atoms[j] - atoms[i])), 1e-9)
        step = (atoms[j] - atoms[i]) / length
        reach = [float(np.sqrt(max(radii[k] ** 2 - BOND_RADIUS**2, 0.0))) for k in (i, j)]
        if sum(reach) >= length:
            continue
        start, end = atoms[i] + step * reach[0], atoms[j] - step * reach[1]
        shapes.stick(start, (start + end) / 2, colours[i])
        shapes.stick((start + end) / 2, end, colours[j])


def _halos(shapes: _Shapes, scene: Scene, colours: list[str]) -> str:
    """Veils around uncertain sites."""
    if scene.halos is None:
        return ""
    reach = shapes.seen.radii + scene.halos[scene.drawing.source]
    parts = []
    for position, radius, colour in zip(shapes.seen.atoms, reach, colours, strict=True):
        x, y = shapes.at(position)
        parts.append(
            f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{radius * shapes.scale:.2f}" fill="{colour}" '
            'fill-opacity="0.33"/>\n'
        )
    return "".join(parts)


def _labels(shapes: _Shapes, scene: Scene) -> str:
    """The symbol on each atom that can be seen."""
    parts = []
    for n in visible_labels(shapes.seen):
        x, y = shapes.at(shapes.seen.atoms[n])
        size = min(17.0, max(7.0, shapes.seen.radii[n] * shapes.scale))
        symbol = elements.symbol(int(scene.drawn_numbers[n]))
        parts.append(
            f'<text x="{x:.2f}" y="{y + 0.35 * size:.2f}" font-size="{size:.1f}" '
            f'text-anchor="middle">{escape(symbol)}</text>\n'
        )
    return "".join(parts)


def _words(scene: Scene, width: int, height: int) -> str:
    """Title, size, axes and legend."""
    u = unit(width, height)
    title = formula_svg(f"{scene.title}   {scene.subtitle}".strip(), 19 * u)
    parts = [
        f'<text x="{16 * u:.1f}" y="{31 * u:.1f}" font-size="{19 * u:.1f}" fill="{INK}" '
        f'xml:space="preserve">{title}</text>',
        f'<text x="{width - 16 * u:.1f}" y="{29 * u:.1f}" font-size="{13 * u:.1f}" '
        f'text-anchor="end" fill="{QUIET}">{escape(dimensions(scene))}</text>',
    ]
    x0, y0 = 44 * u, height - 40 * u
    for (x, y), label, colour in zip(arrows(scene), "abc", AXES, strict=True):
        length = max(float(np.hypot(x, y)), 1e-9)
        far = 28 * u + 9 * u / length if length > 0.2 else 40 * u
        parts.append(
            f'<path d="M{x0:.1f},{y0:.1f}L{x0 + 28 * u * x:.1f},{y0 - 28 * u * y:.1f}" '
            f'stroke="{colour}" stroke-width="{1.8 * u:.1f}" stroke-linecap="round"/>'
            f'<text x="{x0 + far * x:.1f}" y="{y0 - far * y + 4 * u:.1f}" text-anchor="middle" '
            f'font-size="{13 * u:.1f}" fill="{colour}">{label}</text>'
        )
    entries = scene.legend[:12]
    step = min(64 * u, (width - 140 * u) / max(len(entries), 1))
    for place, (_, symbol, colour, _) in enumerate(entries):
        left = width - 12 * u - step * (len(entries) - place) + 10 * u
        parts.append(
            f'<circle cx="{left:.1f}" cy="{height - 26 * u:.1f}" r="{9 * u:.1f}" fill="{colour}" '
            f'stroke="#444a55" stroke-width="0.8"/><text x="{left + 15 * u:.1f}" '
            f'y="{height - 21 * u:.1f}" font-size="{15 * u:.1f}" fill="{INK}">{escape(symbol)}'
            "</text>"
        )
    return "\n".join(parts) + "\n"
