"""A proxy that was lost, and serves the former release, is brought to where the others are, under its users."""

from __future__ import annotations

import pytest

from deployer.core.errors import DeadlinePassed
from deployer.drivers.traffic.haproxy.spec import Spec
from deployer.model import Live, Server
from tests.live.client import Load, get
from tests.live.proxies import Bench
from tests.live.upstream import Upstream
from tests.waiting import within

pytestmark = pytest.mark.live


def others(bench: Bench, blue: tuple[Server, ...], green: tuple[Server, ...]) -> str:
    """What another proxy of the group knows about the service: these servers, and a longer time-out."""
    text = bench.traffic.membership.spec("shop")
    assert text is not None
    known = Spec.model_validate_json(text)
    sides = {"blue": known.blue.without([m.name for m in known.blue.members]).having(blue)}
    sides["green"] = known.green.without([m.name for m in known.green.members]).having(green)
    longer = known.blue.timeouts.model_copy(update={"response": 33.0})
    return known.model_copy(
        update={place: side.model_copy(update={"timeouts": longer}) for place, side in sides.items()}
    ).model_dump_json()


def test_its_users_are_moved_and_none_meets_an_error(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue", rollout=1))
    with Load(bench.port, connections=4) as load:
        within().until(lambda: load.answered > 50, "the former release serves")
        there = others(bench, (), (bench.server(green),))
        bench.traffic.membership.join("shop", there, Live("green", rollout=4), within(30))
        seen = load.seen[green.name]
        within().until(lambda: load.seen[green.name] > seen + 50, "the live release serves")
        assert load.failures == []
    assert bench.traffic.read("shop") == Live("green", rollout=4)
    assert bench.traffic.servers("shop", "blue") == ()
    assert bench.traffic.inspection.drift("shop") == ()
    assert "timeout server 33000ms" in bench.config()


def test_a_colour_that_has_another_release_there_is_changed_server_by_server(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue", rollout=1))
    with Load(bench.port, connections=4) as load:
        within().until(lambda: load.answered > 50, "the former release serves")
        there = others(bench, (bench.server(green),), ())
        bench.traffic.membership.join("shop", there, Live("blue", rollout=4), within(30))
        assert load.failures == []
    assert [server.name for server, _ in bench.traffic.servers("shop", "blue")] == [green.name]
    assert get(bench.port).body == green.name


def test_where_what_is_live_does_not_answer_it_goes_on_with_what_it_has(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue", rollout=1))
    green.ill = True
    with Load(bench.port, connections=4) as load:
        there = others(bench, (), (bench.server(green),))
        with pytest.raises(DeadlinePassed, match="does not pass the proxy's check"):
            bench.traffic.membership.join("shop", there, Live("green", rollout=4), within(6))
        assert get(bench.port).body == blue.name
        assert load.failures == []
