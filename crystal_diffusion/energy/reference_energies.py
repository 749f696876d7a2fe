"""Reference energies of one potential: elements and competing compounds, each relaxed once.

Energies of different potentials, or of two versions of one, are never mixed: every file belongs to
one potential and version. Shipped with the package: ``pretrained/references_NAME.json``. Computed
on demand: one JSON line per crystal in the user's cache folder, appended at once.
"""

from __future__ import annotations

import datetime
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from crystal_diffusion.energy.potentials import Potential
from crystal_diffusion.energy.relaxation import RelaxLimits, RelaxResult
from crystal_diffusion.errors import InputError
from crystal_diffusion.files import append_to, cache_folder, make_folder
from crystal_diffusion.pretrained import asset_path

if TYPE_CHECKING:
    from pymatgen.core import Structure

log = logging.getLogger(__name__)

#: Part of the name of cache files.
FORMAT = 2
#: What reference crystals are relaxed to at least.
REFERENCE_LIMITS = RelaxLimits()


class Library(Protocol):
    """What is needed of the library of known crystals (`proposals.library`)."""

    @property
    def elements(self) -> Any:
        """Atomic numbers (entries, roles), 0 = none."""

    @property
    def e_above_hull(self) -> Any:
        """Published hull distance (entries,), eV/atom, NaN where unknown."""

    @property
    def type_counts(self) -> Any:
        """Atoms of each role (types, roles)."""

    @property
    def entry_type(self) -> Any:
        """Type of each entry (entries,)."""

    def __len__(self) -> int: ...

    def id_of(self, entry: int) -> str:
        """Identifier of an entry, for example ``mp-149``."""

    def structure(self, entry: int) -> Structure:
        """The crystal of an entry."""


@dataclass(frozen=True)
class ReferenceEntry:
    """One relaxed reference crystal.

    Attributes:
        id: where it comes from, for example ``mp-149``.
        composition: atoms of each element in its cell.
        energy_per_atom: eV.
        converged: whether its relaxation met both criteria.
        date: when it was relaxed.
        problem: why there is no energy (such crystals are not tried again).
    """

    id: str
    composition: Mapping[str, float]
    energy_per_atom: float
    converged: bool
    date: str
    problem: str = ""

    @property
    def elements(self) -> frozenset[str]:
        """Symbols of its elements."""
        return frozenset(self.composition)


class ReferenceTable(Protocol):
    """Energies of all known crystals with one potential (`known.index`)."""

    @property
    def potential(self) -> str:
        """Whose energies they are."""

    @property
    def potential_version(self) -> str:
        """Version of the potential."""

    def entries_of(self, symbols: Iterable[str]) -> list[ReferenceEntry]:
        """For each composition made of these elements the lowest crystal."""


def reference_limits(asked: RelaxLimits) -> RelaxLimits:
    """Limits for reference crystals: as asked, but never looser than the defaults.

    The hull of every later run stands on them, so a quick look does not make them quick.
    """
    return replace(
        asked,
        fmax=min(asked.fmax, REFERENCE_LIMITS.fmax),
        smax=min(asked.smax, REFERENCE_LIMITS.smax),
        max_steps=max(asked.max_steps, REFERENCE_LIMITS.max_steps),
        time_limit_s=max(asked.time_limit_s, REFERENCE_LIMITS.time_limit_s),
    )


def _cached_entry(row: Any) -> ReferenceEntry:
    """An entry of the cache file.

    Raises:
        ValueError: when it is damaged.
    """
    energy = float(row["energy_per_atom"])
    composition = {str(k): float(v) for k, v in row["composition"].items()}
    if not composition or not np.isfinite([energy, *composition.values()]).all():
        raise ValueError("numbers that are not finite")
    if row["converged"] is not True or not isinstance(row["id"], str):
        raise ValueError("not converged")
    return ReferenceEntry(row["id"], composition, energy, True, str(row["date"]))


def shipped_file(potential: Potential) -> Path:
    """Where the package keeps the references of a potential, whether or not there are any."""
    return asset_path(f"references_{potential.name}.json")


def _safe(text: str) -> str:
    return "".join(c if c.isalnum() or c in ".-" else "_" for c in text)


