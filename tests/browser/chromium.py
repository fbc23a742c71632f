"""A real browser without a driver: Chromium, spoken to over its own debugging protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

PATIENCE = 120.0  # seconds for the browser to start, and for each of its answers
NAMES = ("chromium", "chromium-browser", "google-chrome")
KEYS = {"Tab": ("Tab", 9, ""), "Enter": ("Enter", 13, "\r"), "Escape": ("Escape", 27, ""), "Space": ("Space", 32, " ")}
FLAGS = ("--headless=new", "--no-first-run", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0")


def program() -> str | None:
    """Find the browser."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Tab:
    """A page that is open; what it asked for and what it complained about is kept."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = count(1)
        self.requested: list[str] = []
        self.complaints: list[str] = []
        self._loaded = False
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **given: Any) -> dict[str, Any]:
        """Call a method of the protocol and give its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": given}))
        while True:
            told = self._receive()
            if told.get("id") == number:
                assert "error" not in told, f"{method}: {told['error']}"
                return dict(told["result"])

    def open(self, page: Path | str, width: int, height: int = 900) -> None:
        """Load a file or an address into a window of that size, and wait until it is there."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        with self.loading():
            self.call("Page.navigate", url=page if isinstance(page, str) else page.as_uri())

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Do something that leads to another page, and wait until that is there."""
        self._loaded = False
        yield
        while not self._loaded:
            self._receive()

    def until(self, expression: str, seconds: float = PATIENCE) -> Any:
        """Wait until JavaScript in the page gives something that is true."""
        end = time.monotonic() + seconds
        while not (told := self.ask(expression)):
            assert time.monotonic() < end, (
                f"{expression}: not within {seconds:g} s: {self.ask('document.body.innerText')}"
            )
            time.sleep(0.05)
        return told

    def write(self, text: str) -> None:
        """Write into what has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, modifiers: int = 0) -> None:
        """Press a key: `Tab`, `Enter`, `Escape`, `Space`."""
        code, number, text = KEYS[key]
        about = {"key": " " if key == "Space" else key, "code": code, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown", modifiers=modifiers, text=text, **about)
        self.call("Input.dispatchKeyEvent", type="keyUp", modifiers=modifiers, **about)

    def ask(self, expression: str) -> Any:
        """Evaluate JavaScript in the page."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def picture(self, *, whole: bool = True, form: str = "png") -> bytes:
        """Return a picture of the page, or only of what the window shows of it."""
        quality = {} if form == "png" else {"quality": 75}
        taken = self.call("Page.captureScreenshot", captureBeyondViewport=whole, format=form, **quality)
        return base64.b64decode(taken["data"])

    def paper(self) -> bytes:
        """Return the page as it is printed, as PDF."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=False)["data"])

    def _receive(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self._socket.recv(timeout=PATIENCE))
        match told.get("method"):
            case "Network.requestWillBeSent":
                self.requested.append(told["params"]["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(told["params"]["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(told["params"]))
            case "Runtime.consoleAPICalled":
                self.complaints.append(str(told["params"]["args"]))
            case "Page.loadEventFired":
                self._loaded = True
        return told


@contextmanager
def chromium() -> Iterator[Tab]:
    """Start the browser with a profile of its own and open a tab; both are gone afterwards."""
    found = program()
    assert found, "tests that come here have asked for chromium"
    with tempfile.TemporaryDirectory(prefix="dpchrome", ignore_cleanup_errors=True) as profile:
        # As root it needs to be told; elsewhere its sandbox stays.
        flags = [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else []), f"--user-data-dir={profile}"]
        browser = subprocess.Popen([found, *flags, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = _port(Path(profile) / "DevToolsActivePort", browser)
            address = f"ws://127.0.0.1:{port}/devtools/page/{_page(port)}"
            # What the page tells while a test looks elsewhere is kept: a full queue would keep the browser's pongs out.
            with connect(address, max_size=None, max_queue=None, open_timeout=PATIENCE, ping_timeout=None) as socket:
                yield Tab(socket)
        finally:
            browser.terminate()
            try:
                browser.wait(30)
            except subprocess.TimeoutExpired:
                browser.kill()
                browser.wait()


def _port(file: Path, browser: subprocess.Popen[bytes]) -> int:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert browser.poll() is None, f"chromium ended with {browser.returncode}"
        if file.exists() and (lines := file.read_text().splitlines()):
            return int(lines[0])
        time.sleep(0.05)
    raise TimeoutError(f"chromium opened no debugging port within {PATIENCE:g} s")


def _page(port: int) -> str:
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=PATIENCE) as told:
        return next(str(tab["id"]) for tab in json.load(told) if tab["type"] == "page")
