"""What a reader hands on: one crystal as plain arrays, or the reason why there is none.

Readers and worker processes pass :class:`PlainCrystal` around because arrays are cheap to build
and to send; callers of the library see :class:`CrystalRecord` with a pymatgen ``Structure``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from crystal_diffusion.cell_geometry import lattice_from_parameters, wrap, wrap_displacement
from crystal_diffusion.data.bounds import LARGEST_COORDINATE, LONGEST_ID, MOST_ATOMS
from crystal_diffusion.data.overlaps import IMPOSSIBLE_A, close_pairs
from crystal_diffusion.data.provenance import NOT_KNOWN, Provenance

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: What to do with partial occupancy: record it as a problem, order it, or raise.
Disorder = Literal["skip", "order", "stop"]
#: What to do with a left-handed cell: record it as a problem, or exchange a and b.
LeftHanded = Literal["skip", "swap"]

#: What can be wrong with one crystal, in one word each; see :attr:`CrystalRecord.problem_kind`.
ProblemKind = Literal[
    "unreadable",
    "empty",
    "partial occupancy",
    "unknown element",
    "not finite",
    "no volume",
    "left-handed",
    "contradiction",
    "overlap",
]

#: Beginnings of notes and the kind of finding that they are.
NOT_PERIODIC = "not periodic"
_NOTES = (
    ("cell turned right-handed", "left-handed"),
    ("ordered", "partial occupancy"),
    ("not periodic", NOT_PERIODIC),
    ("periodic along", NOT_PERIODIC),
    ("periodic in", NOT_PERIODIC),
    ("multiplicities", "symmetry"),
    ("left out", "left out"),
    ("listed more than once", "left out"),
    ("the symmetry was open", "symmetry"),
    ("the space group", "symmetry"),
    ("the operations", "symmetry"),
    ("the file says no symmetry", "symmetry"),
    ("the cell differs from the symmetry", "symmetry"),
    ("a site was moved", "symmetry"),
)
#: The last element of the tables of radii and masses; what a model knows may be less.
LAST_ELEMENT = 103
#: Names of crystals in info dictionaries and JSON, first found wins.
ID_KEYS = ("id", "material_id", "name", "structure_id", "jid", "entry_id")
#: A cell is called flat when volume / (a b c) is below this; 5 degrees between two axes give 0.09.
FLAT_CELL = 1e-4
#: Least and largest cell edge in Å that is taken for a crystal at all.
EDGE_LIMITS = (0.3, 1000.0)
_NO_ATOMS = "no atoms; remove the entry or add its atoms"
_LEFT_HANDED = (
    "the cell is left-handed and left_handed='skip' leaves it out; read it with "
    "left_handed='swap', which exchanges a and b"
)


@dataclass(frozen=True)
class DisorderPlace:
    """The part that a site has in a disorder of whole groups of atoms.

    Attributes:
        assembly: the groups that take turns, as the CIF names them.
        group: which of them; a negative one is disordered about a symmetry element.
        copy: which symmetry image of the assembly.
    """

    assembly: str
    group: str
    copy: int


@dataclass(frozen=True)
class Occupancy:
    """A crystal with partial occupancy, before a choice is made.

    Attributes:
        frac_coords: ``(sites, 3)``.
        species: one ``{atomic number: occupancy}`` a site; what is missing to 1 is vacancy.
        places: one a site, None for a site that is in no group; empty when no site is in one.
    """

    frac_coords: np.ndarray
    species: tuple[dict[int, float], ...]
    places: tuple[DisorderPlace | None, ...] = ()

    def describe(self) -> str:
        """The worst site in words, for a message."""
        from ase.data import chemical_symbols

        partial = [s for s in self.species if len(s) > 1 or abs(sum(s.values()) - 1) > 1e-6]
        parts = " + ".join(f"{share:.3g} {chemical_symbols[z]}" for z, share in partial[0].items())
        return f"{len(partial)} of {len(self.species)} sites, for example {parts}"


@dataclass(frozen=True)
class PlainCrystal:
    """One crystal as arrays, or a problem.

    Attributes:
        id: name of the crystal, unique within one source.
        lattice: ``(3, 3)`` rows a, b, c in Å.
        frac_coords: ``(atoms, 3)``.
        atomic_numbers: ``(atoms,)``.
        properties: labels by name; a missing label is absent.
        source: the file (and entry) that it came from.
        problem: why it cannot be used; ``None`` when it can.
        problem_kind: the sort of problem; ``None`` when there is none.
        occupancy: given for a crystal with partial occupancy that waits for a choice.
        notes: what was changed on reading, in words.
        provenance: the database entry that it is; all empty when not known.
        frozen: ``(atoms, 3)`` true where a coordinate (along a, b, c) must not move; None where
            all are free.
    """

    id: str
    lattice: np.ndarray = field(default_factory=lambda: np.zeros((3, 3)))
    frac_coords: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    atomic_numbers: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    properties: Mapping[str, float] = field(default_factory=dict)
    source: str = ""
    problem: str | None = None
    problem_kind: ProblemKind | None = None
    occupancy: Occupancy | None = None
    notes: tuple[str, ...] = ()
    provenance: Provenance = NOT_KNOWN
    frozen: np.ndarray | None = None

    def amounts(self) -> dict[int, float]:
        """Atoms in the cell by atomic number, occupancies counted in."""
        if self.occupancy is None:
            numbers = self.atomic_numbers
            if not len(numbers) or numbers.min() < 0 or numbers.max() > 1000:
                return {}
            counts = np.bincount(numbers)
            return {int(z): float(counts[z]) for z in np.flatnonzero(counts)}
        found: dict[int, float] = {}
        for species in self.occupancy.species:
            for number, share in species.items():
                found[number] = found.get(number, 0.0) + share
        return found

    def to_structure(self) -> Structure:
        """The pymatgen ``Structure`` of a crystal without a problem.

        Frozen coordinates become the site property ``selective_dynamics`` (true: free to move),
        as pymatgen's own POSCAR reader has it.
        """
        from pymatgen.core import Lattice, Structure

        if self.occupancy is not None:
            species: list[dict[int, float]] = list(self.occupancy.species)
            return Structure(Lattice(self.lattice), species, self.occupancy.frac_coords)
        free = None
        if self.frozen is not None and self.frozen.any():
            free = {"selective_dynamics": (~self.frozen).tolist()}
        return Structure(
            Lattice(self.lattice),
            self.atomic_numbers.tolist(),
            self.frac_coords,
            site_properties=free,
        )


@dataclass(frozen=True)
class CrystalRecord:
    """One crystal that was read, or the reason why it could not be.

    Attributes:
        id: name of the crystal, unique within one source.
        structure: ordered pymatgen ``Structure``; ``None`` when there is a problem.
        properties: labels by name; a missing label is absent.
        source: the file (and entry) that it came from.
        problem: one sentence with cause and remedy; ``None`` when there is a structure.
        problem_kind: the sort of problem; ``None`` when there is a structure.
        notes: what was changed on reading, in words (cell made right-handed, sites ordered).
        provenance: the database entry that it is; all empty when not known.
    """

    id: str
    structure: Structure | None
    properties: Mapping[str, float]
    source: str
    problem: str | None
    problem_kind: ProblemKind | None = None
    notes: tuple[str, ...] = ()
    provenance: Provenance = NOT_KNOWN


def kind_of_note(note: str) -> str:
    """The kind of finding that a note is, in a word or two."""
    return next((kind for start, kind in _NOTES if note.startswith(start)), "incomplete")


def failed(name: str, source: str, problem: str, kind: ProblemKind = "unreadable") -> PlainCrystal:
    """A record of something that could not be read or cannot be used."""
    return PlainCrystal(id=name, source=source, problem=problem, problem_kind=kind)


def shorten(error: BaseException | str, limit: int = 160) -> str:
    """The first line of an error of another library, cut to a readable length, never empty."""
    text = str(error).strip()
    if isinstance(error, BaseException):
        text = text or type(error).__name__
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def to_float(value: object) -> float | None:
    """A label as a float; ``None`` for what is no finite number (missing, text, a list)."""
    if isinstance(value, bool | np.bool_):
        return float(value)
    if isinstance(value, str):
        value = value.strip()
        if not value:
            return None
    elif not isinstance(value, int | float | np.integer | np.floating):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def numbers_of(labels: Mapping[str, Any]) -> dict[str, float]:
    """The labels that are finite numbers."""
    found = {str(key): to_float(value) for key, value in labels.items() if key not in ID_KEYS}
    return {key: value for key, value in found.items() if value is not None}


def id_from(labels: Mapping[str, Any], default: str) -> str:
    """The name that a crystal brings along, or the default."""
    for key in ID_KEYS:
        value = labels.get(key)
        if isinstance(value, str) and value.strip():
            return value.strip()[:LONGEST_ID]
        if key != "name" and isinstance(value, int) and not isinstance(value, bool):
            # Python refuses to write out numbers of thousands of digits.
            if abs(value) < 10**18:
                return str(value)
    return default


def make_crystal(
    name: str,
    source: str,
    lattice: object,
    frac_coords: object,
    atomic_numbers: object,
    properties: Mapping[str, float] | None = None,
) -> PlainCrystal:
    """A crystal from anything array-like; what cannot be used becomes a problem."""
    if any(isinstance(part, list) and _has_truth(part) for part in (lattice, frac_coords)):
        return failed(name, source, "true or false in the place of a number; correct the entry")
    try:
        cell = np.array(lattice, dtype=np.float64)
        coords = np.array(frac_coords, dtype=np.float64)
        numbers = np.array(atomic_numbers, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        return failed(name, source, f"not a table of numbers ({shorten(error)}); correct the entry")
    if cell.shape == (6,):
        cell = lattice_from_parameters(cell)
    if cell.shape != (3, 3):
        return failed(
            name, source, f"the lattice has shape {cell.shape}; give 3 rows a, b, c of 3 numbers"
        )
    if coords.ndim != 2 or coords.shape[1:] != (3,):
        if coords.size == 0:
            return failed(name, source, _NO_ATOMS, "empty")
        return failed(
            name, source, f"the positions have shape {coords.shape}; give 3 numbers for each atom"
        )
    if numbers.shape != (len(coords),):
        return failed(
            name,
            source,
            f"{len(coords)} positions but {numbers.size} atom types; give one type for each atom",
        )
    whole = np.isfinite(numbers) & (numbers == np.round(numbers)) & (np.abs(numbers) < 1e6)
    if not whole.all():
        text = f"atom types are not atomic numbers ({numbers[~whole][0]:g}); give 1 to 118"
        return failed(name, source, text)
    return PlainCrystal(
        name, cell, coords, numbers.astype(np.int64), dict(properties or {}), source
    )


def _has_truth(values: list[Any]) -> bool:
    """Whether nested lists hold true or false, which count as 1 and 0 otherwise."""
    return any(
        _has_truth(value) if isinstance(value, list) else isinstance(value, bool)
        for value in values
    )


def cell_problem(lattice: np.ndarray) -> tuple[str, ProblemKind] | None:
    """Why no crystal can be in this cell, left-handedness apart."""
    if not np.all(np.isfinite(lattice)):
        return "the cell has entries that are not finite; correct the lattice", "not finite"
    with np.errstate(over="ignore"):
        edges = np.sqrt((lattice**2).sum(-1))
    if not np.all(edges > 0):
        text = "the cell has no volume; give three lattice vectors in Å (a molecule has none)"
        return text, "no volume"
    if edges.min() < EDGE_LIMITS[0] or edges.max() > EDGE_LIMITS[1]:
        text = (
            f"cell edges of {edges.min():.3g} to {edges.max():.3g} Å are outside "
            f"{EDGE_LIMITS[0]:g} to {EDGE_LIMITS[1]:g} Å; the unit must be Å"
        )
        return text, "no volume"
    ratio = abs(float(np.linalg.det(lattice / edges[:, None])))
    if ratio < FLAT_CELL:
        text = (
            f"the cell has zero volume (volume / abc = {ratio:.1e}); "
            "give three independent lattice vectors"
        )
        return text, "no volume"
    return None


def _problem_of(crystal: PlainCrystal) -> tuple[str, ProblemKind] | None:
    """Why an ordered crystal cannot be used, left-handedness apart."""
    problem = cell_problem(crystal.lattice)
    if problem is not None:
        return problem
    coords, numbers = crystal.frac_coords, crystal.atomic_numbers
    if len(coords) == 0:
        return _NO_ATOMS, "empty"
    if not np.all(np.isfinite(coords)):
        bad = int(np.flatnonzero(~np.isfinite(coords).all(-1))[0])
        text = f"atom {bad + 1} has coordinates that are not finite; correct or remove it"
        return text, "not finite"
    if np.abs(coords).max() > LARGEST_COORDINATE:
        bad = int(np.abs(coords).max(-1).argmax())
        text = f"atom {bad + 1} has coordinates of {np.abs(coords).max():.0e} cells; correct them"
        return text, "not finite"
    if len(coords) > MOST_ATOMS:
        text = (
            f"{len(coords)} atoms are more than the {MOST_ATOMS} that are read; cut a smaller cell"
        )
        return text, "unreadable"
    if numbers.min() < 1 or numbers.max() > LAST_ELEMENT:
        unknown = numbers[(numbers < 1) | (numbers > LAST_ELEMENT)][0]
        text = f"atomic number {unknown} is no element of the tables; use 1 to {LAST_ELEMENT}"
        return text, "unknown element"
    pairs = close_pairs(crystal.lattice, coords, IMPOSSIBLE_A)
    if len(pairs):
        one, two = pairs[0].tolist()
        step = coords[one] - coords[two]
        apart = float(np.linalg.norm(wrap_displacement(step) @ crystal.lattice))
        text = (
            f"atoms {one + 1} and {two + 1} are on top of each other ({apart:.3f} Å apart, "
            f"{len(pairs)} such pairs); remove one of each"
        )
        return text, "overlap"
    return None


def settle(crystal: PlainCrystal, left_handed: LeftHanded = "swap") -> PlainCrystal:
    """The crystal with coordinates in [0, 1), or with the problem that forbids its use.

    Zero volume, entries that are not finite, no atoms, unknown elements and, unless
    ``left_handed="swap"``, a left-handed cell are problems. Exchanging a and b describes exactly
    the same crystal by a right-handed cell.
    """
    if crystal.problem is not None:
        return crystal
    problem = _problem_of(crystal)
    coords, lattice, notes = crystal.frac_coords, crystal.lattice, crystal.notes
    frozen = crystal.frozen
    if problem is None and np.linalg.det(lattice) < 0:
        if left_handed == "swap":
            lattice, coords = lattice[[1, 0, 2]], coords[:, [1, 0, 2]]
            frozen = None if frozen is None else frozen[:, [1, 0, 2]]
            notes = (*notes, "cell turned right-handed: a and b exchanged")
        else:
            problem = (_LEFT_HANDED, "left-handed")
    if problem is not None:
        lost = failed(crystal.id, crystal.source, *problem)
        return replace(lost, provenance=crystal.provenance)
    return replace(crystal, lattice=lattice, frac_coords=wrap(coords), notes=notes, frozen=frozen)


def to_record(crystal: PlainCrystal) -> CrystalRecord:
    """The record that callers see."""
    return CrystalRecord(
        id=crystal.id,
        structure=None if crystal.problem is not None else crystal.to_structure(),
        properties=crystal.properties,
        source=crystal.source,
        problem=crystal.problem,
        problem_kind=crystal.problem_kind,
        notes=crystal.notes,
        provenance=crystal.provenance,
    )
