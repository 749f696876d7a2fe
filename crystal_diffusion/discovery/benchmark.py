"""What comes of candidates made from nothing: valid, distinct, new, near the hull, by start.

Every figure is a share of the candidates asked for. A candidate counts at a limit when it is valid,
the first of its group, not among the known crystals, not doubtful, and at or below the limit above
the hull; with every potential by its own energies and its own hull.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_diffusion.discovery.judging import SecondOpinion
from crystal_diffusion.discovery.loop import Discovery, DiscoverySettings
from crystal_diffusion.discovery.proposing import Proposed
from crystal_diffusion.discovery.wish import Budget, Wish
from crystal_diffusion.energy.pooled_relaxation import relax_many
from crystal_diffusion.energy.potentials import get_potential
from crystal_diffusion.energy.relaxation import RelaxLimits
from crystal_diffusion.errors import InputError
from crystal_diffusion.evaluation.metrics import wilson
from crystal_diffusion.files import make_folder
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.known.index import KnownCrystals
from crystal_diffusion.parallel.executors import make_executor
from crystal_diffusion.runs.rows import rounded, structure_from_row, structure_row
from crystal_diffusion.screening.pipeline import screen
from crystal_diffusion.screening.settings import Candidates, ScreenSettings
from crystal_diffusion.screening.stage_log import StageLog

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Where candidates can come from.
SOURCES = ("noise", "chosen-noise", "prototypes", "mixed", "exchange", "random")
#: Limits in eV/atom above hull.
LIMITS = (0.0, 0.1)
_STAGES = ("validate", "group", "relax", "novelty", "hull", "rank")


@dataclass(frozen=True)
class SourceFigures:
    """Counts for one kind of start.

    Attributes:
        source: of `SOURCES`; asked: candidates asked for; made: what came.
        valid: pass the checks; distinct: first of their group; novel: these, and not known.
        near: potential → for each of `LIMITS` how many distinct, novel candidates are at or below.
        undecided: potential → how many it could not be asked about.
        new_types: of those at most 0.1 eV/atom by the first potential, in no known structure type.
        swaps: of the same, swaps of like elements of a known crystal; lanthanides: of the swaps,
            those that exchange lanthanides only.
        seconds: of wall time, making and screening.
    """

    source: str
    asked: int
    made: int
    valid: int
    distinct: int
    novel: int
    near: Mapping[str, tuple[int, ...]]
    undecided: Mapping[str, int]
    new_types: int
    swaps: int
    lanthanides: int
    seconds: float


def benchmark_discovery(
    generator: CrystalGenerator,
    known: KnownCrystals,
    folder: Path,
    *,
    n: int,
    sources: Sequence[str] = SOURCES,
    potentials: Sequence[str] = ("diep",),
    wish: Wish | None = None,
    seed: int = 0,
    processes: int | None = None,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> list[SourceFigures]:
    """Make and screen candidates of each kind of start; goes on after a kill.

    Args:
        generator: proposes.
        known: index of known crystals, with energies of the first potential.
        folder: of the logs.
        n: candidates of each kind.
        sources: kinds of start.
        potentials: the first relaxes; the others judge the relaxed crystals.
        wish: what is looked for; anything by default.
        seed: of all that is drawn.
        processes: workers; with 1 everything runs in this process.
        progress: called with stage, done, total.

    Raises:
        InputError: an unknown kind of start, or none.
    """
    import time

    unknown = [source for source in sources if source not in SOURCES]
    if unknown or not sources or n < 1:
        what = f"source {unknown[0]!r} is not known" if unknown else "nothing is asked for"
        raise InputError(f"{what}; choose from {', '.join(SOURCES)}, and n of 1 or more")
    figures = []
    for source in sources:
        began = time.monotonic()
        place = make_folder(folder / source)
        log = StageLog(place / "candidates.jsonl", f"{wish} {seed} {n}")
        if "all" not in log.rows:
            made = _candidates(generator, known, place, source, n, wish or Wish(), seed, potentials)
            log.add("all", {"structures": [structure_row(p.structure) for p in made]})
        structures = {
            f"{source}-{i:04d}": structure_from_row(row)
            for i, row in enumerate(log.rows["all"]["structures"])
        }
        settings = ScreenSettings(
            stages=_STAGES,
            potentials=tuple(potentials[:1]),
            limits=RelaxLimits(max_steps=60, time_limit_s=180),
            executor=_executor(processes),
            processes=processes,
            cache=folder / "references",
        )
        outcome = screen(
            Candidates(structures, {}, place, False),
            settings,
            progress=lambda stage, done, total, source=source: progress(  # type: ignore[misc]
                f"{source}, {stage}", done, total
            ),
            known=known,
        )
        second = {
            name: _opinions(name, outcome.rows, place, known, processes) for name in potentials[1:]
        }
        spent = StageLog(place / "seconds.jsonl", f"{wish} {seed} {n}")
        before = sum(float(row["s"]) for row in spent.rows.values())
        spent.add(str(len(spent.rows)), {"s": time.monotonic() - began})
        seconds = before + time.monotonic() - began
        figures.append(_count(source, n, outcome.rows, place, known, potentials, second, seconds))
    return figures


def _candidates(
    generator: CrystalGenerator,
    known: KnownCrystals,
    folder: Path,
    source: str,
    n: int,
    wish: Wish,
    seed: int,
    potentials: Sequence[str],
) -> list[Proposed]:
    """Candidates of one kind; the mix is what a discovery would choose to relax first.

    Noise is taken as it comes; of chosen noise twenty are drawn for each, and the built-in network
    orders them.
    """
    settings = DiscoverySettings(
        wish=wish, budget=Budget(n), potential=potentials[0], strategy="once", seed=seed
    )
    search = Discovery(folder, settings, generator, known)
    rng = np.random.default_rng([seed, SOURCES.index(source)])
    if source == "mixed":
        return search.choose_once(n)
    if source == "chosen-noise":
        return search.choose_from_noise(n)
    made = {
        "noise": lambda: search.proposing.noise(seed, n),
        "prototypes": lambda: search.proposing.prototypes(rng, n),
        "exchange": lambda: search.proposing.exchange(rng, n),
        "random": lambda: search.proposing.random_types(rng, 4 * n),
    }[source]()
    found: list[Proposed] = []
    for proposed in made:
        found.append(proposed)
        if len(found) == n:
            break
    return found


def _opinions(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    folder: Path,
    known: KnownCrystals,
    processes: int | None,
) -> dict[str, float | None]:
    """Energy above hull (eV/atom) by a further potential, of what is new; None: cannot be asked."""
    from crystal_diffusion.runs.rows import relaxed_structures

    relaxed = relaxed_structures(folder)
    log = StageLog(folder / f"second-{name}.jsonl", name)
    points = StageLog(folder / f"points-{name}.jsonl", name)
    executor = make_executor(_executor(processes), processes, 600)
    point = RelaxLimits(max_steps=0, time_limit_s=120)

    def evaluate(structures: Mapping[str, Structure]) -> Mapping[str, float | None]:
        missing = {k: s for k, s in structures.items() if k not in points.rows}
        for key, result in relax_many(list(missing.items()), name, limits=point, executor=executor):
            energy = None if result.problem else rounded(result.energy_per_atom)
            points.add(key, {"energy": energy})
        return {key: points.rows[key]["energy"] for key in structures}

    wanted = [row["id"] for row in rows if _fresh(row) and row["id"] in relaxed]
    own = evaluate({key: relaxed[key] for key in wanted})
    opinion = SecondOpinion(get_potential(name), known, evaluate, evaluate)
    missing = [key for key in wanted if key not in log.rows]
    opinion.prepare([frozenset(relaxed[k].composition.get_el_amt_dict()) for k in missing])
    for key in missing:
        answer = opinion.ask(relaxed[key].composition.get_el_amt_dict(), own[key], LIMITS[-1])
        log.add(key, {"above_hull": rounded(answer.above_hull), "reason": answer.reason})
    return {key: log.rows[key]["above_hull"] for key in wanted}


def _executor(processes: int | None) -> str:
    return "here" if processes == 1 else "local"


def _fresh(row: Mapping[str, Any]) -> bool:
    """Valid, first of its group, new, not doubtful."""
    return bool(row["valid"] and not row["duplicate_of"] and row["novel"] and not row["doubt"])


def _count(
    source: str,
    asked: int,
    rows: Sequence[Mapping[str, Any]],
    folder: Path,
    known: KnownCrystals,
    potentials: Sequence[str],
    second: Mapping[str, Mapping[str, float | None]],
    seconds: float,
) -> SourceFigures:
    from crystal_diffusion.runs.rows import relaxed_structures

    fresh = [row for row in rows if _fresh(row)]
    above = {
        potentials[0]: {row["id"]: row["energy_above_hull_eV_atom"] for row in fresh},
        **second,
    }
    near = {
        name: tuple(
            sum(value is not None and value <= limit for value in told.values()) for limit in LIMITS
        )
        for name, told in above.items()
    }
    good = [
        row
        for row in fresh
        if row["energy_above_hull_eV_atom"] is not None
        and row["energy_above_hull_eV_atom"] <= LIMITS[-1]
    ]
    relaxed = relaxed_structures(folder)
    labels = {str(label).split("#")[0] for label in known.library.type_label}
    swaps = [row for row in good if row["swap_of_like_elements"]]
    return SourceFigures(
        source,
        asked,
        len(rows),
        sum(row["valid"] is True for row in rows),
        sum(row["valid"] is True and not row["duplicate_of"] for row in rows),
        sum(bool(row["valid"] and not row["duplicate_of"] and row["novel"]) for row in rows),
        near,
        {name: sum(value is None for value in told.values()) for name, told in second.items()},
        sum(type_label(relaxed[row["id"]]) not in labels | {""} for row in good),
        len(swaps),
        sum(_lanthanides_only(relaxed[row["id"]], row, known) for row in swaps),
        seconds,
    )


def type_label(structure: Structure) -> str:
    """Name of the structure type as the library writes it; empty where no symmetry is found."""
    from crystal_diffusion.proposals.library import CrystalLibrary

    try:
        return str(CrystalLibrary.from_structures([structure]).type_label[0])
    except InputError:
        return ""


def _lanthanides_only(structure: Structure, row: Mapping[str, Any], known: KnownCrystals) -> bool:
    """Whether a swap exchanges lanthanides for lanthanides and nothing else."""
    place = known.row_of.get(str(row["nearest_known_id"]))
    if place is None:
        return False
    own = {site.specie.Z for site in structure}
    other = {int(z) for z in known.elements[place] if z}
    return all(57 <= z <= 71 for z in own ^ other)


def figures_table(figures: Sequence[SourceFigures], title: str) -> str:
    """The figures as a table in Markdown, shares of the candidates asked for with intervals."""
    names = list(figures[0].near) if figures else []
    rows: list[tuple[str, list[str]]] = [
        ("asked for", [str(f.asked) for f in figures]),
        ("valid", [_share(f.valid, f.asked) for f in figures]),
        ("and distinct", [_share(f.distinct, f.asked) for f in figures]),
        ("and novel", [_share(f.novel, f.asked) for f in figures]),
    ]
    for name in names:
        for place, limit in enumerate(LIMITS):
            rows.append(
                (
                    f"and at most {limit:g} eV/atom, {name}",
                    [_share(f.near[name][place], f.asked) for f in figures],
                )
            )
        if any(name in f.undecided for f in figures):
            rows.append(
                (f"{name} cannot be asked", [str(f.undecided.get(name, 0)) for f in figures])
            )
    rows += [
        (f"of those at most 0.1 ({names[0] if names else ''}): in no known structure type",
         [str(f.new_types) for f in figures]),
        ("swaps of like elements, of these of lanthanides only",
         [f"{f.swaps}, {f.lanthanides}" for f in figures]),
        ("minutes", [f"{f.seconds / 60:.1f}" for f in figures]),
    ]  # fmt: skip
    head = "| | " + " | ".join(f.source for f in figures) + " |"
    lines = [f"Hull and novelty: {title}.", "", head, "|---|" + "---|" * len(figures)]
    lines += [f"| {label} | " + " | ".join(cells) + " |" for label, cells in rows]
    return "\n".join(lines) + "\n"


def _share(count: int, n: int) -> str:
    low, high = wilson(count, n)
    return f"{100 * count / n:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def figures_rows(figures: Sequence[SourceFigures]) -> list[dict[str, Any]]:
    """The figures as rows of JSON."""
    return [asdict(f) for f in figures]
