"""Pages: the call of the original design, notebooks, nothing loaded from elsewhere."""

from __future__ import annotations

import html
import re
from pathlib import Path

import numpy as np
import pytest
from sample_run import perovskite, rock_salt

from crystal_diffusion import visualize_crystal
from crystal_diffusion.errors import InputError
from crystal_diffusion.viewer import gallery_html, gallery_page

#: Anything that would make a browser fetch something.
LOADS = re.compile(
    r"""(?:src|href|action)\s*=\s*["']?\s*(?:https?:)?//|@import|url\(\s*["']?http"""
)


def test_the_call_of_the_original_design(tmp_path: Path) -> None:
    positions = np.random.default_rng(1).random((8, 3)).astype(np.float32)
    view = visualize_crystal(positions, 5.0 * np.eye(3, dtype=np.float32))
    assert "8 atoms of unknown element" in repr(view)
    page = view.save(tmp_path / "x.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and "<canvas" in page
    assert not LOADS.search(page)
    assert "default-src 'none'" in page


def test_nothing_is_opened_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    visualize_crystal(perovskite())
    assert opened == []
    visualize_crystal(perovskite(), show=True)
    assert len(opened) == 1 and opened[0].startswith("file:")


def test_notebook_display_is_one_frame_with_the_page_inside() -> None:
    shown = visualize_crystal(perovskite())._repr_html_()
    inside = re.fullmatch(r'<iframe srcdoc="([^"]*)"[^>]*></iframe>', shown)
    assert inside is not None
    assert "SrTiO<sub>3</sub>" in html.unescape(inside[1])


def test_titles_cannot_break_the_page() -> None:
    page = visualize_crystal(perovskite(), title="</script><b>x").html()
    assert "</script><b>x" not in page


def test_gallery_has_one_canvas_each_and_captions() -> None:
    crystals = [perovskite(), rock_salt("Na", "Cl", 5.64)]
    page = gallery_page(crystals, ["first & best", "second"])
    assert page.count("<figure><canvas") == 2 and "first &amp; best" in page
    assert not LOADS.search(page)
    assert gallery_html(crystals).startswith("<iframe srcdoc=")
    with pytest.raises(InputError, match="3 entries for 2 structures"):
        gallery_html(crystals, ["a", "b", "c"])
    assert "No structures." in gallery_page([])
