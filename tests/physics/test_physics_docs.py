"""docs/physics.md: its Python prints what it says, its TOML loads, its limits are the real ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crystal_diffusion.physics.limits import Limits
from crystal_diffusion.physics.validator import CHECKS, PhysicsValidator

PAGE = (Path(__file__).parents[2] / "docs" / "physics.md").read_text(encoding="utf-8")

#: The limits that each row of the table names.
NAMED = {
    "minimum_distance": ("min_distance",),
    "pair_distance": ("pair_warning", "pair_error"),
    "crowding": ("crowding_warning", "crowding_error"),
    "contacts": ("contact_warning", "contact_high_warning", "contact_error"),
    "edges": ("edge_high_warning", "edge_low_error", "edge_high_error"),
    "angles": ("angle_low_warning", "angle_low_error"),
    "volume_per_atom": (
        "volume_low_warning",
        "volume_low_error",
        "volume_high_warning",
        "volume_high_error",
    ),
    "density": (
        "density_low_warning",
        "density_high_warning",
        "density_low_error",
        "density_high_error",
    ),
    "electronegativity": ("electronegativity_warning",),
    "bond_valence": ("bond_valence_warning",),
    "like_charges": ("like_charge_warning",),
    "bond_angles": ("bond_angle_warning",),
}


def test_python_prints_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "docs/physics.md", "exec"), {})  # our own page
    printed = capsys.readouterr().out
    assert f"prints\n\n```\n{printed}```" in PAGE


def test_toml_is_accepted(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "limits.toml"
    path.write_text(text)
    limits = PhysicsValidator(limits=path).limits
    assert limits.min_distance == 0.9 and limits.severity == {"charge_neutrality": "error"}


def test_every_check_stands_in_the_table_with_its_limits() -> None:
    rows = {m[1]: m[0] for m in re.finditer(r"^\| `(\w+)` \|.*$", PAGE, re.MULTILINE)}
    assert set(rows) == set(CHECKS)
    for check, names in NAMED.items():
        for name in names:
            value = getattr(Limits(), name)
            assert re.search(rf"(?<![\d.]){re.escape(f'{value:g}')}(?![\d.])", rows[check]), name
