"""The verb `benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crystal_diffusion.cli.console import OK, out, progress


def benchmark(
    name: Annotated[
        str, typer.Argument(help="mp20, mpts52, perov5, carbon24, small, discovery, properties.")
    ],
    split: Annotated[
        Path | None, typer.Option(help="File with the true structures; not for discovery.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model folder; the pretrained one if not given.")
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--number",
            "--n",
            help="Targets, all if not given; for discovery candidates of each kind.",
        ),
    ] = None,
    candidates: Annotated[int, typer.Option(help="Candidates for each target.")] = 20,
    predictors: Annotated[
        str, typer.Option(help="With commas: all, noise, prototypes, copy, random.")
    ] = "all,noise,prototypes,random",
    noise_share: Annotated[
        float, typer.Option(help="Share of noise starts among all starts.")
    ] = 0.2,
    known_last: Annotated[
        bool, typer.Option(help="Targets are held out: known structures of a composition last.")
    ] = True,
    sources: Annotated[
        str,
        typer.Option(help="discovery: noise, chosen-noise, prototypes, mixed, exchange or random."),
    ] = "noise,chosen-noise,prototypes,mixed,exchange,random",
    potentials: Annotated[
        str | None,
        typer.Option(
            help="For discovery: the first relaxes, the others judge; the installed ones."
        ),
    ] = None,
    strategies: Annotated[
        str | None,
        typer.Option(help="discovery: compare loop,once,exchange,random at -n relaxations each."),
    ] = None,
    systems: Annotated[
        str,
        typer.Option(help="With --strategies: what is looked for, such as Na-Sb-S, or anything."),
    ] = "Na-Sb-S,Li-Fe-O,Ca-Zn-P,anything",
    sampling_steps: Annotated[
        int | None, typer.Option(help="Network calls per candidate; 8 by default.")
    ] = None,
    scorer: Annotated[
        str, typer.Option(help="What orders: score, residual, none, or a potential.")
    ] = "score",
    seed: Annotated[int, typer.Option(help="Seed of targets and candidates.")] = 0,
    processes: Annotated[int | None, typer.Option(help="Processes that match.")] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", "-o", help="Keep rows and tables here; resumes.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    family: Annotated[
        str,
        typer.Option(help="small: nitrides, oxides, chalcogenides, intermetallics or all."),
    ] = "all",
    sizes: Annotated[
        str, typer.Option(help="small: numbers of own crystals.")
    ] = "10,30,100,300,1000",
    seeds: Annotated[
        str, typer.Option(help="small: repetitions of each size; one number for all, or 3,3,1.")
    ] = "3",
    own: Annotated[
        Path | None, typer.Option(help="small: file of own crystals; others of the split.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="small: what is measured, with semicolons; all.")
    ] = None,
    training_steps: Annotated[
        int | None, typer.Option(help="small: steps of each adaptation.")
    ] = None,
    label: Annotated[str, typer.Option(help="small: title of table and picture.")] = "",
    select: Annotated[int, typer.Option(help="properties: candidates for each crystal kept.")] = 4,
    guidance: Annotated[float, typer.Option(help="properties: how strongly they steer.")] = 1.5,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only the table.")] = False,
) -> None:
    """Measure structure prediction on a published split, or discovery from nothing.

    Baselines stand beside the figures. Discovery needs a potential (pip install diep).

    Example: crystal-diffusion benchmark mp20 --split val.parquet --n 1000

    "small" measures what crystals of your own add: some of a family are trained on, others asked
    for. Example: crystal-diffusion benchmark small --split val.parquet --family nitrides --out s/

    Example: crystal-diffusion benchmark discovery --n 100 --out figures/

    With --strategies the loop of "discover" stands beside one round without learning, exchange of
    like elements and random types. Example: crystal-diffusion benchmark discovery --n 40
    --strategies loop,once,exchange,random --systems Na-Sb-S,anything --out compared/

    "properties" asks for six ranges of properties and has somebody else's model judge what comes
    (pip install 'crystal-diffusion[judge]'); the split is a table of labelled crystals.
    Example: crystal-diffusion benchmark properties --split labelled.parquet --n 100 --out hits/
    """
    if name == "discovery" and strategies is not None:
        _strategies(model, device, n or 40, strategies, systems, seed, processes, folder, quiet)
        raise typer.Exit(OK)
    if name == "discovery":
        _discovery(model, device, n or 100, sources, potentials, seed, processes, folder, quiet)
        raise typer.Exit(OK)
    from crystal_diffusion.errors import InputError

    known = ("mp20", "mpts52", "perov5", "carbon24", "small", "discovery", "properties")
    if name not in known:
        from crystal_diffusion.cli.mistakes import not_among

        raise InputError(not_among("benchmark", name, known))
    if split is None:
        raise InputError(f"benchmark {name}: give the file with the true structures as --split")
    if name == "properties":
        _properties(model, device, split, n or 100, select, guidance, seed, folder, quiet)
    if name == "small":
        _small(split, folder, family, sizes, seeds, n, own, columns, training_steps, label, quiet)
    from crystal_diffusion.diffusion.sampler import SamplerSettings
    from crystal_diffusion.evaluation.table import markdown
    from crystal_diffusion.generation.loading import load
    from crystal_diffusion.generation.settings import GenerationSettings
    from crystal_diffusion.workflows.benchmark import benchmark as run

    settings = GenerationSettings(
        sampler=SamplerSettings(steps=sampling_steps),
        noise_share=noise_share,
        known_last=known_last,
        scorer=scorer,
        max_attempts=3,
    )
    with progress(quiet) as bar:
        tasks: dict[str, Any] = {}

        def show(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bar.add_task(label, total=total)
            bar.update(tasks[label], completed=done)

        tables = run(
            load(model, device),
            name,
            split,
            n=n,
            candidates=candidates,
            seed=seed,
            predictors=[p.strip() for p in predictors.split(",") if p.strip()],
            settings=settings,
            processes=processes,
            out=folder,
            progress=show,
        )
    out.print(markdown(list(tables.values())), markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(OK)


def _properties(
    model: str | None,
    device: str,
    labelled: Path,
    n: int,
    select: int,
    guidance: float,
    seed: int,
    folder: Path | None,
    quiet: bool,
) -> None:
    from crystal_diffusion.data.dataset import CrystalStructureDataset
    from crystal_diffusion.generation.loading import load
    from crystal_diffusion.workflows.hit_rates import hit_rates, rates_table

    with progress(quiet) as bar:
        task = bar.add_task("targets", total=None)
        rates = hit_rates(
            load(model, device),
            CrystalStructureDataset(labelled).arrays,
            folder or Path("benchmark-properties"),
            n=n,
            select=select,
            guidance=guidance,
            seed=seed,
            progress=lambda label, done, total: bar.update(
                task, description=label, completed=done, total=total
            ),
        )
    table = rates_table(rates, n, select, guidance)
    out.print(table, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(OK)


def _whole_numbers(option: str, text: str) -> tuple[int, ...]:
    from crystal_diffusion.errors import InputError

    try:
        found = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        found = ()
    if not found:
        raise InputError(f"{option} {text!r} are not whole numbers; give for example 30,100.")
    return found


def _small(
    split: Path,
    folder: Path | None,
    family: str,
    sizes: str,
    seeds: str,
    targets: int | None,
    own: Path | None,
    columns: str | None,
    training_steps: int | None,
    label: str,
    quiet: bool,
) -> None:
    from crystal_diffusion.errors import InputError
    from crystal_diffusion.workflows.small import COLUMNS, SmallSettings, report, small_benchmark

    numbers, repetitions = _whole_numbers("--sizes", sizes), _whole_numbers("--seeds", seeds)
    if folder is None:
        raise InputError("benchmark small keeps its models; give a folder with --out.")
    chosen = COLUMNS
    if columns is not None:
        chosen = tuple(part.strip() for part in columns.split(";") if part.strip())
    settings = SmallSettings(
        family, numbers, repetitions, targets or 200, chosen, training_steps, label
    )
    with progress(quiet) as bar:
        tasks: dict[str, Any] = {}

        def show(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bar.add_task(label, total=total)
            bar.update(tasks[label], completed=done, total=total)

        cells = small_benchmark(split, folder, settings, own=own, progress=show)
    out.print(report(cells, settings), markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(OK)


def _discovery(
    model: str | None,
    device: str,
    n: int,
    sources: str,
    potentials: str | None,
    seed: int,
    processes: int | None,
    folder: Path | None,
    quiet: bool,
) -> None:
    """The figures of `discovery.benchmark`, printed and written."""
    import json

    from crystal_diffusion.cli.console import StageLines, err
    from crystal_diffusion.discovery.benchmark import (
        benchmark_discovery,
        figures_rows,
        figures_table,
    )
    from crystal_diffusion.energy.potentials import (
        NO_POTENTIAL,
        default_potential,
        installed_second,
    )
    from crystal_diffusion.errors import InputError
    from crystal_diffusion.files import write_text
    from crystal_diffusion.generation.loading import load
    from crystal_diffusion.known.index import load_known

    first = default_potential()
    if potentials is None and first is None:
        raise InputError(f"benchmark discovery: {NO_POTENTIAL}")
    second = installed_second(first) if first else None
    named = tuple(p.strip() for p in (potentials or "").split(",") if p.strip())
    chosen = named or tuple(p for p in (first, second) if p)
    place, known = folder or Path("benchmark-discovery"), load_known()
    figures = benchmark_discovery(
        load(model, device),
        known,
        place,
        n=n,
        sources=tuple(s.strip() for s in sources.split(",") if s.strip()),
        potentials=chosen,
        seed=seed,
        processes=processes,
        progress=StageLines(lambda text: None if quiet else err.print(text, highlight=False)),
    )
    table = figures_table(figures, known.title)
    write_text(place / "discovery.json", json.dumps(figures_rows(figures), indent=1) + "\n")
    write_text(place / "discovery.md", table)
    out.print(table, markup=False, highlight=False, soft_wrap=True)


def _strategies(
    model: str | None,
    device: str,
    budget: int,
    strategies: str,
    systems: str,
    seed: int,
    processes: int | None,
    folder: Path | None,
    quiet: bool,
) -> None:
    """The figures of `discovery.comparison`, printed and written."""
    import json

    from crystal_diffusion.cli.console import err
    from crystal_diffusion.discovery.comparison import (
        compare_strategies,
        strategies_rows,
        strategies_table,
    )
    from crystal_diffusion.discovery.wish import Wish
    from crystal_diffusion.energy.potentials import NO_POTENTIAL, default_potential
    from crystal_diffusion.errors import InputError
    from crystal_diffusion.files import write_text
    from crystal_diffusion.generation.loading import load
    from crystal_diffusion.known.index import load_known

    potential = default_potential()
    if potential is None:
        raise InputError(f"benchmark discovery: {NO_POTENTIAL}")
    asked = [word.strip() for word in systems.split(",") if word.strip()]
    wishes = [Wish() if word == "anything" else Wish(tuple(word.split("-"))) for word in asked]
    place, known = folder or Path("benchmark-strategies"), load_known()
    figures = compare_strategies(
        load(model, device),
        known,
        place,
        wishes=wishes,
        budget=budget,
        strategies=[word.strip() for word in strategies.split(",") if word.strip()],
        potential=potential,
        seed=seed,
        executor="here" if processes == 1 else "local",
        processes=processes,
        say=lambda text: None if quiet else err.print(text, highlight=False, markup=False),
    )
    table = strategies_table(figures, known.title)
    write_text(place / "strategies.json", json.dumps(strategies_rows(figures), indent=1) + "\n")
    write_text(place / "strategies.md", table)
    out.print(table, markup=False, highlight=False, soft_wrap=True)
