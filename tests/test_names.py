"""One name, one meaning: classes, and the words that used to mean several things."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "crystal_diffusion"
FILES = sorted(PACKAGE.rglob("*.py"))
#: Rooms that show or hand out rows.
_ROWS = {"runs", "generation", "ranking", "screening", "discovery", "known", "evaluation"}
_SHOWN = {"cli", "viewer", "app"}
#: Arguments and fields of these names mean what is said here, and stand in these rooms only.
WORDS = {
    "rank": _ROWS | _SHOWN,  # the place in an order of crystals; a column
    "novel": _ROWS | _SHOWN,  # whether none of the known crystals is the same; a column
    "view": _SHOWN,  # a picture or a page of crystals
}


def classes() -> Iterator[tuple[str, str]]:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                yield node.name, str(path.relative_to(PACKAGE))


def test_two_classes_never_share_a_name() -> None:
    found = defaultdict(list)
    for name, place in classes():
        found[name.lstrip("_")].append(place)
    assert len(found) > 200
    shared = {name: places for name, places in found.items() if len(places) > 1}
    assert not shared


def _declared(tree: ast.AST) -> Iterator[str]:
    """Names of arguments and of fields of classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            arguments = node.args
            for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
                yield argument.arg
        if isinstance(node, ast.ClassDef):
            for line in node.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    yield line.target.id


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_words_mean_one_thing(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    names = set(_declared(ast.parse(path.read_text())))
    wrong = {word for word, rooms in WORDS.items() if word in names and room not in rooms}
    assert not wrong, f"{wrong} in {path.name}"
    # What the library holds already comes last by `known_last`, not by `new`.
    assert not (room in _ROWS and "new" in names), path.name


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_not_called_after_nothing(path: Path) -> None:
    assert path.stem not in {"utils", "common", "helpers", "misc"}


def test_each_test_file_has_a_name_of_its_own() -> None:
    """Two of one name in rooms without ``__init__.py`` cannot be collected in one run."""
    names = Counter(path.name for path in Path(__file__).parent.glob("*/**/test_*.py"))
    assert not [name for name, count in names.items() if count > 1]
