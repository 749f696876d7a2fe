"""axe-core in a headless Chromium: nothing serious on report, card, pictures, app and docs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "app"))
sys.path.insert(0, str(Path(__file__).parents[1] / "viewer"))
from browser import WHY_SKIPPED, Browser, is_installed
from launch import CIF, Launched
from sample_run import perovskite, rock_salt, write_run

from crystal_diffusion.viewer import gallery_page, visualize_crystal, write_report

pytestmark = pytest.mark.skipif(not is_installed(), reason=WHY_SKIPPED)


def axe_script() -> Path | None:
    """axe-core as one of two packages has it; only the script is used, nothing is imported."""
    for package in ("axe_playwright_python", "axe_core_python"):  # the first one is newer
        found = importlib.util.find_spec(package)
        if found is not None and found.submodule_search_locations:
            return Path(found.submodule_search_locations[0]) / "axe.min.js"
    return None


SCRIPT = axe_script()
if SCRIPT is None:
    pytest.skip("needs axe-core-python, of the extra dev", allow_module_level=True)
AXE = SCRIPT.read_text("utf-8")
#: Impact, rule and the elements concerned; what is only minor or moderate is not counted.
RUN = """
return axe.run(document, { iframes: false, preload: false }).then(found => found.violations
  .filter(v => ["serious", "critical"].includes(v.impact))
  .map(v => v.impact + " " + v.id + ": " + v.nodes.map(n => n.target.join(" ")).join(", ")));
"""


def serious(browser: Browser) -> list[str]:
    """Serious and critical violations on the page as it is now, and errors on the console."""
    browser.run("return new Promise(done => setTimeout(done, 300));")  # frames that are due
    browser.run(AXE)
    return list(browser.run(RUN)) + browser.complaints()


@pytest.fixture(scope="module", params=[(1440, False), (390, False), (390, True)],
                ids=["1440", "390", "390-dark"])  # fmt: skip
def window(request: pytest.FixtureRequest) -> Iterator[Browser]:
    width, dark = request.param
    with Browser(width, 844, dark=dark) as browser:
        yield browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(write_run(tmp_path_factory.mktemp("runs") / "run"))


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    pytest.importorskip("fastapi", reason="needs the extra app")
    pytest.importorskip("uvicorn", reason="needs the extra app")
    with Launched(tmp_path_factory.mktemp("app") / "jobs") as launched:
        yield launched


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation, built as `make site` does."""
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_a_broken_page_is_found(window: Browser, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(
        '<html lang="en"><title>x</title><main><img src="data:,"><input><p style="color:#ccc">pale'
    )
    window.open(tmp_path / "bad.html")
    found = " ".join(serious(window))
    assert all(rule in found for rule in ("image-alt", "label", "color-contrast"))


def test_report_and_card(window: Browser, report: Path) -> None:
    window.open(report)
    window.wait('window.crystalReport && document.querySelector("#cards canvas").cell')
    window.run('document.querySelector("details").open = true;')
    assert serious(window) == []
    assert window.run("return document.documentElement.scrollWidth <= innerWidth;")
    window.run('location.hash = "id=c000";')
    window.wait('(document.querySelector("dialog canvas") || {}).cell')
    assert serious(window) == []
    window.run('document.querySelector("dialog").close();')


def test_picture_and_gallery(window: Browser, tmp_path: Path) -> None:
    crystals = [perovskite(), rock_salt("Na", "Cl", 5.64).get_primitive_structure()]
    visualize_crystal(crystals[1], path=tmp_path / "one.html")
    (tmp_path / "many.html").write_text(gallery_page(crystals), encoding="utf-8")
    for page in ("one", "many"):
        window.open(tmp_path / f"{page}.html")
        window.wait('document.querySelector("canvas").cell')
        assert serious(window) == [], page
        assert window.run("return document.documentElement.scrollWidth <= innerWidth;"), page


def test_app(window: Browser, app: Launched) -> None:
    job = app.start("check", files=app.upload(halite=CIF))
    app.wait(job, "done", "failed")
    window.go(app.address)
    for place in ("#/", "#/new/generate", "#/new/train", "#/new/screen", "#/new/check",
                  "#/compare", f"#/job/{job}"):  # fmt: skip
        window.run(f'location.hash = "{place}"')
        window.wait(f'document.querySelector("main").dataset.place == "{place}"')
        assert serious(window) == [], place


@pytest.mark.parametrize("page", ["index", "looking", "figures", "tutorials/1-polymorphs"])
def test_documentation(window: Browser, site: Path, page: str) -> None:
    window.open(site / f"{page}.html")
    window.wait('document.querySelector("main h1, article h1")')
    assert serious(window) == []
    assert window.run("return document.documentElement.scrollWidth <= innerWidth;")


def test_search_of_the_documentation_works_from_disk(site: Path) -> None:
    assert "//unpkg" not in (site / "index.html").read_text(encoding="utf-8")
    with Browser(1440, 844) as browser:
        browser.open(site / "tutorials" / "1-polymorphs.html")
        browser.wait('document.querySelector(".md-search__input")')
        browser.run(
            'const s = document.querySelector(".md-search__input"); s.focus(); s.value = "olivine";'
            's.dispatchEvent(new KeyboardEvent("keyup", { key: "e", bubbles: true }));'
        )
        browser.wait('document.querySelectorAll(".md-search-result__item").length > 0')
        assert browser.complaints() == []
