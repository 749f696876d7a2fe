"""Forms of the app: each becomes the command line it shows, and nothing else can be asked."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

from crystal_diffusion.app.forms import FORMS, commands, spoken
from crystal_diffusion.cli import verbs
from crystal_diffusion.errors import InputError

KEY = "0123456789ab"


def words(kind: str, **answers: Any) -> tuple[str, ...]:
    return commands(kind, answers, KEY).commands[0]


def test_a_form_becomes_its_command_line() -> None:
    planned = commands("generate", {"formula": "LiFePO4", "n": "20", "charge_neutral": True}, KEY)
    assert spoken(planned.commands) == (
        f"crystal-diffusion generate --formula=LiFePO4 -n 20 --charge-neutral --out jobs/{KEY}/run"
        f" && crystal-diffusion report jobs/{KEY}/run"
    )
    assert words("train", files=KEY, minutes="2") == (
        "train", f"uploads/{KEY}", "--minutes=2", "--out", f"jobs/{KEY}/model",
    )  # fmt: skip
    assert words("screen", run=KEY, top="9") == ("screen", f"jobs/{KEY}/run", "--top=9")
    asked = words("generate", property="band_gap=1..2; density<4")
    assert asked[1:3] == ("--property=band_gap=1..2", "--property=density<4")
    assert words("generate", model=KEY)[1] == f"jobs/{KEY}/model"


def test_defaults_of_the_command_line_are_left_out() -> None:
    assert words("generate", n="10", seed="0") == ("generate", "--out", f"jobs/{KEY}/run")


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.kind)
def test_every_option_exists_and_has_the_default_that_is_stated(form: Any) -> None:
    command = get_command(verbs).commands[form.kind]  # type: ignore[attr-defined]
    options = {name: param for param in command.params for name in param.opts}
    for field in form.fields:
        if field.option:
            param = options[field.option]
            assert field.kind != "flag" or param.is_flag
            if field.own:
                assert str(param.default) == field.own
    importlib.import_module(f"crystal_diffusion.cli.{form.kind}")


@pytest.mark.parametrize(
    ("kind", "answers", "says"),
    [
        ("generate", {"n": "many"}, "whole number"),
        ("generate", {"n": "0"}, "from 1 to"),
        ("generate", {"n": "nan"}, "whole number"),
        ("generate", {"model": "../../etc"}, "no id"),
        ("generate", {"model": "/etc/passwd"}, "no id"),
        ("generate", {"out": "/tmp/x"}, "no field"),
        ("generate", {"formula": "a\nb"}, "printable"),
        ("generate", {"formula": "x" * 400}, "printable"),
        ("generate", {"formula": ["a"]}, "text or a number"),
        ("generate", {"charge_neutral": "maybe"}, "neither yes nor no"),
        ("generate", {"crystal_system": "round"}, "none of"),
        ("train", {}, "is empty"),
        ("screen", {}, "is empty"),
        ("rm", {}, "no form"),
    ],
)
def test_what_cannot_be_asked(kind: str, answers: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        commands(kind, answers, KEY)


@given(st.text(max_size=40))
def test_no_answer_becomes_another_option(text: str) -> None:
    try:
        made = words("generate", formula=text)
    except InputError:
        return
    asked = [word for word in made if word.startswith("-") and not word.startswith("--formula=")]
    assert asked == ["--out"]
