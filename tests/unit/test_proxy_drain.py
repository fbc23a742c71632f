"""`deploy hosts update` of a proxy's host: its users reach the others meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from deployer.app.operations import DrainTerms, refuse_unsparable, relieved
from deployer.app.operations.execution import locked
from deployer.core.errors import DriverFailed, Exit, Locked, Refused, StepFailed
from deployer.core.host import Host, Meant
from deployer.drivers.ports import Drift
from deployer.model import LostProxy
from tests.memory import MemoryTraffic, PaperPulse
from tests.unit.test_farm import HOSTS, Farm

EDGES = tuple(Host(f"edge{n}", f"192.0.2.1{n}", "ssh", f"edge{n}.example.com") for n in (1, 2))
EDGE1, EDGE2 = EDGES
TERMS = DrainTerms()


@pytest.fixture
def farm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Farm:
    """Return a service on three hosts, behind two proxies."""
    monkeypatch.setattr("deployer.engine.walk.LeaseRenewer", PaperPulse)
    made = Farm(tmp_path)
    made.house.find = lambda _manifest, _folder: Meant(HOSTS, (), EDGES)
    assert made.bring("1.0", traffic={"proxies": "edge"}).exit is Exit.DONE
    return made


def update(farm: Farm, hosts: Sequence[Host], work: Callable[[], Any], terms: DrainTerms = TERMS) -> None:
    with relieved(farm.house, hosts, terms):
        work()


def test_users_reach_the_other_one_meanwhile(farm: Farm) -> None:
    def work() -> None:
        assert farm.world.taken_out == {"edge1"}
        with pytest.raises(Locked), locked(farm.house, "shop", "a deploy"):
            pass

    update(farm, [EDGE1], work)
    assert farm.world.taken_out == set()
    assert [n["text"] for n in farm.told("note")][-3:] == [
        "the proxy of edge1 takes no new connections",
        "no request is open any more",
        "the proxy of edge1 takes users again",
    ]


def test_a_host_that_has_both_leaves_with_both(farm: Farm) -> None:
    seen: list[tuple[set[str], int]] = []
    update(farm, [EDGE1, HOSTS[0]], lambda: seen.append((set(farm.world.taken_out), len(farm.world.drained))))
    assert seen == [({"edge1"}, 2)]
    assert (farm.world.taken_out, farm.world.drained) == (set(), set())


@pytest.mark.parametrize("batch", [EDGES, (EDGE1,)])
def test_the_last_one_is_not_taken(farm: Farm, batch: tuple[Host, ...]) -> None:
    if len(batch) == 1:
        now = farm.world.clock.now()
        farm.world.lost["edge2"] = LostProxy("edge2", "silent", now, (farm.live,), now + 60)
        farm.world.cut.add("edge2")
    with pytest.raises(Refused, match="cannot be taken out of rotation: shop has no other proxy"):
        refuse_unsparable(farm.house, [batch], TERMS)
    with pytest.raises(Refused, match="no other proxy"):
        update(farm, batch, lambda: pytest.fail("it began"))
    update(farm, batch, lambda: None, DrainTerms(downtime=True))


def test_two_of_two_with_downtime_keep_their_users_until_the_end(farm: Farm) -> None:
    update(farm, EDGES, lambda: farm.world.taken_out or None, DrainTerms(downtime=True))
    assert "edge1, edge2 keep their users: there is no other proxy" in [n["text"] for n in farm.told("note")]


def test_what_differs_afterwards_stays_out_and_is_said(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = (Drift("edge1: a worker does something else"),)
    monkeypatch.setattr(MemoryTraffic, "drift", lambda *_: faults)
    with pytest.raises(StepFailed, match="not in rotation again: edge1: a worker does something else"):
        update(farm, [EDGE1], lambda: None)
    assert farm.world.taken_out == {"edge1"}


def test_after_a_failed_update_it_takes_users_again_if_it_can(farm: Farm) -> None:
    def fails() -> None:
        raise DriverFailed("the playbook failed")

    with pytest.raises(DriverFailed, match="the playbook failed"):
        update(farm, [EDGE1], fails)
    assert farm.world.taken_out == set()


def test_nothing_is_done_beside_a_rollout(farm: Farm) -> None:
    with locked(farm.house, "shop", "a deploy"), pytest.raises(Locked):
        refuse_unsparable(farm.house, [[EDGE1]], TERMS)
