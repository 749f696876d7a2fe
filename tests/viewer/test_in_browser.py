"""The pages in a real browser without network: no console error, sorting, turning, cards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import WHY_SKIPPED, Browser, is_installed
from sample_run import perovskite

from crystal_diffusion.viewer import visualize_crystal, write_report

pytestmark = pytest.mark.skipif(not is_installed(), reason=WHY_SKIPPED)

PICTURE = 'document.querySelector("canvas").toDataURL()'


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with Browser(1440, 900) as browser:
        yield browser


@pytest.fixture(scope="module")
def report(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(run, tmp_path_factory.mktemp("page") / "report.html")


def _ids(window: Browser) -> list[str]:
    script = 'return [...document.querySelectorAll("#crystals tbody tr:not([hidden]) th")]'
    return list(window.run(script + ".map(e => e.textContent);"))


def test_cell_turns_by_mouse_and_keys(window: Browser, tmp_path: Path) -> None:
    visualize_crystal(perovskite(), path=tmp_path / "x.html")
    window.open(tmp_path / "x.html")
    window.wait(
        'document.querySelector("canvas").cell && document.querySelector("canvas").width > 300'
    )
    window.run(
        "return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));"
    )
    before = window.run(f"return {PICTURE};")
    window.drag(600, 400, 140, 40)
    window.wait(f"{PICTURE} !== {before!r}")
    dragged = window.run(f"return {PICTURE};")
    window.run('document.querySelector("canvas").focus();')
    window.press("ArrowLeft")
    window.wait(f"{PICTURE} !== {dragged!r}")
    matrix = 'document.querySelector("canvas").cell.matrix'
    window.press("c")
    window.wait(f"Math.abs({matrix}[8] - 1) < 1e-6")  # c towards the eye
    window.press("0")
    window.wait(f"{PICTURE} === {before!r}")
    assert window.complaints() == []


def test_buttons_change_the_picture(window: Browser, tmp_path: Path) -> None:
    visualize_crystal(perovskite(), path=tmp_path / "x.html")
    window.open(tmp_path / "x.html")
    window.wait('document.querySelectorAll(".toolbar button").length === 11')
    for label in ("Show bonds", "Show images", "Look along a", "Larger"):
        before = window.run(f"return {PICTURE};")
        window.run(f"document.querySelector('[aria-label=\"{label}\"]').click();")
        window.wait(f"{PICTURE} !== {before!r}")
    assert (
        window.run("return document.querySelector('[aria-label=\"Show bonds\"]').ariaPressed;")
        == "false"
    )
    assert window.complaints() == []


def test_table_sorts_by_its_headers(window: Browser, report: Path) -> None:
    window.open(report)
    window.wait("window.crystalReport")
    assert _ids(window) == ["c000", "c002", "c001", "c003"]
    heads = '[...document.querySelectorAll("#crystals thead th")]'
    head = heads + '.find(e => e.textContent.startsWith("{}"))'
    volume = head.format("Volume per atom")
    window.run(f"{volume}.querySelector('button').click();")
    assert _ids(window) == ["c002", "c000", "c001", "c003"]
    assert window.run(f"return {volume}.getAttribute('aria-sort');") == "ascending"
    window.run(f"{volume}.querySelector('button').click();")
    assert _ids(window) == ["c003", "c001", "c000", "c002"]
    window.run(f"{head.format('Above hull')}.querySelector('button').click();")
    assert _ids(window) == ["c000", "c002", "c001", "c003"]  # crystals without a value stay last
    cards = window.run(
        'return [...document.querySelectorAll("#cards article")].map(e => e.ariaLabel);'
    )
    assert cards[0] == "MgO, c000"
    assert window.complaints() == []


def test_filters_hold_for_table_and_gallery(window: Browser, report: Path) -> None:
    window.open(report)
    window.wait("window.crystalReport")
    for words, left in (
        ("Ti", ["c003"]),
        ("mgo", ["c000", "c002", "c001"]),
        ("fm-3m c001", ["c001"]),
    ):
        window.run(
            f'const f = document.getElementById("find"); f.value = "{words}";'
            'f.dispatchEvent(new Event("input"));'
        )
        window.wait(f'document.getElementById("count").textContent === "{len(left)} of 4 crystals"')
        assert _ids(window) == left
        assert window.run('return document.querySelectorAll("#cards article").length;') == len(left)
    window.run(
        'const f = document.getElementById("find"); f.value = ""; const w = '
        'document.getElementById("which"); w.value = "ranked";'
        'w.dispatchEvent(new Event("change"));'
    )
    assert _ids(window) == ["c000", "c002"]
    assert window.complaints() == []


def test_card_shows_both_states_and_gives_files(window: Browser, report: Path) -> None:
    from ase.io import read
    from pymatgen.core import Structure

    window.open(report)
    window.wait("window.crystalReport")
    window.run('location.hash = "id=c000";')
    window.wait(
        'document.querySelector("dialog").open && document.querySelector("dialog canvas").cell'
    )
    text = window.run('return document.querySelector("dialog").innerText;')
    for words in ("periclase", "4081871446793490460", "minimum distance", "strongest peaks", "Å"):
        assert words in text
    assert "a, b, c = 4.257" in text  # where crystals were relaxed, that state comes first
    window.run(
        '[...document.querySelectorAll("dialog button")]'
        '.find(b => b.textContent === "As made").click();'
    )
    assert "a, b, c = 4.300" in window.run('return document.querySelector("dialog").innerText;')
    for kind in ("cif", "poscar"):
        content = window.run(
            "const r = window.crystalReport, c = r.crystals.find(x => x.id === 'c000');"
            f"return r.{kind}(c, c.made, 'made');"
        )
        structure = Structure.from_str(content, fmt=kind)
        assert len(structure) == 8 and structure.lattice.a == pytest.approx(4.30, abs=1e-5)
        assert structure.distance_matrix[0, 4:].min() == pytest.approx(2.15, abs=1e-4)
        file = report.parent / ("x.cif" if kind == "cif" else "x.vasp")
        file.write_text(content)
        assert read(file).get_chemical_formula() == "Mg4O4"
    window.press("Escape")
    window.wait('!document.querySelector("dialog").open && location.hash === ""')
    assert window.complaints() == []


def test_phone_and_dark_mode_do_not_overflow(report: Path) -> None:
    with Browser(390, 844, dark=True) as phone:
        phone.open(report)
        phone.wait('window.crystalReport && document.querySelector("#cards canvas")')
        assert phone.run("return document.documentElement.scrollWidth;") == 390
        assert (
            phone.run("return getComputedStyle(document.body).backgroundColor;")
            == "rgb(24, 26, 31)"
        )
        phone.run('document.querySelector("#cards button").click();')
        phone.wait('document.querySelector("dialog").open')
        assert phone.run('return document.querySelector("dialog").scrollWidth;') <= 390
        assert phone.complaints() == []


def test_pictures_exist_only_near_the_visible_part(window: Browser, report: Path) -> None:
    window.open(report)
    window.wait("window.crystalReport")
    window.run('document.getElementById("cards").style.marginTop = "6000px";')
    drawn = '[...document.querySelectorAll("#cards canvas")].filter(c => c.cell).length'
    window.wait(f"{drawn} === 0")
    window.run('document.getElementById("cards").scrollIntoView({ behavior: "instant" });')
    window.wait(f"{drawn} > 0")
