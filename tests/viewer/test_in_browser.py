"""The pages in a real browser without network: no console error, sorting, turning, cards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import WHY_SKIPPED, Browser, is_installed
from pymatgen.core import Lattice, Structure
from sample_run import perovskite, rock_salt

from crystal_diffusion.viewer import visualize_crystal, write_report
from crystal_diffusion.viewer.scene import Scene

pytestmark = pytest.mark.skipif(not is_installed(), reason=WHY_SKIPPED)

CRYSTALS = {
    "perovskite": perovskite,
    "rock salt": lambda: rock_salt("Na", "Cl", 5.64),
    "zinc blende, primitive": lambda: Structure.from_spacegroup(
        216, Lattice.cubic(5.41), ["Zn", "S"], [[0, 0, 0], [0.25, 0.25, 0.25]]
    ).get_primitive_structure(),
    "layers": lambda: Structure.from_spacegroup(
        164, Lattice.hexagonal(3.64, 6.1), ["Mg", "Cl"], [[0, 0, 0], [1 / 3, 2 / 3, 0.23]]
    ),
    "rutile, doubled": lambda: Structure.from_spacegroup(
        136, Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
    ).make_supercell([1, 1, 2], in_place=False),
}

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
    window.wait('document.querySelectorAll(".toolbar button").length === 15')
    for label in ("Polyhedra", "Labels", "Neighbours", "Border", "Bonds", "Look along a", "Larger"):
        before = window.run(f"return {PICTURE};")
        window.run(f"document.querySelector('[aria-label^=\"{label}\"]').click();")
        if label != "Neighbours":  # with titanium in the middle there is nothing to complete
            window.wait(f"{PICTURE} !== {before!r}")
    pressed = window.run("return document.querySelector('[aria-label=\"Bonds\"]').ariaPressed;")
    assert pressed == "false"
    assert window.complaints() == []


#: What both sides draw: atoms by source and shift, bonds and corners of faces by the same names.
BROWSER_DRAWS = """
const c = document.querySelector("canvas").cell, name = k => [c.atoms[k].i, ...c.atoms[k].n].join();
return { atoms: c.atoms.map((_, k) => name(k)), home: c.home, inside: c.inside,
  bonds: c.pairs.map(([i, j]) => name(i) + " " + name(j)),
  faces: c.faces.map(([m, f]) => name(m) + ": " + f.map(name).sort().join(" ")),
  facts: c.facts() };
"""


def _python_draws(scene: Scene) -> dict[str, object]:
    found = scene.drawing
    rows = np.column_stack([found.source, found.shift]).tolist()
    names = [",".join(map(str, row)) for row in rows]
    return {
        "atoms": sorted(names),
        "home": found.home,
        "inside": found.inside,
        "bonds": sorted(f"{names[i]} {names[j]}" for i, j in found.bonds),
        "faces": sorted(f"{names[m]}: " + " ".join(sorted(names[k] for k in f))
                        for m, f in found.faces),
        "facts": scene.facts,
    }  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"polyhedra": True},
        {"cell": "given", "complete": True},
        {"supercell": (2, 1, 2), "polyhedra": True},
        {"images": False},
        {"bonds": False, "complete": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", sorted(CRYSTALS))
def test_browser_and_python_draw_the_same(
    window: Browser, tmp_path: Path, kind: str, options: dict
) -> None:
    view = visualize_crystal(CRYSTALS[kind](), path=tmp_path / "x.html", **options)
    window.open(tmp_path / "x.html")
    window.wait('document.querySelector("canvas").cell')
    browser, own = window.run(BROWSER_DRAWS), _python_draws(view.scene)
    for key in ("atoms", "bonds", "faces"):
        browser[key] = sorted(browser[key])
    if not options.get("bonds", True):
        browser["bonds"] = []  # the page keeps them for the button
    assert browser == own
    turned = window.run('return document.querySelector("canvas").cell.matrix;')
    assert turned == pytest.approx(view.scene.view().ravel(), abs=1e-3)
    assert window.complaints() == []


def test_the_cell_as_given_and_supercells_by_the_lists(window: Browser, tmp_path: Path) -> None:
    visualize_crystal(CRYSTALS["zinc blende, primitive"](), path=tmp_path / "x.html")
    window.open(tmp_path / "x.html")
    window.wait('document.querySelectorAll("select").length === 2')
    facts = 'document.getElementById("facts").textContent'
    assert window.run(f"return {facts};").startswith("8 atoms · a, b, c = 5.410")
    pick = 'const s = document.querySelectorAll("select")[{}]; s.value = "{}";'
    pick += 's.dispatchEvent(new Event("change"));'
    window.run(pick.format(0, 1))
    assert window.run(f"return {facts};").startswith("2 atoms · a, b, c = 3.825")
    window.run(pick.format(1, 1))
    assert window.run('return document.querySelector("canvas").cell.home;') == 16
    assert window.run(f"return {facts};").startswith("2 atoms")
    assert window.complaints() == []


#: Page coordinates of the drawn atom of a place in the cell.
PLACE = """
const c = document.querySelector("canvas"), area = c.getBoundingClientRect(), want = {};
const near = h => c.cell.atoms[h[3]].f.every((v, k) => Math.abs(v - want[k]) < 0.01);
const hit = c.cell.hits.find(near);
return [area.left + hit[0], area.top + hit[1]];
"""


def test_distances_and_angles_by_click_and_by_keys(window: Browser, tmp_path: Path) -> None:
    visualize_crystal(perovskite(), path=tmp_path / "x.html")
    window.open(tmp_path / "x.html")
    window.wait('(document.querySelector("canvas").cell || {}).hits')
    said = 'document.querySelector("output").textContent'

    def click(*place: float) -> str:
        x, y = window.run(PLACE.format(list(place)))
        window.drag(x, y, 0, 0)
        return str(window.run(f"return {said};"))

    assert click(0.5, 1, 0.5).startswith("O ")
    assert "1.952 Å; a third atom" in click(0.5, 0.5, 0.5)
    assert "90.00°; 1.952 and 1.952 Å" in click(0.5, 0.5, 1)
    assert "click another atom" in click(0.5, 0, 0.5)  # the fourth begins anew
    window.run('document.querySelector("canvas").focus();')
    window.press("0")
    for key in ("n", "Enter", "n", "Enter"):
        window.press(key)
    assert "Å; a third atom" in window.run(f"return {said};")
    assert window.complaints() == []


def test_what_is_seen_can_be_saved_as_shapes(window: Browser, tmp_path: Path) -> None:
    from xml.etree import ElementTree

    visualize_crystal(perovskite(), path=tmp_path / "x.html", title="<&>", polyhedra=True)
    window.open(tmp_path / "x.html")
    window.wait('(document.querySelector("canvas").cell || {}).hits')
    root = ElementTree.fromstring(window.run('return document.querySelector("canvas").cell.svg();'))
    name = "{http://www.w3.org/2000/svg}"
    assert root.find(f"{name}title").text == "<&>"
    assert len(list(root.iter(f"{name}circle"))) == 15
    assert len(list(root.iter(f"{name}polygon"))) == 8


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
        ("shortest > 2.15 Mg", ["c002", "c001"]),
        ("atoms=5", ["c003"]),
        ("shortest_distance<=2.25 atoms>5", ["c000", "c001"]),
        ("confidence>0", []),
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
