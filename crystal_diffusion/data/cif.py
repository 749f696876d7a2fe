"""CIF text to crystals: gemmi reads the text; symmetry, labels and occupancy are settled here.

What the file says twice is compared: operations with names, names with the cell, the atoms with
the formula, Z, density and volume. Where statements disagree, each way to understand the symmetry
is tried and the file's own formula decides; what is still open is a problem, never a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import gemmi
import numpy as np

from crystal_diffusion.cell_geometry import lattice_from_parameters, wrap_displacement
from crystal_diffusion.chemistry import covalent_radii
from crystal_diffusion.data.bounds import MOST_IMAGES, TooMuch
from crystal_diffusion.data.cif_sites import BadTable, Sites, read_sites
from crystal_diffusion.data.cif_species import choose_readings
from crystal_diffusion.data.cif_symmetry import NoSymmetry, SymmetryReading, symmetry_of
from crystal_diffusion.data.cif_tags import NoNumber, Tags, number
from crystal_diffusion.data.encodings import decode
from crystal_diffusion.data.labels import Reading
from crystal_diffusion.data.orbits import Orbits, expand
from crystal_diffusion.data.overlaps import IMPOSSIBLE_A, close_pairs
from crystal_diffusion.data.records import (
    LAST_ELEMENT,
    DisorderPlace,
    Occupancy,
    PlainCrystal,
    cell_problem,
    failed,
    shorten,
)
from crystal_diffusion.data.witness import Agreement, Statement, compare, read_formula
from crystal_diffusion.frozen import frozen_of_structure

#: Å; rows of the atom table nearer than this describe one site.
SAME_SITE_A = 0.1
#: Å; images of a partly occupied site nearer than this are one: rounding, not a split position.
SPLIT_A = 0.15
#: Å; a site that moved further onto its special position is named. Three digits move it by 0.002.
MOVED_A = 0.001
#: Occupancies of one site may sum to so much more than 1.
SUM_ROUNDING = 0.02
#: Of two ways to understand a symmetry, one with atoms nearer than this part of the sum of their
#: covalent radii is not meant.
CONTACT_PART = 0.6

_CELL_TAGS = (
    *(f"_cell_length_{x}" for x in "abc"),
    *(f"_cell_angle_{x}" for x in ("alpha", "beta", "gamma")),
)


def parse_cif(text: str | bytes, name: str, source: str) -> list[PlainCrystal]:
    """All crystals of a CIF text; what cannot be read is a crystal with a problem.

    Args:
        text: the whole file.
        name: id for a file with one crystal; the others get ``name#block``.
        source: where the text came from, for messages.
    """
    plain = decode(text) if isinstance(text, bytes) else text.removeprefix("\ufeff")
    if not plain.strip():
        return [failed(name, source, "the file is empty; write it again or remove it", "empty")]
    try:
        # Level 0: duplicated names are for us to report, not a reason to refuse the whole file.
        document = gemmi.cif.read_string(plain, 0)
    except (RuntimeError, ValueError, UnicodeError) as error:
        return [failed(name, source, f"it is no CIF ({shorten(error)}); correct or remove it")]
    blocks = [tags for tags in map(Tags.of, document) if "_atom_site_fract_x" in tags.values]
    if not blocks:
        text = "no atoms with fractional coordinates in the CIF; add or remove it"
        return [failed(name, source, text, "empty")]
    if len(blocks) == 1:
        return [_parse_block(blocks[0], name, source)]
    return [_parse_block(b, f"{name}#{i}", source) for i, b in enumerate(blocks, 1)]


def _parse_block(tags: Tags, name: str, source: str) -> PlainCrystal:
    try:
        lattice = _lattice(tags)
        if not (np.isfinite(lattice).all() and abs(np.linalg.det(lattice)) > 1e-3):
            problem = cell_problem(lattice) or ("the cell has no volume; correct it", "no volume")
            return failed(name, source, *problem)
        sites = read_sites(tags)
        attempt = _settled(tags, sites, lattice)
    except BadTable as error:
        return failed(name, source, str(error), error.kind)
    except (NoSymmetry, NoNumber) as error:
        return failed(name, source, str(error))
    # One block that makes a library fail must not cost those after it.
    except Exception as error:
        return failed(name, source, f"cannot be read ({shorten(error)}); correct or remove it")
    if attempt.comparison.agrees is False:
        text = (
            f"read by {attempt.candidate.says}, {attempt.comparison.text}; "
            "correct the symmetry, the atoms or the formula"
        )
        return failed(name, source, text, "contradiction")
    return replace(attempt.crystal, id=name, source=source, notes=_notes(attempt, sites))


def _lattice(tags: Tags) -> np.ndarray:
    values = []
    for tag in _CELL_TAGS:
        text = tags.text(tag)
        if not text:
            raise NoNumber(f"the cell has no {tag.removeprefix('_cell_')}; add {tag}")
        try:
            values.append(number(text))
        except NoNumber as error:
            raise NoNumber(f"{tag}: {error}") from error
    return lattice_from_parameters(values)


def _statement(tags: Tags) -> Statement:
    return Statement(
        read_formula(tags.text("_chemical_formula_sum")),
        tags.number("_cell_formula_units_z"),
        tags.number("_exptl_crystal_density_diffrn"),
        tags.number("_cell_volume"),
        weight=tags.number("_chemical_formula_weight"),
    )


@dataclass(frozen=True)
class _Attempt:
    """The crystal by one way to understand the symmetry."""

    candidate: SymmetryReading
    crystal: PlainCrystal
    readings: Sequence[Reading]
    comparison: Agreement
    multiplicities: bool
    moved: float
    notes: tuple[str, ...]


def _settled(tags: Tags, sites: Sites, lattice: np.ndarray) -> _Attempt:
    """The crystal by the symmetry that is meant.

    Raises:
        BadTable, NoSymmetry: when there is none.
    """
    statement = _statement(tags)
    candidates = symmetry_of(tags, lattice)
    if len(candidates) == 1 and candidates[0].sure:
        return _attempt(candidates[0], sites, lattice, statement)
    attempts: list[_Attempt] = []
    problem: BadTable | None = None
    for candidate in candidates:
        try:
            attempts.append(_attempt(candidate, sites, lattice, statement))
        except BadTable as error:
            problem = problem or error
    if not attempts:
        raise problem or NoSymmetry("no symmetry fits; correct it")
    return _decided(attempts, candidates)


def _decided(attempts: Sequence[_Attempt], candidates: Sequence[SymmetryReading]) -> _Attempt:
    agreeing = [a for a in attempts if a.comparison.agrees]
    if len(agreeing) > 1 or not agreeing:
        open_ones = agreeing or [a for a in attempts if a.comparison.agrees is None]
        kept = [a for a in open_ones if a.multiplicities and _plausible(a.crystal)]
        agreeing = kept or agreeing
    if not agreeing and any(a.comparison.agrees is False for a in attempts):
        return attempts[0]
    sure = [a for a in agreeing if a.candidate.sure]
    if sure:
        return sure[0]
    alike = bool(agreeing) and all(_same_atoms(agreeing[0], a) for a in agreeing[1:])
    # One way left of several tried, or one that something confirms, is what is meant.
    confirmed = bool(agreeing) and (len(attempts) > 1 or agreeing[0].comparison.agrees is True)
    if alike and confirmed:
        return agreeing[0]
    says = " or ".join(dict.fromkeys(c.says for c in candidates))
    causes = [note for c in candidates[:1] for note in c.notes]
    text = f"the symmetry is open: {says}"
    raise NoSymmetry(
        f"{'; '.join(causes) + '; ' if causes else ''}{text}, and nothing in the file decides; "
        "add the setting (:1, :2, :H, :R), the Hall symbol, the operations, or formula and Z"
    )


def _plausible(crystal: PlainCrystal) -> bool:
    """Whether no two atoms of a crystal are far too close."""
    if crystal.occupancy is not None or crystal.atomic_numbers.max() > 103:
        return True
    radii = covalent_radii(crystal.atomic_numbers)
    pairs = close_pairs(
        crystal.lattice, crystal.frac_coords, CONTACT_PART * 2.0 * float(radii.max())
    )
    delta = crystal.frac_coords[pairs[:, 0]] - crystal.frac_coords[pairs[:, 1]]
    distance = np.linalg.norm(wrap_displacement(delta) @ crystal.lattice, axis=-1)
    limit = CONTACT_PART * (radii[pairs[:, 0]] + radii[pairs[:, 1]])
    return not bool((distance < limit).any())


def _same_atoms(one: _Attempt, two: _Attempt) -> bool:
    """Whether two attempts gave the same atoms at the same places."""
    a, b = one.crystal, two.crystal
    if a.occupancy is not None or b.occupancy is not None:
        return False
    if len(a.atomic_numbers) != len(b.atomic_numbers):
        return False
    both = np.concatenate([a.frac_coords, b.frac_coords])
    numbers = np.concatenate([a.atomic_numbers, b.atomic_numbers])
    count = len(a.atomic_numbers)
    pairs = close_pairs(a.lattice, both, SAME_SITE_A)
    across = pairs[(pairs[:, 0] < count) & (pairs[:, 1] >= count)]
    across = across[numbers[across[:, 0]] == numbers[across[:, 1]]]
    return len(set(across[:, 0].tolist())) == count == len(set(across[:, 1].tolist()))


def _attempt(
    candidate: SymmetryReading, sites: Sites, lattice: np.ndarray, statement: Statement
) -> _Attempt:
    volume = abs(float(np.linalg.det(lattice)))
    operations = candidate.operations
    if len(sites.labels) * len(operations) > MOST_IMAGES:
        raise TooMuch(
            f"{len(sites.labels)} sites and {len(operations)} operations; {MOST_IMAGES} images "
            "are the most that are read"
        )
    merge = np.where(sites.occupancy > 0.98, IMPOSSIBLE_A, SPLIT_A)
    orbits = expand(sites.frac_coords, operations, lattice, merge)
    counts = np.bincount(orbits.rows, minlength=len(sites.labels))
    readings, notes = choose_readings(
        sites.readings, sites.labels, counts * sites.occupancy, volume, statement
    )
    crystal, more = _crystal(orbits, readings, sites, lattice)
    comparison = compare(crystal.amounts(), volume, statement, crystal.occupancy is None)
    said = sites.multiplicity
    matches = (said == 0) | (said == counts) | (said * counts == len(operations))
    if comparison.agrees is None and not candidate.sure and (said > 0).any() and matches.all():
        comparison = Agreement(True)
    elif comparison.agrees is None and (said > 1).any() and not matches.all():
        row = int(np.flatnonzero(~matches)[0])
        text = (
            f"{sites.labels[row]} is {counts[row]} times in the cell, but its multiplicity in the "
            f"file is {said[row]:g}"
        )
        comparison = Agreement(False, text)
    group = next((i for i, r in enumerate(readings) if r.hydrogens < 0), None)
    if group is not None and not comparison.agrees:
        text = f"{sites.labels[group]} stands for several atoms, of which one has coordinates"
        comparison = Agreement(False, text)
    moved = float(orbits.moved.max(initial=0.0))
    return _Attempt(
        candidate, crystal, readings, comparison, bool(matches.all()), moved, (*notes, *more)
    )


def _crystal(
    orbits: Orbits, readings: Sequence[Reading], sites: Sites, lattice: np.ndarray
) -> tuple[PlainCrystal, tuple[str, ...]]:
    """All atoms with what is on them; rows of the table that describe one site are put together."""
    coords, rows = orbits.frac_coords, orbits.rows
    real = np.array([bool(reading.shares) for reading in readings])
    notes: tuple[str, ...] = ()
    if not real.all():
        names = [label for label, atom in zip(sites.labels, real, strict=True) if not atom]
        notes = (f"left out: points that are no atoms {', '.join(names[:5])}",)
        kept = real[rows]
        coords, rows = coords[kept], rows[kept]
        orbits = Orbits(coords, rows, orbits.operations[kept], orbits.moved)
    if not len(coords):
        raise BadTable("the atom table has no atoms; add or remove it", "empty")
    single = all(len(reading.shares) < 2 for reading in readings)
    pairs = close_pairs(lattice, coords, SAME_SITE_A)
    pairs = pairs[rows[pairs[:, 0]] != rows[pairs[:, 1]]]
    if single and not len(pairs) and (sites.occupancy >= 1.0).all():
        first = np.array([r.shares[0][0] if r.shares else 0 for r in readings], dtype=np.int64)
        _check_elements(first[rows])
        return PlainCrystal("", lattice, coords, first[rows]), notes
    leader = np.arange(len(coords))
    for one, two in pairs.tolist():
        leader[two] = min(leader[one], leader[two])
    species: dict[int, dict[int, float]] = {}
    twice: set[str] = set()
    for atom, row in enumerate(rows.tolist()):
        target = species.setdefault(int(leader[atom]), {})
        for z, share in readings[row].shares:
            amount = share * float(sites.occupancy[row])
            if target.get(z, 0.0) + amount > 1.0 + SUM_ROUNDING and len({*target, z}) == 1:
                twice.add(sites.labels[row])
                target[z] = 1.0
                continue
            target[z] = target.get(z, 0.0) + amount
    for atom, shares in species.items():
        total = sum(shares.values())
        if total > 1.0 + SUM_ROUNDING:
            members = sorted({sites.labels[rows[i]] for i in np.flatnonzero(leader == atom)})
            raise BadTable(
                f"{' and '.join(members)} share one site, and their occupancies sum to "
                f"{total:.3g}; correct them"
            )
    if twice:
        notes = (*notes, f"listed more than once, taken once: {', '.join(sorted(twice)[:5])}")
    atoms = np.array(sorted(species))
    shares_of = [species[atom] for atom in atoms.tolist()]
    _check_elements(np.array([z for shares in shares_of for z in shares]))
    if all(len(s) == 1 and abs(next(iter(s.values())) - 1.0) < 1e-6 for s in shares_of):
        numbers = np.array([next(iter(s)) for s in shares_of], dtype=np.int64)
        return PlainCrystal("", lattice, coords[atoms], numbers), notes
    places = _places(sites, rows[atoms], orbits.operations[atoms])
    occupancy = Occupancy(coords[atoms], tuple(shares_of), places)
    return PlainCrystal("", lattice, occupancy=occupancy), notes


def _check_elements(numbers: np.ndarray) -> None:
    if numbers.max(initial=1) > LAST_ELEMENT:
        name = gemmi.Element(int(numbers.max())).name
        raise BadTable(
            f"element {name} ({numbers.max()}) is beyond the tables of this program, which end "
            f"at {LAST_ELEMENT}; is the label meant so?",
            "unknown element",
        )


def _places(
    sites: Sites, rows: np.ndarray, operations: np.ndarray
) -> tuple[DisorderPlace | None, ...]:
    """The copy of a disordered assembly that each atom belongs to."""
    if not any(group for _, group in sites.places):
        return ()
    found: list[DisorderPlace | None] = []
    for row, operation in zip(rows.tolist(), operations.tolist(), strict=True):
        assembly, group = sites.places[row]
        found.append(DisorderPlace(assembly, group, operation) if group else None)
    return tuple(found)


def _notes(attempt: _Attempt, sites: Sites) -> tuple[str, ...]:
    candidate, comparison = attempt.candidate, attempt.comparison
    notes = [*candidate.notes, *sites.notes, *attempt.notes, *comparison.notes]
    if not candidate.sure:
        notes.append(f"the symmetry was open; read by {candidate.says}, which the file confirms")
    if comparison.missing_hydrogens:
        notes.append(
            f"{comparison.missing_hydrogens:g} hydrogens of the formula have no coordinates and "
            "are not in the structure"
        )
    elif comparison.agrees is None and (
        sites.attached or any(reading.hydrogens for reading in attempt.readings)
    ):
        notes.append("hydrogens that the CIF only counts are not in the structure")
    if any(not reading.known_shares for reading in attempt.readings):
        notes.append("the parts of the elements on a mixed site are not given; taken as equal")
    if attempt.moved > MOVED_A:
        notes.append(f"a site was moved {attempt.moved:.3f} Å onto its special position")
    if comparison.agrees is None and not attempt.multiplicities:
        notes.append("multiplicities of sites in the file are not those of its symmetry")
    return tuple(dict.fromkeys(notes))


def from_sites(structure: object, name: str, source: str) -> PlainCrystal:
    """A pymatgen structure as arrays, without oxidation states; disordered ones keep their sites.

    Args:
        structure: a pymatgen ``Structure``.
        name: id of the crystal.
        source: where it came from.
    """
    lattice = np.array(structure.lattice.matrix)  # type: ignore[attr-defined]
    coords = np.array(structure.frac_coords).reshape(-1, 3)  # type: ignore[attr-defined]
    species: list[dict[int, float]] = []
    ordered = True
    for site in structure:  # type: ignore[attr-defined]
        shares: dict[int, float] = {}
        for element, share in site.species.items():
            number = int(getattr(element, "Z", 0))
            if type(element).__name__ == "DummySpecies" or number < 1:
                return failed(
                    name,
                    source,
                    f"unknown element '{element}'; correct its symbol",
                    "unknown element",
                )
            shares[number] = shares.get(number, 0.0) + float(share)
        ordered &= len(shares) == 1 and abs(sum(shares.values()) - 1) < 1e-6
        species.append(shares)
    notes: tuple[str, ...] = ()
    flags = getattr(structure.lattice, "pbc", (True, True, True))  # type: ignore[attr-defined]
    if not all(flags):
        said = " ".join("T" if flag else "F" for flag in flags)
        notes = (f"not periodic in all directions (pbc {said}); it is read as if it were",)
    if ordered:
        numbers = np.array([next(iter(s)) for s in species], dtype=np.int64)
        frozen = frozen_of_structure(structure)
        return PlainCrystal(name, lattice, coords, numbers, {}, source, notes=notes, frozen=frozen)
    occupancy = Occupancy(coords, tuple(species))
    return PlainCrystal(name, lattice, source=source, occupancy=occupancy, notes=notes)
