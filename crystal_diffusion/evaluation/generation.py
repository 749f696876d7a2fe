"""Generation from nothing: valid, unique, novel, coverage, distributions."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_diffusion.errors import InputError
from crystal_diffusion.evaluation.copying import compare_halves
from crystal_diffusion.evaluation.coverage import coverage
from crystal_diffusion.evaluation.metrics import MetricResult, ratio, wasserstein
from crystal_diffusion.evaluation.table import EvaluationTable
from crystal_diffusion.evaluation.validity import (
    compositional_validities,
    structural_validity,
    structural_validity_published,
    validity_definitions,
)
from crystal_diffusion.matching import ReferenceIndex, StructureMatch, group_structures
from crystal_diffusion.parallel import usable_cores

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Called with what is being done, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]


def evaluate_generation(
    structures: Mapping[str, Structure] | Sequence[Structure],
    reference: Mapping[str, Structure],
    *,
    matcher: StructureMatch | None = None,
    index: ReferenceIndex | None = None,
    unseen: Mapping[str, Structure] | None = None,
    energies: Mapping[str, float] | None = None,
    reference_energies: Sequence[float] | None = None,
    reference_name: str = "the reference",
    processes: int | None = None,
    out: Path | str | None = None,
    progress: Progress | None = None,
    name: str = "generation",
    info: Mapping[str, Any] | None = None,
) -> EvaluationTable:
    """Everything that is measured of crystals made from nothing.

    Args:
        structures: made crystals by id, or a list.
        reference: known crystals by id (the training set, for novelty).
        matcher: tolerances; the default is ``StructureMatch()``.
        index: an index of the reference, if there is one already.
        unseen: crystals of the kind of the reference that the model was not trained on, to measure
            copying with.
        energies: eV/atom by id of a made crystal, for the distance of distributions.
        reference_energies: eV/atom of reference crystals, by the same method.
        reference_name: named in the definitions.
        processes: worker processes; all usable cores if left out.
        out: folder for ``rows.jsonl``, ``metrics.json`` and ``metrics.md``.
        progress: called with the stage, what is done of it, and how much there is.
        name: of the table.
        info: what else to print with the figures.

    Raises:
        InputError: for no structures or no reference.
    """
    named = (
        dict(structures)
        if isinstance(structures, Mapping)
        else {str(i): s for i, s in enumerate(structures)}
    )
    if not named:
        raise InputError("the run has no structures to evaluate; give one that made some.")
    if not reference and index is None:
        raise InputError("the reference has no crystals; give a file or folder with some.")
    matcher = matcher or StructureMatch()
    workers = usable_cores() if processes is None else processes
    began = time.monotonic()

    def tell(stage: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(stage, done, total) if progress else None

    made = list(named.values())
    index = index or ReferenceIndex.from_structures(reference, workers)
    known = list(reference.values()) or [index.structure(row) for row in range(len(index))]
    groups = group_structures(made, matcher, workers, tell("grouping"))
    nearest = index.nearest_many(made, matcher, workers, tell("comparing with the reference"))
    structural = [structural_validity(s) for s in made]
    published = [structural_validity_published(s) for s in made]
    compositional = compositional_validities(made)
    seen: set[int] = set()
    rows = []
    for i, (label, structure) in enumerate(named.items()):
        first = groups[i] not in seen
        seen.add(groups[i])
        rows.append(
            {
                "id": label,
                "formula": structure.composition.reduced_formula,
                "num_atoms": len(structure),
                "structure_valid": structural[i],
                "structure_valid_published": published[i],
                "composition_valid": compositional[i],
                "group": groups[i],
                "unique": first,
                "nearest_id": nearest[i].id or None,
                "nearest_distance": _finite(nearest[i].distance),
                "known": nearest[i].matches,
                "swap_of_like_elements": nearest[i].swap_of_like_elements,
                "density_g_cm3": float(structure.density),
                "problem": nearest[i].problem,
            }
        )
    metrics = [
        *_rates(rows, matcher, reference_name),
        *coverage(made, known, workers),
        *_distributions(made, known, reference_name),
        *(_copying(made, known, list(unseen.values()), matcher) if unseen else ()),
    ]
    if energies and reference_energies is not None:
        metrics.append(
            wasserstein(
                "Wasserstein, energy",
                f"Wasserstein distance of energies per atom of made crystals and {reference_name}",
                [energies[label] for label in named if label in energies],
                reference_energies,
                unit="eV/atom",
            )
        )
    table = EvaluationTable(
        name,
        tuple(metrics),
        tuple(rows),
        {
            "matcher": repr(matcher),
            "structures": len(rows),
            "reference": reference_name,
            "reference_crystals": len(index),
            "seconds": round(time.monotonic() - began, 1),
            **(info or {}),
        },
    )
    if out is not None:
        table.save(out)
    return table


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _rates(
    rows: Sequence[Mapping[str, Any]], matcher: StructureMatch, reference_name: str
) -> list[MetricResult]:
    texts = validity_definitions()
    failed = tuple(str(r["id"]) for r in rows if r["problem"])
    how = f"{matcher!r}, every atom within stol"
    both = [r["structure_valid"] and r["composition_valid"] for r in rows]
    known = [r["known"] for r in rows]
    sizes = Counter(r["group"] for r in rows)
    unique = [1 / sizes[r["group"]] for r in rows]
    good = [b and r["unique"] and not k for b, r, k in zip(both, rows, known, strict=True)]
    novel = f"matches no crystal of {reference_name} of its composition by {how}"
    return [
        ratio(
            "valid, structure",
            texts["structural"],
            [r["structure_valid"] for r in rows],
        ),
        ratio(
            "valid, structure, published",
            texts["published"],
            [r["structure_valid_published"] for r in rows],
        ),
        ratio(
            "valid, composition",
            texts["compositional"],
            [r["composition_valid"] for r in rows],
        ),
        ratio("valid", "valid in structure and composition", both),
        ratio(
            "unique",
            f"number of groups over number of crystals, grouped by {how}; falls with n",
            unique,
            failed=failed,
        ),
        ratio(
            "novel",
            f"share of crystals that {novel}",
            [not k and r["problem"] is None for k, r in zip(known, rows, strict=True)],
            failed=failed,
        ),
        ratio(
            "novel, no swap of like elements",
            f"share of crystals that {novel}, and are no copy after a swap of elements of one "
            "column (lanthanides as one)",
            [
                not r["known"] and not r["swap_of_like_elements"] and r["problem"] is None
                for r in rows
            ],
            failed=failed,
        ),
        ratio(
            "valid, unique and novel",
            "valid in structure and composition, first of its group, and novel; energy not asked",
            good,
            failed=failed,
        ),
    ]


def _copying(
    made: Sequence[Structure],
    known: Sequence[Structure],
    unseen: Sequence[Structure],
    matcher: StructureMatch,
) -> list[MetricResult]:
    found = compare_halves(made, known, unseen, matcher)
    low, high = found.interval()
    return [
        MetricResult(
            "copying",
            found.share,
            low,
            high,
            found.samples,
            (),
            "share of made crystals nearer to those trained on than to as many others of the kind, "
            "by fingerprint; 50 % is no copying; exact binomial interval",
        ),
        ratio(
            "unseen crystals made again",
            f"share of crystals not trained on that a made crystal matches by {matcher!r}",
            [1.0] * found.found + [0.0] * (found.unseen - found.found),
        ),
    ]


def _distributions(
    made: Sequence[Structure], known: Sequence[Structure], reference_name: str
) -> list[MetricResult]:
    return [
        wasserstein(
            "Wasserstein, density",
            f"Wasserstein distance of mass densities of made crystals and {reference_name}",
            [s.density for s in made],
            [s.density for s in known],
            unit="g/cm3",
        ),
        wasserstein(
            "Wasserstein, elements",
            f"Wasserstein distance of the numbers of different elements of made crystals and "
            f"{reference_name}",
            [len(s.composition.elements) for s in made],
            [len(s.composition.elements) for s in known],
            unit="1",
        ),
    ]
