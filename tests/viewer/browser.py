"""A headless Chromium for the tests, spoken to over the WebDriver protocol; nothing to install."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

WHY_SKIPPED = "needs Chromium: install the Debian packages chromium and chromium-driver"


def is_installed() -> bool:
    """Whether both programs are there."""
    return all(shutil.which(name) for name in ("chromium", "chromedriver"))


class Browser:
    """One window; ``with Browser(...) as browser``."""

    def __init__(self, width: int, height: int, *, dark: bool = False) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.profile = tempfile.mkdtemp(prefix="chromium-")
        self.driver = subprocess.Popen(
            [str(shutil.which("chromedriver")), f"--port={self.port}", "--silent"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        flags = [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--no-first-run",
            "--disable-dev-shm-usage", "--hide-scrollbars", f"--user-data-dir={self.profile}",
        ]  # fmt: skip
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": shutil.which("chromium"), "args": flags},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        try:
            self._wait_for_driver()
            session = self._post("session", {"capabilities": {"alwaysMatch": wanted}})
        except BaseException:
            self._end()
            raise
        self.session = f"session/{session['sessionId']}"
        phone = width < 600
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=phone,
        )  # fmt: skip
        scheme = "dark" if dark else "light"
        self.cdp(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._send("DELETE", self.session, None)
        finally:
            self._end()

    def _end(self) -> None:
        self.driver.terminate()
        self.driver.wait(10)
        shutil.rmtree(self.profile, ignore_errors=True)

    def _wait_for_driver(self) -> None:
        until = time.monotonic() + 60
        while True:
            try:
                self._send("GET", "status", None)
                return
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def _send(self, method: str, path: str, body: Any) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{path}",
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json"},
            method=method,
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=120) as answer:
                return json.loads(answer.read())["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()[:2000]) from error

    def _post(self, path: str, body: Any) -> Any:
        return self._send("POST", path, body)

    def cdp(self, command: str, **params: Any) -> Any:
        """A command of the Chrome DevTools protocol."""
        return self._post(f"{self.session}/goog/cdp/execute", {"cmd": command, "params": params})

    def open(self, path: Path) -> None:
        """Load a page from disk."""
        self._post(f"{self.session}/url", {"url": path.resolve().as_uri()})

    def go(self, address: str) -> None:
        """Load an address."""
        self._post(f"{self.session}/url", {"url": address})

    def run(self, script: str) -> Any:
        """The value of ``return ...`` in a script."""
        return self._post(f"{self.session}/execute/sync", {"script": script, "args": []})

    def wait(self, condition: str, seconds: float = 20) -> Any:
        """Wait until a JavaScript expression is true, and return its value."""
        until = time.monotonic() + seconds
        while True:
            value = self.run(f"return ({condition});")
            if value:
                return value
            if time.monotonic() > until:
                raise AssertionError(f"never became true: {condition}")
            time.sleep(0.1)

    def drag(self, x: float, y: float, dx: float, dy: float) -> None:
        """Press the mouse at a point, move it, let go."""
        where = {"button": "left", "clickCount": 1}
        self.cdp("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, **where)
        for part in (0.5, 1.0):
            self.cdp(
                "Input.dispatchMouseEvent",
                type="mouseMoved", x=x + part * dx, y=y + part * dy, buttons=1, button="left",
            )  # fmt: skip
        self.cdp("Input.dispatchMouseEvent", type="mouseReleased", x=x + dx, y=y + dy, **where)

    def press(self, key: str) -> None:
        """One key, sent to whatever has the focus."""
        for kind in ("keyDown", "keyUp"):
            letter = "\r" if key == "Enter" else key
            text = {"text": letter} if len(letter) == 1 and kind == "keyDown" else {}
            codes = {"Escape": 27, "ArrowLeft": 37, "Tab": 9, "Enter": 13}
            number = codes.get(key, ord(key[0].upper()))
            self.cdp(
                "Input.dispatchKeyEvent",
                type=kind, key=key, code=key, windowsVirtualKeyCode=number, **text,
            )  # fmt: skip

    def complaints(self) -> list[str]:
        """Errors and warnings on the console since the last call."""
        entries = self._post(f"{self.session}/se/log", {"type": "browser"})
        return [e["message"] for e in entries if e["level"] in ("SEVERE", "WARNING")]

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """A PNG of the window, or of the whole page."""
        picture = self.cdp("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(picture["data"]))
