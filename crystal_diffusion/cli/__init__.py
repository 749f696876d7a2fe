"""The command `crystal-diffusion`: one verb per job, each in a file of its own.

Verb files import only typer and rich at the top; everything heavy is imported inside the verb,
so that `--help` answers in a fraction of a second.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from typing import Any

import typer
from typer.core import TyperGroup


class _Verbs(TyperGroup):
    """The list of verbs in plain text: drawing it with rich takes as long as all the rest."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.rich_markup_mode = None
        super().format_help(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        names = [name for name in self.list_commands(ctx) if self.get_command(ctx, name)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, _first_sentence(name)) for name in names])


app = typer.Typer(
    name="crystal-diffusion",
    cls=_Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Learn from crystal structures and make new ones.",
)

#: verb -> file of that name in this folder; the function has the verb's name too.
VERBS: tuple[str, ...] = (
    "fetch",
    "check",
    "train",
    "generate",
    "validate",
    "view",
    "report",
    "relax",
    "screen",
    "dft",
    "evaluate",
    "benchmark",
    "inspect",
    "doctor",
    "demo",
)


def _first_sentence(verb: str) -> str:
    text = getattr(sys.modules[f"crystal_diffusion.cli.{verb}"], verb).__doc__ or ""
    return " ".join(text.split("\n\n")[0].split())


for _verb in VERBS:
    _module = importlib.import_module(f"crystal_diffusion.cli.{_verb}")
    app.command(name=_verb)(getattr(_module, _verb))


def main() -> None:
    """Run the command line; a known error becomes one line and exit code 2."""
    # Two spinning thread pools on two cores made one training step 22 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # spglib and moyopy remark on crystals in which they find no group at the first attempt, and on
    # cells that are no primitive ones; that is nothing a user can act upon.
    os.environ.setdefault("SPGLIB_WARNING", "OFF")
    logging.getLogger("moyo").setLevel(logging.ERROR)
    # pymatgen remarks on noble gases whenever it sorts a formula.
    warnings.filterwarnings("ignore", message="No Pauling electronegativity")
    from crystal_diffusion.errors import CrystalDiffusionError

    try:
        app()
    except CrystalDiffusionError as error:
        from crystal_diffusion.cli.console import err

        err.print(f"[bold red]error:[/] {error}", highlight=False, markup=True)
        sys.exit(2)
    except SystemExit as stop:
        # typer turns Ctrl-C into this code without a word.
        if stop.code == 130:
            from crystal_diffusion.cli.console import err

            kept = "; what was finished is kept, the same command goes on from there"
            err.print(
                "interrupted"
                + (kept if sys.argv[1:2] in (["fetch"], ["train"], ["screen"]) else "")
            )
        raise