@dataclass
class ReferenceEnergies:
    """Reference crystals of one potential and version, from the package and from the cache.

    Attributes:
        potential: its name; ``version``: its version.
        entries: by id.
        cache: file to which new entries are appended; None to keep them in memory only.
        table: energies of all known crystals, where the potential has such a table.
    """

    potential: str
    version: str
    entries: dict[str, ReferenceEntry] = field(default_factory=dict)
    cache: Path | None = None
    table: ReferenceTable | None = None

    @classmethod
    def load(
        cls,
        potential: Potential,
        cache: Path | None = None,
        table: ReferenceTable | None = None,
    ) -> ReferenceEnergies:
        """References of a potential: the shipped ones and those in the cache folder.

        Args:
            potential: whose energies.
            cache: folder of the cache; `cache_folder` by default.
            table: energies of known crystals; used where they are of this potential and version.
        """
        folder = cache if cache is not None else cache_folder()
        # The number changes when older entries must not be used any more.
        name = f"references{FORMAT}_{_safe(potential.name)}_{_safe(potential.version)}.jsonl"
        own = cls(potential.name, potential.version, cache=folder / name)
        if table is not None and potential.name == table.potential:
            if potential.version == table.potential_version:
                own.table = table
            else:
                log.warning(
                    "the table of known crystals has energies of %s %s, but %s is installed: "
                    "competing phases are relaxed on demand",
                    table.potential,
                    table.potential_version,
                    potential.version,
                )
        shipped = shipped_file(potential)
        if shipped.is_file():
            own._read_shipped(shipped)
        if own.cache is not None and own.cache.is_file():
            own._read_cache(own.cache)
        return own

    def _read_shipped(self, path: Path) -> None:
        text = json.loads(path.read_text(encoding="utf-8"))
        if text["version"] != self.version:
            log.warning(
                "shipped reference energies are of %s %s, but %s is installed: references are "
                "relaxed anew on demand",
                self.potential,
                text["version"],
                self.version,
            )
            return
        for key, composition, energy, converged in text["entries"]:
            self.entries[key] = ReferenceEntry(key, composition, energy, converged, text["date"])

    def _read_cache(self, path: Path) -> None:
        try:
            lines = path.read_bytes().decode("utf-8", "replace").split("\n")
        except OSError as error:
            log.warning("%s: cannot be read (%s); references are relaxed anew", path, error)
            return
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                entry = _cached_entry(json.loads(line))
            except (ValueError, TypeError, KeyError, RecursionError):
                log.warning("%s, line %d: damaged or cut short; left out", path, number)
                continue
            self.entries.setdefault(entry.id, entry)

    def add(self, entry: ReferenceEntry) -> None:
        """Keep an entry; a converged one also for later runs, in the cache file, at once.

        Later runs of every folder use the cache: what is not converged, and what failed, is tried
        again instead.
        """
        self.entries[entry.id] = entry
        if self.cache is None or entry.problem or not entry.converged:
            return
        row = {
            "id": entry.id,
            "composition": dict(entry.composition),
            "energy_per_atom": entry.energy_per_atom,
            "converged": entry.converged,
            "date": entry.date,
            "settings": {"fmax": REFERENCE_LIMITS.fmax, "smax": REFERENCE_LIMITS.smax},
        }
        try:
            make_folder(self.cache.parent)
            with append_to(self.cache) as stream:
                stream.write((json.dumps(row) + "\n").encode())
        except (OSError, InputError) as error:
            log.warning("%s: not kept for the next run (%s)", self.cache, error)
            self.cache = None

    def usable(self) -> Iterator[ReferenceEntry]:
        """Entries that have an energy."""
        return (
            entry
            for entry in self.entries.values()
            if not entry.problem and entry.energy_per_atom is not None
        )

    def of_system(self, elements: Iterable[str]) -> list[ReferenceEntry]:
        """Entries made of these elements only; one relaxed here counts before the table's."""
        allowed = frozenset(elements)
        own = [entry for entry in self.usable() if entry.elements <= allowed]
        if self.table is None:
            return own
        ids = {entry.id for entry in own}
        return own + [e for e in self.table.entries_of(allowed) if e.id not in ids]

    def elemental_energy(self, element: str) -> float | None:
        """Lowest energy per atom (eV) of that element; None where there is no reference."""
        energies = [e.energy_per_atom for e in self.of_system([element])]
        return min(energies) if energies else None


