"""The benchmark of small data: families, cells that resume, figures that are paired."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crystal_diffusion.cli import verbs
from crystal_diffusion.errors import InputError
from crystal_diffusion.evaluation.metrics import MetricResult
from crystal_diffusion.workflows import small
from crystal_diffusion.workflows.small import FAMILIES, SmallSettings, small_benchmark
from tests.proposals.conftest import perovskite, rock_salt

CRYSTALS = {
    **{f"{m}N": rock_salt(m, "N", e) for m, e in [("Ti", 4.24), ("Zr", 4.58), ("Sc", 4.5)]},
    # No crystals of the library: what it knows is not counted.
    **{
        f"{a}{b}O3": perovskite(a, b, "O", 4.0)
        for a, b in [("Au", "Pd"), ("Hg", "Pt"), ("Tl", "Rh")]
    },
    "MgO": rock_salt("Mg", "O", 4.21),
    "copy": rock_salt("Mg", "O", 4.22),
}
COLUMNS = ("box", "box with yours", "substitution, yours", "substitution, both")


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("split")
    for name, structure in CRYSTALS.items():
        structure.to(filename=str(folder / f"{name}.cif"))
    return folder


def test_families_by_their_elements() -> None:
    numbers = {"TiN": {22, 7}, "TiON": {22, 7, 8}, "ZnS": {30, 16}, "NiAl": {28, 13}, "Fe": {26}}
    found = {
        family: {name for name, kinds in numbers.items() if belongs(frozenset(kinds))}
        for family, belongs in FAMILIES.items()
    }
    assert found["nitrides"] == {"TiN"} and found["oxides"] == {"TiON"}
    assert found["chalcogenides"] == {"ZnS"} and found["intermetallics"] == {"NiAl"}
    assert found["all"] == set(numbers)


def test_cells_are_measured_once_and_written(
    split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SmallSettings("oxides", (2,), (1,), 2, COLUMNS)
    cells = small_benchmark(split, tmp_path, settings)
    cell = cells[0]
    # Four distinct oxides: two are own, the others are asked for.
    assert cell.answered["box"].n + cell.known == 2
    assert set(cell.change) == set(COLUMNS) and cell.change["box"].value == 0.0
    for column in COLUMNS:
        assert cell.answered[column].value <= cell.any_of_five[column].value <= 1.0
    assert f"| 2 | {2 - cell.known} |" in (tmp_path / "small.md").read_text()
    assert (tmp_path / "small.png").stat().st_size > 5000

    def never(*_: object) -> None:
        raise AssertionError("a finished column was asked again")

    monkeypatch.setattr(small, "_predictor", never)
    assert small_benchmark(split, tmp_path, settings) == cells


def test_a_crystal_asked_for_twice_is_one_crystal() -> None:
    def table(right: int) -> dict[str, list[dict[str, object]]]:
        return {
            column: [
                {
                    "id": f"crystal {n}",
                    "rms": [0.1 if n < found else None],
                    "space_group": 1,
                    "space_group_answered": 1,
                }
                for n in range(10)
            ]
            for column, found in (("box", 5), ("box with yours", right))
        }

    def change(*right: int) -> MetricResult:
        tables = [table(n) for n in right]
        return small._cell(3, tables, ("box", "box with yours"), 20).change["box with yours"]

    once, twice = change(8), change(8, 8)
    assert (once.n, twice.n) == (10, 20)
    assert (once.value, once.low, once.high) == (twice.value, twice.low, twice.high)
    assert change(8, 6).value == pytest.approx(0.2)


def test_what_is_known_is_not_asked_for() -> None:
    names = ("MgO", "AuPdO3", "HgPtO3")
    asked = {name: CRYSTALS[name].get_primitive_structure() for name in names}
    assert small._new(asked, {}) == ["AuPdO3", "HgPtO3"]  # rock salt is in the library
    larger = perovskite("Au", "Pd", "O", 4.1)
    assert small._new(asked, {"mine": larger}) == ["HgPtO3"]
    with pytest.raises(InputError, match="all 1 crystals asked for"):
        small._cell(3, [{"box": []}], ("box",), 1)


def test_what_cannot_be_measured_is_refused(split: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave none"):
        small_benchmark(split, tmp_path, SmallSettings("nitrides", (3,), (1,), 2, COLUMNS))
    wrongs: tuple[dict[str, object], ...] = (
        {"family": "salts"}, {"columns": ("magic",)}, {"sizes": (0,)}, {"seeds": (0,)},
        {"sizes": (2, 3), "seeds": (1, 1, 1)},
    )  # fmt: skip
    for wrong in wrongs:
        with pytest.raises(InputError):
            SmallSettings(**wrong)  # type: ignore[arg-type]
    answer = CliRunner().invoke(verbs, ["benchmark", "small", "--split", str(split)])
    assert answer.exit_code != 0


def test_each_size_has_its_number_of_seeds(split: Path, tmp_path: Path) -> None:
    command = ["benchmark", "small", "--split", str(split), "--family", "oxides"]
    command += ["--sizes", "1,2", "--columns", "nearest copied", "--out", str(tmp_path)]
    answer = CliRunner().invoke(verbs, [*command, "-n", "2", "--seeds", "2,1", "--quiet"])
    assert answer.exit_code == 0, answer.output
    cells = json.loads((tmp_path / "small.json").read_text())["cells"]
    assert [c["answered"]["nearest copied"]["n"] + c["known"] for c in cells] == [4, 2]
    refused = CliRunner().invoke(verbs, [*command, "--seeds", "two"])
    assert refused.exit_code != 0 and "--seeds 'two'" in str(refused.exception or refused.output)
