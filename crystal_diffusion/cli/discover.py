"""The verb `discover`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crystal_diffusion.cli.console import OK, PARTIAL, err, out


def discover(
    elements: Annotated[
        str | None, typer.Option(help="Made of these only, with commas; any if not given.")
    ] = None,
    exclude: Annotated[str | None, typer.Option(help="Without these, with commas.")] = None,
    family: Annotated[
        str | None, typer.Option(help="Letters and counts of the formula, such as ABX3.")
    ] = None,
    budget: Annotated[
        int | None, typer.Option(help="Crystals to relax; 100 if no --minutes are given.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Wall time.")] = None,
    above_hull: Annotated[
        float, typer.Option(help="Accepted at or below this, eV/atom above hull.")
    ] = 0.1,
    most_atoms: Annotated[int, typer.Option(help="Of a primitive cell.")] = 20,
    potential: Annotated[
        str | None, typer.Option(help="Relaxes and places on the hull: diep.")
    ] = None,
    second: Annotated[
        str | None,
        typer.Option(
            help="Must agree: sevennet, chgnet-r2scan or chgnet, the first installed; none for "
            "no second opinion."
        ),
    ] = None,
    strategy: Annotated[
        str, typer.Option(help="loop; once, exchange or random to compare with.")
    ] = "loop",
    seed: Annotated[int, typer.Option(help="Seed of all that is drawn.")] = 0,
    per_round: Annotated[int, typer.Option(help="Crystals relaxed in a round.")] = 20,
    folder: Annotated[Path, typer.Option("--out", "-o", help="Where to write.")] = Path(
        "discovery"
    ),
    model: Annotated[str | None, typer.Option(help="Model folder; the one in the box.")] = None,
    executor: Annotated[str, typer.Option(help="local, here, ray or ray:ADDRESS.")] = "local",
    processes: Annotated[
        int | None, typer.Option(help="Worker processes; all usable cores if not given.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Nothing but errors.")] = False,
) -> None:
    """Search by itself: propose, order, relax, place on the hull, ask a second potential, learn.

    A killed run goes on where it was: give the same command again. Exit code 0: something was
    accepted; 1: nothing was; 2: it could not be done.

    Example: crystal-diffusion discover --elements Na,Sb,S --budget 100
    """
    from crystal_diffusion.discovery.loop import Discovery, DiscoverySettings
    from crystal_diffusion.discovery.reporting import write_discovery
    from crystal_diffusion.discovery.wish import Budget, Wish
    from crystal_diffusion.energy.potentials import (
        NO_POTENTIAL,
        default_potential,
        installed_second,
    )
    from crystal_diffusion.errors import InputError
    from crystal_diffusion.generation.loading import load
    from crystal_diffusion.known.index import load_known

    first = potential or default_potential()
    if first is None:
        raise InputError(f"discover: {NO_POTENTIAL}")
    judge = None if second == "none" else second or installed_second(first)
    settings = DiscoverySettings(
        wish=Wish(_words(elements), _words(exclude), family, most_atoms, above_hull),
        budget=Budget(budget if budget or minutes else 100, minutes),
        potential=first,
        second=judge,
        strategy=strategy,
        seed=seed,
        per_round=per_round,
        executor=executor,
        processes=processes,
    )

    def say(text: str) -> None:
        if not quiet:
            err.print(text, highlight=False, markup=False, soft_wrap=True)

    known = load_known()
    say(f"looking for {settings.wish.words}, not among {known.title}")
    if judge is None and second != "none":
        say("no second potential is asked; for one type: pip install sevenn")
    search = Discovery(folder, settings, load(model), known, say)
    found = search.run()
    accepted = write_discovery(folder, settings, found, known, search.seconds)
    if not quiet:
        out.print(
            f"{len(accepted)} accepted of {len(found)} relaxed in {search.seconds / 60:.1f} min",
            highlight=False,
        )
        for f in accepted[:10]:
            other = "" if f.second is None else f", {f.second:+.3f} by {judge}"
            out.print(
                f"  {f.id}  {f.structure.composition.reduced_formula}  {f.above_hull:+.3f} eV/atom "
                f"above hull by {first}{other}",
                highlight=False,
            )
        out.print(f"written to {folder}: report.md, cif/, structures.csv", highlight=False)
    raise typer.Exit(OK if accepted else PARTIAL)


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())
