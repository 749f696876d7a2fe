"""The app in a headless Chromium: keys only, wide and narrow, two tabs, no network but its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra app")
pytest.importorskip("uvicorn", reason="needs the extra app")

from launch import CIF, Launched

sys.path.insert(0, str(Path(__file__).parents[1] / "viewer"))
from browser import WHY_SKIPPED, Browser, is_installed

pytestmark = pytest.mark.skipif(not is_installed(), reason=WHY_SKIPPED)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with Launched(tmp_path_factory.mktemp("app") / "jobs") as launched:
        yield launched


def focus_of(browser: Browser, key: str) -> None:
    """Press Tab until the element of an id has the focus."""
    for _ in range(40):
        if browser.run("return document.activeElement.id") == key:
            return
        browser.press("Tab")
    raise AssertionError(f"no Tab leads to {key}")


def test_pages_asked_for_faster_than_the_server_answers(app: Launched) -> None:
    with Browser(1440, 900) as browser:
        browser.cdp("Network.enable")
        browser.cdp(
            "Network.emulateNetworkConditions",
            offline=False, latency=400, downloadThroughput=-1, uploadThroughput=-1,
        )  # fmt: skip
        browser.go(app.address)  # the page knows nothing of the server yet
        for place in ("#/compare", "#/", "#/new/train", "#/new/generate"):
            browser.run(f'location.hash = "{place}"')
        browser.wait('document.getElementById("field-formula")')
        browser.run("return new Promise(done => setTimeout(done, 1000));")
        title = browser.run('return document.querySelector("main h2").textContent')
        assert title == "Make crystals"
        assert browser.complaints() == []


def test_with_the_keyboard_from_question_to_report(app: Launched) -> None:
    with Browser(1440, 900) as browser, Browser(390, 844) as phone:
        browser.go(app.address)
        browser.wait('document.querySelector("nav a")')
        assert "token" not in browser.run("return location.href")
        browser.run('location.hash = "#/new/generate"')
        browser.wait('document.getElementById("field-formula")')
        focus_of(browser, "field-formula")
        for letter in "NaCl":
            browser.press(letter)
        browser.wait('document.querySelector("pre").textContent.includes("=NaCl")')
        focus_of(browser, "field-n")
        browser.run("document.activeElement.select()")
        browser.press("2")
        browser.press("Enter")
        browser.wait('location.hash.startsWith("#/job/")')
        phone.go(app.address)  # a second tab follows the same job
        phone.wait('document.querySelector("td a")')
        phone.run('document.querySelector("td a").click()')
        for one in (browser, phone):
            one.wait('document.querySelector(".state").textContent == "done"', 300)
            one.wait('document.querySelector("iframe")', 60)
            assert one.run("return document.documentElement.scrollWidth <= innerWidth")
            bad = one.complaints()
            assert bad == []
        # The report has no origin, so neither cookie nor data of the app.
        assert browser.run("return document.querySelector('iframe').contentDocument") is None


@pytest.mark.parametrize("width", [390, 1440])
def test_every_page_fits_and_has_names_for_all(app: Launched, width: int) -> None:
    with Browser(width, 844) as browser:
        browser.go(app.address)
        browser.wait('document.querySelector("nav a")')
        for place in ("#/", "#/new/generate", "#/new/train", "#/new/screen", "#/new/check",
                      "#/compare"):  # fmt: skip
            browser.run(f'location.hash = "{place}"')
            browser.wait(f'location.hash == "{place}" && document.querySelector("main h2")')
            assert browser.run("return document.documentElement.scrollWidth <= innerWidth"), place
            nameless = browser.run(
                "return [...document.querySelectorAll('input, select, button, a')]"
                ".filter((n) => !(n.textContent.trim() || n.ariaLabel || n.labels?.length))"
                ".map((n) => n.outerHTML)"
            )
            assert nameless == [], place
        assert browser.complaints() == []


def test_hostile_names_are_shown_as_text(app: Launched) -> None:
    name = "%3Cimg%20src%3Dx%20onerror%3Dwindow.planted%3D1%3E"
    key = app.ask("POST", "/api/uploads").json()["id"]
    app.ask("PUT", f"/api/uploads/{key}/{name}", data=CIF.encode())
    job = app.start("generate", formula="<img src=x onerror=window.planted=1>")
    app.wait(job, "failed")
    with Browser(1440, 900) as browser:
        browser.go(app.address)
        browser.wait('document.querySelector("td a")')
        browser.run(f'location.hash = "#/job/{job}"')
        browser.wait('(document.querySelector("pre")?.textContent || "").includes("<img")')
        assert browser.run("return window.planted") is None
        assert not browser.run("return document.querySelector('img')")


def test_the_end_of_the_app_is_told(tmp_path: Path) -> None:
    with Browser(1440, 900) as browser:
        with Launched(tmp_path / "jobs") as launched:
            browser.go(launched.address)
            browser.wait('document.querySelector("nav a")')
        browser.run('location.hash = "#/new/check"')
        browser.wait('document.getElementById("notice").textContent.includes("does not answer")')
