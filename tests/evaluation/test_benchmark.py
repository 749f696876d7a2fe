"""Benchmarks go on where they stopped, and the baselines answer what they were asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from pymatgen.core import Structure

from crystal_diffusion.errors import InputError
from crystal_diffusion.evaluation import (
    NearestNeighbourCopy,
    RandomPlacement,
    evaluate_predictions,
    run_benchmark,
)
from crystal_diffusion.evaluation.benchmark import choose_targets
from crystal_diffusion.matching import ReferenceIndex, StructureMatch


class Oracle:
    """Answers the truth, counts how often it was asked, and may stop."""

    def __init__(self, targets: Mapping[str, Structure], stop_after: int | None = None) -> None:
        self.known = {s.composition.formula: s for s in targets.values()}
        self.asked = 0
        self.stop_after = stop_after

    def __call__(
        self, compositions: Sequence[Mapping[str, int]], candidates: int, seed: int
    ) -> list[list[Structure]]:
        if self.stop_after is not None and self.asked >= self.stop_after:
            raise KeyboardInterrupt
        self.asked += 1
        from pymatgen.core import Composition

        return [[self.known[Composition(c).formula]] for c in compositions]


def test_rows_are_kept_and_not_made_twice(targets, candidates, tmp_path: Path, monkeypatch) -> None:
    first = evaluate_predictions(targets, candidates, processes=1, out=tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"rows.jsonl", "metrics.json", "metrics.md"}
    rows = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert len(rows) == len(targets)
    # A kill cut the last line, and one target has other candidates now: only these two are made.
    (tmp_path / "rows.jsonl").write_text("\n".join([*rows[:-1], rows[-1][:40]]))
    changed = {**candidates, "t0": candidates["t0"][1:]}
    asked = []
    original = StructureMatch.rms
    monkeypatch.setattr(
        StructureMatch, "rms", lambda self, a, b: asked.append(b) or original(self, a, b)
    )
    again = evaluate_predictions(targets, changed, processes=1, out=tmp_path)
    formulas = {name: s.composition.reduced_formula for name, s in targets.items()}
    pooled = {n for n, f in formulas.items() if n != "t0" and f == formulas["t0"]}
    assert len(asked) == 2 + sum(len(changed[n]) + 1 for n in pooled if n in changed)
    assert [r["id"] for r in again.rows] == [r["id"] for r in first.rows]
    saved = json.loads((tmp_path / "metrics.json").read_text())
    assert saved["metrics"][0]["value"] == again.metrics[0].value


def test_processes_do_not_change_the_rows(targets, candidates, monkeypatch) -> None:
    monkeypatch.setattr("crystal_diffusion.evaluation.rows._PARALLEL_FROM", 10)
    many = {f"{n}{k}": s for k in range(3) for n, s in targets.items()}
    found = {f"{n}{k}": c for k in range(3) for n, c in candidates.items()}
    one = evaluate_predictions(many, found, processes=1, metre=False)
    two = evaluate_predictions(many, found, processes=2, metre=False)
    assert one.rows == two.rows
    assert [m.value for m in one.metrics] == [m.value for m in two.metrics]


def test_a_benchmark_stopped_half_way_goes_on(targets, tmp_path: Path) -> None:
    out = tmp_path / "bench"
    broken = Oracle(targets, stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        run_benchmark("demo", {"oracle": broken}, targets, out=out, processes=1, chunk=4)
    whole = Oracle(targets)
    tables = run_benchmark("demo", {"oracle": whole}, targets, out=out, processes=1, chunk=4)
    straight = run_benchmark("demo", {"oracle": Oracle(targets)}, targets, processes=1, chunk=4)
    assert whole.asked == 2
    assert tables["oracle"].rows == straight["oracle"].rows
    assert tables["oracle"].metric("match_rate, answered").value == 1
    assert "| match_rate, answered |" in (out / "benchmark.md").read_text()
    with pytest.raises(InputError, match="other settings"):
        run_benchmark("demo", {"oracle": whole}, targets, out=out, processes=1, candidates=3)


def test_bad_predictors(targets) -> None:
    with pytest.raises(InputError, match="no predictor"):
        run_benchmark("demo", {}, targets)
    with pytest.raises(InputError, match="answered 0 lists"):
        run_benchmark("demo", {"mute": lambda c, k, s: []}, targets, processes=1)


def test_a_choice_is_part_of_a_larger_choice(targets) -> None:
    assert set(choose_targets(targets, 4, 7)) <= set(choose_targets(targets, 9, 7))
    assert len(choose_targets(targets, 4, 7)) == 4
    assert choose_targets(targets, None, 7) == dict(targets)


def test_baselines(targets) -> None:
    asked = [{"Na": 4, "Br": 4}, {"Sr": 1, "Ti": 1, "O": 3}, {"C": 2}]
    index = ReferenceIndex.from_structures(targets)
    copies = NearestNeighbourCopy(index)(asked, 3, 0)
    random = RandomPlacement()(asked, 3, 0)
    assert [len(c) for c in random] == [3, 3, 3]
    for found in (copies, random):
        for composition, structures in zip(asked, found, strict=True):
            total = sum(composition.values())
            for structure in structures:
                counts = {k: v * len(structure) / total for k, v in composition.items()}
                assert structure.composition.as_dict() == pytest.approx(counts)
    assert random[0][0] == RandomPlacement()(asked, 1, 0)[0][0]
    assert random[0][0] != RandomPlacement()(asked, 1, 1)[0][0]
    own = next(iter(targets.values()))
    atoms = {str(k): int(v) for k, v in own.composition.as_dict().items()}
    assert any(StructureMatch().fit(c, own) for c in NearestNeighbourCopy(index)([atoms], 5, 0)[0])
    with pytest.raises(InputError, match="no element symbol"):
        RandomPlacement()([{"Xx": 1}], 1, 0)
