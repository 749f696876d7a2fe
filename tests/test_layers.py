"""Imports point down only: the layers of the house, parsed from the sources."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import crystal_diffusion

PACKAGE = Path(crystal_diffusion.__file__).parent

LAYERS = {
    "cli": 7,
    "workflows": 6,
    "app": 6,
    "discovery": 6,
    "generation": 5,
    "training": 4,
    "ranking": 4,
    "prediction": 4,
    "skeletons": 4,
    "screening": 4,
    "dft": 4,
    "energy": 3,
    "known": 3,
    "runs": 2,
    "files": 0,
    "frozen": 0,
    "evaluation": 4,
    "viewer": 4,
    "diffusion": 3,
    "proposals": 3,
    "physics": 3,
    "matching": 3,
    "data": 2,
    "networks": 2,
    "crystal": 1,
    "symmetry": 1,
    "device": 1,
    "pretrained": 0,
    "geometry": 0,
    "cell_geometry": 0,
    "chemistry": 0,
    "properties": 0,
    "seeding": 0,
    "parallel": 0,
    "errors": -1,
    "shapes": -1,
    "deprecated": -1,
    "testing": 8,
}
#: Rooms of one layer that may use each other, with the reason in the README.
SIDEWAYS = {
    ("proposals", "matching"),
    ("proposals", "physics"),
    ("matching", "physics"),
    ("known", "energy"),
    ("known", "matching"),
    ("known", "proposals"),
    ("screening", "ranking"),
    ("screening", "prediction"),
    ("skeletons", "training"),
    ("prediction", "training"),
}
TENSOR_WORLD = ("networks", "diffusion", "training")


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.append(node.module)
            if node.module == "crystal_diffusion":
                found += [f"crystal_diffusion.{alias.name}" for alias in node.names]
    return found


def test_every_room_has_a_layer() -> None:
    rooms = {room_of(p) for p in modules()} - {"__init__", "__main__"}
    assert rooms <= set(LAYERS), rooms - set(LAYERS)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "crystal_diffusion" or len(parts) < 2 or parts[1] not in LAYERS:
            continue
        other = parts[1]
        if other == room or (room, other) in SIDEWAYS:
            continue
        assert LAYERS[other] < LAYERS[room], f"{room} imports {other} in {path.name}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_tensor_world_knows_no_structures(path: Path) -> None:
    if room_of(path) not in TENSOR_WORLD:
        return
    outside = {name.split(".")[0] for name in imports(path)}
    assert not outside & {"pymatgen", "ase"}


def _loaded_with(path: Path) -> set[str]:
    """Modules that are imported when this one is: not those in functions or for types only."""
    found: set[str] = set()

    def visit(body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                visit(node.orelse)
            elif isinstance(node, ast.If | ast.Try | ast.With | ast.ClassDef):
                visit(node.body)
            elif isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
                found.update(f"{node.module}.{alias.name}" for alias in node.names)

    visit(ast.parse(path.read_text()).body)
    return found


def test_no_circle_of_imports() -> None:
    """Files that load each other, wherever they stand; names for type checkers do not count."""
    names = {
        ".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): p
        for p in modules()
    }
    left = {name: (_loaded_with(p) & set(names)) - {name} for name, p in names.items()}
    while free := [name for name, needed in left.items() if not needed & set(left)]:
        for name in free:
            del left[name]
    assert not left, f"in a circle, or above one: {sorted(left)}"
