"""The command line and Python have the same words for the same things."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any, get_args, get_type_hints

import pytest
import typer.main
from typer.testing import CliRunner

import crystal_diffusion as cd
from crystal_diffusion.cli import VERBS, verbs
from crystal_diffusion.cli.mistakes import RENAMED
from crystal_diffusion.data.check import check_source
from crystal_diffusion.discovery.loop import DiscoverySettings
from crystal_diffusion.discovery.wish import Budget, Wish
from crystal_diffusion.errors import InputError
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.loading import load
from crystal_diffusion.screening.settings import ScreenSettings
from crystal_diffusion.workflows.generate import generate_run

COMMAND = typer.main.get_command(verbs)
#: What only a command has: where it writes, how much it prints.
PRINTED = {"quiet", "out", "rows", "overwrite", "help"}


def options(verb: str) -> dict[str, set[str]]:
    """Names of each option of a verb, by its parameter, as Python would write them."""
    command = COMMAND.commands[verb]  # type: ignore[attr-defined]
    found = {}
    for param in command.params:
        if param.param_type_name == "option":
            names = {name.lstrip("-").replace("-", "_") for name in param.opts}
            found[str(param.name)] = {*names, str(param.name)}
    return found


def keywords(*sources: Any) -> set[str]:
    """Arguments of functions and fields of settings."""
    out: set[str] = set()
    for source in sources:
        named: Iterable[str]
        if inspect.isclass(source):
            named = (f.name for f in fields(source))
        else:
            named = inspect.signature(source).parameters
        out |= set(named)
    return out


def accepted(call: Callable[..., Any]) -> set[str]:
    """The keywords that a function names when it refuses one that is like nothing."""
    with pytest.raises(InputError) as caught:
        call(zzzzqqqq=1)
    return set(str(caught.value).partition("it takes ")[2].rstrip(".").split(", "))


#: For each verb its words in Python, and the options that are called or done otherwise there.
PYTHON: dict[str, tuple[set[str], dict[str, str]]] = {
    "generate": (
        keywords(CrystalGenerator.generate, CrystalGenerator.run, load, generate_run)
        | accepted(load().generate),
        {
            "property": "properties: several, in a list",
            "profile": "validator: a PhysicsValidator",
            "symmetrise": "generation.symmetric.write_symmetrised, of a run folder",
        },
    ),
    "train": (
        keywords(cd.train, cd.TrainingSettings, cd.ModelSettings, cd.DataSettings),
        {"property": "properties: several, in a list"},
    ),
    "check": (keywords(check_source), {}),
    "validate": (keywords(cd.validate), {"processes": "files only"}),
    "screen": (
        keywords(cd.screen, ScreenSettings),
        {"disorder": "cd.check and readers", "parquet": "a table of the result"},
    ),
    "relax": (keywords(cd.screen, ScreenSettings), {}),
    "predict": (keywords(cd.predict), {}),
    "fetch": (keywords(cd.fetch), {"key_file": "key: the key itself", "property": "properties"}),
    "distill": (keywords(cd.distill), {}),
    "discover": (
        keywords(DiscoverySettings, Wish, Budget, load),
        {"above_hull": "Wish(most_above_hull)"},
    ),
}


@pytest.mark.parametrize("verb", PYTHON)
def test_options_are_keywords_of_python(verb: str) -> None:
    words, otherwise = PYTHON[verb]
    unknown = {
        name
        for name, names in options(verb).items()
        if not names & words and not names & set(otherwise) and not names & PRINTED
    }
    assert not unknown
    assert not set(otherwise) & words, "these agree; take them out of the list"


def test_every_verb_has_help_in_short_and_one_meaning_for_each_option() -> None:
    runner = CliRunner()
    kinds: dict[str, set[str]] = defaultdict(set)
    for verb in VERBS:
        assert runner.invoke(verbs, [verb, "-h"]).exit_code == 0
        function = COMMAND.commands[verb].callback  # type: ignore[attr-defined]
        hints = get_type_hints(inspect.unwrap(function))
        for name in options(verb):
            hint = hints.get(name, "other")
            plain = [part for part in get_args(hint) or (hint,) if part is not type(None)]
            kinds[name].add(str(plain[0]))
    having = {verb for verb in VERBS if "steps" in options(verb)}
    assert having == {"train", "distill"}  # elsewhere --sampling-steps or --relax-steps
    assert {"steps", "seed", "noise_share"} <= set(kinds)
    different = {name: found for name, found in kinds.items() if len(found) > 1}
    # The same words, twice written as an enumeration; one of a kind, or several of them.
    assert set(different) == {"disorder", "profile", "properties", "reference"}
    for name in ("--number", "--space-group", "--num-atoms"):
        assert name in {n for p in COMMAND.commands["generate"].params for n in p.opts}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("verb", "old", "new"),
    [(v, old, new) for v, names in RENAMED.items() for old, new in names.items()],
)
def test_old_options_name_options_that_are_there(verb: str, old: str, new: str) -> None:
    now = {n for p in COMMAND.commands[verb].params for n in (*p.opts, *p.secondary_opts)}  # type: ignore[attr-defined]
    assert new in now and old not in now
