"""The Python of docs/symmetry.md runs, and its refusal is what the library says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crystal_diffusion.errors import RequestError
from crystal_diffusion.symmetry.assignments import refuse_impossible

PAGE = Path(__file__).parents[2] / "docs" / "symmetry.md"


def test_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 1
    names: dict[str, object] = {}
    exec(compile(blocks[0], str(PAGE), "exec"), names)  # our own page
    assert "Pm-3m (221) as requested at symprec 0.01 Å" in capsys.readouterr().out
    assert len(names["structure"]) == 5  # type: ignore[arg-type]


def test_refusal_is_quoted_right() -> None:
    with pytest.raises(RequestError) as caught:
        refuse_impossible(225, {22: 3, 8: 5})
    assert str(caught.value) in " ".join(PAGE.read_text().split())
