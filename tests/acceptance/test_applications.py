"""Three real applications with WebSockets, sessions and a database, and somebody with a browser in front of each.

Django with Channels, Express with Socket.IO, Rails with Action Cable: through a canary, a rollback and a power cut. No
request is lost. A WebSocket is closed once by a promotion and once by a rollback, as the page on traffic says, and
the client of each framework connects again: no message is lost, and nobody has to log in again.
"""

from __future__ import annotations

import pytest

from tests.acceptance.applications.site import DJANGO, NODE, RAILS, Application, site
from tests.acceptance.applications.visitor import visitor
from tests.acceptance.users import users
from tests.load import Options

pytestmark = [pytest.mark.live, pytest.mark.long("it boots a host and starts a real application")]

READERS = Options(rate=10, kinds=("fresh", "busy", "paused"), path="/messages", busy=2, paused=4)


@pytest.mark.parametrize("application", [DJANGO, NODE, RAILS], ids=lambda application: application.name)
def test_nobody_at_a_browser_loses_anything(application: Application) -> None:
    with site(application) as host:
        host.deploy("up", "--version", "1.0")
        host.deploy("init", "--system", user="root")
        with visitor(host.url) as ann:
            with users(host.url, READERS):
                host.deploy("canary", "--version", "2.0")
                ann.is_on("2.0")
                promoted = ann.goes_on()
                assert promoted.closed <= 1
                host.deploy("rollback")
                ann.is_on("1.0")
                back = ann.goes_on()
                assert back.closed <= promoted.closed + 1
                host.deploy("bluegreen", "--bake", "0", "--version", "2.0")
                ann.is_on("2.0")
                again = ann.goes_on()
            assert again.failed == []
            assert again.closed <= back.closed + 1
            assert again.versions == ["1.0", "2.0", "1.0", "2.0"]
            assert ann.missing() == set()
            host.reboot("power")
            ann.is_on("2.0")
            after = ann.goes_on()
            assert after.failed, "an outage is seen, so that nothing else was one"
            assert after.closed > again.closed
            assert ann.missing() == set(), "what was said to be written outlived the power cut"
