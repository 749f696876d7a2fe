"""Nothing in the package is there for tests alone, and the list of errors put in does not rot."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.mutants.__main__ import broken, read_mutants

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "crystal_diffusion"
#: Called by libraries under these names (typer, import, ASE, torch, pymatgen), or part of the
#: original design, which promises them.
CALLED_BY_OTHERS = {
    "format_commands", "_before_the_verb", "writable", "create_module", "exec_module",
    "right_inverse", "get_lll_frac_coords", "enforce_pbc", "p_sample", "correct_structure",
}  # fmt: skip


def _uses(paths: Iterable[Path]) -> Counter[str]:
    """How often names are read, called, passed on as keywords or named as text."""
    found: Counter[str] = Counter()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                found[node.id] += 1
            elif isinstance(node, ast.Attribute):
                found[node.attr] += 1
            elif isinstance(node, ast.keyword) and node.arg:
                found[node.arg] += 1
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found[node.value] += 1
    return found


def _made(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Functions, classes and methods, and constants of modules."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.ClassDef):
            yield from (n.name for n in node.body if isinstance(n, ast.FunctionDef))
        if isinstance(node, ast.Assign):
            yield from (t.id for t in node.targets if isinstance(t, ast.Name))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def test_nothing_is_there_for_tests_alone() -> None:
    """Used by the package, a recipe, a benchmark or an example, or named in the documentation."""
    folders = ("crystal_diffusion", "recipes", "benchmarks", "examples")
    used = _uses(path for name in folders for path in (ROOT / name).rglob("*.py"))
    pages = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    told = set(re.findall(r"\w+", " ".join(page.read_text(encoding="utf-8") for page in pages)))
    unused = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in _made(ast.parse(path.read_text(encoding="utf-8")).body):
            dunder = name.startswith("__") and name.endswith("__")
            if not dunder and not used[name] and name not in told | CALLED_BY_OTHERS:
                unused[name] = str(path.relative_to(ROOT))
    assert not unused


def test_the_exceptions_are_still_there() -> None:
    made = {
        name
        for path in PACKAGE.rglob("*.py")
        for name in _made(ast.parse(path.read_text(encoding="utf-8")).body)
    }
    assert made >= CALLED_BY_OTHERS


def test_every_error_of_the_list_can_still_be_put_in() -> None:
    """`make mutants` stops where a text is no longer found; this finds it in a second."""
    mutants = read_mutants()
    assert len(mutants) > 190
    assert not broken(mutants)
