"""What a discovery leaves behind: a page to read, a table, the accepted crystals as a run."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crystal_diffusion.discovery.loop import DiscoverySettings, Found
from crystal_diffusion.energy.published_hull import (
    FITTED_WITH,
    LIKELY,
    NEAR_EV,
    PublishedHull,
    published_hull,
)
from crystal_diffusion.files import write_text
from crystal_diffusion.known.index import KnownCrystals
from crystal_diffusion.physics.facts import CrystalFacts, crystal_facts
from crystal_diffusion.prediction.near_hull import network_opinions
from crystal_diffusion.runs.columns import column
from crystal_diffusion.runs.folder import RunFolder
from crystal_diffusion.runs.rows import rounded

#: Columns of the page before and after the distances to the hull.
_FIRST = ("id", "formula", "space_group_0.1")
_LAST = ("start", "nearest_known_id", "converged")


def write_discovery(
    folder: Path,
    settings: DiscoverySettings,
    found: Sequence[Found],
    known: KnownCrystals,
    seconds: float,
) -> list[Found]:
    """Write ``report.md`` and the accepted crystals, lowest above hull first.

    Returns:
        The accepted crystals in that order.
    """
    accepted = sorted((f for f in found if f.accepted), key=lambda f: f.above_hull or 0.0)
    run = RunFolder(folder)
    foretold = _foretold(accepted, settings)
    rows = [_row(place, f, settings, foretold.get(f.id)) for place, f in enumerate(accepted, 1)]
    run.write_structures({f.id: f.structure for f in accepted}, rows)
    run.write_manifest(
        {
            "command": sys.argv,
            "request": {"wish": settings.wish.words},
            "n": settings.budget.relaxations,
            "made": len(accepted),
            "seed": settings.seed,
            "seconds": {"discovery": round(seconds, 1)},
            "known": known.title,
        }
    )
    text = report_text(settings, found, accepted, known, seconds, foretold)
    write_text(folder / "report.md", text)
    return accepted


def _foretold(accepted: Sequence[Found], settings: DiscoverySettings) -> dict[str, PublishedHull]:
    """The published hull distance by id, where potential and network can be joined."""
    if settings.potential != FITTED_WITH or not accepted:
        return {}
    said = network_opinions([f.structure for f in accepted], NEAR_EV)
    answers = {
        f.id: published_hull(f.above_hull, one.above, one.inside)
        for f, one in zip(accepted, said, strict=True)
        if f.above_hull is not None
    }
    return {key: answer for key, answer in answers.items() if answer is not None}


@dataclass(frozen=True, eq=False, kw_only=True)
class DiscoveryRow(CrystalFacts):
    """What ``structures.jsonl`` of a discovery says of an accepted crystal."""

    rank: int
    start: str
    valid: bool
    potential: str
    energy_per_atom_eV: float | None
    energy_above_hull_eV_atom: float | None
    published_above_hull_eV_atom: float | None
    published_near_hull_probability: float | None
    second_potential: str | None
    second_above_hull_eV_atom: float | None
    second_agrees: bool | None
    converged: bool
    novel: bool | None = None
    nearest_known_id: str | None = None
    nearest_known_distance: float | None = None
    swap_of_like_elements: bool | None = None
    problem: str


def _row(
    place: int, found: Found, settings: DiscoverySettings, foretold: PublishedHull | None
) -> DiscoveryRow:
    return DiscoveryRow.from_dict(
        {
            **crystal_facts(found.structure),
            **(found.novelty or {}),
            "id": found.id,
            "rank": place,
            "start": found.start,
            "valid": True,
            "potential": settings.potential,
            "energy_per_atom_eV": found.row["energy_per_atom_eV"],
            "energy_above_hull_eV_atom": found.above_hull,
            "published_above_hull_eV_atom": rounded(foretold.above) if foretold else None,
            "published_near_hull_probability": (
                rounded(foretold.near_probability) if foretold else None
            ),
            "second_potential": settings.second,
            "second_above_hull_eV_atom": found.second,
            "second_agrees": found.agrees,
            "converged": found.row["converged"],
            "problem": found.note,
        }
    )


def report_text(
    settings: DiscoverySettings,
    found: Sequence[Found],
    accepted: Sequence[Found],
    known: KnownCrystals,
    seconds: float,
    foretold: Mapping[str, PublishedHull],
) -> str:
    """The page: what was found, what it cost, how sure.

    Args:
        foretold: by id, the published distance of accepted crystals; empty where it is not said.
    """
    second = settings.second
    sure = [f for f in accepted if f.agrees]
    unsure = [f for f in accepted if not f.agrees]
    swaps = sum(bool(f.novelty and f.novelty.swap_of_like_elements) for f in accepted)
    lines = [
        f"# Discovery: {settings.wish.words}",
        "",
        f"{len(accepted)} crystals accepted of {len(found)} relaxed, in {seconds / 60:.1f} minutes "
        f"(strategy {settings.strategy}, seed {settings.seed}).",
        "",
        f"Accepted means: not among {known.title}, distinct, at most "
        f"{settings.wish.most_above_hull:g} eV/atom above the hull of these by "
        f"{settings.potential}, not doubtful"
        + (f", and not refused by {second}." if second else "; no second potential was asked."),
        "",
        "## What was found",
        "",
        f"| {' | '.join(column(name).narrow for name in _FIRST)} | "
        f"{column('energy_above_hull_eV_atom').heading} "
        + (f"| by {second} " if second else "")
        + (f"| {column('published_near_hull_probability').narrow} " if foretold else "")
        + f"| {' | '.join(column(name).narrow for name in _LAST)} |",
        "|---|---|---|---|" + "---|" * (bool(second) + bool(foretold)) + "---|---|---|",
    ]
    for f in accepted:
        facts = crystal_facts(f.structure)
        near = f.novelty
        beside = "" if near is None else str(near.nearest_known_id or "")
        if near is not None and near.swap_of_like_elements:
            beside += ", a swap of like elements"
        mark = "–" if f.second is None else f"{f.second:+.3f}"
        chance = f"{own.near_probability:.2f}" if (own := foretold.get(f.id)) else "–"
        lines.append(
            f"| {f.id} | {f.structure.composition.reduced_formula} | "
            f"{facts.space_group_loose or ''} | {f.above_hull:+.3f} "
            + (f"| {mark} " if second else "")
            + (f"| {chance} " if foretold else "")
            + f"| {f.start} | {beside} | {'yes' if f.row['converged'] else 'no'} |"
        )
    starts = Counter(f.start for f in found)
    hits = Counter(f.start for f in accepted)
    spent = sum(float(f.row["seconds"]) for f in found)
    lines += [
        "",
        "## What it cost",
        "",
        f"- {len(found)} relaxations, {spent / 60:.1f} minutes in them, one after the other"
        + (f", {len(found) / max(len(accepted), 1):.1f} for each accepted." if accepted else "."),
        *(f"- {start}: {hits[start]} accepted of {count}" for start, count in starts.most_common()),
        "",
        "## How sure",
        "",
        f"- {len(sure)} are at most {settings.wish.most_above_hull:g} eV/atom above hull by "
        f"{second} too; {len(unsure)} could not be asked ({_reasons(unsure)})."
        if second
        else "- One potential only: install a second one (pip install sevenn) and run again.",
        *(
            [
                f"- {sum(own.likely for own in foretold.values())} lie near the published (PBE) "
                f"hull with a chance of {LIKELY:g} or more, as {settings.potential} and the "
                "built-in property network together foretell."
            ]
            if foretold
            else []
        ),
        f"- {sum(bool(f.row['converged']) for f in accepted)} of {len(accepted)} met both criteria "
        "of convergence.",
        f"- {swaps} are swaps of like elements of a known crystal; {len(accepted) - swaps} are "
        "not.",
        f"- {sum(bool(f.note) and not f.accepted for f in found)} relaxed crystals were doubtful "
        "or had a problem and are not counted.",
        "- Energies are those of machine-learned potentials at zero temperature. The potentials "
        "were trained on like data and can be wrong together; a density-functional calculation "
        "(`crystal-diffusion dft`) is the next step.",
        "",
    ]
    return "\n".join(lines)


def _reasons(unsure: Sequence[Found]) -> str:
    counts = Counter(f.note or "no word" for f in unsure)
    return "; ".join(f"{reason}: {n}" for reason, n in counts.most_common()) or "none"
