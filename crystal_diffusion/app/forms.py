"""The forms of the app: each field is one option of a command line.

The page draws the forms from this list, the command line of a job is built from it, and what is
not in it cannot be asked for. To add an option to a form is to add one line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

from crystal_diffusion.errors import InputError

#: Characters of one answer.
LONGEST = 300
_ID = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True)
class Field:
    """One question of a form.

    Attributes:
        name: key of the answer.
        label: what the page says.
        option: option of the command line, such as ``--formula``; empty for an argument.
        kind: text, list (several, with semicolons), integer, number, choice, flag, upload, model or
            run.
        help: one sentence below the field.
        default: answer at the start; the option is left out where it is the command's own.
        own: the default of the command line.
        choices: answers of a choice.
        low, high: bounds of numbers.
        more: shown only when more options are asked for.
    """

    name: str
    label: str
    option: str = ""
    kind: str = "text"
    help: str = ""
    default: str = ""
    own: str = ""
    choices: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    more: bool = False


@dataclass(frozen=True)
class Form:
    """One verb of the command line as a form.

    Attributes:
        kind: its key.
        title: heading.
        about: what it does, one sentence.
        button: text of the button.
        fields: questions in their order.
    """

    kind: str
    title: str
    about: str
    button: str
    fields: tuple[Field, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """For the page; bounds that are none are left out."""
        plain = asdict(self)
        for one in plain["fields"]:
            for side in ("low", "high"):
                if not math.isfinite(one[side]):
                    one[side] = None
        return plain


_SEED = Field("seed", "Seed", "--seed", "integer", "The same seed gives the same crystals.", "0",
              "0", low=0, high=2**31, more=True)  # fmt: skip

FORMS: tuple[Form, ...] = (
    Form(
        "generate",
        "Make crystals",
        "Ask for crystals by any of these; what you leave empty is free.",
        "Make crystals",
        (
            Field("model", "Model", kind="model", help="The pretrained model, or one you trained."),
            Field("formula", "Formula", "--formula", help="For example LiFePO4."),
            Field("elements", "Elements", "--elements", help="All of them, for example Li,Fe,O."),
            Field("property", "Properties", "--property", "list",
                  "For example band_gap=1.5..2.5; density<4"),
            Field("text", "Or in words", "--text",
                  help="For example: a cubic lithium oxide with a gap above 3 eV"),
            Field("n", "How many", "-n", "integer", default="10", own="10", low=1, high=10_000),
            Field("spacegroup", "Space group", "--spacegroup", help="Number or symbol."),
            Field("natoms", "Atoms per cell", "--natoms", help="For example 8 or 8-16.", more=True),
            Field("exclude", "Without", "--exclude", help="Elements that must not appear.",
                  more=True),
            Field("lattice", "Cell", "--lattice", help="a,b,c,alpha,beta,gamma in Å and degrees.",
                  more=True),
            Field("crystal_system", "Crystal system", "--crystal-system", "choice", more=True,
                  choices=("", "triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal",
                           "hexagonal", "cubic")),
            Field("charge_neutral", "Charges balance", "--charge-neutral", "flag", more=True),
            Field("host", "Host", "--host", "upload", "A structure file that stays as it is.",
                  more=True),
            Field("add", "Add to the host", "--add", help="Atoms, for example Li2.", more=True),
            _SEED,
        ),
    ),
    Form(
        "train",
        "Train on your crystals",
        "The pretrained model learns from your files; a few minutes for some ten crystals.",
        "Train",
        (
            Field("files", "Your crystals", kind="upload",
                  help="CIF, POSCAR, extxyz, CSV … drop files or a folder here."),
            Field("minutes", "At most (minutes)", "--minutes", "number", low=0.1, high=10_000,
                  more=True),
            Field("from_scratch", "From your crystals alone", "--from-scratch", "flag", more=True),
            _SEED,
        ),
    ),
    Form(
        "screen",
        "Screen",
        "Relax, compare with the hull of known crystals, and rank.",
        "Screen",
        (
            Field("run", "Run", kind="run", help="Crystals that were made here."),
            Field("files", "Or your files", kind="upload", help="Drop files or a folder here."),
            Field("top", "Short list", "--top", "integer", default="5", own="5", low=1, high=1000),
            Field("relax_steps", "Relaxation steps", "--relax-steps", "integer", default="100",
                  own="100", low=1, high=10_000, more=True),
            Field("fix_cell", "Move atoms only", "--fix-cell", "flag", more=True),
        ),
    ),
    Form(
        "predict",
        "Predict",
        "Properties of crystals, each with an interval.",
        "Predict",
        (
            Field("run", "Run", kind="run", help="Crystals that were made here."),
            Field("files", "Or your files", kind="upload", help="Drop files or a folder here."),
        ),
    ),
    Form(
        "check",
        "Check files",
        "Read files as training would, and say what is odd about them.",
        "Check",
        (Field("files", "Your files", kind="upload", help="Drop files or a folder here."),),
    ),
)  # fmt: skip


def form(kind: str) -> Form:
    """The form of a kind.

    Raises:
        InputError: when there is none.
    """
    for one in FORMS:
        if one.kind == kind:
            return one
    raise InputError(
        f"{str(kind)[:40]!r} is no form; choose one of {', '.join(f.kind for f in FORMS)}."
    )


@dataclass(frozen=True)
class Commands:
    """What a job will run.

    Attributes:
        commands: words of each command line, without the program.
        out: folder with the result, relative to the app's folder; empty for none.
        title: a few words for the list of jobs.
    """

    commands: tuple[tuple[str, ...], ...]
    out: str
    title: str


def commands(kind: str, answers: Mapping[str, Any], job: str) -> Commands:
    """The command lines of a filled form; paths are relative to the app's folder.

    Args:
        kind: of the form.
        answers: field to answer: text, true or false; ids of uploads, models and runs.
        job: id of the job to be.

    Raises:
        InputError: names the field, what is wrong with it and what to do.
    """
    asked = form(kind)
    unknown = set(answers) - {f.name for f in asked.fields}
    if unknown:
        raise InputError(f"{asked.title}: there is no field {sorted(unknown)[0][:40]!r}.")
    given = {f.name: _answer(asked, f, answers.get(f.name)) for f in asked.fields}
    options: list[str] = []
    for one in asked.fields:
        value = given[one.name]
        if not one.option or value in ("", one.own):
            continue
        if one.kind == "flag":
            options.append(one.option)
        elif one.kind == "list":
            options += [f"{one.option}={part.strip()}" for part in value.split(";") if part.strip()]
        elif one.option.startswith("--"):
            # With the sign no answer can be taken for another option.
            options.append(f"{one.option}={value}")
        else:
            options += [one.option, value]
    place = PurePosixPath("jobs", job)
    if kind == "generate":
        run = str(place / "run")
        model = [given["model"]] if given["model"] else []
        wish = given["formula"] or given["elements"] or given["text"][:40] or "anything"
        made = ("generate", *model, *options, "--out", run)
        return Commands((made, ("report", run)), run, f"{given['n'] or '10'} × {wish}")
    if kind == "train":
        model_folder = str(place / "model")
        source = _needed(asked, given["files"], "Your crystals")
        return Commands((("train", source, *options, "--out", model_folder),), model_folder,
                        "training")  # fmt: skip
    if kind == "screen":
        if given["run"]:
            return Commands((("screen", given["run"], *options),), given["run"], "screening")
        source, run = _needed(asked, given["files"], "Run"), str(place / "run")
        words = ("screen", source, *options, "--out", run)
        return Commands((words,), run, "screening of files")
    if kind == "predict":
        source = given["run"] or _needed(asked, given["files"], "Run")
        table = str(place / "predicted" / "properties.csv")
        return Commands((("predict", source, "--out", table),), str(place / "predicted"),
                        "prediction")  # fmt: skip
    source = _needed(asked, given["files"], "Your files")
    return Commands((("check", source),), "", "check of files")


def _needed(asked: Form, value: str, label: str) -> str:
    if not value:
        raise InputError(f"{asked.title}: {label} is empty; choose or drop something there.")
    return value


def _answer(asked: Form, one: Field, value: Any) -> str:
    """An answer as the text of the command line; empty for none."""
    where = f"{asked.title}, {one.label}"
    if value is None or value is False or value == "":
        return ""
    if one.kind == "flag":
        if value is not True:
            raise InputError(f"{where}: {str(value)[:40]!r} is neither yes nor no.")
        return "yes"
    if not isinstance(value, str | int | float) or value is True:
        raise InputError(f"{where}: text or a number is wanted.")
    text = str(value).strip()
    if len(text) > LONGEST or not text.isprintable():
        raise InputError(f"{where}: give at most {LONGEST} printable characters in one line.")
    if one.kind in ("upload", "model", "run"):
        if not text:
            return ""
        if not _ID.fullmatch(text):
            raise InputError(f"{where}: {text[:40]!r} is no id; choose from the list.")
        return _place(one.kind, text)
    if one.kind == "choice" and text not in one.choices:
        raise InputError(f"{where}: {text[:40]!r} is none of {', '.join(c for c in one.choices if c)}.")  # fmt: skip  # noqa: E501
    if one.kind in ("integer", "number") and text:
        return _number(where, one, text)
    return text


def _number(where: str, one: Field, text: str) -> str:
    try:
        value = float(text)
        if one.kind == "integer":
            int(text)
    except ValueError as error:
        kind = "a whole number" if one.kind == "integer" else "a number"
        raise InputError(f"{where}: {text[:40]!r} is not {kind}.") from error
    if not (math.isfinite(value) and one.low <= value <= one.high):
        raise InputError(f"{where}: give a number from {one.low:g} to {one.high:g}.")
    return text


def _place(kind: str, key: str) -> str:
    """Where the thing of an id lies, relative to the app's folder."""
    if kind == "upload":
        return str(PurePosixPath("uploads", key))
    return str(PurePosixPath("jobs", key, kind))


def spoken(words: Sequence[Sequence[str]]) -> str:
    """Command lines as they can be typed."""
    import shlex

    return " && ".join(shlex.join(["crystal-diffusion", *one]) for one in words)
