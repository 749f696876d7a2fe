"""The verb `fetch`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crystal_diffusion.cli.check import DisorderChoice, LeftHandedChoice
from crystal_diffusion.cli.console import OK, PARTIAL, out, progress

if TYPE_CHECKING:
    from crystal_diffusion.data.sources.fetching import FetchResult


def fetch(
    source: Annotated[str, typer.Argument(help="optimade, mp, cod or icsd.", show_default=False)],
    query: Annotated[
        str,
        typer.Argument(
            help="optimade: a filter in its language. mp, cod: 'elements=Li,O nsites<=20', "
            "Li-Fe-O, LiFePO4, ids, all. cod, icsd: also a file, folder or archive of CIFs.",
            show_default=False,
        ),
    ],
    table: Annotated[Path, typer.Option("--out", "-o", help="The table.")] = Path("data.parquet"),
    provider: Annotated[
        str | None,
        typer.Option(
            "--provider", "--url", help="Known name (alexandria, oqmd, ...) or address of it."
        ),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help="File with the key; for mp, MP_API_KEY is read where there is none."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Most entries.")] = None,
    properties: Annotated[
        str | None, typer.Option(help="Labels of an OPTIMADE provider, with commas.")
    ] = None,
    disorder: Annotated[
        DisorderChoice, typer.Option(help="Partial occupancy: skip, order or stop.")
    ] = DisorderChoice.skip,
    left_handed: Annotated[
        LeftHandedChoice, typer.Option(help="Left-handed cells: skip them, or swap a and b.")
    ] = LeftHandedChoice.swap,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a table that exists.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Nothing but errors.")] = False,
) -> None:
    """Fetch crystals from a database into a Parquet table; the same command resumes a killed one.

    Exit code 0: everything is in the table; 1: something was left out, listed beside it; 2: nothing
    was written.

    Example: crystal-diffusion fetch optimade 'elements HAS "Li"' --provider oqmd -o data.parquet
    """
    from crystal_diffusion.data.sources.fetching import fetch as run_fetch
    from crystal_diffusion.data.sources.fetching import read_key

    with progress(quiet) as bar:
        task = bar.add_task("fetching", total=None)
        result = run_fetch(
            source,
            query,
            table,
            provider=provider,
            key=read_key(key_file, "MP_API_KEY" if source == "mp" else None),
            limit=limit,
            properties=None if properties is None else properties.split(","),
            disorder=disorder.value,
            left_handed=left_handed.value,
            overwrite=overwrite,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if not quiet:
        _show(result)
    raise typer.Exit(OK if result.complete and not result.left_out else PARTIAL)


def _show(result: FetchResult) -> None:
    from crystal_diffusion.data.sources.fetching import reasons

    def say(text: str) -> None:
        out.print(text, highlight=False, markup=False, soft_wrap=True)

    say(f"{result.crystals} crystals in {result.out}")
    if result.resumed:
        say(f"  {result.resumed} of the entries were there from an unfinished fetch")
    for kind, count in reasons(result.left_out).items():
        say(f"  left out, {kind}: {count}")
    if result.skipped_file is not None:
        say(f"  what was left out, and why: {result.skipped_file}")
    if result.repeated:
        say(f"  {result.repeated} entries were sent more than once and are in the table once")
    if not result.complete:
        say(
            f"  the database announced {result.announced} entries and sent {result.received}; "
            "fetch again with --overwrite if it has changed meanwhile"
        )
    for origin in result.origins:
        say(f"  {origin.sentence()}")
    say(f"Next: crystal-diffusion check {result.out}")
