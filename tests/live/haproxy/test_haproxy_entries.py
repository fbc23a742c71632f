"""A proxy whose host is about to be updated: no new connection, what is open goes on, and users come again."""

from __future__ import annotations

import threading

import pytest

from deployer.model import Live
from tests.live.client import get
from tests.live.proxies import Bench
from tests.live.upstream import Upstream
from tests.waiting import within

pytestmark = pytest.mark.live


def test_new_connections_are_refused_and_what_is_open_ends_by_itself(team: Bench, blue: Upstream) -> None:
    team.put("blue", blue)
    team.set_traffic(Live("blue"))
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(get(team.port, "/held").body))
    asking.start()
    assert blue.begun.wait(30)
    assert team.traffic.membership.close_entries(within(0.1)) == 1, "still open"
    with pytest.raises(OSError, match="refused"):
        get(team.port)
    assert get(team.team_port).body == "the team", "only what is deployer's is closed"
    blue.let_go()
    assert team.traffic.membership.close_entries(within()) == 0
    asking.join(30)
    assert answers == [blue.name]
    team.traffic.membership.open_entries(within())
    assert get(team.port).body == blue.name
