"""A push goes live, and a bad one is rolled back: on the page, and nobody lays a hand on it.

The pictures in the docs are made here: `DEPLOYER_TEST_PICTURES=docs/pictures scripts/test browser -k push`.
"""

from __future__ import annotations

import threading

import pytest
import yaml

from tests.browser.chromium import Tab
from tests.browser.test_page import TEXT, browser, keep, log_in
from tests.live.conftest import Make
from tests.live.forge import Remote, over_http
from tests.live.serving import server, token
from tests.load import Load, Options
from tests.ports import free_port
from tests.services import require

pytestmark = pytest.mark.live

USERS = Options(rate=60, kinds=("fresh", "busy", "sticky"))
HEADING = "document.querySelector('h1').textContent"


@pytest.fixture
def remote(make_shop: Make) -> Remote:
    require("chromium")
    shop = make_shop("process")
    shop.name = "shop"
    shop.write(service="shop")
    shop.version("1.0")
    shop.deploy("up", "--version", "1.0")
    remote = Remote(shop)
    shop.write(strategy={"canary": {"steps": [{"share": 30, "for": "20s"}], "bake": "1s"}})
    shop.version("2.0")
    shop.version("3.0", {"ERR": "0.5"})
    remote.push("1.0")
    return remote


def opened(tab: Tab, url: str, canary: str) -> None:
    """Wait for a canary on the page of all services, and open it."""
    tab.open(url, 1280)
    tab.until(f"{TEXT}.includes('canary of {canary}')")
    with tab.loading():
        tab.ask("document.querySelector('.under-way p a').click()")
    tab.until(f"{TEXT}.includes('30% target') && {TEXT}.includes('% actual')")


@pytest.mark.long("two canaries that are watched in a browser")
def test_a_push_is_live_and_a_bad_one_is_taken_back_as_the_page_shows(remote: Remote) -> None:
    shop, port = remote.shop, free_port()
    url = f"http://127.0.0.1:{port}/"
    viewer = token(shop, "viewer")
    with over_http(remote.bare.parent) as repository, Load(shop.url, USERS) as load:
        followed = [{"name": "shop", "repository": repository, "every": "1s"}]
        (shop.folder / "gitops.yml").write_text(yaml.safe_dump({"follow": followed}))
        with server(shop, port, "--gitops", "gitops.yml"), browser() as tab:
            log_in(tab, url, viewer)
            assert tab.ask(f"{TEXT}.includes('r1 (1.0) is live')")
            remote.push("2.0")
            opened(tab, url, "r2 (2.0)")
            tab.until("document.querySelectorAll('#traffic svg.plot path.band').length >= 4")
            keep(tab, "push-canary", whole=False)
            tab.until(f"{HEADING} === 'r2 (2.0) is live for everyone'", 120)
            assert load.counters().failed == 0
            remote.push("3.0")
            with tab.loading():
                tab.ask("document.querySelector('.over a').click()")
            tab.until(f"{TEXT}.includes('reverted')", 120)  # the page of the service tells it by itself
            tab.open(f"{url}rollouts/3", 1280)
            tab.until(f"{HEADING}.includes('rolled back')")
            tab.until(f"{TEXT}.includes('r3 is worse: candidate')")
            keep(tab, "push-rolled-back", whole=False)
            looks = 3  # of a second each: it would be tried again by now
            threading.Event().wait(looks)
            with tab.loading():
                tab.ask("document.querySelector('.over a').click()")
            words = tab.ask(TEXT)
            assert words.count("gitops@") >= 2
            assert "reverted" in words
        report = load.stop()
    assert report.failed <= 50, "no more than the budget"
    rows = [(row["version"], row["outcome"]) for row in shop.events("history")[0]["rollouts"]]
    assert rows == [("3.0", "reverted"), ("2.0", "done"), ("1.0", "done")]
