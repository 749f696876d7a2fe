"""The report: every figure of the folder is in the page, and what is absent is said to be."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from sample_run import write_run
from test_visualize import LOADS

from crystal_diffusion.errors import InputError
from crystal_diffusion.runs.columns import column
from crystal_diffusion.runs.folder import RunFolder
from crystal_diffusion.viewer import write_report
from crystal_diffusion.viewer.charts import bars, histogram, ticks
from crystal_diffusion.viewer.hull_chart import HullPoint, hull_chart, hull_points, lower_hull
from crystal_diffusion.viewer.report_data import gather
from crystal_diffusion.viewer.report_parts import headline, with_interval
from crystal_diffusion.viewer.same_chemistry import MOST, same_chemistry


def _block(page: str, name: str) -> object:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found[1])


@pytest.fixture(scope="module")
def page(run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = write_report(RunFolder.open(run), tmp_path_factory.mktemp("page") / "report.html")
    return path.read_text(encoding="utf-8")


def test_default_place_is_in_the_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r", screened=False)
    assert write_report(str(folder)) == folder / "report.html"
    assert not list(folder.glob("*.part"))


def test_page_stands_alone_and_hostile_text_stays_text(page: str) -> None:
    assert not LOADS.search(page)
    assert "<script>alert" not in page


def test_what_was_asked_and_how_it_was_made(page: str) -> None:
    for words in ("crystal-diffusion generate --formula MgO", "pretrained", "pair 1"):
        assert words in page


def test_crystals_from_elsewhere_are_not_said_to_be_made_here(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r")
    text = json.dumps({"screened_from": "other-tool/cifs", "read": 4, "unreadable": {"x": "y"}})
    (folder / "manifest.json").write_text(text)
    page = write_report(folder).read_text(encoding="utf-8")
    assert "other-tool/cifs, not made by this library" in page
    assert "left to the model" not in page


def test_headline_says_below_where_it_is_below(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r")
    lines = (folder / "screening.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    rows[0]["energy_above_hull_eV_atom"] = -0.05
    (folder / "screening.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "lies 0.05 eV/atom below the hull of known" in headline(gather(folder))


def test_labels_of_the_hull_have_the_usual_order_of_elements() -> None:
    system = {
        "references": [
            {
                "id": "a",
                "composition": {"Si": 2.0, "Mg": 4.0, "O": 8.0},
                "energy_per_atom_eV": -6.0,
            },
            *(
                {"id": e, "composition": {e: 2.0}, "energy_per_atom_eV": -1.0}
                for e in ("Mg", "Si", "O")
            ),
        ],
        "candidates": [],
    }
    labels = [point.label for point in hull_points(["Mg", "O", "Si"], system)]
    assert labels == ["Mg2SiO4 (a)", "Mg (Mg)", "Si (Si)", "O (O)"]


def test_funnel_counts(run: Path) -> None:
    assert gather(run).funnel == [
        ("Candidates drawn", 10),
        ("Passed the checks when made", 4),
        ("Valid in screening", 4),
        ("Distinct", 3),
        ("Relaxed", 2),
        ("Relaxation converged", 1),
        ("Kept and ranked", 2),
    ]


def test_table_has_units_and_ranked_first(page: str) -> None:
    for unit in ("eV/atom", "Å³", "g/cm³", "eV/Å"):
        assert f'<span class="unit">({unit})</span>' in page
    assert re.findall(r'<th scope="row"><a href="#id=(\w+)"', page) == [
        "c000",
        "c002",
        "c001",
        "c003",
    ]
    assert "225 Fm-3m" in page


def test_a_prediction_in_the_table_has_its_interval() -> None:
    row = {
        "predicted_band_gap_eV": 3.12,
        "predicted_band_gap_low_eV": 2.564,
        "predicted_band_gap_high_eV": 3.599,
        "predicted_mine": -1.5,
    }
    assert with_interval(row, column("predicted_band_gap_eV")) == "3.120 (2.564 to 3.599)"
    alone = with_interval(row, column("predicted_mine"))
    assert alone.startswith("\N{MINUS SIGN}1.5") and "to" not in alone
    ends = {"predicted_mine_low": -2.0, "predicted_mine_high": 0.5}
    assert " to 0.5" in with_interval(row | ends, column("predicted_mine"))


def test_cards_hold_both_states_checks_and_pattern(page: str) -> None:
    crystals = {c["id"]: c for c in _block(page, "crystals-data")}  # type: ignore[attr-defined]
    strings = _block(page, "strings-data")
    first = crystals["c000"]
    assert first["made"]["cell"][0] == pytest.approx(4.30)
    assert first["relaxed"]["cell"][0] == pytest.approx(4.30 * 0.97 ** (1 / 3), abs=1e-4)
    assert first["powder_of"] == "relaxed" and len(first["powder"]) > 6
    assert "relaxed" not in crystals["c001"]
    name, passed, *_, reason = first["checks"][1]
    assert strings[name] == "charge neutrality" and not passed  # type: ignore[index]
    assert "add up" in strings[reason]  # type: ignore[index]
    facts = {strings[a]: strings[b] for a, b in first["facts"]}  # type: ignore[index]
    assert facts["Seed"] == "4081871446793490460"
    assert crystals["c001"]["flags"].split() == ["valid"]
    assert "distinct" in first["flags"] and "stable" in first["flags"]


def test_the_answer_comes_first_and_how_it_was_made_is_folded_away(page: str) -> None:
    order = [page.index(f'id="{name}"') for name in ("best", "overview", "gallery", "table")]
    assert order == sorted(order)
    assert '<details class="made">' in page and '<details class="made" open' not in page
    # The order is that of relaxed crystals, so these are shown at first.
    assert 'value="relaxed" checked' in page


def test_sections_say_what_is_missing(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r", screened=False)
    page = write_report(folder).read_text(encoding="utf-8")
    assert "There is no hull.json" in page
    assert 'name="state"' not in page.split("<script")[0]


def test_distributions_are_compared_with_crystals_of_the_same_chemistry(
    page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "of the library with the elements of Mg-O, O-Sr-Ti, or one of these exchanged" in page
    assert "known crystals of this chemistry: median" in page
    found = same_chemistry(["MgO"])
    assert found is not None and len(found.values["density_g_cm3"]) == MOST
    assert same_chemistry(["MgO"]) == found  # the same are drawn each time
    assert same_chemistry([f"{a}O" for a in ("Li", "Na", "K", "Mg", "Ca", "Sr", "Ba")]) is None
    monkeypatch.setattr("crystal_diffusion.viewer.report_parts.same_chemistry", lambda _: None)
    own = write_report(write_run(tmp_path / "r", screened=False)).read_text(encoding="utf-8")
    assert "training set: median" in own
    assert "not drawn for density, shortest distance, space groups" in own


def test_labels_of_a_hull_are_lowered_and_do_not_overlap() -> None:
    points = [HullPoint(e, (1 - k, k), 0.0, False) for k, e in ((0, "Mg"), (1, "Si"))]
    points += [
        HullPoint(f"Mg{n}Si{n + 1} (mp-{n})", (0.5 - n / 90, 0.5 + n / 90), -1 - n * 1e-6, False)
        for n in range(1, 9)
    ]
    picture = hull_chart(["Mg", "Si"], points)
    labels = re.findall(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*class="name">(.*?)</text>', picture)
    assert 1 <= len(labels) < 8  # what has no room is left to the pointer
    assert all('font-size="8.6"' in inside for *_, inside in labels)
    places = [(float(x), float(y)) for x, y, _ in labels]
    for n, (x, y) in enumerate(places):
        assert all(abs(x - u) > 30 or abs(y - v) > 12 for u, v in places[:n])


def test_folder_of_another_tool_and_broken_lines(run: Path, tmp_path: Path) -> None:
    for name in ("screening.jsonl", "relaxed.extxyz", "hull.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    with (tmp_path / "screening.jsonl").open("a") as handle:
        handle.write('{"id": "half')
    data = gather(tmp_path)
    assert len(data.rows) == 4 and data.rows[0]["space_group_0.1"] == 225
    (gap,) = data.gaps
    assert gap.startswith("screening.jsonl: line 5 is damaged")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "has no manifest.json" in page and "line 5 is damaged" in page


def test_not_a_number_does_not_break_the_page(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r")
    file = folder / "screening.jsonl"
    file.write_text(file.read_text().replace('"max_force_eV_A": 0.01', '"max_force_eV_A": NaN'))
    page = write_report(folder).read_text(encoding="utf-8")
    assert "NaN" not in page.split("<script>")[0]


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a run folder"):
        write_report(tmp_path)
    with pytest.raises(InputError, match="run is a int"):
        write_report(3)


def test_hull_of_two_elements(run: Path) -> None:
    system = json.loads((run / "hull.json").read_text())["systems"]["Mg-O"]
    points = hull_points(["Mg", "O"], system)
    assert [p.formation_energy for p in points] == pytest.approx([0, 0, -3.0, -3.0, -2.2])
    assert [p.candidate for p in points] == [False] * 3 + [True] * 2
    picture = hull_chart(["Mg", "O"], points)
    assert picture.count('class="hull"') == 2  # from each element to MgO
    assert picture.count('class="candidate"') == 2
    assert "the lowest is 0 eV/atom from the hull" in picture
    del system["references"][0]
    assert hull_points(["Mg", "O"], system) == []


def test_hull_of_three_elements_has_the_right_tie_lines() -> None:
    def point(label: str, shares: tuple[float, ...], energy: float) -> HullPoint:
        return HullPoint(label, shares, energy, False)

    points = [
        point("A", (1, 0, 0), 0.0),
        point("B", (0, 1, 0), 0.0),
        point("C", (0, 0, 1), 0.0),
        point("AB", (0.5, 0.5, 0), -1.0),
        point("ABC", (1 / 3, 1 / 3, 1 / 3), -0.1),  # above the line from AB to C
    ]
    picture = hull_chart(["A", "B", "C"], points)
    assert picture.count('class="hull"') == 5  # two triangles that share AB-C
    assert picture.count('class="stable"') == 4 and picture.count('class="known"') == 1
    with pytest.raises(ValueError, match="4 elements"):
        hull_chart(["A", "B", "C", "D"], points)


def test_lower_hull_agrees_with_pymatgen() -> None:
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core import Composition

    rng = np.random.default_rng(5)
    share = np.concatenate([[0, 1], rng.random(20).round(2)])
    energy = np.concatenate([[0, 0], -rng.random(20)])
    on_hull = {i for face in lower_hull(np.column_stack([share, energy])) for i in face}
    entries = [
        PDEntry(Composition({"Mg": 1 - x, "O": x}), e, name=str(i))
        for i, (x, e) in enumerate(zip(share, energy, strict=True))
    ]
    assert on_hull == {int(e.name) for e in PhaseDiagram(entries).stable_entries}


def test_charts_count_shares_and_say_them() -> None:
    picture = histogram("Density", "g/cm³", [1.0, 1.0, 2.0, 3.0], [1.5, 2.5])
    assert "median 1.5 g/cm³ over 4 crystals; training set: median 2 g/cm³ over 2" in picture
    assert picture.count('class="s1"') == 3 and picture.count('class="s2"') == 1
    outlier = histogram("Volume", "Å³", [9.0, 10.0, 11.0] * 20, [10.0] * 50 + [12.0] * 48 + [400.0])
    assert outlier.count('class="s1"') == 3  # one crystal of huge volume does not merge the bars
    assert "50 %" in bars("Groups", {"1 P1": 1, "225 Fm-3m": 1}, None)
    assert ticks(0, 1, 4) == [0, 0.25, 0.5, 0.75, 1.0]
    assert "over 1 crystals" in histogram("x", "Å", [2.0], None)
