"""Screening from candidates to a short list, in stages that can be stopped and go on.

What a stage finds is on disk before it counts as done (`StageLog`), so a killed run goes on where
it was. The tables are made from these logs alone: a run that was killed ends like one that was not.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_diffusion.energy.batched_relaxation import relax_batched
from crystal_diffusion.energy.hull import HullBuilder, hull_row, hull_text
from crystal_diffusion.energy.pooled_relaxation import relax_many
from crystal_diffusion.energy.potentials import (
    NO_POTENTIAL,
    Potential,
    get_potential,
    has_energy,
)
from crystal_diffusion.energy.published_hull import FITTED_WITH, NEAR_EV
from crystal_diffusion.energy.reference_energies import (
    ReferenceEnergies,
    complete_references,
    reference_limits,
    relax_references,
)
from crystal_diffusion.energy.relaxation import RelaxLimits, RelaxResult
from crystal_diffusion.errors import InputError, MissingDependencyError
from crystal_diffusion.files import below, file_name, locked, make_folder, write_text
from crystal_diffusion.known.index import KnownCrystals, load_known
from crystal_diffusion.known.novelty import nearest_known, read_own_references
from crystal_diffusion.known.phases import near_hull
from crystal_diffusion.parallel import usable_cores
from crystal_diffusion.parallel.executors import Executor, make_executor
from crystal_diffusion.proposals.library import CrystalLibrary
from crystal_diffusion.runs.rows import rounded, structure_from_row, structure_hash
from crystal_diffusion.screening import tables
from crystal_diffusion.screening.rows import (
    EnergyRow,
    GroupedRow,
    RankedRow,
    ScreeningRow,
    ScreenOutcome,
    in_order,
    relaxed_row,
    verdict_row,
)
from crystal_diffusion.screening.run_files import write_run_files
from crystal_diffusion.screening.settings import (
    ENERGY_STAGES,
    STAGES,
    Candidates,
    ScreenSettings,
)
from crystal_diffusion.screening.stage_log import StageLog
from crystal_diffusion.screening.store import Store

if TYPE_CHECKING:
    from pymatgen.core import Structure

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
#: Crystals validated or compared between two writes to disk.
_CHUNK = 64


def _silent(stage: str, done: int, total: int) -> None:
    return None


def screen(
    candidates: Candidates,
    settings: ScreenSettings,
    *,
    progress: Progress = _silent,
    report: Callable[[Path], Any] | None = None,
    known: KnownCrystals | None = None,
) -> ScreenOutcome:
    """Run the stages that are asked for, going on from what is there.

    Args:
        candidates: see `settings.read_candidates`.
        settings: what to do.
        progress: called with stage, done, total.
        report: writes the report page of a folder; the stage is left out where none is given.
        known: index of known crystals; the shipped one, or ``settings.library``, if not given.

    Raises:
        InputError: settings or folders that cannot be used.
        MissingDependencyError: a potential that is not installed.
    """
    with locked(make_folder(candidates.folder)):
        return _Screen(candidates, settings, progress, report, known).run()


@dataclass
class _Screen:
    candidates: Candidates
    settings: ScreenSettings
    progress: Progress
    report: Callable[[Path], Any] | None
    known: KnownCrystals | None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = self.candidates.folder
        work = below(self.folder, "screening")
        self.given = {k: structure_hash(s) for k, s in self.candidates.structures.items()}
        self.potentials = [get_potential(name) for name in self.settings.potentials]
        self.main = self.potentials[0] if self.potentials else None
        versions = {p.name: p.version for p in self.potentials}
        first = self.main.version if self.main is not None else None
        self.logs = {
            stage: StageLog(
                below(work, f"{stage}.jsonl"), self.settings.key(stage, version=first), self.given
            )
            for stage in ("validate", "group", "relax", "hull", "novelty", "rank")
        }
        for extra in self.potentials[1:]:
            self.logs[f"energies-{extra.name}"] = StageLog(
                below(work, f"energies-{file_name(extra.name)}.jsonl"),
                self.settings.key("energies", version=first, extra=versions[extra.name]),
            )
        self.drop_damaged()
        self.bind_later_stages()

    def drop_damaged(self) -> None:
        """Forget relaxed crystals that a damaged line describes; they are relaxed again."""
        found = self.logs["relax"].rows
        for key, row in list(found.items()):
            try:
                if not row["problem"]:
                    structure_from_row(row["structure"])
            # Damaged numbers make pymatgen fail in every way there is.
            except Exception as error:
                log.warning("%s: its relaxed structure is damaged (%s); done again", key, error)
                del found[key]

    def bind_later_stages(self) -> None:
        """Tie what is said of relaxed crystals to these, as they are now."""
        final = self.given | {key: structure_hash(s) for key, s in self.relaxed().items()}
        for stage, found in self.logs.items():
            if stage not in ("validate", "group", "relax"):
                found.bind(final)

    def run(self) -> ScreenOutcome:
        """Every stage asked for, in order, then the tables."""
        work: dict[str, Callable[[], None]] = {
            "validate": self.validate,
            "group": self.group,
            "energies": self.energies,
            "novelty": self.novelty,
            "rank": self.rank,
        }
        if (main := self.main) is not None:
            work |= {"relax": partial(self.relax, main), "hull": partial(self.hull, main)}
        self.tell_about_energies()
        for stage in STAGES:
            if self.wants(stage) and stage in work:
                work[stage]()
        rows = self.rows()
        tables.write_rows(self.folder, rows)
        if not self.candidates.is_run:
            used = asdict(self.settings)
            write_run_files(self.candidates, self.logs["validate"].rows, used)
        relaxed = self.relaxed()
        tables.write_relaxed(self.folder, relaxed)
        if not self.logs["hull"].rows:
            below(self.folder, "hull.json").unlink(missing_ok=True)
        self.store(rows, relaxed)
        funnel = self.funnel(rows)
        write_text(
            self.folder / "screening" / "summary.json",
            json.dumps({"funnel": funnel, "problems": self.problems, "notes": self.notes}, indent=1)
            + "\n",
        )
        if self.report is not None and "report" in self.settings.stages:
            self.report(self.folder)
        return ScreenOutcome(
            rows, self.folder, self.failed(), tuple(self.problems), funnel, tuple(self.notes)
        )

    def wants(self, stage: str) -> bool:
        """Whether a stage is asked for and can be done."""
        if stage in ENERGY_STAGES and self.main is None:
            return False
        if stage == "hull" and self.main is not None and not has_energy(self.main):
            return False
        return stage in self.settings.stages

    def tell_about_energies(self) -> None:
        """Say once why there will be no energies.

        Raises:
            InputError: only stages that need a potential are asked for, and there is none.
        """
        wanted = [stage for stage in ENERGY_STAGES if stage in self.settings.stages]
        if self.main is None and wanted:
            if set(self.settings.stages) <= set(ENERGY_STAGES):
                raise InputError(f"{', '.join(wanted)}: {NO_POTENTIAL}")
            self.notes.append(NO_POTENTIAL)
        elif self.main is not None and not has_energy(self.main) and wanted:
            self.notes.append(
                f"{self.main.name} gives sensible distances and volumes, but no energies: nothing "
                "is said about stability; for energies type: pip install diep"
            )

    # -- what is known so far ---------------------------------------------------------------

    def usable(self) -> list[str]:
        """Ids that no stage has ruled out yet: valid, and the first of their group."""
        checked, grouped = self.logs["validate"].rows, self.logs["group"].rows
        return [
            key
            for key in self.candidates.structures
            if checked.get(key, {}).get("valid") is not False
            and not grouped.get(key, {}).get("duplicate_of")
        ]

    def relaxed(self) -> dict[str, Structure]:
        """Relaxed structures by id."""
        found = self.logs["relax"].rows
        return {
            key: structure_from_row(found[key]["structure"])
            for key in self.candidates.structures
            if key in found and not found[key]["problem"]
        }

    def executor(self) -> Executor:
        """Where relaxations run."""
        limit = 2 * self.settings.limits.time_limit_s + 120
        return make_executor(self.settings.executor, self.settings.processes, limit)

    def processes(self) -> int:
        """Worker processes for what is not a relaxation; none where all runs in this process."""
        if self.settings.executor == "here":
            return 1
        return self.settings.processes or usable_cores()

    def rows(self, ranked: bool = True) -> list[ScreeningRow]:
        """The table; without what an earlier ranking said where that is asked for."""
        ids = [*self.candidates.structures, *self.candidates.unreadable]
        unreadable = {
            key: {"valid": False, "problem": why} for key, why in self.candidates.unreadable.items()
        }
        formulas = {
            key: {"formula": structure.composition.reduced_formula}
            for key, structure in self.candidates.structures.items()
        }
        order = ["validate", "group", "relax", "hull", "novelty", *(["rank"] if ranked else [])]
        return tables.merge_rows(
            ids, [formulas, unreadable, *(self.logs[stage].rows for stage in order)]
        )

    def failed(self) -> tuple[str, ...]:
        """Ids with a problem that is not a verdict of physics."""
        bad = dict.fromkeys(self.candidates.unreadable)
        for stage in ("relax", "hull", "novelty"):
            found = self.logs[stage].rows
            bad |= dict.fromkeys(k for k in self.usable() if found.get(k, {}).get("problem"))
        return tuple(bad)

    def funnel(self, rows: Sequence[ScreeningRow]) -> dict[str, int]:
        """How many candidates came how far."""
        valid = self.logs["validate"].rows
        return {
            "read": len(self.candidates.structures),
            "unreadable": len(self.candidates.unreadable),
            "valid": sum(row.valid is True for row in rows),
            # before relaxing: those that become equal by it are among the relaxed, not the ranked
            "distinct": sum(valid.get(key, {}).get("valid") is True for key in self.usable()),
            "relaxed": len(self.relaxed()),
            "converged": sum(row.converged is True for row in rows),
            "ranked": sum(row.rank is not None for row in rows),
        }

    # -- the stages -------------------------------------------------------------------------

    def validate(self) -> None:
        """Physics checks; a crystal that fails one of severity error goes no further."""
        from crystal_diffusion.physics.validator import PhysicsValidator

        validator = PhysicsValidator(profile=self.settings.profile)
        found, structures = self.logs["validate"], self.candidates.structures
        missing = [key for key in structures if key not in found.rows]
        for start in range(0, len(missing), _CHUNK):
            keys = missing[start : start + _CHUNK]
            reports = validator.validate_many([structures[k] for k in keys], processes=1)
            found.add_many({k: verdict_row(v) for k, v in zip(keys, reports, strict=True)})
            self.progress("validate", min(start + _CHUNK, len(missing)), len(missing))

    def group(self) -> None:
        """Groups of equal crystals; the first of each goes on."""
        from crystal_diffusion.matching import group_structures

        found = self.logs["group"]
        checked = self.logs["validate"].rows
        keys = [
            k for k in self.candidates.structures if checked.get(k, {}).get("valid") is not False
        ]
        if found.rows and set(keys) == set(found.rows):
            return
        self.progress("group", 0, len(keys))
        numbers = group_structures(
            [self.candidates.structures[k] for k in keys], processes=self.processes()
        )
        first: dict[int, str] = {}
        rows = {}
        for key, number in zip(keys, numbers, strict=True):
            leader = first.setdefault(number, key)
            rows[key] = GroupedRow(group=number, duplicate_of=leader if leader != key else None)
        found.clear()
        found.add_many(rows)
        self.progress("group", len(keys), len(keys))

    def relax(self, main: Potential) -> None:
        """Relax the first of every group with the first potential."""
        found = self.logs["relax"]
        wanted = self.usable()
        missing = [key for key in wanted if key not in found.rows]
        pairs = ((key, self.candidates.structures[key]) for key in missing)
        done = len(wanted) - len(missing)
        self.progress("relax", done, len(wanted))
        for key, result in self._relax_all(main, pairs, self.settings.limits):
            found.add(key, relaxed_row(result, has_energy(main)))
            done += 1
            self.progress("relax", done, len(wanted))
        self.bind_later_stages()

    def _relax_all(
        self,
        potential: Potential,
        pairs: Iterable[tuple[str, Structure]],
        limits: RelaxLimits,
    ) -> Iterator[tuple[str, RelaxResult]]:
        name = self.settings.potentials[self.potentials.index(potential)]
        kind, _, device = self.settings.executor.partition(":")
        if kind == "batch":
            return relax_batched(pairs, name, limits=limits, device=device or "auto")
        return relax_many(pairs, name, limits=limits, executor=self.executor())

    def energies(self) -> None:
        """Energies of the relaxed structures with the further potentials."""
        structures = self.relaxed()
        point = RelaxLimits(max_steps=0, time_limit_s=self.settings.limits.time_limit_s)
        for extra in self.potentials[1:]:
            found = self.logs[f"energies-{extra.name}"]
            missing = [(k, s) for k, s in structures.items() if k not in found.rows]
            done = len(structures) - len(missing)
            for key, result in self._relax_all(extra, missing, point):
                energy = rounded(result.energy_per_atom)
                found.add(key, EnergyRow(energy_per_atom_eV=energy, problem=result.problem))
                done += 1
                self.progress(f"energies {extra.name}", done, len(structures))

    def hull(self, main: Potential) -> None:
        """Formation energy, energy above hull, and the spread between potentials."""
        structures, relaxed = self.relaxed(), self.logs["relax"].rows
        if not structures:
            return
        systems = {frozenset(s.composition.get_el_amt_dict()) for s in structures.values()}
        builder = HullBuilder(self._references(main, systems))
        others = {
            extra.name: HullBuilder(
                self._references(extra, {frozenset({e}) for s in systems for e in s})
            )
            for extra in self.potentials[1:]
            if has_energy(extra)
        }
        second = {name: self.logs[f"energies-{name}"].rows for name in others}
        checked = self.logs["novelty"].rows
        predicted = self._predicted(main, structures)
        rows = {
            key: hull_row(
                structure,
                relaxed[key]["energy_per_atom_eV"],
                builder,
                others,
                {name: found.get(key, {}) for name, found in second.items()},
                known=checked.get(key, {}).get("novel") is False,
                predicted=predicted.get(key),
            )
            for key, structure in structures.items()
        }
        found = self.logs["hull"]
        found.clear()
        found.add_many(rows)
        energies = {key: relaxed[key]["energy_per_atom_eV"] for key in structures}
        write_text(
            self.folder / "hull.json",
            hull_text(main, builder, structures, energies, rows),
        )

    def _predicted(
        self, main: Potential, structures: dict[str, Structure]
    ) -> dict[str, tuple[float, float]]:
        """The property network's word, where it can be joined with the potential's."""
        if main.name != FITTED_WITH:
            return {}
        from crystal_diffusion.prediction.near_hull import network_opinions

        said = network_opinions(list(structures.values()), NEAR_EV)
        return {k: (one.above, one.inside) for k, one in zip(structures, said, strict=True)}

    def _known(self) -> KnownCrystals:
        """The index of known crystals, named in the notes once it is used."""
        if self.known is None:
            path = self.settings.library
            self.known = (
                load_known()
                if path is None
                else KnownCrystals.of_library(CrystalLibrary.load(path))
            )
        title = f"compared with {self.known.title}"
        if title not in self.notes:
            self.notes.append(title)
        return self.known

    def _references(self, potential: Potential, systems: set[frozenset[str]]) -> ReferenceEnergies:
        """Reference energies of these systems: the table, and what has to be relaxed.

        A potential without a table gets those known crystals relaxed that the table of the index
        puts near the hull; where the index has no energies, published hull distances choose.
        """
        known = self._known()
        references = ReferenceEnergies.load(potential, self.settings.cache, known)
        ordered = sorted(systems, key=sorted)

        def relax_all(
            pairs: Iterable[tuple[str, Structure]],
        ) -> Iterator[tuple[str, RelaxResult]]:
            # The hull is that of crystals at rest, whatever the candidates may do.
            limits = replace(reference_limits(self.settings.limits), fix_cell=False)
            return self._relax_all(potential, pairs, limits)

        def report(done: int, total: int) -> None:
            self.progress(f"references {potential.name}", done, total)

        window = self.settings.refine_hull
        if known.potential and (references.table is None or window is not None):
            near = near_hull(known, ordered, window if window is not None else 0.05)
            relax_references(references, near.structures, relax_all, report=report)
            if near.without_coordinates:
                kept = "keep the energy at their published cell"
                if references.table is None:
                    kept = f"have no energy with {potential.name}"
                self.notes.append(
                    f"{len(near.without_coordinates)} known crystals near the hull have no "
                    f"coordinates at hand and {kept}"
                )
        if references.table is None:
            complete_references(
                references,
                ordered if not known.potential else [frozenset({e}) for s in ordered for e in s],
                known.library,
                relax_all,
                per_system=self.settings.competing,
                report=report,
            )
        return references

    def novelty(self) -> None:
        """Nearest known crystal, compared as relaxed where there is a relaxed one."""
        found, relaxed = self.logs["novelty"], self.relaxed()
        keys = [key for key in self.usable() if key not in found.rows]
        known = self._known()
        if not keys:
            return
        structures = [relaxed.get(key, self.candidates.structures[key]) for key in keys]
        own, problems = read_own_references(self.settings.reference)
        self.problems += problems
        energies: list[float | None] = [None] * len(keys)
        if self.main is not None and (self.main.name, self.main.version) == (
            known.potential,
            known.potential_version,
        ):
            done = self.logs["relax"].rows
            energies = [done.get(key, {}).get("energy_per_atom_eV") for key in keys]
        for start in range(0, len(keys), 16 * _CHUNK):
            part = slice(start, start + 16 * _CHUNK)
            answers = nearest_known(structures[part], known, own, self.processes(), energies[part])
            found.add_many(dict(zip(keys[part], answers, strict=True)))
            self.progress("novelty", min(start + 16 * _CHUNK, len(keys)), len(keys))

    def rank(self) -> None:
        """Ranks; crystals that became equal by relaxing count once, under the best of them."""
        rows = self.rows(ranked=False)
        if all(row.energy_per_atom_eV is None for row in rows):
            rows = self._scored(rows)
        rows = tables.rank_rows(rows)
        relaxed = self.relaxed()
        ordered = [row for row in in_order(rows) if row.id in relaxed]
        merged: dict[str, ScreeningRow] = {}
        if ordered:
            from crystal_diffusion.matching.grouping import group_relaxed

            numbers = group_relaxed(
                [relaxed[row.id] for row in ordered],
                [row.energy_per_atom_eV for row in ordered],
            )
            best: dict[int, ScreeningRow] = {}
            for row, number in zip(ordered, numbers, strict=True):
                leader = best.setdefault(number, row)
                if leader is not row:
                    merged[row.id] = replace(row, duplicate_of=leader.id, group=leader.group)
            rows = tables.rank_rows(merged.get(row.id, row) for row in rows)
        found = self.logs["rank"]
        found.clear()
        found.add_many(
            {
                row.id: RankedRow(
                    rank=row.rank,
                    score=row.score,
                    duplicate_of=row.duplicate_of if row.id in merged else None,
                    group=row.group if row.id in merged else None,
                )
                for row in rows
            }
        )

    def _scored(self, rows: list[ScreeningRow]) -> list[ScreeningRow]:
        """The built-in score, where there is no energy: each formula's crystals in one list."""
        from crystal_diffusion.ranking.candidates import Candidate, by_composition
        from crystal_diffusion.ranking.learned import default_ranker, default_ranker_path

        if not default_ranker_path().is_file():
            self.notes.append("there is no ranker in this package, so nothing is ranked")
            return rows
        usable, structures = set(self.usable()), self.candidates.structures | self.relaxed()
        own = [row for row in rows if row.id in usable]
        candidates = [Candidate(structures[row.id], "noise") for row in own]
        told: dict[str, float | None] = {}
        for members in by_composition(candidates):
            try:
                scores = default_ranker().score([candidates[i] for i in members])
            except (InputError, ValueError) as error:
                self.problems.append(f"{own[members[0]].formula} was not scored: {error}")
                continue
            for place, score in zip(members, scores, strict=True):
                told[own[place].id] = rounded(float(score), 4)
        return [replace(row, score=told.get(row.id)) for row in rows]

    def store(self, rows: Sequence[ScreeningRow], relaxed: dict[str, Structure]) -> None:
        """Into the database; what the database refuses is a recorded problem, not a lost run."""
        location = self.settings.db or str(self.folder / "screening.db")
        structures = self.candidates.structures | relaxed
        try:
            Store(location).put_many(
                (
                    (row.id, structures[row.id], row.to_dict() | {"content": self.given[row.id]})
                    for row in rows
                    if row.id in structures
                ),
                only=self.settings.db is None,
            )
        except (InputError, MissingDependencyError) as error:
            log.error("%s", error)
            self.problems.append(f"database: {error}")
