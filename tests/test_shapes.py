"""Shapes in the annotations of the tensor world are read while tests run, and mean something."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError

from crystal_diffusion import geometry
from crystal_diffusion.diffusion.joint import JointConfig, JointDiffusion, Levels
from crystal_diffusion.diffusion.processes import TorusFlow
from crystal_diffusion.networks.embeddings import PairGeometry
from crystal_diffusion.networks.protocol import Encoded, Prediction

PACKAGE = Path(__file__).parents[1] / "crystal_diffusion"
WORLD = [
    PACKAGE / "geometry.py",
    PACKAGE / "crystal.py",
    *sorted((PACKAGE / "networks").glob("*.py")),
    *sorted((PACKAGE / "diffusion").glob("*.py")),
]
AXES = {"crystals", "atoms", "pairs", "elements", "features", "steps", "properties"}


def test_a_cell_for_each_crystal_and_three_numbers_for_each_atom() -> None:
    field, metric = torch.zeros(2, 5, 5, 3), torch.eye(3).expand(2, 3, 3)
    assert geometry.near_image_distances(field, metric).shape == (2, 5, 5)
    with pytest.raises(TypeCheckError, match="metric"):
        geometry.near_image_distances(field, torch.eye(3).expand(4, 3, 3))
    with pytest.raises(TypeCheckError, match="displacement"):
        geometry.near_image_distances(torch.zeros(2, 5, 4, 3), metric)
    with pytest.raises(TypeCheckError, match="lattice"):
        geometry.volume(torch.zeros(2, 3, 2))


def test_fields_of_one_answer_have_one_number_of_crystals_and_atoms() -> None:
    Prediction(torch.zeros(2, 4, 3), torch.zeros(2, 6), torch.zeros(2, 4, 100))
    with pytest.raises(TypeCheckError):
        Prediction(torch.zeros(2, 4, 3), torch.zeros(3, 6), torch.zeros(2, 4, 100))
    with pytest.raises(TypeCheckError):
        Prediction(torch.zeros(2, 4, 3), torch.zeros(2, 6), torch.zeros(2, 5, 100))
    with pytest.raises(TypeCheckError):
        Encoded(torch.zeros(2, 4, 8), torch.zeros(2, 9))


def test_kinds_of_numbers() -> None:
    with pytest.raises(TypeCheckError, match="num_atoms"):
        PairGeometry()(torch.zeros(1, 2, 3), torch.eye(3)[None], torch.tensor([2.0]))
    with pytest.raises(TypeCheckError, match="noise"):
        TorusFlow().target(torch.zeros(1, 2, 3, dtype=torch.int64), torch.zeros(1, 1, 1))


def test_a_level_for_each_crystal() -> None:
    model = JointDiffusion(JointConfig(network_options={"dim": 16, "layers": 1, "heads": 2}))
    levels = Levels(torch.ones(2, 3), torch.ones(2), torch.zeros(2))
    coords, state, numbers = torch.rand(2, 3, 3), torch.zeros(2, 6), torch.ones(2, 3).long()
    model.predict(coords, state, numbers, levels)
    with pytest.raises(TypeCheckError, match="lattice_state"):
        model.predict(coords, state[:1], numbers, levels)
    with pytest.raises(TypeCheckError):
        Levels(torch.ones(2, 3), torch.ones(3), torch.zeros(2))


def _axes(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
            and node.value.id in ("Float", "Int", "Bool", "Shaped")
        ):
            yield from (text for text in _texts(node))


def _texts(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def test_axes_have_the_names_of_the_vocabulary() -> None:
    """Single axes that no other file knows (heads, images) are allowed beside those."""
    named = [axis for path in WORLD for text in _axes(path) for axis in text.split()]
    plain = [axis for axis in named if axis.isidentifier()]
    assert len(plain) > 400
    assert sum(axis in AXES for axis in plain) > 0.9 * len(plain)


def test_nothing_of_it_is_loaded_where_no_tests_run() -> None:
    code = (
        "import sys, crystal_diffusion.diffusion.sampler, crystal_diffusion.networks; "
        "print([m for m in ('jaxtyping', 'beartype') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
