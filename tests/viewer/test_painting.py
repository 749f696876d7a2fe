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
from crystal_diffusion.viewer.painting import render
from crystal_diffusion.viewer.scene import make_scene


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
        np.array([[0.3, 0.5, 0.5], [0.7, 0.5, 0.5]]), 6 * np.eye(3), [8, 7], bonds=False
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
        np.array([[0.5, 0.5, 0.5]]), 0.2 * np.eye(3), [55], bonds=False, images=False
    )
    covered = render(scene, 200, 200)[..., 3].mean()
    assert covered == pytest.approx(np.pi / 4 * 0.94**2, rel=0.02)


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"use .html .* or .png"):
        visualize_crystal(perovskite(), path=tmp_path / "cell.gif")
