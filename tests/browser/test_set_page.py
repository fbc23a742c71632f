"""A set of services in a real browser: all members side by side, and one button for all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.chromium import Tab
from tests.browser.test_page import LANDMARKS, OUTSIDE, PHONE, TEXT, UNNAMED, browser, keep, log_in
from tests.live.pairs import paired
from tests.live.serving import server, token
from tests.live.shop import Shop
from tests.ports import free_port
from tests.services import require

pytestmark = pytest.mark.live

HEADING = "document.querySelector('h1').textContent"
SUBMIT = "document.querySelector('dialog[open] [type=submit]')"
PROBLEM = "document.querySelector('dialog[open] [role=alert]')"


@pytest.fixture
def home(state: Path) -> Iterator[Shop]:
    """Yield the service beside whose manifest the release file is."""
    require("chromium", "haproxy")
    with paired(state) as shops:
        yield shops[0]


@pytest.mark.long("two services released together, watched, promoted and deployed in a browser")
def test_a_set_is_watched_promoted_and_deployed(home: Shop) -> None:
    release = home.folder / "release.yml"
    release.write_text(f"{release.read_text()}strategy: {{bluegreen: {{bake: 0s}}}}\n")
    home.deploy("release", "bluegreen", "--bake", "0", "--version", "1.0")
    home.deploy("release", "canary", "--percent", "10", "--hold", "--version", "2.0", "-m", "the new basket")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with server(home, port, "-f", "release.yml"), browser() as tab:
        log_in(tab, f"{url}/", token(home, "operator"))
        tab.until(f"{TEXT}.includes('paused') && {TEXT}.includes('10%')")
        keep(tab, "sets")
        with tab.loading():
            tab.ask("document.querySelector('.set .way').click()")
        assert tab.ask("document.querySelector('dialog[open]').id") == "ask-abort"
        tab.press("Escape")
        keep(tab, "set")
        assert tab.ask(f"{OUTSIDE}.length") == tab.ask(f"{LANDMARKS}.length") == tab.ask(f"{UNNAMED}.length") == 0
        tab.ask("document.querySelector('#do-promote').click()")
        keep(tab, "set-dialog", whole=False)
        tab.ask(f"{SUBMIT}.click()")
        tab.until(f"{HEADING} === 'Set 2: done, live'")
        assert (
            tab.ask("[...document.querySelectorAll('#asks button')].map(b => b.id).join()") == "do-rollback,do-deploy"
        )
        assert home.status()["stable_version"] == "2.0"
        deployed(tab)
        tab.call("Emulation.setDeviceMetricsOverride", width=PHONE, height=700, deviceScaleFactor=1, mobile=False)
        assert tab.ask(f"{OUTSIDE}.length") == 0
    assert home.status()["stable_version"] == "1.0"


def deployed(tab: Tab) -> None:
    """Release another version of one service from the form; it says first what will happen to each."""
    tab.ask("document.querySelector('#do-deploy').click()")
    fill(tab, "versions", "2.0")
    tab.ask(f"{SUBMIT}.click()")
    assert "live already" in tab.until(f"{PROBLEM}.textContent")
    fill(tab, "versions-backend", "1.0")
    tab.ask(f"{SUBMIT}.click()")
    tab.until(f"{SUBMIT}.textContent === 'Deploy' && !{SUBMIT}.disabled")
    plan = tab.ask("document.querySelector('dialog[open] .plan').innerText")
    assert "frontend: its release is live already" in plan
    assert "What will happen (bluegreen)" in plan
    assert tab.ask(f"{OUTSIDE}.length") == 0
    keep(tab, "set-deploy", whole=False)
    tab.ask(f"{SUBMIT}.click()")
    tab.until(f"{HEADING} === 'Set 3: done, live'")


def fill(tab: Tab, field: str, text: str) -> None:
    """Write into a field of the form as a keyboard does."""
    tab.ask(f"document.querySelector('#ask-deploy-{field}').focus()")
    tab.write(text)
