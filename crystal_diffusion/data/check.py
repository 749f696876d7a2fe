"""What is wrong or odd in a source of crystals, listed before anyone trains on it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import moyopy
import numpy as np

from crystal_diffusion.cell_geometry import cell_angles
from crystal_diffusion.chemistry import covalent_radii
from crystal_diffusion.data.duplicates import find_duplicates
from crystal_diffusion.data.provenance import NOT_KNOWN, OriginSummary, Provenance, summarize
from crystal_diffusion.data.readers import ProgressCallback, Source, find_files, iter_plain
from crystal_diffusion.data.records import (
    NOT_PERIODIC,
    Disorder,
    LeftHanded,
    PlainCrystal,
    kind_of_note,
)
from crystal_diffusion.errors import InputError
from crystal_diffusion.files import write_text

Severity = Literal["bad", "odd"]

#: A pair of atoms is close below this part of the sum of its covalent radii (Cordero et al. 2008).
RADII_PART = 0.6
#: Å3 per atom; diamond has 5.7, caesium 115.
VOLUME_PER_ATOM = (5.0, 120.0)
#: Longest by shortest edge of the Niggli cell.
ASPECT = 10.0
#: Å; longest edge of the Niggli cell.
LONG_EDGE = 50.0
#: Degrees; angles of the cell as it is given.
ANGLES = (20.0, 160.0)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or odd with one crystal.

    Attributes:
        kind: what it is, in a word or two.
        severity: ``"bad"``: it is left out of training; ``"odd"``: it is used, look at it.
        text: what was found and what to do.
    """

    kind: str
    severity: Severity
    text: str


@dataclass(frozen=True)
class CheckRow:
    """One crystal (or unreadable file) and what was found."""

    id: str
    source: str
    formula: str
    num_atoms: int
    findings: tuple[Finding, ...]
    provenance: Provenance = NOT_KNOWN

    @property
    def severity(self) -> Literal["bad", "odd", "good"]:
        """The worst of the findings."""
        kinds = {finding.severity for finding in self.findings}
        return "bad" if "bad" in kinds else "odd" if "odd" in kinds else "good"


@dataclass(frozen=True)
class CheckTable:
    """Everything that was looked at.

    Attributes:
        rows: one a crystal or unreadable file, in order of the source.
        ignored: files whose name stands for no known format.
        unmatched: pairs that were not compared for being duplicates, because there were too many.
    """

    rows: tuple[CheckRow, ...]
    ignored: tuple[str, ...] = ()
    unmatched: int = 0

    @property
    def clean(self) -> bool:
        """Whether nothing at all was found."""
        return all(row.severity == "good" for row in self.rows)

    def of(self, severity: Literal["bad", "odd", "good"]) -> tuple[CheckRow, ...]:
        """The rows whose worst finding is this."""
        return tuple(row for row in self.rows if row.severity == severity)

    def counts(self) -> dict[str, int]:
        """How many crystals have each kind of finding, the most frequent first."""
        kinds = Counter(kind for row in self.rows for kind in {f.kind for f in row.findings})
        return dict(kinds.most_common())

    @property
    def origins(self) -> tuple[OriginSummary, ...]:
        """Where the crystals come from; empty when none says so."""
        return summarize(row.provenance for row in self.rows)

    def to_dicts(self) -> Iterator[dict[str, Any]]:
        """One JSON-ready dict a row."""
        for row in self.rows:
            fields = {**asdict(row), "severity": row.severity}
            if not row.provenance.known:
                del fields["provenance"]
            yield fields

    def write(self, path: str | Path) -> None:
        """Write the rows as JSON lines, whole or not at all.

        Raises:
            InputError: when the file cannot be written.
        """
        write_text(Path(path), "".join(json.dumps(row) + "\n" for row in self.to_dicts()))


def check_source(
    source: Source,
    *,
    disorder: Disorder = "skip",
    left_handed: LeftHanded = "swap",
    min_distance: float = 0.7,
    duplicates: bool = True,
    processes: int = 1,
    progress: ProgressCallback | None = None,
) -> CheckTable:
    """Look at every crystal of a source before training on it.

    Bad (left out by the data set class): unreadable, empty, partial occupancy unless ordered,
    unknown element, coordinates that are not finite, no volume, atoms on top of each other, a
    contradiction to the formula of the file, no crystal (pbc F). Odd (used as they are): atoms too
    close, odd cells, duplicates, labels that others have, and what
    was changed on reading.

    Args:
        source: whatever :func:`crystal_diffusion.data.iter_crystals` reads.
        disorder, left_handed: as there; ``disorder="stop"`` raises at the first one.
        min_distance: Å; pairs nearer than this, or than 0.6 times the sum of their covalent
            radii, are reported.
        duplicates: compare the crystals with each other.
        processes: worker processes for reading.
        progress: called with the files read and their number.

    Raises:
        InputError: when the source cannot be read at all, for a bad argument, and for partial
            occupancy when ``disorder="stop"``.
    """
    if not min_distance >= 0:
        raise InputError(f"min_distance is {min_distance}; give 0 or more, in Å.")
    ignored: list[Path] = []
    if isinstance(source, str | Path):
        _, ignored = find_files(source)
    crystals: list[PlainCrystal] = []
    rows: list[CheckRow] = []
    for crystal in iter_plain(
        source,
        disorder=disorder,
        left_handed=left_handed,
        processes=processes,
        progress=progress,
    ):
        crystals.append(crystal)
        rows.append(_check_one(crystal, min_distance))
    _add_missing_labels(rows, crystals)
    unmatched = _add_duplicates(rows, crystals) if duplicates else 0
    return CheckTable(tuple(rows), tuple(str(path) for path in ignored), unmatched)


