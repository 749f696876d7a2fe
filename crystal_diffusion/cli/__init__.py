"""The command `crystal-diffusion`: one verb per job, each in a file of its own.

Verb files import only typer and rich at the top; everything heavy is imported inside the verb,
so that `--help` answers in a fraction of a second.
"""

from __future__ import annotations

import gc
import importlib
import io
import logging
import math
import os
import sys
import traceback
import warnings
from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any, NoReturn, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from crystal_diffusion.cli import mistakes
from crystal_diffusion.cli.console import CRASHED, FAILED, INTERRUPTED, OK, err, out, say_badly
from crystal_diffusion.cli.interrupts import keep_interrupts

#: What typer raises for words it cannot take; it keeps its own copy of the class.
Refused: type[Exception] = typer.BadParameter.__bases__[0]


class _Verbs(TyperGroup):
    """The list of verbs in plain text: drawing it with rich takes as long as all the rest."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.rich_markup_mode = None
        super().format_help(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        names = [name for name in self.list_commands(ctx) if self.get_command(ctx, name)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, _first_sentence(name)) for name in names])

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Words before the verb; a wrong first word is answered with an offer."""
        own = {name for param in self.get_params(ctx) for name in param.opts}
        if args and args[0] not in own and args[0] not in VERBS:
            raise Refused(mistakes.wrong_verb(args, VERBS), ctx)
        return super().parse_args(ctx, args)


#: Where a verb keeps the old names that were used until its values are looked at.
_RENAMED = "crystal_diffusion.renamed"


class _Verb(TyperCommand):
    """One verb; words, options and values that cannot be meant are answered with an offer."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Other names of options are replaced by those that the verb has."""
        params = [p for p in self.get_params(ctx) if p.param_type_name == "option"]
        options = [name for p in params for name in (*p.opts, *p.secondary_opts)]
        kinds = _kinds(self.callback)
        takes = {
            name: kinds.get(str(p.name), "")
            for p in params
            if not getattr(p, "is_flag", False)
            for name in p.opts
        }
        places = [p for p in self.params if p.param_type_name == "argument"]
        most = None if any(p.nargs < 0 for p in places) else sum(p.nargs for p in places)
        example = mistakes.example_of(self.callback)
        ctx.meta[_RENAMED] = mistakes.renamed(str(self.name), args)
        try:
            args, words = mistakes.settled(str(self.name), args, options, takes)
        except ValueError as error:
            raise Refused(str(error), ctx) from error
        if not {"--help", "-h"} & set(args):
            wrong = mistakes.wrong_words(str(self.name), words, most, example)
            if not wrong and places and places[0].required and not words:
                wrong = f"{self.name} needs {str(places[0].name).upper()}; for example: {example}"
            if wrong:
                raise Refused(wrong, ctx)
        try:
            return super().parse_args(ctx, args)
        except Refused as error:
            said = error.format_message()  # type: ignore[attr-defined]
            said = said.replace("Value error, ", "")
            raise Refused(f"{said.rstrip('.')}; for example: {example}", ctx) from error

    def invoke(self, ctx: Any) -> Any:
        """Values that cannot be meant are refused in one line, with what an old name became."""
        renamed: Mapping[str, str] = ctx.meta[_RENAMED]
        for name, value in ctx.params.items():
            options = [p.opts for p in self.params if p.name == name and p.opts]
            option = max(options[0], key=len) if options else name
            wrong = _wrong_value(value)
            if wrong:
                raise typer.BadParameter(wrong, ctx=ctx, param_hint=option)
            wrong = mistakes.wrong_value(option, name, value)
            if wrong:
                old = next((old for old, new in renamed.items() if new == option), "")
                raise Refused(f"{wrong} ({old} is now {option}.)" if old else wrong, ctx)
        for old, new in renamed.items():
            note = f"{old} is now {new}; the old name goes in the next version"
            err.print(note, highlight=False)
        return super().invoke(ctx)


def _kinds(function: Any) -> dict[str, str]:
    """Which parameters of a verb are numbers: "integer" or "float" by name."""
    found = {}
    for name, hint in get_type_hints(function).items():
        kinds = {hint, *get_args(hint)}
        if float in kinds or int in kinds:
            found[name] = "float" if float in kinds else "integer"
    return found


