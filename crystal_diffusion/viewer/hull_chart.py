"""Formation energy against composition, with the convex hull: two or three elements as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crystal_diffusion.viewer.charts import number, svg, text, ticks
from crystal_diffusion.viewer.page import escape

#: Crystals this near to the hull (eV/atom) count as on it.
ON_HULL = 1e-6


@dataclass(frozen=True)
class HullPoint:
    """One phase.

    Attributes:
        label: id or formula.
        fractions: share of the atoms of each element of the system, in its order.
        formation_energy: eV/atom.
        candidate: whether it is one of the crystals of the report (they are not part of the hull).
        above_hull: eV/atom; None for a reference.
    """

    label: str
    fractions: tuple[float, ...]
    formation_energy: float
    candidate: bool
    above_hull: float | None = None


def hull_points(elements: Sequence[str], system: Mapping[str, Any]) -> list[HullPoint]:
    """Points of one chemical system of ``hull.json``; empty where an element has no reference."""
    references = [r for r in system.get("references", []) if r["energy_per_atom_eV"] is not None]
    ground: dict[str, float] = {}
    for entry in references:
        present = [e for e, n in entry["composition"].items() if n > 0]
        if len(present) == 1:
            energy = float(entry["energy_per_atom_eV"])
            ground[present[0]] = min(energy, ground.get(present[0], energy))
    if any(e not in ground for e in elements):
        return []
    points = []
    for candidate, entries in ((False, references), (True, system.get("candidates", []))):
        for entry in entries:
            if entry["energy_per_atom_eV"] is None:
                continue
            atoms = sum(entry["composition"].values())
            shares = tuple(float(entry["composition"].get(e, 0.0) / atoms) for e in elements)
            energy = float(entry["energy_per_atom_eV"]) - sum(
                x * ground[e] for x, e in zip(shares, elements, strict=True)
            )
            words = str(entry["id"]) if candidate else f"{_formula(entry)} ({entry['id']})"
            above = entry.get("energy_above_hull_eV_atom") if candidate else None
            points.append(HullPoint(words, shares, energy, candidate, above))
    return points


def _formula(entry: Mapping[str, Any]) -> str:
    """The reduced formula in the usual order of elements; an element is its symbol."""
    from pymatgen.core import Composition

    counts = {e: n for e, n in entry["composition"].items() if n > 0}
    return next(iter(counts)) if len(counts) == 1 else Composition(counts).reduced_formula


def lower_hull(points: np.ndarray) -> list[tuple[int, ...]]:
    """Faces of the lower convex hull: index pairs in two dimensions, triples in three.

    Args:
        points: ``(points, dimensions)``, the last column is the energy; the corners of the
            composition range must be among them.
    """
    from scipy.spatial import ConvexHull, QhullError

    lid = points.copy()
    lid[:, -1] = float(points[:, -1].max()) + 1.0  # a lid makes the body never flat
    both = np.vstack([points, lid])
    try:
        hull = ConvexHull(both)
    except QhullError:
        return []
    faces = []
    for simplex, plane in zip(hull.simplices, hull.equations, strict=True):
        if plane[-2] < -1e-9 and (simplex < len(points)).all():
            faces.append(tuple(sorted(int(i) for i in simplex)))
    return faces


def hull_chart(elements: Sequence[str], points: Sequence[HullPoint]) -> str:
    """The diagram of a system of two or three elements.

    Raises:
        ValueError: for another number of elements.
    """
    if len(elements) == 2:
        return _binary(elements, points)
    if len(elements) == 3:
        return _ternary(elements, points)
    raise ValueError(f"{len(elements)} elements do not fit on paper; give two or three")


def _words(elements: Sequence[str], points: Sequence[HullPoint]) -> str:
    candidates = [p for p in points if p.candidate]
    best = min((p.above_hull for p in candidates if p.above_hull is not None), default=None)
    end = "" if best is None else f"; the lowest is {number(best, 3)} eV/atom from the hull"
    return (
        f"Hull of {'-'.join(elements)}: {len(points) - len(candidates)} known phases, "
        f"{len(candidates)} crystals of this report{end}."
    )


def _dot(x: float, y: float, point: HullPoint, stable: bool) -> str:
    tip = f"{point.label}: {number(point.formation_energy, 4)} eV/atom"
    if point.above_hull is not None:
        tip += f", {number(point.above_hull, 3)} eV/atom from the hull"
    if point.candidate:
        return (
            f'<path class="candidate" d="M{x:.1f},{y - 6:.1f}l6,6l-6,6l-6,-6z">'
            f"<title>{escape(tip)}</title></path>"
        )
    style = "stable" if stable else "known"
    return (
        f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="{4.5 if stable else 3}">'
        f"<title>{escape(tip)}</title></circle>"
    )


def _hull_of(
    points: Sequence[HullPoint], columns: int
) -> tuple[np.ndarray, list[tuple[int, ...]], set[int]]:
    """Indices of the known phases with negative or zero energy, faces, and which are on it."""
    known = [i for i, p in enumerate(points) if not p.candidate and p.formation_energy <= ON_HULL]
    table = np.array([[*points[i].fractions[:columns], points[i].formation_energy] for i in known])
    faces = [tuple(known[k] for k in face) for face in lower_hull(table)]
    return np.array(known), faces, {i for face in faces for i in face}


def _labels(
    wanted: Sequence[tuple[float, float, str]],
    points: Sequence[tuple[float, float]],
    frame: tuple[float, float, float, float],
) -> list[str]:
    """Texts beside their points that cover neither each other nor a point.

    A text for which there is no room is left out: the pointer on its point still shows it.

    Args:
        wanted: x, y of the point and its text, the most important first.
        points: all that are drawn.
        frame: left, top, right and bottom that the texts keep to.
    """
    taken: list[tuple[float, float, float, float]] = []
    parts = []
    for x, y, words in wanted:
        half, size = 3.7 * len(words) + 2, 12.0
        for right, down in ((0, 19), (0, -10), (half + 9, 4), (-half - 9, 4), (half, 19),
                            (-half, 19), (half, -10), (-half, -10)):  # fmt: skip
            box = (x + right - half, y + down - size, x + right + half, y + down + 3)
            inside = frame[0] <= box[0] and frame[1] <= box[1] and box[2] <= frame[2]
            if not inside or box[3] > frame[3]:
                continue
            clear = all(
                box[2] <= b[0] or b[2] <= box[0] or box[3] <= b[1] or b[3] <= box[1] for b in taken
            )
            covers = any(
                box[0] - 3 < a < box[2] + 3 and box[1] - 3 < b < box[3] + 3
                for a, b in points
                if (a, b) != (x, y)
            )
            if clear and not covers:
                taken.append(box)
                parts.append(text(x + right, y + down, words, "name"))
                break
    return parts


def _binary(elements: Sequence[str], points: Sequence[HullPoint]) -> str:
    width, height, left, right, top, bottom = 640, 380, 64, 24, 22, 54
    _, faces, stable = _hull_of(points, 1)
    energies = [p.formation_energy for p in points]
    low = min(energies)
    high = min(max(energies), max(0.1, 0.4 * abs(low)))
    candidates = [p.formation_energy for p in points if p.candidate]
    high = max([high, *(min(e, 1.5) for e in candidates)])
    low, high = low - 0.06 * (high - low), high + 0.06 * (high - low)

    def at(point: HullPoint) -> tuple[float, float]:
        x = left + point.fractions[1] * (width - left - right)
        share = (high - min(point.formation_energy, high)) / (high - low)
        return x, top + share * (height - top - bottom)

    parts = []
    for value in ticks(low, high, 6):
        y = top + (high - value) / (high - low) * (height - top - bottom)
        style = "zero-line" if value == 0 else "grid-line"
        parts.append(f'<path class="{style}" d="M{left},{y:.1f}H{width - right}"/>')
        parts.append(text(left - 8, y + 4, number(value), "tick", "end"))
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = left + share * (width - left - right)
        parts.append(text(x, height - bottom + 18, f"{share:g}", "tick"))
    for face in faces:
        (x1, y1), (x2, y2) = (at(points[i]) for i in face)
        parts.append(f'<path class="hull" d="M{x1:.1f},{y1:.1f}L{x2:.1f},{y2:.1f}"/>')
    drawn = sorted(range(len(points)), key=lambda i: (points[i].candidate, i in stable))
    for i in drawn:
        if points[i].formation_energy <= high:
            parts.append(_dot(*at(points[i]), points[i], i in stable))
    shown = [at(p) for p in points if p.formation_energy <= high]
    named = sorted((i for i in stable if 0 < points[i].fractions[1] < 1),
                   key=lambda i: points[i].formation_energy)  # fmt: skip
    parts += _labels(
        [(*at(points[i]), points[i].label.split(" ")[0]) for i in named],
        shown,
        (left, top, width - right, height - bottom),
    )
    middle = left + (width - left - right) / 2
    parts.append(text(middle, height - 10, f"share of {elements[1]} among the atoms"))
    x, y = 16, top + (height - top - bottom) / 2
    parts.append(
        f'<text x="{x}" y="{y:.0f}" text-anchor="middle" transform="rotate(-90 {x} {y:.0f})">'
        "formation energy (eV/atom)</text>"
    )
    return svg(width, height, _words(elements, points), "".join(parts), "chart wide")


def _ternary(elements: Sequence[str], points: Sequence[HullPoint]) -> str:
    width, height, margin = 640, 590, 46
    side = width - 2 * margin
    _, faces, stable = _hull_of(points, 2)
    base = height - 60

    def at(fractions: Sequence[float]) -> tuple[float, float]:
        x = margin + side * (fractions[1] + 0.5 * fractions[2])
        return x, base - side * np.sqrt(3) / 2 * fractions[2]

    parts = []
    edges = {tuple(sorted(e)) for a, b, c in faces for e in ((a, b), (b, c), (a, c))}
    for i, j in sorted(edges):
        (x1, y1), (x2, y2) = at(points[i].fractions), at(points[j].fractions)
        parts.append(f'<path class="hull" d="M{x1:.1f},{y1:.1f}L{x2:.1f},{y2:.1f}"/>')
    (ax, ay), (bx, by), (cx, cy) = (at(corner) for corner in ((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    parts.append(
        f'<path class="frame" d="M{ax:.1f},{ay:.1f}L{bx:.1f},{by:.1f}L{cx:.1f},{cy:.1f}z"/>'
    )
    drawn = sorted(range(len(points)), key=lambda i: (points[i].candidate, i in stable))
    seen: set[tuple[float, ...]] = set()
    names: list[tuple[float, float, str]] = []
    for i in drawn:
        x, y = at(points[i].fractions)
        parts.append(_dot(x, y, points[i], i in stable))
        place = tuple(round(f, 3) for f in points[i].fractions)
        if i in stable and 1 not in place and place not in seen:
            seen.add(place)
            names.append((x, y, points[i].label.split(" ")[0]))
    shown = [at(p.fractions) for p in points]
    parts += _labels(sorted(names, key=lambda n: n[1]), shown, (4, 4, width - 4, base + 34))
    parts.append(text(ax - 12, ay + 26, elements[0], "corner"))
    parts.append(text(bx + 12, by + 26, elements[1], "corner"))
    parts.append(text(cx, cy - 14, elements[2], "corner"))
    return svg(width, height, _words(elements, points), "".join(parts), "chart wide")
