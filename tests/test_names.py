"""One name, one meaning: classes, and the words that used to mean several things."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import crystal_diffusion

PACKAGE = Path(crystal_diffusion.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
#: Rooms that show or hand out rows.
_ROWS = {"runs", "generation", "ranking", "screening", "discovery", "known", "evaluation"}
_SHOWN = {"cli", "viewer", "app"}
#: Rooms that compare crystals with known ones.
_COMPARING = {"matching", "known", "energy", "dft", "screening", "discovery", "evaluation", "runs"}
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


def _names(tree: ast.AST) -> Iterator[str]:
    """Every name that the code of a file makes, reads or passes on, but attributes of others."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_reference_is_what_crystals_are_compared_with(path: Path) -> None:
    """Known crystals and their energies; no library, no model, no frame, no handle.

    `ReferenceIndex` is the matcher's class and may be asked anywhere.
    """
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    own = {"ReferenceIndex", "ReferenceLibrary", "LibraryReference"}  # the last two are old names
    found = {name for name in _names(ast.parse(path.read_text())) if "reference" in name.lower()}
    if room not in _COMPARING | _SHOWN and path.name != "benchmark.py":
        assert not found - own, f"{found - own} in {path.name}"
    assert room in {"matching", *_COMPARING} or "reference" not in path.stem


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_batch_is_what_goes_through_a_network_together(path: Path) -> None:
    """Never a number (that is a size, or `per_round`) and never a yes or no."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.arg) and node.arg in ("batch", "batches", "batched"):
            kind = "" if node.annotation is None else ast.unparse(node.annotation)
            assert (kind and not kind.startswith(("int", "float", "bool"))) or path.parent.name == (
                "cli"  # the old name of an option
            ), f"{node.arg}: {kind} in {path.name}"
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            kind = ast.unparse(node.annotation)
            wrong = node.target.id == "batched" or (
                node.target.id == "batch" and kind.startswith(("int", "float", "bool"))
            )
            assert not wrong, f"{node.target.id}: {kind} in {path.name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_view_is_a_picture_or_a_page(path: Path) -> None:
    """Variables and functions, too; `Tensor.view` is PyTorch's own word and an attribute."""
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    names = set(_names(ast.parse(path.read_text())))
    # An ensemble shows itself with the viewer.
    assert "view" not in names or room in _SHOWN or path.name == "uncertainty.py", path.name