def _wrong_value(value: object) -> str:
    """What is wrong with a value of the command line, whatever the verb; empty for nothing."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is no finite number."
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
        return "the number is too large."
    if isinstance(value, list | tuple):
        return next((text for text in map(_wrong_value, value) if text), "")
    text = str(value) if isinstance(value, str | PurePath) else ""
    if "\0" in text:
        return "it holds a zero character."
    return f"it is {len(text)} characters long." if len(text) > _LONGEST_TEXT else ""


#: Characters of one argument.
_LONGEST_TEXT = 10_000

_HELP = {"help_option_names": ["-h", "--help"]}

verbs = typer.Typer(
    name="crystal-diffusion",
    cls=_Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings=_HELP,
    help="Learn from crystal structures and make new ones.",
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        from crystal_diffusion import __version__

        out.print(f"crystal-diffusion {__version__}", highlight=False)
        raise typer.Exit(OK)


@verbs.callback()
def _before_the_verb(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Learn from crystal structures and make new ones."""


#: verb -> file of that name in this folder; the function has the verb's name too.
VERBS: tuple[str, ...] = (
    "fetch",
    "check",
    "train",
    "distill",
    "generate",
    "predict",
    "validate",
    "view",
    "report",
    "relax",
    "screen",
    "discover",
    "dft",
    "evaluate",
    "benchmark",
    "inspect",
    "cache",
    "app",
    "doctor",
    "demo",
)


def _first_sentence(verb: str) -> str:
    text = getattr(sys.modules[f"crystal_diffusion.cli.{verb}"], verb).__doc__ or ""
    return " ".join(text.split("\n\n")[0].split())


for _verb in VERBS:
    _module = importlib.import_module(f"crystal_diffusion.cli.{_verb}")
    verbs.command(name=_verb, cls=_Verb, context_settings=_HELP)(getattr(_module, _verb))


def _refuse_empty(words: list[str]) -> None:
    """Refuse an option with nothing in it, as in ``--formula "$FORMULA"`` with nothing set.

    Raises:
        InputError: naming the option.
    """
    from crystal_diffusion.errors import InputError

    for before, word in zip(["", *words], words, strict=False):
        option, sign, value = word.partition("=")
        if option.startswith("--") and sign and not value.strip():
            raise InputError(f"{option} is empty; give a value, or leave the option out.")
        if not word.strip():
            what = f"the value of {before}" if before.startswith("-") else "an argument"
            raise InputError(f"{what} is empty; give one, or leave it out.")


def main() -> None:
    """Run the command line; a known error becomes one line and exit code 2."""
    # Start-up makes a million objects that stay; going through them again and again for garbage
    # took a tenth of a short command's time.
    gc.set_threshold(100_000, 50, 100)
    # Two spinning thread pools on two cores made one training step 22 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # spglib and moyopy remark on crystals in which they find no group at the first attempt, and on
    # cells that are no primitive ones; that is nothing a user can act upon.
    os.environ.setdefault("SPGLIB_WARNING", "OFF")
    logging.getLogger("moyo").setLevel(logging.ERROR)
    # pymatgen remarks on noble gases whenever it sorts a formula.
    warnings.filterwarnings("ignore", message="No Pauling electronegativity")
    from crystal_diffusion.errors import CrystalDiffusionError

    keep_interrupts()
    for stream in (sys.stdout, sys.stderr):
        # File names need not be text; what cannot be shown is shown as \\x and digits.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        _refuse_empty(sys.argv[1:])
        code = verbs(standalone_mode=False)
        if code == INTERRUPTED:
            _say_interrupted()
        sys.exit(code if isinstance(code, int) else OK)
    except Refused as error:
        _fail(error.format_message())  # type: ignore[attr-defined]
    except CrystalDiffusionError as error:
        _fail(str(error))
    except MemoryError:
        _fail("there is not enough memory; ask for less at once, or for smaller cells.")
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            os._exit(FAILED)
        _fail(f"{str(error.filename or '')[:200]}: {error.strerror or error}.")
    except Exception:
        traceback.print_exc()
        say_badly(
            "fault",
            "this is one of crystal-diffusion, not of your input; please report it with the lines "
            "above.",
        )
        sys.exit(CRASHED)


def _say_interrupted() -> None:
    kept = "; what was finished is kept, the same command goes on from there"
    resumes = sys.argv[1:2] in (["fetch"], ["train"], ["screen"], ["discover"])
    err.print("interrupted" + (kept if resumes else ""))


def _fail(text: str) -> NoReturn:
    say_badly("error", text)
    sys.exit(FAILED)
