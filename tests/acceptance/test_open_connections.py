"""Connections that stay open follow their users, through the real command: after a promotion and after a rollback."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

import pytest

from tests.live.shop import Shop
from tests.load import Load, Options

pytestmark = pytest.mark.live

SOCKETS = 12
MIX = Options(rate=60, slow=3, websockets=SOCKETS, websocket_may_be_cut=True)
HANDOVER = {"former": "3s", "rolled_back": "0s"}


def opened(status: dict[str, Any]) -> dict[str, int]:
    return {e["role"]: e["open"] for e in status["environments"]}


@pytest.mark.long("a promotion and a rollback under load", every_change=True)
def test_websockets_follow_their_users_and_no_request_is_lost(process_shop: Shop) -> None:
    shop = process_shop
    shop.manifest["traffic"]["handover"] = HANDOVER
    shop.write()
    shop.version("2.0")
    with Load(shop.url, MIX) as load:
        load.until(lambda now: now.answered > 60, "the load runs")
        shop.deploy("bluegreen", "--bake", "0", "--version", "2.0")
        load.mark("promoted")
        shop.wait(lambda status: opened(status)["warm"] == 0, "the last request to the former release has ended")
        shop.wait(lambda status: opened(status)["stable"] >= SOCKETS, "their users have opened them again")
        wanted = load.counters().answered + 300
        load.until(lambda now: now.answered >= wanted, "requests after the promotion")
        shop.deploy("rollback")
        load.mark("rolled back")
        wanted = load.counters().answered + 300
        load.until(lambda now: now.answered >= wanted, "requests after the rollback")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert report.moved == 2 * SOCKETS, report.text()
    sockets = report.only("websocket")
    assert "2.0" in sockets.after("promoted").before("rolled back").by_version
    assert set(sockets.after("rolled back").by_version) == {"1.0"}


@pytest.mark.long("a tcp service through a promotion and a rollback")
def test_sessions_of_a_tcp_service_follow_their_users(make_shop: Callable[[str], Shop]) -> None:
    shop = make_shop("process")
    shop.manifest["traffic"] |= {"mode": "tcp", "handover": HANDOVER}
    shop.write(health={"tcp": True}, smoke=[], judge={"requests": 0})
    shop.live("1.0")

    def version(session: http.client.HTTPConnection) -> Any:
        session.request("GET", "/version")
        return session.getresponse().read()

    with ExitStack() as sessions:
        old = [sessions.enter_context(closing(_session(shop))) for _ in range(3)]
        first = {version(session) for session in old}
        shop.live("2.0")
        shop.wait(lambda status: opened(status)["warm"] == 0, "the sessions of the former release have ended")
        for session in old:
            with pytest.raises((http.client.HTTPException, OSError)):
                version(session)
        new = sessions.enter_context(closing(_session(shop)))
        assert version(new) not in first
        shop.deploy("rollback")
        with pytest.raises((http.client.HTTPException, OSError)):
            version(new)
        back = sessions.enter_context(closing(_session(shop)))
        assert {version(back)} == first


@pytest.mark.long("a promotion that leaves connections open")
def test_what_was_left_open_is_drained_by_hand(process_shop: Shop) -> None:
    shop = process_shop
    shop.manifest["traffic"]["handover"] = False
    shop.write()
    shop.version("2.0")
    with Load(shop.url, MIX) as load:
        load.until(lambda now: now.answered > 60, "the load runs")
        shop.deploy("bluegreen", "--bake", "0", "--version", "2.0")
        shop.wait(lambda _status: opened(shop.status())["warm"] == SOCKETS, "requests that were under way have ended")
        assert f" left), {SOCKETS} open" in shop.deploy("status").stdout
        done = shop.deploy("drain", "-m", "by hand")
        assert done.stdout == f"{SOCKETS} connections were closed; nothing is open where no users are sent\n"
        shop.wait(lambda status: opened(status)["warm"] == 0, "the sessions of the former release have ended")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert report.moved == SOCKETS, report.text()


def _session(shop: Shop) -> http.client.HTTPConnection:
    session = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=30)
    session.connect()
    session.auto_open = 0  # one that was closed is not opened again
    return session
