"""The loop of a discovery: propose, order, relax, judge, learn, again.

Everything is in the logs of the folder (`screening.stage_log`) before it counts: the candidates of
a round before the first of them is relaxed, every relaxation when it ends, every verdict. A killed
run goes on where it was, and ends as one that was not: what a round proposes depends on the seed,
the round and the logs of earlier rounds alone.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_diffusion.deprecated import renamed
from crystal_diffusion.discovery import ordering, proposing
from crystal_diffusion.discovery.judging import Energies, SecondOpinion
from crystal_diffusion.discovery.proposing import Proposed, Proposing
from crystal_diffusion.discovery.records import (
    check_point,
    check_relaxed,
    check_round,
    check_verdict,
    hash_of,
)
from crystal_diffusion.discovery.wish import STRATEGIES, Budget, Wish
from crystal_diffusion.energy.hull import HullBuilder, doubt
from crystal_diffusion.energy.pooled_relaxation import relax_many
from crystal_diffusion.energy.potentials import get_potential, has_energy
from crystal_diffusion.energy.reference_energies import ReferenceEnergies
from crystal_diffusion.energy.relaxation import RelaxLimits
from crystal_diffusion.errors import InputError
from crystal_diffusion.files import locked, make_folder, write_text
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.known.index import KnownCrystals
from crystal_diffusion.known.novelty import Novelty, nearest_known
from crystal_diffusion.matching.grouping import group_relaxed
from crystal_diffusion.matching.radial import (
    COMPOSITION_BINS,
    composition_fingerprint,
    fingerprints,
)
from crystal_diffusion.parallel.executors import make_executor
from crystal_diffusion.physics.validator import PhysicsValidator
from crystal_diffusion.prediction.model import default_properties
from crystal_diffusion.prediction.near_hull import network_opinions
from crystal_diffusion.prediction.relaxed_hull import (
    Floats,
    candidate_features,
    default_relaxed_hull,
)
from crystal_diffusion.ranking.learned import default_ranker
from crystal_diffusion.runs.reading import read_text
from crystal_diffusion.runs.rows import rounded, structure_from_row, structure_row
from crystal_diffusion.screening.stage_log import StageLog

if TYPE_CHECKING:
    from pymatgen.core import Structure

log = logging.getLogger(__name__)

#: Candidates proposed for each that is relaxed: ordering one costs milliseconds, relaxing seconds.
_POOL = 30
#: Two candidates of one formula whose fingerprints are nearer than this are one.
_SAME = 0.02
#: Shares of the kinds of start before anything is learned.
_SHARES = {proposing.PROTOTYPE: 0.5, proposing.EXCHANGE: 0.35, proposing.NOISE: 0.15}
#: Candidates from noise cost network calls: no more than this in one round.
_MOST_FROM_NOISE = 48
#: Candidates that are drawn from noise for each that is chosen, where noise is chosen from alone.
_DRAWN_FROM_NOISE = 20
#: Neighbours of accepted crystals in a round, for each candidate that is proposed anew: these with
#: an element exchanged, and other structures of their compositions.
_NEIGHBOURS = 0.6
#: Each accepted crystal of a formula makes a further one less worth by this factor: it may become
#: the same, and formulas are to differ.
_AGAIN = 0.8
#: Candidates that a round keeps for the next one, for each that it relaxes.
_RESERVE = 8
#: Standard deviation (eV/atom) of what is expected of a candidate where none is said.
_UNSURE = 0.22
#: Rounds in a row that give nothing to relax, after which the search has run dry.
_DRY = 3


@renamed(batch="per_round")
@dataclass(frozen=True)
class DiscoverySettings:
    """How a discovery is done.

    Attributes:
        wish: what is looked for.
        budget: what it may cost.
        potential: relaxes and places on the hull.
        second: must agree; None where there is none.
        strategy: one of `wish.STRATEGIES`.
        seed: of all that is drawn.
        per_round: crystals relaxed in a round.
        limits: of each relaxation.
        executor: ``local``, ``here``, ``ray`` or ``ray:ADDRESS``.
        processes: workers; the usable cores by default.
    """

    wish: Wish = field(default_factory=Wish)
    budget: Budget = field(default_factory=Budget)
    potential: str = "diep"
    second: str | None = None
    strategy: str = "loop"
    seed: int = 0
    per_round: int = 20
    limits: RelaxLimits = field(default_factory=lambda: RelaxLimits(max_steps=60, time_limit_s=120))
    executor: str = "local"
    processes: int | None = None

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise InputError(
                f"strategy: {self.strategy!r} unknown; choose from {', '.join(STRATEGIES)}"
            )
        if self.per_round < 1:
            raise InputError(f"per_round: {self.per_round} given, but it must be 1 or more")

    @property
    def key(self) -> str:
        """What the results depend on; a folder holds the results of one such text."""
        return (
            f"{self.wish} {self.potential} {self.second} {self.strategy} {self.seed} "
            f"{self.per_round} {self.limits.fmax} {self.limits.smax} {self.limits.max_steps}"
        )


@dataclass(frozen=True)
class Found:
    """What became of one crystal that was relaxed.

    Attributes:
        id: round and number; start: kind of start; kind: label of its structure type.
        structure: relaxed.
        above_hull: eV/atom; None where it could not be placed.
        accepted: new, distinct, at or below the limit, not doubtful, and not refused by the second
            potential.
        novelty: what the known crystals say; None where it was not asked, being too far above.
        twin: an earlier crystal of this run that it became equal to.
        second: eV/atom above hull by the second potential; None where it gave no answer.
        agrees: whether the second potential accepts it too.
        note: doubt, or why something is missing.
        row: what was recorded of the relaxation.
    """

    id: str
    start: str
    kind: str
    structure: Structure
    above_hull: float | None
    accepted: bool
    novelty: Novelty | None
    twin: str
    second: float | None
    agrees: bool | None
    note: str
    row: Mapping[str, Any]


@dataclass(frozen=True)
class RoundSummary:
    """One round in numbers.

    Attributes:
        number: from 1; proposed: valid, distinct and not known before relaxing.
        relaxed: of this round; converged: of these.
        accepted: of this round; accepted_so_far: of all.
        best: lowest energy above hull of an accepted crystal so far, eV/atom.
        relaxed_so_far: of all rounds; seconds: of all runs in the folder.
    """

    number: int
    proposed: int
    relaxed: int
    converged: int
    accepted: int
    accepted_so_far: int
    best: float | None
    relaxed_so_far: int
    seconds: float


class Discovery:
    """A discovery in a folder.

    Args:
        folder: of its logs and results.
        settings: how it is done.
        generator: proposes.
        known: index of known crystals.
        say: called with a line of progress.
    """

    def __init__(
        self,
        folder: Path,
        settings: DiscoverySettings,
        generator: CrystalGenerator,
        known: KnownCrystals,
        say: Callable[[str], None] = log.info,
    ) -> None:
        self.folder, self.settings, self.known, self.say = folder, settings, known, say
        self.potential = get_potential(settings.potential)
        if not has_energy(self.potential):
            raise InputError(
                f"potential: {self.potential.name} gives no energies, so nothing can be discovered "
                "with it; type: pip install diep"
            )
        self._refuse_unknown(generator)
        name = settings.second
        self.second_potential = (name, get_potential(name)) if name else None
        self.proposing = Proposing(generator, settings.wish)
        references = ReferenceEnergies.load(self.potential, folder / "references", known)
        if references.table is None:
            raise InputError(
                f"potential: there is no table of known crystals for {self.potential.name} "
                f"{self.potential.version}, only for {known.potential} {known.potential_version}"
            )
        self.hull = HullBuilder(references)

    def _refuse_unknown(self, generator: CrystalGenerator) -> None:
        """Refuse elements of the wish that the potential or the model does not know.

        Raises:
            InputError: there are such.
        """
        from ase.data import chemical_symbols

        asked = set(self.settings.wish.elements)
        model = {chemical_symbols[z] for z in generator.known_elements}
        for name, knows in ((self.potential.name, self.potential.elements), ("the model", model)):
            unknown = sorted(asked - knows) if knows is not None else []
            if unknown:
                raise InputError(
                    f"elements: {name} does not know {', '.join(unknown)}; leave "
                    f"{'it' if len(unknown) == 1 else 'them'} out, or choose another "
                    f"{'model' if name == 'the model' else 'potential'}"
                )

    # ---- the run ----------------------------------------------------------------------------

    def run(self) -> list[Found]:
        """Rounds until the budget is spent or nothing new comes.

        Raises:
            InputError: another command holds the folder, or it holds another discovery.
        """
        make_folder(self.folder)
        with locked(self.folder):
            self._open_logs()
            self._began, self._before = time.monotonic(), self._clock_of_logs()
            dry = 0
            while self.settings.budget.left(len(self.relaxed.rows), self.seconds) and dry < _DRY:
                done = self._round(self._next_round())
                dry = 0 if done else dry + 1
            # A run that was killed after its last relaxation has no round left to judge it in.
            self._judge(list(self.relaxed.rows))
            return self.found()

    def _open_logs(self) -> None:
        """Read what is there; a folder holds one discovery.

        Raises:
            InputError: it holds another one.
        """
        key = self.settings.key
        stamp = self.folder / "wish.txt"
        if stamp.is_file() and read_text(stamp) != key:
            raise InputError(
                f"{self.folder}: holds a discovery with another wish, seed or settings; choose "
                "another folder with --out, or give the same ones (the budget may differ)"
            )
        write_text(stamp, key)
        place = self.folder / "discovery"
        self.rounds = StageLog(place / "rounds.jsonl", key, check=check_round)
        self.relaxed = StageLog(place / "relaxed.jsonl", key, check=check_relaxed)
        self.verdicts = StageLog(place / "verdicts.jsonl", key, check=check_verdict)
        self.points = StageLog(place / "second.jsonl", key, check=check_point)
        self._bind()

    def _bind(self) -> None:
        """Tell the logs which candidates and relaxed crystals there are now."""
        self.rounds.rows = {k: row for k, row in self.rounds.rows.items() if k.isdecimal()}
        self.relaxed.bind({key: hash_of(entry) for key, entry in self._entries.items()})
        self.relaxed.rows = {k: r for k, r in self.relaxed.rows.items() if k in self._entries}
        self.verdicts.bind({key: hash_of(row) for key, row in self.relaxed.rows.items()})
        known = self.relaxed.rows
        self.verdicts.rows = {k: row for k, row in self.verdicts.rows.items() if k in known}

    @property
    def seconds(self) -> float:
        """Wall time of all runs in the folder."""
        return self._before + time.monotonic() - self._began

    def _clock_of_logs(self) -> float:
        return max((float(row["clock"]) for row in self.relaxed.rows.values()), default=0.0)

    def _next_round(self) -> int:
        """The last round, where it is not finished, else a new one."""
        if not self.rounds.rows:
            return 1
        last = max(map(int, self.rounds.rows))
        keys = [entry["id"] for entry in self.rounds.rows[str(last)]["candidates"]]
        return last if any(key not in self.verdicts.rows for key in keys) else last + 1

    def _round(self, number: int) -> int:
        """One round; how many crystals it relaxed."""
        if str(number) not in self.rounds.rows:
            chosen = self._choose(number)
            self.rounds.add(str(number), chosen)
        entries = self.rounds.rows[str(number)]["candidates"]
        self._bind()
        self._relax(entries)
        self._bind()
        done = [entry for entry in entries if entry["id"] in self.relaxed.rows]
        self._judge([entry["id"] for entry in done])
        if done:
            self._tell(number, entries)
        return len(done)

    # ---- choosing ---------------------------------------------------------------------------

    def _choose(self, number: int) -> dict[str, Any]:
        """What is to be relaxed in a round, and what comes next to that, as rows."""
        settings = self.settings
        rng = np.random.default_rng([settings.seed, number])
        wanted = settings.per_round
        if settings.budget.relaxations is not None:
            left = settings.budget.relaxations - len(self.relaxed.rows)
            wanted = left if settings.strategy == "once" else min(wanted, left)
        pool = self._fresh(self._pool(rng, number, wanted))
        if settings.strategy in ("loop", "once"):
            order = self._order(pool)
        else:
            order = list(range(len(pool)))
        chosen = self._diverse(pool, order, wanted)
        rows = self._rows([pool[index] for index in chosen])
        for place, row in enumerate(rows):
            row["id"] = f"{number:03d}-{place:03d}"
        if settings.strategy != "loop":
            return {"candidates": rows}
        taken = set(chosen)
        rest = [pool[index] for index in order if index not in taken][: _RESERVE * wanted]
        return {"candidates": rows, "reserve": self._rows(rest)}

    def _rows(self, proposed: Sequence[Proposed]) -> list[dict[str, Any]]:
        """Candidates as the log of rounds holds them, without their ids."""
        told = self._described(proposed)
        return [
            {
                "start": p.start,
                "kind": p.kind,
                "guess": rounded(guess),
                "deviation": rounded(deviation),
                "structure": structure_row(p.structure),
            }
            for p, guess, deviation in zip(proposed, told.guess, told.deviation, strict=True)
        ]

    def choose_once(self, count: int) -> list[Proposed]:
        """What would be relaxed in one round of this size, nothing learned and nothing recorded."""
        rng = np.random.default_rng([self.settings.seed, 0])
        return self._chosen_of(self._pool(rng, 0, count), count)

    def choose_from_noise(self, count: int) -> list[Proposed]:
        """The same from noise alone: several are drawn for each that is chosen."""
        drawn = self.proposing.noise(self.settings.seed, _DRAWN_FROM_NOISE * count)
        return self._chosen_of(list(drawn), count)

    def _chosen_of(self, pool: Sequence[Proposed], count: int) -> list[Proposed]:
        self._open_logs()
        fresh = self._fresh(pool)
        return [fresh[index] for index in self._diverse(fresh, self._order(fresh), count)]

    def _pool(self, rng: np.random.Generator, number: int, wanted: int) -> list[Proposed]:
        made = self.proposing
        if self.settings.strategy == "random":
            return list(made.random_types(rng, 6 * wanted))
        if self.settings.strategy == "exchange":
            return list(made.exchange(rng, 3 * wanted))
        shares = self._shares()
        size = _POOL * wanted
        noise = min(round(shares[proposing.NOISE] * size), _MOST_FROM_NOISE)
        found = self.found() if self.settings.strategy == "loop" else []
        parents = [Proposed(f.structure, f.start, f.kind) for f in found if f.accepted]
        near = round(_NEIGHBOURS * size) if parents else 0
        return [
            *made.prototypes(rng, round(shares[proposing.PROTOTYPE] * size)),
            *made.exchange(rng, round(shares[proposing.EXCHANGE] * size)),
            *made.variants(rng, parents, near // 2),
            *made.polymorphs(rng, parents, near - near // 2),
            *(made.noise(self.settings.seed * 1000 + number, noise) if noise else ()),
            *(self._reserve(number) if self.settings.strategy == "loop" else ()),
        ]

    def _reserve(self, number: int) -> list[Proposed]:
        """What the round before would have relaxed next."""
        before = self.rounds.rows.get(str(number - 1), {})
        return [
            Proposed(structure_from_row(entry["structure"]), entry["start"], entry["kind"])
            for entry in before.get("reserve", ())
        ]

    def _shares(self) -> dict[str, float]:
        """Shares of the kinds of start: what was accepted of each, four counted in advance."""
        if self.settings.strategy != "loop":
            return dict(_SHARES)
        found = self.found()
        rates = {}
        for start, share in _SHARES.items():
            own = [f for f in found if f.start == start]
            hits = sum(f.accepted for f in own)
            rates[start] = share * (1 + hits) / (4 + len(own))
        total = sum(rates.values())
        return {start: max(0.08, rate / total) for start, rate in rates.items()}

    def _fresh(self, pool: Sequence[Proposed]) -> list[Proposed]:
        """Those that are wished for, valid, and neither twins nor relaxed before."""
        elements = self.potential.elements
        counts = [proposing.counts_of(p.structure) for p in pool]
        usable = [
            p
            for p, own in zip(pool, counts, strict=True)
            if self.settings.wish.allows(own) and (elements is None or set(own) <= elements)
        ]
        validator = PhysicsValidator()
        reports = validator.validate_many([p.structure for p in usable], processes=1)
        usable = [p for p, r in zip(usable, reports, strict=True) if r.valid]
        done = {
            (structure_from_row(e["structure"]).composition.reduced_formula, type_of(e["kind"]))
            for e in self._entries.values()
            if e["kind"]
        }
        usable = [
            p
            for p in usable
            if (p.structure.composition.reduced_formula, type_of(p.kind)) not in done
        ]
        seen: dict[str, list[np.ndarray]] = {}
        before = [
            structure_from_row(row["structure"])
            for row in (*self._entries.values(), *self.relaxed.rows.values())
        ]
        for structure, vector in zip(before, fingerprints(before), strict=True):
            seen.setdefault(structure.composition.reduced_formula, []).append(vector)
        fresh = []
        vectors = fingerprints([p.structure for p in usable])
        for p, vector in zip(usable, vectors, strict=True):
            others = seen.setdefault(p.structure.composition.reduced_formula, [])
            if not np.isfinite(vector).all():
                continue
            if any(np.sqrt(((vector - other) ** 2).mean()) < _SAME for other in others):
                continue
            others.append(vector)
            fresh.append(p)
        return fresh

    def _guesses(self, structures: Sequence[Structure]) -> tuple[Floats, Floats]:
        """Energy above hull by the built-in networks and its standard deviation, eV/atom."""
        above = np.full(len(structures), np.nan)
        deviation = np.full(len(structures), _UNSURE)
        learned = default_relaxed_hull()
        if learned is not None and learned.potential == (
            self.potential.name,
            self.potential.version,
        ):
            features = candidate_features(structures, self.hull, default_properties())
            rows = np.isfinite(features).all(1)
            above[rows], deviation[rows] = learned.expected(features[rows])
        rest = np.flatnonzero(~np.isfinite(above)).tolist()
        opinions = network_opinions(
            [structures[row] for row in rest], self.settings.wish.most_above_hull
        )
        for row, opinion in zip(rest, opinions, strict=True):
            known = np.isfinite(opinion.above)
            above[row] = opinion.above if known else self._by_ranker(structures[row])
        return above, deviation

    def _by_ranker(self, structure: Structure) -> float:
        """The same by the ranker's formation energy, for elements no label was known of."""
        counts = structure.composition.get_el_amt_dict()
        atoms = sum(counts.values())
        lowest, _ = self.hull.mixture(counts)
        ground = sum(n / atoms * (self.hull.elemental_energy(e) or 0.0) for e, n in counts.items())
        return float(default_ranker().formation_energy([structure])[0]) - (lowest - ground)

    def _described(self, proposed: Sequence[Proposed]) -> ordering.Described:
        guess, deviation = self._guesses([p.structure for p in proposed])
        return _described(proposed, guess, deviation)

    def _order(self, pool: Sequence[Proposed]) -> list[int]:
        """Most likely to be accepted first."""
        described = self._described(pool)
        done, above = self._experience()
        mean, deviation = ordering.expected(described, done, above)
        chance = ordering.acceptance(mean, deviation, self.settings.wish.most_above_hull)
        # Where no compound competes, a distance from the hull is not believed.
        alone = [not self._competing(p.structure) for p in pool]
        chance = np.where(alone, 0.0, chance * _AGAIN ** self._accepted_of(pool))
        return np.argsort(-chance, kind="stable").tolist()

    def _accepted_of(self, pool: Sequence[Proposed]) -> Floats:
        """``(candidates,)`` how many accepted crystals of this run have the formula of each."""
        counts = Counter(
            structure_from_row(self.relaxed.rows[key]["structure"]).composition.reduced_formula
            for key, verdict in self.verdicts.rows.items()
            if verdict["accepted"]
        )
        return np.array([counts[p.structure.composition.reduced_formula] for p in pool], float)

    def _competing(self, structure: Structure) -> bool:
        elements = frozenset(structure.composition.get_el_amt_dict())
        return any(len(entry.elements) > 1 for entry in self.hull.system(elements).entries)

    def _experience(self) -> tuple[ordering.Described, Floats]:
        """What this run has relaxed, for the loop; nothing for what does not learn."""
        rows = sorted(self.verdicts.rows) if self.settings.strategy == "loop" else []
        rows = [key for key in rows if self.verdicts.rows[key]["above_hull"] is not None]
        entries = [self._entries[key] for key in rows]
        proposed = [
            Proposed(structure_from_row(e["structure"]), e["start"], e["kind"]) for e in entries
        ]
        guess = np.array([e["guess"] for e in entries], float)
        deviation = np.array([e.get("deviation", _UNSURE) for e in entries], float)
        above = np.array([self.verdicts.rows[key]["above_hull"] for key in rows], float)
        return _described(proposed, guess, deviation), above

    @property
    def _entries(self) -> dict[str, dict[str, Any]]:
        """Candidates of all rounds by id."""
        return {
            entry["id"]: entry for row in self.rounds.rows.values() for entry in row["candidates"]
        }

    def _diverse(self, pool: Sequence[Proposed], order: list[int], wanted: int) -> list[int]:
        """The first of an order that are new, no formula or type too often."""
        from pymatgen.core import Element

        formulas = [p.structure.composition.reduced_formula for p in pool]
        metallic = [all(Element(str(e)).is_metal for e in p.structure.composition) for p in pool]
        share = 1.0 if self.settings.wish.elements else 0.4
        chosen: list[int] = []
        rest = list(order)
        while rest and len(chosen) < wanted:
            picked = ordering.diverse(
                [*chosen, *rest],
                formulas,
                [type_of(p.kind) for p in pool],
                metallic,
                wanted,
                most_metallic=share,
            )
            asked = [i for i in picked if i not in chosen]
            if not asked:
                break
            answers = nearest_known([pool[i].structure for i in asked], self.known, {})
            chosen += [i for i, a in zip(asked, answers, strict=True) if a.novel]
            rest = [i for i in rest if i not in set(asked)]
        return chosen[:wanted]

    # ---- relaxing and judging ---------------------------------------------------------------

    def _relax(self, entries: Sequence[Mapping[str, Any]]) -> None:
        missing = [entry for entry in entries if entry["id"] not in self.relaxed.rows]
        pairs = ((e["id"], structure_from_row(e["structure"])) for e in missing)
        limit = 2 * self.settings.limits.time_limit_s + 120
        executor = make_executor(self.settings.executor, self.settings.processes, limit)
        for key, result in relax_many(
            pairs, self.settings.potential, limits=self.settings.limits, executor=executor
        ):
            self.relaxed.add(
                key,
                {
                    "energy_per_atom_eV": rounded(result.energy_per_atom),
                    "converged": result.converged,
                    "steps": result.steps,
                    "seconds": round(result.seconds, 2),
                    "problem": result.problem,
                    "structure": structure_row(result.structure),
                    "clock": round(self.seconds, 1),
                },
            )
            if self.settings.budget.minutes and not self.settings.budget.left(0, self.seconds):
                break

    def _judge(self, keys: Sequence[str]) -> None:
        """Verdicts of relaxed crystals that have none yet, in order of their ids."""
        missing = [key for key in sorted(keys) if key not in self.verdicts.rows]
        limit = self.settings.wish.most_above_hull
        for key in missing:
            row = self.relaxed.rows[key]
            verdict: dict[str, Any] = {
                "above_hull": None, "accepted": False, "novelty": None, "twin": "",
                "second": None, "agrees": None, "note": row["problem"],
            }  # fmt: skip
            if not row["problem"] and row["energy_per_atom_eV"] is not None:
                self._place(row, verdict, limit)
            self.verdicts.add(key, verdict)

    def _place(self, row: Mapping[str, Any], verdict: dict[str, Any], limit: float) -> None:
        structure = structure_from_row(row["structure"])
        counts = structure.composition.get_el_amt_dict()
        energy = float(row["energy_per_atom_eV"])
        place = self.hull.place(counts, energy)
        verdict["above_hull"] = rounded(place.energy_above_hull)
        verdict["note"] = place.problem or doubt(
            len(counts), place.n_competing, place.energy_above_hull
        )
        if place.energy_above_hull is None or place.energy_above_hull > limit:
            return
        verdict["twin"] = self._twin(structure, energy)
        novelty = nearest_known([structure], self.known, {}, energies=[energy])[0]
        verdict["novelty"] = novelty.to_dict()
        if verdict["twin"] or not novelty.novel or verdict["note"]:
            return
        if self.second is None:
            verdict["accepted"] = True
            return
        own = self.second.evaluate({"candidate": structure})["candidate"]
        opinion = self.second.ask(counts, own, limit)
        verdict["second"], verdict["agrees"] = rounded(opinion.above_hull), opinion.agrees
        verdict["note"] = opinion.reason
        verdict["accepted"] = opinion.agrees is not False

    def _twin(self, structure: Structure, energy: float) -> str:
        """An earlier accepted crystal that this one became equal to."""
        formula = structure.composition.reduced_formula
        for key in sorted(self.verdicts.rows):
            if not self.verdicts.rows[key]["accepted"]:
                continue
            row = self.relaxed.rows[key]
            other = structure_from_row(row["structure"])
            if other.composition.reduced_formula != formula:
                continue
            if group_relaxed([other, structure], [row["energy_per_atom_eV"], energy]) == [0, 0]:
                return key
        return ""

    @cached_property
    def second(self) -> SecondOpinion | None:
        """The potential that must agree."""
        if self.second_potential is None:
            return None
        name, potential = self.second_potential
        evaluate = partial(self._evaluate, name)
        return SecondOpinion(potential, self.known, partial(self._kept_points, evaluate), evaluate)

    def _evaluate(self, name: str, structures: Mapping[str, Structure]) -> dict[str, float | None]:
        """Single-point energies with the second potential, eV/atom."""
        point = RelaxLimits(max_steps=0, time_limit_s=self.settings.limits.time_limit_s)
        executor = make_executor("here", 1, 2 * point.time_limit_s)
        found = relax_many(list(structures.items()), name, limits=point, executor=executor)
        return {k: None if r.problem else rounded(r.energy_per_atom) for k, r in found}

    def _kept_points(
        self, evaluate: Energies, structures: Mapping[str, Structure]
    ) -> Mapping[str, float | None]:
        """The same for known crystals, each only once in a folder."""
        missing = {k: s for k, s in structures.items() if k not in self.points.rows}
        if missing:
            found = evaluate(missing)
            self.points.add_many({k: {"energy_per_atom_eV": e} for k, e in found.items()})
        return {k: self.points.rows[k]["energy_per_atom_eV"] for k in structures}

    # ---- what came out ----------------------------------------------------------------------

    def found(self) -> list[Found]:
        """All relaxed crystals with their verdicts, in order of their ids."""
        entries = self._entries
        answers = []
        for key in sorted(self.verdicts.rows):
            verdict, row = self.verdicts.rows[key], self.relaxed.rows[key]
            told = verdict["novelty"]
            answers.append(
                Found(
                    key,
                    entries[key]["start"],
                    entries[key]["kind"],
                    structure_from_row(row["structure"]),
                    verdict["above_hull"],
                    verdict["accepted"],
                    Novelty(**told) if told is not None else None,
                    verdict["twin"],
                    verdict["second"],
                    verdict["agrees"],
                    verdict["note"],
                    row,
                )
            )
        return answers

    def _tell(self, number: int, entries: Sequence[Mapping[str, Any]]) -> None:
        found = self.found()
        own = {entry["id"] for entry in entries}
        here = [f for f in found if f.id in own]
        accepted = [f for f in found if f.accepted]
        best = min((f.above_hull for f in accepted if f.above_hull is not None), default=None)
        summary = RoundSummary(
            number,
            len(entries),
            len(here),
            sum(bool(f.row["converged"]) for f in here),
            sum(f.accepted for f in here),
            len(accepted),
            best,
            len(found),
            self.seconds,
        )
        self.say(told(summary, self.settings.budget))


def _described(
    proposed: Sequence[Proposed], guess: Floats, deviation: Floats
) -> ordering.Described:
    curves = [
        composition_fingerprint(np.array([site.specie.Z for site in p.structure])) for p in proposed
    ]
    return ordering.Described(
        guess,
        deviation,
        np.array(curves, float).reshape(len(proposed), COMPOSITION_BINS),
        np.array([type_of(p.kind) for p in proposed], np.str_),
    )


def type_of(label: str) -> str:
    """The structure type of a label, without the number of its variant."""
    return label.split("#")[0]


def told(summary: RoundSummary, budget: Budget) -> str:
    """A round in one line."""
    words = (
        f"round {summary.number}: {summary.relaxed} relaxed ({summary.converged} converged), "
        f"{summary.accepted} accepted; so far {summary.accepted_so_far} of "
        f"{summary.relaxed_so_far}"
    )
    if summary.best is not None:
        words += f", best {summary.best:+.3f} eV/atom above hull"
    left = budget.left(summary.relaxed_so_far, summary.seconds)
    words += f"; {summary.seconds / 60:.1f} min"
    if 0 < left < 1:
        words += f", about {summary.seconds / 60 * left / (1 - left):.0f} min to go"
    return words
