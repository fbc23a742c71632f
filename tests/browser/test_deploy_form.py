"""A version is deployed from the web UI, by keyboard alone, and what an operator sees meanwhile.

The pictures in the docs are made here: `DEPLOYER_TEST_PICTURES=docs/pictures scripts/test browser -k deploy_form`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.browser.chromium import Tab
from tests.browser.test_page import DESK, FOCUS, OUTSIDE, PHONE, TEXT, browser, log_in, scheme
from tests.live.conftest import Make
from tests.live.serving import server
from tests.live.shop import Shop
from tests.load import Load, Options
from tests.ports import free_port
from tests.services import require

pytestmark = pytest.mark.live

USERS = Options(rate=100, kinds=("fresh", "busy", "sticky"))
ENABLED = "document.querySelector('dialog[open] [type=submit]:enabled')"
SUBMIT = f"{ENABLED}?.textContent"
PROBLEM = "document.querySelector('dialog[open] [role=alert]')?.textContent"


@pytest.fixture
def shop(make_shop: Make) -> Iterator[Shop]:
    """Two services, one of them with a canary of two minutes."""
    require("chromium")
    shop = make_shop("process")
    shop.name = "shop"
    canary = {"steps": [{"share": "10%", "for": "120s"}, {"share": "50%", "for": "120s"}], "bake": "0s"}
    shop.write(service="shop", strategy={"canary": canary})
    for version in ("1.0", "2.0"):
        shop.version(version)
    shop.deploy("up", "--version", "1.0")
    blog = {**shop.manifest, "service": "blog", "traffic": {"listen": f"127.0.0.1:{free_port()}"}}
    (shop.folder / "blog.yml").write_text(yaml.safe_dump(blog))
    try:
        for version in ("1.0", "2.0"):
            shop.deploy("bluegreen", "-f", "blog.yml", "--bake", "0", "--version", version)
        yield shop
    finally:
        shop.deploy("down", "--yes", "--service", "blog")


def pictured(tab: Tab, name: str, theme: str, height: int = 760, seen: int = 0) -> None:
    """Leave a picture where pictures are asked for, once the candidate has given so many responses."""
    if folder := os.environ.get("DEPLOYER_TEST_PICTURES"):
        width, answers = 1100, "Number(document.querySelector('#sides tbody td:nth-child(2)')?.textContent ?? 0)"
        tab.until(f"{answers} >= {seen}", 90)
        tab.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme(tab, theme)
        Path(folder).joinpath(f"{name}-{theme}.webp").write_bytes(tab.picture(whole=False, form="webp"))
        scheme(tab, "light")
        tab.call("Emulation.setDeviceMetricsOverride", width=DESK, height=900, deviceScaleFactor=1, mobile=False)


def typed(tab: Tab, field: str, text: str) -> None:
    """Reach a field with the Tab key and write into it, in place of what is there."""
    while tab.ask(FOCUS) != field:
        tab.press("Tab")
    tab.ask("document.activeElement.select()")
    tab.write(text)


@pytest.mark.long("a canary that is deployed and watched in a browser")
def test_a_version_is_deployed_by_keyboard_from_the_deploy_form(shop: Shop) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    ann = shop.deploy("token", "create", "ann", "--role", "operator").stdout.strip()
    with server(shop, port) as process, Load(shop.url, USERS) as load, browser() as tab:
        tab.call("Emulation.setTimezoneOverride", timezoneId="Asia/Tokyo")
        log_in(tab, f"{url}/services/shop", ann)
        in_zone_of_viewer(tab)
        planned(tab, shop.folder)
        with tab.loading():
            tab.press("Enter")
        assert re.fullmatch(r"/rollouts/[0-9]+", tab.ask("location.pathname"))
        heading = "document.querySelector('h1').textContent"
        tab.until(f"{heading} === '10% on r2 (2.0)'")
        assert tab.ask("document.title").startswith("10% on r2 (2.0) · shop")
        tab.until("document.querySelectorAll('#traffic svg.plot path.band').length >= 4")
        assert not re.search(r"[0-9] %|\.00%", tab.ask(TEXT)), "a share is written as it is typed"
        pictured(tab, "web-canary", "dark", seen=200)
        tab.ask("document.querySelector('#do-promote').click()")
        pictured(tab, "web-dialog", "light")
        tab.press("Escape")
        two_seconds_to_the_way_back(tab, url)
        process.terminate()
        report = load.stop()
    assert report.failed == 0, report.text()
    history = shop.events("history", "--service", "shop")[0]["rollouts"]
    newest = history[0]
    assert (newest["outcome"], newest["message"], newest["by"].partition("@")[0]) == ("reverted", "new cart", "ann")


def in_zone_of_viewer(tab: Tab) -> None:
    """Times are those of the viewer, and name their zone."""
    title = tab.ask("document.querySelector('main time[datetime]').title")
    machine = tab.ask("document.querySelector('main time[datetime]').dateTime")
    assert title.endswith(" Asia/Tokyo (UTC+09:00)")
    assert (int(machine[11:13]) + 9) % 24 == int(title[11:13])
    assert "Asia/Tokyo" in tab.ask("document.querySelector('footer').innerText")


def planned(tab: Tab, folder: Path) -> None:
    """Open the form, be refused in place, and see the plan of what is right."""
    tab.ask("document.querySelector('#content').focus()")
    while tab.ask(FOCUS) != "do-deploy":
        tab.press("Tab")
    tab.press("Enter")
    tab.until(f"({FOCUS}) === 'ask-deploy-version'")  # one can begin to type
    words = tab.ask("document.querySelector('dialog[open]').innerText")
    assert "r1 (1.0) is live." in words
    assert tab.ask("document.querySelector('#ask-deploy-strategy').value") == "canary"
    tab.write("a b")
    tab.press("Enter")
    refused = tab.until(PROBLEM)
    assert "version: must be a version: letters, digits, `.`, `_` and `-`, not 'a b'" in refused
    tab.complaints.clear()  # of that answer
    typed(tab, "ask-deploy-version", "2.0")
    typed(tab, "ask-deploy-reason", "new cart")
    while tab.ask(FOCUS) != "Show the plan":
        tab.press("Tab")
    tab.press("Enter")
    tab.until(f"{SUBMIT} === 'Deploy'")
    words = tab.ask("document.querySelector('dialog[open]').innerText")
    for part in ("10% of the traffic goes to the candidate", "promote: r2", "If it fails"):
        assert part in words, words
    assert tab.ask(PROBLEM) == ""
    elsewhere = f"li.textContent = li.textContent.replaceAll({json.dumps(str(folder))}, '/srv/shop')"
    tab.ask(f"document.querySelectorAll('.plan li').forEach(li => {{ {elsewhere} }})")  # readers have no such folder
    pictured(tab, "web-deploy", "dark", 1000)
    for width in (PHONE, DESK):
        tab.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        assert tab.ask(OUTSIDE) == []
    typed(tab, "ask-deploy-version", "1.0")
    assert tab.ask(SUBMIT) == "Show the plan", "that was not planned"
    tab.press("Enter")
    assert "1.0 is live already: nothing to deploy" in tab.until(PROBLEM)
    typed(tab, "ask-deploy-version", "2.0")
    tab.press("Enter")
    tab.until(f"{SUBMIT} === 'Deploy'")
    assert tab.ask(FOCUS) == "Deploy", "it only wants to be confirmed"


def two_seconds_to_the_way_back(tab: Tab, url: str) -> None:
    """From the list of services, one link takes users off the candidate; afterwards the list says why."""
    with tab.loading():
        tab.call("Page.navigate", url=f"{url}/")
    tab.until(f"{TEXT}.includes('10% on r2 (2.0), the rest on r1 (1.0)')")
    assert tab.ask("document.querySelector('#service-blog .way').textContent") == "Roll back to r1 (1.0)…"
    pictured(tab, "web-overview", "light", 360)
    with tab.loading():
        tab.ask("document.querySelector('#service-shop .way').click()")
    assert "return to r1 (1.0) at once" in tab.until("document.querySelector('dialog[open]')?.innerText")
    tab.write("prices are wrong")
    tab.ask("document.querySelector('dialog[open] [type=submit]').click()")
    tab.until("document.querySelector('h1').textContent === 'r2 (2.0) was rolled back'")
    with tab.loading():
        tab.call("Page.navigate", url=f"{url}/")
    tab.until("document.querySelector('#service-shop .cause')?.textContent.includes('prices are wrong')")
    for width in (PHONE, DESK):
        for path in ("/", "/services/shop"):
            tab.open(f"{url}{path}", width)
            tab.ask("document.querySelectorAll('details').forEach(d => d.open = true)")
            assert tab.ask("document.documentElement.scrollWidth <= innerWidth"), (path, width)
            assert tab.ask(OUTSIDE) == [], (path, width)
