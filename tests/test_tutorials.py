"""The tutorials are run as a reader would; the site's equations become MathML, code stays code."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))


def recipe(name: str) -> ModuleType:
    """A script of `recipes/`, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "recipes" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_none_is_missing() -> None:
    assert [page.name[0] for page in PAGES] == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_runs(page: Path, tmp_path: Path) -> None:
    runner = recipe("run_tutorials")
    ran = runner.run_page(page, tmp_path)
    assert len(ran) >= 2
    # Nothing has been calculated in the last tutorial, and collecting says so with its code.
    fine = {0, 1, 2} if page.stem == "5-dft" else {0, 1}
    for one in ran:
        assert one.code in (fine if "--collect" in one.text else {0, 1}), one
        assert "Traceback" not in one.told, one.told
        assert one.told.strip(), f"{one.text} printed nothing"
    shown = re.findall(r"!\[.*?\]\(\.\./pictures/tutorials/(.*?)\)", page.read_text("utf-8"))
    assert shown
    for picture in shown:
        made = tmp_path / picture.removeprefix(f"{page.stem}-")
        assert made.stat().st_size > 5_000
        assert (ROOT / "docs" / "pictures" / "tutorials" / picture).is_file()


def test_equations_become_mathml() -> None:
    pytest.importorskip("latex2mathml", reason="needs the extra docs")
    text = "a $x_t$ and\n\n$$\\frac{1}{2}$$\n\n`$kept$` costs $5\n```\n$$kept$$\n```\n"
    made = recipe("site_mathematics").with_mathematics(text)
    assert made.count("<math") == 2 and "<mfrac>" in made
    assert "`$kept$` costs $5" in made and "$$kept$$" in made
