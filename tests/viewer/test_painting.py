"""The PNG: right colours at the right places, nothing opened."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from sample_run import perovskite

from crystal_diffusion.errors import InputError
from crystal_diffusion.viewer import visualize_crystal
from crystal_diffusion.viewer.formulas import pieces
from crystal_diffusion.viewer.painting import render
from crystal_diffusion.viewer.scene import Look, make_scene


def _share(picture: np.ndarray, channel: int) -> float:
    """Share of pixels in which one of red, green, blue is 1.6 times as strong as both others."""
    others = np.delete(picture[..., :3], channel, axis=-1).max(-1)
    return float((picture[..., channel] > 1.6 * others).mean())


def test_png_shows_red_oxygen_and_green_strontium(tmp_path: Path) -> None:
    path = visualize_crystal(perovskite()).png(tmp_path / "cell.png", width=450, height=380)
    picture = imread(path)
    assert picture.shape[:2] == (380, 450)
    assert _share(picture, 0) > 0.01
    assert _share(picture, 1) > 0.05
    assert _share(picture, 2) < 0.002
    assert (picture[..., :3].min(-1) > 0.99).mean() > 0.3  # paper
    assert not list(tmp_path.glob("*.part"))
    assert (
        "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    )


def test_a_near_atom_hides_a_far_one() -> None:
    scene = make_scene(
        np.array([[0.3, 0.5, 0.5], [0.7, 0.5, 0.5]]),
        6 * np.eye(3),
        [8, 7],
        look=Look(bonds=False, cell="given"),
    )
    turn = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])  # towards the eye: a
    object.__setattr__(scene, "view", lambda: turn)
    red, _, blue, alpha = render(scene, 100, 100)[50, 50]
    assert alpha == 1 and blue > red  # nitrogen is in front
    object.__setattr__(scene, "view", lambda: turn * [[-1], [1], [-1]])
    red, _, blue, _ = render(scene, 100, 100)[50, 50]
    assert red > blue


def test_a_sphere_has_the_size_of_its_radius() -> None:
    scene = make_scene(
        np.array([[0.5, 0.5, 0.5]]), 0.2 * np.eye(3), [55], look=Look(bonds=False, images=False)
    )
    covered = render(scene, 200, 200)[..., 3].mean()
    assert covered == pytest.approx(np.pi / 4 * 0.94**2, rel=0.02)


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"use .html .* or .png"):
        visualize_crystal(perovskite(), path=tmp_path / "cell.gif")


def test_polyhedra_are_translucent_and_in_the_colour_of_their_centre() -> None:
    plain = make_scene(perovskite())
    with_faces = render(plain.shown(polyhedra=True), 220, 200)
    without = render(plain, 220, 200)
    changed = np.abs(with_faces - without).max(-1) > 0.05
    assert changed.mean() > 0.05
    assert with_faces[..., 3].max() <= 1 + 1e-5 and with_faces.min() >= 0
    half = (with_faces[..., 3] > 0.4) & (with_faces[..., 3] < 0.9)
    assert half.mean() > 0.01  # the paper shines through


def test_svg_holds_all_that_is_drawn_and_is_well_formed(tmp_path: Path) -> None:
    from xml.etree import ElementTree

    view = visualize_crystal(perovskite(), path=tmp_path / "cell.svg", polyhedra=True, labels=True)
    root = ElementTree.parse(tmp_path / "cell.svg").getroot()
    name = "{http://www.w3.org/2000/svg}"
    balls = [c for c in root.iter(f"{name}circle") if str(c.get("fill")).startswith("url")]
    assert len(balls) == 15
    assert len(list(root.iter(f"{name}polygon"))) == 8
    words = ["".join(t.itertext()) for t in root.iter(f"{name}text")]
    assert words.count("O") >= 2 and "SrTiO3" in words and {"a", "b", "c"} <= set(words)
    assert view.svg(tmp_path / "small.svg", width=300).stat().st_size < 40_000


def test_hostile_titles_stay_text_in_an_svg(tmp_path: Path) -> None:
    path = visualize_crystal(perovskite(), title="<script>x</script>").svg(tmp_path / "x.svg")
    assert "<script" not in path.read_text()


def test_a_picture_of_no_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give 100 to 8000"):
        visualize_crystal(perovskite()).png(tmp_path / "x.png", width=20)


@pytest.mark.parametrize(
    ("text", "lowered"),
    [
        ("SrTiO3", ["3"]),
        ("Ca(OH)2", ["2"]),
        ("Li0.5CoO2", ["0.5", "2"]),
        ("P6_3/mmc", ["3"]),
        ("186 P6_3mc", ["3"]),
        ("150 P321", []),
        ("c0007: Mg2SiO4, best of 20", ["2", "4"]),
        ("run_3", []),
        ("Fm-3m", []),
    ],
)
def test_numbers_of_formulas_and_groups_are_lowered_and_no_others(
    text: str, lowered: list[str]
) -> None:
    assert [part for part, low in pieces(text) if low] == lowered
    assert "".join(part for part, _ in pieces(text)) == text.replace("_", "" if lowered else "_")
