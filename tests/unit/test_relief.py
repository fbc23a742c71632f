"""Hosts that are updated under the users of what runs on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from deployer.app import doctor
from deployer.app.operations import DrainTerms, refuse_unsparable, relieved
from deployer.app.operations.execution import locked
from deployer.core.errors import Exit, HostsUnreachable, Locked, Refused, StepFailed
from deployer.core.host import LOCAL, Host
from tests.memory import Crash, PaperPulse
from tests.unit.test_farm import HOSTS, STEPS, WHY, Farm

WEB1, WEB2, WEB3 = HOSTS
TERMS = DrainTerms()


@pytest.fixture
def farm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Farm:
    """Return a service on three hosts: r2 is live, r1 warm, two instances of each on each host."""
    monkeypatch.setattr("deployer.engine.walk.LeaseRenewer", PaperPulse)
    made = Farm(tmp_path)
    assert made.bring("1.0").exit is Exit.DONE
    assert made.bring("2.0").exit is Exit.DONE
    return made


def on(farm: Farm, host: Host) -> set[str]:
    return {i.name for i in farm.world.instances.values() if i.host == host.name}


def update(farm: Farm, hosts: Sequence[Host], work: Callable[[], Any], terms: DrainTerms = TERMS) -> None:
    with relieved(farm.house, hosts, terms):
        work()


def notes(farm: Farm) -> list[str]:
    return [str(data["text"]) for data in farm.told("note")]


def test_nobody_is_on_a_host_while_it_is_updated_and_all_of_it_serves_after_it(farm: Farm) -> None:
    here = on(farm, WEB1)
    assert len(here) == 4

    def work() -> None:
        assert farm.world.drained == here
        assert len(farm.world.up("shop", farm.live.stable)) == 4
        for name in here:
            farm.world.end(name)  # it was rebooted, and its engine does not start them again

    update(farm, [WEB1], work)

    assert farm.world.drained == set()
    assert len(farm.world.up("shop", farm.live.stable)) == 6
    assert on(farm, WEB1) == here
    assert sum("is healthy and in rotation again" in note for note in notes(farm)) == 4
    assert farm.differences() == []
    assert farm.house.store.locks.read("shop") is None


def test_its_engine_is_waited_for(farm: Farm) -> None:
    def work() -> None:
        farm.world.silent["web1"] = WHY
        farm.world.tick = lambda what: None
        began = farm.world.clock.now()
        sleep = farm.world.clock.sleep

        def later(seconds: float) -> None:
            sleep(seconds)
            if farm.world.clock.now() > began + 20:
                farm.world.silent.clear()

        farm.world.clock.sleep = later  # type: ignore[method-assign]

    update(farm, [WEB1], work)
    assert len(farm.world.up("shop", farm.live.stable)) == 6


def test_one_that_does_not_come_back_ends_it_and_stays_out(farm: Farm) -> None:
    def work() -> None:
        farm.world.silent["web1"] = WHY

    with pytest.raises(StepFailed, match=r"not in rotation again: shop-r\d-\d on web1: web1 is unreachable") as failed:
        update(farm, [WEB1], work)
    assert "doctor --fix" in failed.value.hint
    assert farm.world.drained == on(farm, WEB1)
    assert farm.house.store.locks.read("shop") is None

    farm.world.silent.clear()
    assert any("the proxy sends no traffic to shop-r2-1" in text for text in farm.differences())
    doctor.fix(farm.house, None)
    assert farm.world.drained == set()
    assert farm.differences() == []


def test_when_the_work_fails_what_is_healthy_comes_back_and_the_rest_is_told(farm: Farm) -> None:
    ill = min(on(farm, WEB1))

    def work() -> None:
        farm.world.end(ill)
        raise StepFailed("no space left on device")

    with pytest.raises(StepFailed, match="no space"):
        update(farm, [WEB1], work)
    assert farm.world.drained == {ill}
    assert any(f"it stays out of rotation: {ill} on web1" in note for note in notes(farm))


@pytest.mark.parametrize("at", ["drain", "before attach", "after attach"])
def test_killed_anywhere_it_is_put_right_by_the_next_or_by_doctor(farm: Farm, at: str) -> None:
    """A process that is killed leaves instances out of rotation, and its lock to whoever comes next."""

    def kill(what: str) -> None:
        if what == at:
            raise Crash

    farm.world.tick = kill
    with pytest.raises(Crash):
        update(farm, [WEB1], lambda: None)
    farm.world.tick = lambda _what: None
    farm.world.drained |= on(farm, WEB1)  # as if nothing had come back, either
    doctor.fix(farm.house, None)
    assert farm.differences() == []
    assert farm.world.drained == set()


# -- what is refused before anything changes


def refused(farm: Farm, batches: Sequence[Sequence[Host]], terms: DrainTerms = TERMS) -> str:
    with pytest.raises(Refused) as error:
        refuse_unsparable(farm.house, batches, terms)
    assert farm.world.drained == set()
    return error.value.message


def test_the_floor_is_never_undercut(farm: Farm) -> None:
    refuse_unsparable(farm.house, [[WEB1], [WEB2], [WEB3]], TERMS)
    assert (
        "web1, web2 cannot be taken out of rotation: shop would have 2 of 6 instances for its users, and 3 must be left"
        in refused(farm, [[WEB1, WEB2], [WEB3]])
    )
    refuse_unsparable(farm.house, [[WEB1, WEB2]], DrainTerms(floor=30))
    assert "and 6 must be left" in refused(farm, [[WEB3]], DrainTerms(floor=100))
    farm.world.end("shop-r2-2")  # on web2, as -5
    farm.world.end("shop-r2-5")
    assert "web1 cannot be taken out of rotation: shop would have 2 of 6" in refused(farm, [[WEB1]])
    refuse_unsparable(farm.house, [[WEB2]], TERMS)  # nobody misses it


def test_a_service_on_one_host_is_refused_unless_its_users_may_notice(farm: Farm) -> None:
    farm.hosts = (WEB1,)
    assert farm.bring("3.0").exit is Exit.DONE
    assert farm.bring("4.0").exit is Exit.DONE
    assert "shop would have 0 of 2 instances" in refused(farm, [[WEB1]])

    def work() -> None:
        assert farm.world.drained == set(), "asked until the end, as there is nobody else"

    update(farm, [WEB1], work, DrainTerms(downtime=True))
    assert any("stay in rotation: there is no other one" in note for note in notes(farm))


def test_what_stands_on_this_host_is_meant_by_one_that_is_local(farm: Farm) -> None:
    farm.hosts = ()
    assert farm.bring("3.0").exit is Exit.DONE
    assert "localhost cannot be taken out of rotation: shop would have 0 of 2" in refused(
        farm, [[Host("localhost", "", "local", "")]]
    )
    assert LOCAL.name == ""


def test_a_rollout_under_way_is_not_disturbed(farm: Farm) -> None:
    with locked(farm.house, "shop", "canary to r3 (3.0)"), pytest.raises(Locked, match="canary to r3"):
        refuse_unsparable(farm.house, [[WEB1]], TERMS)
    held = farm.deploy("3.0", "canary", manifest={"hosts": "web", **STEPS}, options={"hold": "yes"})
    assert held.exit is Exit.DONE
    assert "rollout 3 of shop is in progress" in refused(farm, [[WEB1]])


def test_a_host_that_does_not_answer_is_not_begun(farm: Farm) -> None:
    farm.world.silent["web1"] = WHY
    with pytest.raises(HostsUnreachable, match="web1 is unreachable"):
        refuse_unsparable(farm.house, [[WEB1]], TERMS)


def test_hosts_without_instances_are_in_nobodys_way(farm: Farm) -> None:
    edge = Host("edge1", "192.0.2.90", "ssh", "edge1")
    refuse_unsparable(farm.house, [[edge]], TERMS)
    update(farm, [edge], lambda: None)
    assert "drain" not in farm.kinds()