def wanted_phases(
    library: Library | None,
    systems: Iterable[frozenset[str]],
    known: ReferenceEnergies,
    *,
    per_system: int = 30,
    hull_window: float = 0.05,
) -> Iterator[tuple[str, Structure]]:
    """Known crystals that the hulls of these chemical systems need and that have no energy yet.

    For each composition of a system, the crystal of lowest published hull distance; compositions
    further than ``hull_window`` (eV/atom) from the published hull are left out, those of unknown
    distance come last; at most ``per_system`` compounds for each system. Elements always.
    """
    if library is None:
        return
    from ase.data import atomic_numbers

    numbers = np.asarray(library.elements, dtype=np.int64)  # (entries, roles), 0 = none
    counts = np.asarray(library.type_counts)[np.asarray(library.entry_type)]
    distance = np.asarray(library.e_above_hull, dtype=np.float64)
    distance = np.where(np.isfinite(distance), distance, np.inf)
    kinds = (numbers > 0).sum(axis=1)
    size = counts.sum(axis=1)
    given: set[str] = set()
    for system in systems:
        allowed = [0, *(atomic_numbers[symbol] for symbol in system)]
        inside = np.flatnonzero(np.isin(numbers, allowed).all(axis=1))
        order = inside[np.lexsort((size[inside], distance[inside]))]
        compositions: dict[tuple[Any, ...], int] = {}
        compounds = 0
        for entry in order.tolist():
            formula = _reduced(numbers[entry], counts[entry])
            seen = compositions.get(formula, 0)
            alone = kinds[entry] == 1
            if seen >= (4 if alone else 1):
                continue
            if not alone:
                far = distance[entry] > hull_window and np.isfinite(distance[entry])
                if far or compounds >= per_system:
                    continue
                compounds += 1
            compositions[formula] = seen + 1
            key = library.id_of(entry)
            if key not in known.entries and key not in given:
                given.add(key)
                yield key, library.structure(entry)


def _reduced(numbers: Any, counts: Any) -> tuple[tuple[int, int], ...]:
    present = numbers > 0
    divisor = int(np.gcd.reduce(counts[present]))
    pairs = zip(numbers[present].tolist(), counts[present].tolist(), strict=True)
    return tuple(sorted((z, n // divisor) for z, n in pairs))


def simple_cells(element: str) -> Iterator[tuple[str, Structure]]:
    """Close-packed, body-centred and diamond cells of an element no library knows."""
    from ase.build import bulk
    from ase.data import atomic_numbers
    from pymatgen.core import Structure

    from crystal_diffusion.energy.pair_potential import ATOMIC_VOLUMES

    number = atomic_numbers[element]
    if number >= len(ATOMIC_VOLUMES):
        return
    volume = float(ATOMIC_VOLUMES[number])
    for kind, factor in (("fcc", 4.0), ("bcc", 2.0), ("diamond", 8.0)):
        atoms = bulk(element, kind, a=(factor * volume) ** (1 / 3))
        cell = Structure(atoms.cell.array, [element] * len(atoms), atoms.get_scaled_positions())
        yield f"{element}-{kind}", cell


def complete_references(
    references: ReferenceEnergies,
    systems: Iterable[frozenset[str]],
    library: Library | None,
    relax_all: Callable[[Iterable[tuple[str, Structure]]], Iterable[tuple[str, RelaxResult]]],
    *,
    per_system: int = 30,
    report: Callable[[int, int], None] | None = None,
) -> int:
    """Relax what the hulls of these systems lack, and keep it.

    Args:
        references: filled in place (and in its cache file).
        systems: sets of symbols.
        library: known crystals; None where there are none.
        relax_all: relaxes pairs of id and structure with the references' own potential.
        per_system: at most this many compounds for each system.
        report: called with (done, total).

    Returns:
        How many crystals were relaxed.
    """
    systems = list(systems)
    wanted = dict(wanted_phases(library, systems, references, per_system=per_system))
    covered = {
        next(iter(kinds))
        for kinds in (frozenset(s.symbol_set) for s in wanted.values())
        if len(kinds) == 1
    }
    for element in sorted(set().union(*systems) - covered):
        if references.elemental_energy(element) is None:
            wanted.update((k, s) for k, s in simple_cells(element) if k not in references.entries)
    return relax_references(references, wanted, relax_all, report=report)


def relax_references(
    references: ReferenceEnergies,
    wanted: Mapping[str, Structure],
    relax_all: Callable[[Iterable[tuple[str, Structure]]], Iterable[tuple[str, RelaxResult]]],
    *,
    report: Callable[[int, int], None] | None = None,
) -> int:
    """Relax these known crystals and keep their energies as references.

    Args:
        references: filled in place (and in its cache file); what it has already is not done again.
        wanted: structures by id.
        relax_all: relaxes pairs of id and structure with the references' own potential.
        report: called with (done, total).

    Returns:
        How many crystals were relaxed.
    """
    wanted = {key: s for key, s in wanted.items() if key not in references.entries}
    today = datetime.date.today().isoformat()
    for done, (key, result) in enumerate(relax_all(wanted.items()), 1):
        composition = wanted[key].composition.get_el_amt_dict()
        poor = not result.problem and result.max_force > 0.5
        problem = result.problem or ("far from relaxed when the steps ended" if poor else "")
        references.add(
            ReferenceEntry(
                key, composition, result.energy_per_atom, result.converged, today, problem
            )
        )
        if report is not None:
            report(done, len(wanted))
    return len(wanted)
