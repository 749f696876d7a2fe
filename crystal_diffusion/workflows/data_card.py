"""The data of a training run: what is left out, and what a model file says of the rest."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from typing import Any

import numpy as np

from crystal_diffusion import chemistry
from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.data.provenance import summarize
from crystal_diffusion.errors import InputError
from crystal_diffusion.physics.facts import distributions

log = logging.getLogger(__name__)


def describe_data(dataset: CrystalStructureDataset, used: Any, held: np.ndarray) -> dict[str, Any]:
    """What a model file says of its data: hash, sizes, distributions for the report."""
    atoms = used.num_atoms
    volume = np.abs(np.linalg.det(used.lattice)) / atoms
    return {
        "data_sha256": dataset.fingerprint(),
        "crystals": len(used),
        "held_out": len(held),
        "skipped": len(dataset.skipped),
        "origins": [origin.to_dict() for origin in summarize(used.provenance)],
        "sizes": {str(int(n)): int(k) for n, k in sorted(Counter(atoms.tolist()).items())},
        "training_statistics": {
            **training_statistics(used),
            "volume_per_atom_A3": [round(float(v), 2) for v in _sample(volume)],
        },
    }


def training_statistics(arrays: Any, most: int = 500, seed: int = 0) -> dict[str, Any]:
    """Distributions of the training set that a report draws beside those of a run.

    Density, shortest distance and space group of at most ``most`` crystals, drawn evenly: groups
    and distances of a large set would take minutes, and a line in a figure needs no more.

    Returns:
        Sorted values by column; counts by number for the space groups.
    """
    rows = np.arange(len(arrays))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    found = distributions(arrays.crystal(int(row)).to_structure() for row in rows)
    groups = Counter(int(number) for number in found.pop("space_group_0.1"))
    return {
        **{name: sorted(round(value, 3) for value in values) for name, values in found.items()},
        "space_group_0.1": {str(number): groups[number] for number in sorted(groups)},
    }


def _sample(values: np.ndarray, most: int = 500) -> np.ndarray:
    """At most that many values, evenly over the sorted ones."""
    ordered = np.sort(values)
    if len(ordered) <= most:
        return ordered
    picked: np.ndarray = ordered[np.linspace(0, len(ordered) - 1, most).round().astype(int)]
    return picked


def without_oversized(dataset: CrystalStructureDataset, ratio: float) -> CrystalStructureDataset:
    """The crystals whose volume is at most ``ratio`` times the tabulated one; others are logged.

    Raises:
        InputError: when none is left.
    """
    arrays = dataset.arrays
    volume = np.abs(np.linalg.det(arrays.lattice)) / arrays.num_atoms
    limit = np.array(
        [
            ratio * chemistry.expected_volume(arrays.atomic_numbers[first:last])[0]
            for first, last in itertools.pairwise(arrays.offsets)
        ]
    )
    large = np.flatnonzero(volume > limit)
    if not len(large):
        return dataset
    names = ", ".join(arrays.ids[i] for i in large[:3])
    if len(large) == len(dataset):
        raise InputError(
            f"all crystals, {names}{' ...' if len(large) > 3 else ''}, have more than {ratio:g} "
            "times the volume of their elements; are the cells in Å? Raise largest_volume "
            "(--largest-volume) if they are right."
        )
    log.warning(
        "%d of %d crystals are left out, with more than %g times the volume of their elements: "
        "%s%s; raise --largest-volume to keep them",
        len(large),
        len(dataset),
        ratio,
        names,
        " ..." if len(large) > 3 else "",
    )
    return dataset.subset(np.setdiff1d(np.arange(len(dataset)), large))


#: Findings of ``check`` that speak against a crystal itself or repeat another one.
_LEFT_OUT = ("too close", "odd cell", "duplicate")
#: Larger sets are not looked at: comparing their crystals would take longer than training.
_MOST_CHECKED = 5000


def without_odd(
    dataset: CrystalStructureDataset,
) -> tuple[CrystalStructureDataset, dict[str, str]]:
    """The crystals that ``check`` finds sound, and why each of the others is left out, by id.

    Raises:
        InputError: when none is left.
    """
    from crystal_diffusion.data.check import check_crystals

    arrays = dataset.arrays
    if len(arrays) > _MOST_CHECKED:
        log.warning(
            "%d crystals are more than the %d that are looked at for odd ones before training; "
            "run `crystal-diffusion check` on them",
            len(arrays),
            _MOST_CHECKED,
        )
        return dataset, {}
    rows = check_crystals([arrays.crystal(i) for i in range(len(arrays))])
    reasons: dict[int, str] = {}
    for index, row in enumerate(rows):
        found = [finding for finding in row.findings if finding.kind in _LEFT_OUT]
        if found:
            reasons[index] = found[0].text
    if len(reasons) == len(dataset):
        raise InputError(
            f"all {len(dataset)} crystals are odd; the first, {arrays.ids[0]}: {reasons[0]}. "
            "Correct them, or train on them as they are with --odd keep."
        )
    names = {arrays.ids[index]: reason for index, reason in reasons.items()}
    for name, reason in list(names.items())[:5]:
        log.warning("%s is left out: %s", name, reason)
    if len(names) > 5:
        log.warning("%d more odd crystals are left out", len(names) - 5)
    if not reasons:
        return dataset, {}
    return dataset.subset(np.setdiff1d(np.arange(len(dataset)), list(reasons))), names
