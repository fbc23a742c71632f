"""A HAProxy that a team already runs, with its own configuration."""

from __future__ import annotations

import pytest

from deployer.core.clock import SystemClock
from deployer.core.errors import DriverFailed, Refused
from deployer.drivers.traffic.haproxy import HAProxyTraffic
from deployer.manifest.models import HAProxy
from deployer.model import Live
from tests.live.client import Load, burst, get
from tests.live.proxies import Bench
from tests.live.seen import Seen
from tests.live.upstream import Upstream
from tests.waiting import within

pytestmark = pytest.mark.live


def test_the_teams_proxy_serves_the_service_and_still_serves_the_team(
    team: Bench, blue: Upstream, green: Upstream
) -> None:
    with Load(team.team_port, connections=2) as load:
        team.both(blue, green)
        team.set_traffic(Live("blue", 3000, 0, 1))
        with team.traffic.samples("shop") as samples:
            sent = burst(team.port, 2000)
            seen = Seen(samples)
            within().until(lambda: seen.requests() >= 2000, "all are told")
        assert (seen.stable, seen.candidate) == (sent["b1"], sent["g1"])
        team.traffic.drain("shop", "green", ["g1"], within())
        team.traffic.detach("shop", "green", ["g1"], within())
        team.traffic.forget("shop", within())
    assert load.failures == []
    assert set(load.seen) == {"the team"}
    within().until(lambda: _refused(team.port), "a worker that leaves listens until it was told to")


def _refused(port: int) -> bool:
    try:
        get(port)
    except ConnectionRefusedError:
        return True
    except OSError:  # by the one that leaves
        return False
    return False


def test_a_restart_by_the_team_keeps_the_share(team: Bench, blue: Upstream, green: Upstream) -> None:
    team.both(blue, green)
    team.set_traffic(Live("blue", 3000, 0, 1))
    assert team.master.reload(within()) == ()
    assert team.traffic.read("shop") == Live("blue", 3000, 0, 1)
    assert team.traffic.servers("shop", "green")[0][0] == team.server(green)


def test_what_the_teams_haproxy_refuses_changes_nothing(team: Bench, blue: Upstream) -> None:
    team.put("blue", blue)
    team.set_traffic(Live("blue"))
    before = team.config()
    main = team.folder / "main.cfg"
    good = main.read_text()
    main.write_text(f"{good}  nosuch keyword\n")
    with pytest.raises(Refused, match="unknown keyword 'nosuch'"):
        team.traffic.configure(team.release("cart", domains=["cart.example.com"]), "blue", within())
    main.write_text(good)
    assert team.config() == before
    assert get(team.port).who == "b1"


def test_a_socket_that_is_not_there_and_a_folder_that_is_not_there(team: Bench, blue: Upstream) -> None:
    nowhere = HAProxy(config=str(team.folder / "nowhere"), socket=str(team.folder / "x.sock"))
    with pytest.raises(Refused, match="nowhere is not a folder"):
        HAProxyTraffic(team.root, SystemClock(), existing=nowhere)
    other = HAProxy(config=str(team.folder / "conf.d"), socket=str(team.folder / "x.sock"))
    lost = HAProxyTraffic(team.root, SystemClock(), existing=other)
    team.put("blue", blue)
    with pytest.raises(DriverFailed, match=r"x\.sock: No such file"):
        lost.read("shop")
