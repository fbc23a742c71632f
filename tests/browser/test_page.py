"""The page of `deploy serve` in a real browser, while a real canary is in progress."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.browser.chromium import Tab, chromium
from tests.live.serving import Api, server, token
from tests.live.shop import Shop
from tests.load import Load, Options
from tests.ports import free_port
from tests.services import require

pytestmark = pytest.mark.live

DESK, PHONE = 1280, 360  # columns of the window
USERS = Options(rate=60, kinds=("fresh", "busy", "sticky"))
SHIFT = 8
TEXT = "document.body.innerText"
FOCUS = "document.activeElement.id || document.activeElement.textContent"
BRIGHTNESS = (
    "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number).reduce((a, b) => a + b)"
)
OUTSIDE = (
    "[...document.querySelectorAll('main *, header *')].filter(e => !e.closest('.scroll, pre, svg, dialog:not([open])')"
    " && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"
)
LANDMARKS = "['header nav', 'main', 'main h1', '.skip'].filter(s => !document.querySelector(s))"
UNNAMED = "[...document.querySelectorAll('section')].filter(s => !s.querySelector('h1, h2')).map(s => s.id)"


@contextmanager
def browser() -> Iterator[Tab]:
    """Open a browser that nobody has logged in with; whatever it complains about is an error."""
    with chromium() as tab:
        try:
            yield tab
        finally:
            assert tab.complaints == []


@pytest.fixture
def shop(process_shop: Shop) -> Shop:
    require("chromium")
    process_shop.write(strategy={"canary": {"steps": [{"share": 30, "for": "10m"}], "bake": "0s"}})
    process_shop.version("2.0")
    return process_shop


def log_in(tab: Tab, url: str, text: str, width: int = DESK) -> None:
    tab.open(url, width)
    assert tab.ask("location.pathname") == "/login"
    tab.until(f"({FOCUS}) === 'token'")  # one can begin to type
    tab.write(text)
    with tab.loading():
        tab.press("Enter")


def keep(tab: Tab, name: str, *, whole: bool = True) -> None:
    """Leave a picture where one is asked for."""
    if folder := os.environ.get("DEPLOYER_TEST_PICTURES"):
        Path(folder).joinpath(f"page-{name}.webp").write_bytes(tab.picture(whole=whole, form="webp"))


def scheme(tab: Tab, name: str) -> None:
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])


@pytest.mark.long("a canary that is watched in a browser", every_change=True)
def test_a_canary_is_watched_and_promoted(shop: Shop) -> None:
    port = free_port()
    url, operator = f"http://127.0.0.1:{port}", token(shop, "operator")
    with server(shop, port), Load(shop.url, USERS) as load, browser() as tab:
        log_in(tab, f"{url}/", operator)
        assert tab.ask(f"{TEXT}.includes('r1 (1.0) is live')")
        keep(tab, "home")
        number = Api(shop, port, operator).begin(version="2.0", reason="prices with VAT")
        tab.until(f"{TEXT}.includes('canary of r2 (2.0)')")
        with tab.loading():
            tab.ask("document.querySelector('.under-way p a').click()")
        assert tab.ask("location.pathname") == f"/rollouts/{number}"
        watched(tab)
        looks(tab)
        promoted_by_keyboard(tab)
        tab.until("document.querySelector('h1').textContent === 'r2 (2.0) is live for everyone'")
        told = "document.querySelector('#said').textContent"
        tab.until(f"{told}.startsWith('promote: ') && !{told}.endsWith('in progress')")
        assert tab.ask("document.querySelectorAll('#asks button').length") == 0, "it has ended"
        keep(tab, "ended")
        with tab.loading():
            tab.ask("document.querySelector('.over a').click()")
        history(tab, number)
        assert set(map(here, tab.requested)) == {url}, "nothing from elsewhere"
        report = load.stop()
    assert report.failed == 0, report.text()
    assert shop.status()["stable_version"] == "2.0"
    deeds = shop.events("audit", "--service", shop.name)[0]["records"]
    deed = next(d for d in deeds if (d["action"], d["result"]) == ("promote", "asked"))
    assert (deed["reason"], deed["by"].partition("@")[0]) == ("looks good", "operator")


def here(url: str) -> str:
    return "/".join(url.split("/")[:3])


def watched(tab: Tab) -> None:
    """Without a hand on it the page tells more and more of the canary."""
    tab.until(f"{TEXT}.includes('30% target') && {TEXT}.includes('% actual')")
    answers = "Number(document.querySelector('#sides tbody td:nth-child(2)')?.textContent.replace(',', ''))"
    before = tab.until(answers)
    tab.until(f"{answers} > {before + 20}")
    tab.until("document.querySelectorAll('#traffic svg.plot path.band').length >= 4")
    tab.until("document.querySelectorAll('#times svg.plot path.line').length >= 6")
    for part in (
        "prices with VAT",
        "latency counts after",
        "verdict",
        "lease",
        "budget",
        "next",
        "promote",
        "candidate",
        "stable",
        "r2-1",
    ):
        tab.until(f"{TEXT}.includes({json.dumps(part)})")
    tab.until("document.querySelector('#link').textContent === 'live'")
    assert tab.ask("[...document.querySelectorAll('#asks button')].map(b => b.textContent)") == [
        "Promote",
        "Pause",
        "Abort",
    ]


def looks(tab: Tab) -> None:
    """Wide and narrow, light and dark: nothing leaves the window, and what is there has a name."""
    for width, dark in ((DESK, "light"), (DESK, "dark"), (PHONE, "light"), (PHONE, "dark")):
        tab.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme(tab, dark)
        assert tab.ask("(s => s.scrollWidth <= s.clientWidth)(document.querySelector('#sides .scroll'))")
        assert tab.ask("document.documentElement.scrollWidth <= innerWidth")
        assert tab.ask(OUTSIDE) == []
        assert (tab.ask(BRIGHTNESS) > 600) == (dark == "light")
        keep(tab, f"live-{'desk' if width == DESK else 'phone'}-{dark}")
    assert tab.ask(LANDMARKS) == []
    assert tab.ask(UNNAMED) == []
    tab.ask("document.querySelector('#do-promote').click()")
    keep(tab, "dialog-phone-dark")
    assert tab.ask(OUTSIDE) == []
    tab.press("Escape")
    scheme(tab, "light")
    tab.call("Emulation.setDeviceMetricsOverride", width=DESK, height=900, deviceScaleFactor=1, mobile=False)


def promoted_by_keyboard(tab: Tab) -> None:
    """The dialog says what will happen, and stays as it is while the page goes on."""
    tab.ask("document.querySelector('#content').focus()")
    while tab.ask(FOCUS) != "do-promote":
        tab.press("Tab")
    tab.press("Enter")
    words = tab.until("document.querySelector('dialog[open]')?.innerText")
    for part in ("Promote r2 (2.0)?", "All users of", "r2"):
        assert part in words, words
    while tab.ask(FOCUS) != "ask-promote-reason":
        tab.press("Tab")
    tab.write("looks good")
    keep(tab, "dialog-desk")
    now = "document.querySelector('#sides tbody td:nth-child(2)').textContent"
    before = tab.ask(now)
    tab.until(f"{now} !== {before!r}")
    assert tab.ask("document.querySelector('dialog[open] textarea').value") == "looks good"
    while tab.ask(FOCUS) != "Promote":
        tab.press("Tab")
    tab.press("Enter")
    tab.until("!document.querySelector('dialog[open]')")


def history(tab: Tab, number: int) -> None:
    """The page of the service has its history, its reports and its audit log."""
    tab.ask("document.querySelectorAll('details').forEach(d => d.open = true)")
    words = tab.ask(TEXT)
    for part in ("r2 (2.0) is live", "looks good", "prices with VAT", "Roll back", "page, from 127.0.0.1"):
        assert part in words, part
    assert tab.ask(f"document.querySelectorAll('a[href=\"/api/v1/rollouts/{number}/report\"]').length") == 1
    keep(tab, "service")
    with tab.loading():
        tab.ask(f"document.querySelector('a[href=\"/api/v1/rollouts/{number}/report\"]').click()")
    assert tab.ask(f"{TEXT}.includes('What users got')"), "the report"


@pytest.mark.long("a canary that is watched in a browser", every_change=True)
def test_pause_resume_abort_and_roll_back(shop: Shop) -> None:
    port = free_port()
    url, operator = f"http://127.0.0.1:{port}", token(shop, "operator")
    heading = "document.querySelector('h1').textContent"
    with server(shop, port) as process, Load(shop.url, USERS) as load, browser() as tab:
        api = Api(shop, port, operator)
        number = api.begin(version="2.0")
        log_in(tab, f"{url}/rollouts/{number}", operator)
        assert tab.ask("location.pathname") == f"/rollouts/{number}", "what was wanted comes after the login"
        tab.until(f"{TEXT}.includes('30% target')")
        confirmed(tab, "pause", "stops where it is")
        tab.until(f"{heading} === 'r2 (2.0) is paused at 30%'")
        tab.until("!!document.querySelector('#do-resume') && !document.querySelector('#do-pause')")
        tab.until("document.querySelector('.steps .running .n').textContent === 'paused'")
        keep(tab, "paused")
        let_go(shop)
        confirmed(tab, "resume", "goes on where it stopped")
        tab.until("!!document.querySelector('#do-pause')")
        confirmed(tab, "abort", "return to r1 (1.0) at once")
        tab.until(f"{heading} === 'r2 (2.0) was rolled back'")
        tab.until("document.querySelector('#link').textContent === ''")
        keep(tab, "reverted")
        let_go(shop)
        shop.deploy("bluegreen", "--bake", "0", "--version", "2.0")
        with tab.loading():
            tab.ask("document.querySelector('.over a').click()")
        confirmed(tab, "rollback", "leave r3 (2.0); back to r1 (1.0)")
        tab.until(f"{heading} === 'r1 (1.0) is live'")
        process.terminate()
        tab.until("document.querySelector('#link').textContent.startsWith('not connected')")
        tab.complaints.clear()  # of what it could not load
        report = load.stop()
    assert report.failed == 0, report.text()
    assert shop.status()["stable_version"] == "1.0"


def let_go(shop: Shop) -> None:
    """Wait until who drove the rollout has ended: the page tells of its end a moment before."""
    shop.wait(lambda status: status["lock"] is None, "nobody changes it")


def confirmed(tab: Tab, action: str, words: str) -> None:
    """Press a button, read what will happen, and say yes."""
    tab.until(f"!!document.querySelector('#do-{action}')")
    tab.ask(f"document.querySelector('#do-{action}').click()")
    assert words in tab.until("document.querySelector('dialog[open]')?.innerText")
    tab.ask("document.querySelector('dialog[open] button[type=submit]').click()")
    tab.until("!document.querySelector('dialog[open]')")


@pytest.mark.long("canaries that are watched in a browser", every_change=True)
def test_who_is_asked_approves_or_refuses_and_nobody_else(shop: Shop) -> None:
    consent = {"by": ["ann"], "within": "5m"}
    shop.write(strategy={"canary": {"steps": [{"share": 30, "for": "2s", "approve": consent}], "bake": "0s"}})
    port = free_port()
    url, operator = f"http://127.0.0.1:{port}", token(shop, "operator")
    ann = shop.deploy("token", "create", "ann", "--role", "operator").stdout.strip()
    heading = "document.querySelector('h1').textContent"
    with server(shop, port), Load(shop.url, USERS) as load, browser() as tab:
        api = Api(shop, port, operator)
        first = api.begin(version="2.0")
        log_in(tab, f"{url}/rollouts/{first}", ann)
        tab.until(f"{TEXT}.includes('for the approval of ann, 0 of 1')")
        assert not tab.ask("!!document.querySelector('#do-promote')"), "it does not pass what is not approved"
        keep(tab, "approval")
        tab.until("!!document.querySelector('#do-refuse')")
        tab.ask("document.querySelector('#do-refuse').click()")
        assert "return to r1 (1.0) at once" in tab.until("document.querySelector('dialog[open]')?.innerText")
        tab.ask("document.querySelector('dialog[open] button[type=submit]').click()")
        assert tab.ask("!!document.querySelector('dialog[open] textarea:invalid')"), "a refusal needs a reason"
        tab.ask("document.querySelector('dialog[open] textarea').value = 'not on a Friday'")
        keep(tab, "refusal")
        tab.ask("document.querySelector('dialog[open] button[type=submit]').click()")
        tab.until(f"{heading} === 'r2 (2.0) was rolled back'")
        tab.until(f"{TEXT}.includes('not on a Friday')")
        let_go(shop)
        second = api.begin(version="2.0")
        with tab.loading():
            tab.ask(f"location.assign('/rollouts/{second}')")
        tab.until(f"{TEXT}.includes('for the approval of ann, 0 of 1')")
        confirmed(tab, "approve", "No further approval is needed; it continues")
        tab.until(f"{heading} === 'r3 (2.0) is live for everyone'")
        report = load.stop()
    assert report.failed == 0, report.text()


@pytest.mark.long("a canary that is watched in a browser", every_change=True)
def test_a_viewer_sees_everything_and_no_button(shop: Shop) -> None:
    port = free_port()
    viewer, operator = token(shop, "viewer"), token(shop, "operator")
    with server(shop, port), Load(shop.url, USERS) as load, browser() as tab:
        number = Api(shop, port, operator).begin(version="2.0")
        log_in(tab, f"http://127.0.0.1:{port}/rollouts/{number}", viewer, PHONE)
        tab.until(f"{TEXT}.includes('% actual')")
        assert tab.ask("document.querySelectorAll('main button, dialog').length") == 0
        keep(tab, "viewer-phone")
        refused = (
            f"fetch('/api/v1/services/{shop.name}/promote', {{method: 'POST', body: '{{}}', headers: {{'content-type':"
            " 'application/json', 'x-csrf-token': document.querySelector('meta[name=csrf]').content}})"
            ".then(a => a.status)"
        )
        told = tab.call("Runtime.evaluate", expression=refused, returnByValue=True, awaitPromise=True)
        assert told["result"]["value"] == 403
        tab.complaints.clear()  # of that answer
        assert shop.status()["share"] == 3000
        shop.deploy("abort")
        tab.until("document.querySelector('h1').textContent === 'r2 (2.0) was rolled back'")
        with tab.loading():
            tab.ask("document.querySelector('[data-logout]').click()")
        tab.open(f"http://127.0.0.1:{port}/rollouts/{number}", PHONE)
        assert tab.ask("location.pathname") == "/login"
        keep(tab, "login-phone")
        load.stop()


@pytest.mark.long("a canary that is watched in a browser", every_change=True)
def test_a_bad_release_is_seen_to_be_taken_back(shop: Shop) -> None:
    shop.version("2.0", {"ERR": "0.4"})
    port = free_port()
    with server(shop, port), Load(shop.url, USERS) as load, browser() as tab:
        log_in(tab, f"http://127.0.0.1:{port}/services/{shop.name}", token(shop, "operator"), PHONE)
        shop.deploy("canary", "--version", "2.0", expect=3)
        tab.until(f"{TEXT}.includes('reverted')")
        with tab.loading():
            tab.ask("document.querySelector('#rollouts a').click()")
        assert tab.ask("document.querySelector('h1').textContent") == "r2 (2.0) was rolled back"
        why = tab.ask("document.querySelector('#why').innerText")
        assert "worse" in why, why
        assert "candidate" in why, why
        assert tab.ask("document.querySelectorAll('#asks button').length") == 0
        keep(tab, "worse-phone")
        load.stop()
    assert shop.status()["stable_version"] == "1.0"
