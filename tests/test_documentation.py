"""What the documentation tells users to type exists: commands, options, links, Python names."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from crystal_diffusion.cli import verbs
from crystal_diffusion.pretrained import asset_files, card_of

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def blocks(page: Path) -> list[tuple[str, str]]:
    return re.findall(r"```(\w*)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands(page: Path) -> list[str]:
    found = []
    for language, text in blocks(page):
        if language in ("", "bash", "sh"):
            joined = text.replace("\\\n", " ")
            found += [x for x in joined.splitlines() if x.startswith("crystal-diffusion ")]
    table = re.findall(r"`((?:crystal-diffusion )?generate [^`]*)`", page.read_text("utf-8"))
    return [*found, *table]


COMMANDS = [(page.name, line) for page in PAGES for line in commands(page)]
SNIPPETS = [
    (page.name, text) for page in PAGES for language, text in blocks(page) if language == "python"
]


def test_there_is_something_to_check() -> None:
    assert len(COMMANDS) > 20 and len(SNIPPETS) > 5


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_commands_can_be_typed(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    words = words[1:] if words[0] == "crystal-diffusion" else words
    main = get_command(verbs)
    command = main
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
    assert command is not main, f"{page}: no such verb in {line!r}"
    options = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    for word in words:
        if re.match(r"-{1,2}[a-zA-Z]", word):
            name = word.split("=")[0]
            assert name in options or name == "--help", f"{page}: {name} in {line!r}"


@pytest.mark.parametrize(("page", "text"), SNIPPETS)
def test_snippets_are_python_and_their_imports_exist(page: str, text: str) -> None:
    tree = ast.parse(text)
    package = None
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                if name.name == "crystal_diffusion":
                    package = name.asname or name.name
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("crystal_diffusion"):
            module = importlib.import_module(node.module or "")
            for name in node.names:
                assert hasattr(module, name.name), f"{page}: {node.module}.{name.name}"
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == package
        ):
            module = importlib.import_module("crystal_diffusion")
            assert hasattr(module, node.attr), f"{page}: crystal_diffusion.{node.attr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
    for script in re.findall(r"\b(?:benchmarks|examples|recipes)/\w+\.py\b", text):
        assert (ROOT / script).exists(), f"{page.name}: {script}"


def test_every_shipped_file_has_a_card() -> None:
    """See tests/test_assets.py for what a card says."""
    without = [path.name for path in asset_files() if not card_of(path).is_file()]
    assert not without, "write a card like pretrained/ranker.md, then recipes/stamp_cards.py"


def test_contributing_names_files_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:[\w.]+/)+\w+\.py|tests/\w+/)", text)
    assert len(paths) > 15
    for path in (p for p in paths if "NAME" not in p):
        here = (ROOT / path, ROOT / "crystal_diffusion" / path)
        assert any(p.exists() for p in here), f"CONTRIBUTING.md: {path}"


def test_the_picture_of_the_house_has_every_room_on_its_floor() -> None:
    from tests.test_layers import LAYERS

    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    picture = text.split("```")[1]
    floors = dict(re.findall(r"floor (\d) +(.*)", picture))
    for room, floor in LAYERS.items():
        if 0 <= floor <= 7 and room != "frozen":
            assert room in re.findall(r"\w+", floors[str(floor)]), f"{room} on floor {floor}"
