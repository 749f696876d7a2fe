"""Structure prediction: one row per target, and the figures made of the rows.

All match figures use pymatgen's ``StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)`` through
:class:`StructureMatch`, prediction first, as in the code of CDVAE and DiffCSP.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from crystal_diffusion.errors import InputError
from crystal_diffusion.evaluation.metrics import MetricResult, ratio
from crystal_diffusion.evaluation.validity import (
    structural_validity,
    structural_validity_published,
    validity_definitions,
)
from crystal_diffusion.matching import StructureMatch

if TYPE_CHECKING:
    from pymatgen.core import Structure

_log = logging.getLogger(__name__)

#: Å, for space groups.
SYMPREC = 0.1
Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One target with everything that is compared with it.

    Attributes:
        id: of the target.
        key: digest of target and candidates; a row with the same key need not be made again.
        target: the true structure.
        candidates: best ranked first.
        draws: places in ``candidates`` in the order in which they were drawn.
        pool: first-ranked candidates of other targets of the same composition.
        compositional: whether the composition passes SMACT.
    """

    id: str
    key: str
    target: Structure
    candidates: tuple[Structure, ...]
    draws: tuple[int, ...]
    pool: tuple[Structure, ...]
    compositional: bool


def space_group(structure: Structure) -> int:
    """Number at symprec 0.1 Å; 0 where spglib finds none."""
    import spglib

    cell = (
        structure.lattice.matrix,
        structure.frac_coords,
        [site.specie.Z for site in structure],
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            data = spglib.get_symmetry_dataset(
                cast("Any", cell), symprec=SYMPREC, angle_tolerance=5
            )
    except (ValueError, TypeError, RuntimeError) as error:
        _log.info("space group not found: %s", error)
        return 0
    return 0 if data is None else int(data.number)


def evaluate_target(task: Task, matcher: StructureMatch) -> Row:
    """The row of one target; what cannot be compared is a miss with a recorded reason."""
    problems: list[str] = []
    values: list[float | None] = []
    for place, candidate in enumerate(task.candidates):
        try:
            values.append(matcher.rms(candidate, task.target))
        except InputError as error:
            problems.append(f"candidate {place + 1}: {error}")
            values.append(None)
    # What cannot be compared in the pool is recorded where it was made.
    shared = [_rms_or_none(c, task.target, matcher) for c in task.pool]
    first = task.candidates[0] if task.candidates else None
    return {
        "id": task.id,
        "key": task.key,
        "formula": task.target.composition.reduced_formula,
        "num_atoms": len(task.target),
        "candidates": len(task.candidates),
        "rms": values,
        "draws": list(task.draws),
        "matched_ranks": [i + 1 for i, v in enumerate(values) if v is not None],
        "pool_rms": min((v for v in shared if v is not None), default=None),
        "pool_size": len(shared),
        "composition_valid": task.compositional,
        "target_structure_valid": structural_validity(task.target),
        "structure_valid": [structural_validity(c) for c in task.candidates],
        "structure_valid_published": (
            None if first is None else structural_validity_published(first)
        ),
        "space_group": space_group(task.target),
        "space_group_answered": None if first is None else space_group(first),
        "problems": problems[:5],
    }


def _rms_or_none(candidate: Structure, target: Structure, matcher: StructureMatch) -> float | None:
    try:
        return matcher.rms(candidate, target)
    except InputError as error:
        _log.debug("not compared: %s", error)
        return None


def _best(values: Sequence[float | None]) -> float | None:
    return min((v for v in values if v is not None), default=None)


def prediction_metrics(
    rows: Sequence[Mapping[str, Any]], matcher: StructureMatch, ks: Sequence[int] = (1, 5, 20)
) -> tuple[MetricResult, ...]:
    """All figures of structure prediction from the rows of all targets.

    Raises:
        InputError: for no rows.
    """
    if not rows:
        raise InputError("there is no target to evaluate; give at least one.")
    texts = validity_definitions()
    how = f"StructureMatcher(ltol={matcher.ltol:g}, stol={matcher.stol:g}, angle_tol="
    how += f"{matcher.angle_tol:g}) of pymatgen"
    failed = tuple(str(r["id"]) for r in rows if r["problems"] or not r["candidates"])
    found: list[MetricResult] = []

    def pair(name: str, best: Sequence[float | None], text: str) -> None:
        hit = [v is not None for v in best]
        found.append(
            ratio(
                f"match_rate{name}",
                f"share of all targets for which {text} matches by {how}; unfiltered",
                hit,
                failed=failed,
            )
        )
        found.append(
            ratio(
                f"rmse{name}",
                f"root mean square displacement over (V/N)^(1/3), mean over the matches of "
                f"match_rate{name} only",
                [v or 0.0 for v in best],
                hit,
                unit="1",
            )
        )

    drawn = [[r["rms"][i] for i in r["draws"]] for r in rows]
    # Where no other order is given, candidates are counted in the order of their ranks.
    way = "drawn" if any(r["draws"] != sorted(r["draws"]) for r in rows) else "ranked"
    answered = [r["rms"][0] if r["rms"] else None for r in rows]
    pair(", answered", answered, "the candidate ranked first")
    longest = max((len(values) for values in drawn), default=0)
    for k in ks:
        if k > max(longest, 1):  # any of 20 is no figure where there are only five
            continue
        text = f"the candidate {way} first" if k == 1 else f"any of the first {k} {way}"
        pair(f"@{k}", [_best(values[:k]) for values in drawn], f"{text} (an oracle count)")

    def filtered(name: str, places: Sequence[int | None], text: str) -> None:
        good = []
        for row, place in zip(rows, places, strict=True):
            whole = row["composition_valid"] and row["target_structure_valid"]
            good.append(
                place is not None
                and row["rms"][place] is not None
                and bool(row["structure_valid"][place])
                and whole
            )
        found.append(
            ratio(
                f"match_rate{name}, filtered",
                f"as match_rate{name} ({text}), but a match counts only if prediction and target "
                f"are valid: {texts['structural']}; {texts['compositional']}",
                good,
                failed=failed,
            )
        )

    filtered(", answered", [0 if r["rms"] else None for r in rows], "the candidate ranked first")
    filtered(
        "@1", [r["draws"][0] if r["rms"] else None for r in rows], f"the candidate {way} first"
    )
    found += _everyone(rows, answered, how, matcher.stol)
    found += _groups(rows)
    found += _validities(rows, texts)
    return tuple(found)


def _everyone(
    rows: Sequence[Mapping[str, Any]], answered: Sequence[float | None], how: str, stol: float
) -> list[MetricResult]:
    """METRe and cRMSE."""
    best = [_best([own, r["pool_rms"]]) for r, own in zip(rows, answered, strict=True)]
    pooled = sum(r["pool_size"] for r in rows)
    text = (
        "share of targets for which any candidate ranked first, its own or that of another target "
        f"of the same composition ({pooled} such pairs), matches by {how} (Martirossyan et al. "
        "2025, arXiv 2509.12178)"
    )
    charge = (
        f"mean over all targets of the smallest displacement of METRe, a miss counted as {stol:g} "
        "(Martirossyan et al. 2025)"
    )
    return [
        ratio("METRe", text, [v is not None for v in best]),
        ratio("cRMSE", charge, [stol if v is None else v for v in best], unit="1"),
    ]


def _groups(rows: Sequence[Mapping[str, Any]]) -> list[MetricResult]:
    known = [r for r in rows if r["space_group"]]
    if not known:
        return []
    same = [r["space_group_answered"] == r["space_group"] for r in known]
    both = [
        s and bool(r["rms"]) and r["rms"][0] is not None for s, r in zip(same, known, strict=True)
    ]
    text = (
        "space group number of the candidate ranked first equals the target's, spglib at "
        f"{SYMPREC} Å"
    )
    return [
        ratio("space_group_match, answered", text, same),
        ratio("match and space group, answered", f"{text}, and it matches", both),
    ]


def _validities(rows: Sequence[Mapping[str, Any]], texts: Mapping[str, str]) -> list[MetricResult]:
    given = [r for r in rows if r["candidates"]]
    if not given:
        return []
    counts = [len(r["structure_valid"]) for r in given]
    return [
        ratio(
            "structural validity",
            f"share of all candidates: {texts['structural']}",
            [sum(r["structure_valid"]) for r in given],
            counts,
        ),
        ratio(
            "structural validity, published",
            f"share of first candidates, {texts['published']}",
            [bool(r["structure_valid_published"]) for r in given],
        ),
        ratio(
            "compositional validity",
            f"share of targets (the composition is given): {texts['compositional']}",
            [bool(r["composition_valid"]) for r in given],
        ),
        ratio(
            "targets with candidates",
            "share of targets for which there was any candidate; the others count as misses",
            [bool(r["candidates"]) for r in rows],
        ),
    ]


def mean_candidates(rows: Sequence[Mapping[str, Any]]) -> float:
    """Candidates per target."""
    return float(np.mean([r["candidates"] for r in rows])) if rows else 0.0