def check_crystals(
    crystals: Sequence[PlainCrystal], min_distance: float = 0.7
) -> tuple[CheckRow, ...]:
    """The same for crystals that are read already, labels left out of account."""
    rows = [_check_one(crystal, min_distance) for crystal in crystals]
    _add_duplicates(rows, crystals)
    return tuple(rows)


def _check_one(crystal: PlainCrystal, min_distance: float) -> CheckRow:
    if crystal.problem is not None:
        finding = Finding(crystal.problem_kind or "unreadable", "bad", crystal.problem)
        return CheckRow(crystal.id, crystal.source, "", 0, (finding,), crystal.provenance)
    findings = [_finding_of(note) for note in crystal.notes]
    findings += _odd_cell(crystal)
    findings += _close_atoms(crystal, min_distance)
    return CheckRow(
        crystal.id,
        crystal.source,
        formula_of(crystal.atomic_numbers),
        len(crystal.atomic_numbers),
        tuple(findings),
        crystal.provenance,
    )


def _finding_of(note: str) -> Finding:
    kind = kind_of_note(note)
    # Training leaves out what is no crystal; everything else that was changed is used.
    return Finding(kind, "bad" if kind == NOT_PERIODIC else "odd", note)


def formula_of(numbers: np.ndarray) -> str:
    """The formula of all atoms, elements in alphabetic order."""
    import gemmi

    counts = Counter(gemmi.Element(int(number)).name for number in numbers)
    return " ".join(f"{symbol}{counts[symbol]}" for symbol in sorted(counts))


def _odd_cell(crystal: PlainCrystal) -> list[Finding]:
    lattice = crystal.lattice
    findings = []
    angles = cell_angles(lattice)
    if angles.min() < ANGLES[0] or angles.max() > ANGLES[1]:
        worst = angles.min() if angles.min() < ANGLES[0] else angles.max()
        findings.append(
            Finding("odd cell", "odd", f"cell angle of {worst:.1f} degrees; reduce the cell")
        )
    edges = np.linalg.norm(niggli_lattice(lattice), axis=-1)
    if edges.max() > LONG_EDGE or edges.max() > ASPECT * edges.min():
        text = f"cell edges of {edges.min():.2f} to {edges.max():.2f} Å; is it a slab or a chain?"
        findings.append(Finding("odd cell", "odd", text))
    volume = abs(float(np.linalg.det(lattice))) / len(crystal.atomic_numbers)
    if not VOLUME_PER_ATOM[0] <= volume <= VOLUME_PER_ATOM[1]:
        text = f"{volume:.1f} Å3 per atom; atoms may be missing, or the unit is not Å"
        findings.append(Finding("odd cell", "odd", text))
    return findings


def niggli_lattice(lattice: np.ndarray) -> np.ndarray:
    """The reduced basis of the same lattice."""
    return np.array(moyopy.niggli_reduce(lattice.tolist())[0])


def _close_atoms(crystal: PlainCrystal, min_distance: float) -> list[Finding]:
    """The pair that is too close by the largest part, own images included."""
    import gemmi
    from pymatgen.optimization.neighbors import find_points_in_spheres

    radii = covalent_radii(crystal.atomic_numbers)
    # In the reduced cell the search for neighbours looks at few images, however skewed the given.
    matrix = np.ascontiguousarray(niggli_lattice(crystal.lattice), dtype=np.float64)
    coords = np.ascontiguousarray(crystal.frac_coords @ crystal.lattice)
    reach = max(min_distance, RADII_PART * 2 * float(radii.max())) + 1e-6
    first, second, images, distance = find_points_in_spheres(
        coords, coords, reach, np.array([1, 1, 1], dtype=np.int64), matrix, 1e-8
    )
    real = (first != second) | np.any(images != 0, axis=-1)
    first, second, distance = first[real], second[real], distance[real]
    limit = np.maximum(min_distance, RADII_PART * (radii[first] + radii[second]))
    close = distance < limit
    if not close.any():
        return []
    worst = int(np.argmin(np.where(close, distance / limit, np.inf)))
    i, j = int(first[worst]), int(second[worst])
    names = [gemmi.Element(int(crystal.atomic_numbers[k])).name for k in (i, j)]
    pairs = int(close.sum() + 1) // 2
    text = (
        f"{names[0]}{i + 1} and {names[1]}{j + 1} are {distance[worst]:.2f} Å apart "
        f"(limit {limit[worst]:.2f}, {pairs} such pairs); correct or remove it"
    )
    return [Finding("too close", "odd", text)]


def _add(rows: list[CheckRow], index: int, finding: Finding) -> None:
    rows[index] = replace(rows[index], findings=(*rows[index].findings, finding))


def _add_missing_labels(rows: list[CheckRow], crystals: Sequence[PlainCrystal]) -> None:
    usable = [i for i, crystal in enumerate(crystals) if crystal.problem is None]
    names = sorted({name for i in usable for name in crystals[i].properties})
    for index in usable:
        missing = [name for name in names if name not in crystals[index].properties]
        if missing:
            text = f"no {', '.join(missing)}; others have it, here it counts as not known"
            _add(rows, index, Finding("missing labels", "odd", text))


def _add_duplicates(rows: list[CheckRow], crystals: Sequence[PlainCrystal]) -> int:
    usable = [i for i, crystal in enumerate(crystals) if crystal.problem is None]
    same, unmatched = find_duplicates([crystals[i] for i in usable])
    for later, first in same.items():
        name = rows[usable[first]].id
        text = f"the same crystal as {name}; keep one of them"
        _add(rows, usable[later], Finding("duplicate", "odd", text))
    return unmatched
