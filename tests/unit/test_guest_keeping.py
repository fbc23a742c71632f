"""Guests go when their owner needs memory or their time is over, and come back when there is room."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.app import operations
from deployer.app.evictions import eviction
from deployer.app.operations import RolloutResult, adjust
from deployer.app.operations.evict import evict
from deployer.app.operations.guest_keeping import make_room, see_to
from deployer.app.pauses import FIRST_SECONDS
from deployer.core.errors import DriverFailed, Refused
from deployer.drivers.ports.guests import GuestUse
from deployer.model import GuestTerms, Release
from deployer.planning.guest_keeping import CALM_SECONDS, SeenGuest, leaving, moves
from deployer.planning.plan import Plan
from deployer.store import DEPLOYER
from tests.house import Scene, request
from tests.memory import MemoryGuests

MIB = 1024**2
NOW = 1_790_000_000.0
BLOG = SeenGuest("blog", "acme", ("",), 256 * MIB, 512 * MIB, {"": 200 * MIB})
WIKI = SeenGuest("wiki", "beta", ("",), 128 * MIB, 512 * MIB, {"": 90 * MIB})
FILE = """
lent: {reserve: 512m}
tenants:
  acme: {cpus: 1, memory: 256m, services: 2}
  beta: {cpus: 1, memory: 128m}
"""


def done(*guests: SeenGuest, left: int, now: float = NOW) -> list[tuple[str, str]]:
    return [(move.service, move.what) for move in moves(guests, {"": left * MIB}, now)]


def test_nobody_goes_while_the_reserve_is_free() -> None:
    assert done(BLOG, WIKI, left=512) == []


def test_who_uses_most_goes_first_and_no_more_than_needed() -> None:
    assert done(WIKI, BLOG, left=400) == [("blog", "evict")]
    assert done(WIKI, BLOG, left=250) == [("blog", "evict"), ("wiki", "evict")]
    (move,) = moves((WIKI, BLOG), {"": 400 * MIB}, NOW)
    assert move.why == "its owner needs memory: this host has 400 MiB left, and 512 MiB stay free"


def test_who_uses_nothing_stays() -> None:
    assert done(replace(WIKI, use={"": 0}), BLOG, left=100) == [("blog", "evict")]


def test_all_services_of_a_tenant_go_together() -> None:
    chat = replace(BLOG, service="chat")
    assert done(BLOG, chat, WIKI, left=400) == [("blog", "evict"), ("chat", "evict")]


def test_a_need_of_the_owner_is_named() -> None:
    (move,) = leaving((WIKI,), {"": 600 * MIB}, {"": 128 * MIB}, "shop")
    assert move.why == "shop needs 128 MiB on this host, which has 600 MiB left"


def test_only_guests_of_the_host_that_is_short_go() -> None:
    far = replace(BLOG, service="far", tenant="gamma", hosts=("web1",), use={"web1": 200 * MIB})
    found = moves((BLOG, far), {"": 600 * MIB, "web1": 100 * MIB}, NOW)
    assert [move.service for move in found] == ["far"]


def test_it_comes_back_after_a_calm_time_when_all_that_it_may_use_is_there() -> None:
    gone = replace(BLOG, evicted=NOW, use={})
    assert done(gone, left=4096, now=NOW + CALM_SECONDS - 1) == []
    assert done(gone, left=767, now=NOW + CALM_SECONDS) == []
    assert done(gone, left=768, now=NOW + CALM_SECONDS) == [("blog", "admit")]


def test_room_is_given_once() -> None:
    gone = [replace(each, evicted=NOW - n, use={}) for n, each in enumerate((BLOG, WIKI))]
    assert done(*gone, left=800, now=NOW + CALM_SECONDS) == [("wiki", "admit")]
    assert len(done(*gone, left=900, now=NOW + CALM_SECONDS)) == 2


def test_what_a_person_evicted_comes_back_when_its_time_is_over_and_not_before() -> None:
    gone = replace(BLOG, evicted=NOW - 1000, by_person=True, use={})
    assert done(gone, left=4096) == []
    assert done(replace(gone, until=NOW + 1), left=4096) == []
    assert done(replace(gone, until=NOW), left=4096) == [("blog", "admit")]


def test_what_may_not_run_goes_and_stays_away() -> None:
    over = replace(BLOG, refused="its time was over")
    assert done(over, left=4096) == [("blog", "evict")]
    assert done(replace(over, evicted=NOW - 1000), left=4096) == []


@given(
    st.lists(
        st.builds(
            SeenGuest,
            service=st.sampled_from("abcdef"),
            tenant=st.sampled_from("xyz"),
            hosts=st.sampled_from([("",), ("h",), ("", "h")]),
            memory=st.integers(1, 1000),
            reserve=st.integers(0, 500),
            use=st.fixed_dictionaries({"": st.integers(0, 1000), "h": st.integers(0, 1000)}),
            refused=st.sampled_from(["", "over"]),
            evicted=st.sampled_from([0.0, NOW - 1000, NOW]),
            by_person=st.booleans(),
            until=st.sampled_from([0.0, NOW - 1, NOW + 1]),
        ),
        unique_by=lambda guest: guest.service,
    ),
    st.fixed_dictionaries({"": st.integers(0, 3000), "h": st.integers(0, 3000)}),
)
def test_nobody_is_moved_twice_or_both_ways_and_none_without_a_cause(
    guests: list[SeenGuest], room: dict[str, int]
) -> None:
    found = moves(guests, room, NOW)
    named = {guest.service: guest for guest in guests}
    assert len({move.service for move in found}) == len(found)
    for move in found:
        guest = named[move.service]
        assert (move.what == "evict") == (not guest.evicted)
        if move.what == "admit":
            assert not guest.refused
            assert guest.by_person or all(room[h] >= guest.memory + guest.reserve for h in guest.hosts)
        elif not guest.refused:
            reserve = max(each.reserve for each in guests)
            assert any(room[host] < reserve for host in guest.hosts)


# -- with a house


@pytest.fixture
def scene(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    file = tmp_path / "tenants.yml"
    file.write_text(FILE)
    monkeypatch.setenv("DEPLOYER_TENANTS", str(file))
    made = Scene(state)
    with made.house:
        made.deploy("1.0", manifest={"limits": {"memory": "300m"}})
        guest(made, "blog", "acme")
        guest(made, "wiki", "beta")
        made.world.used = {"acme": 200 * MIB, "beta": 90 * MIB}
        yield made


def guest(scene: Scene, service: str, tenant: str) -> Any:
    return scene.deploy("1.0", manifest={"service": service, "image": f"{service}:1", "tenant": tenant})


def running(scene: Scene, service: str) -> int:
    return sum(i.service == service and i.state == "running" for i in scene.world.instances.values())


def look(scene: Scene) -> list[str]:
    ended = list[RolloutResult]()
    see_to(scene.house, ("shop", "blog", "wiki"), ended.append)
    return sorted(each.text for each in ended)


def test_a_host_without_memory_sends_guests_away_and_takes_them_back(scene: Scene) -> None:
    assert look(scene) == []
    scene.world.room = {"": 400 * MIB}
    assert len(look(scene)) == 1
    assert (running(scene, "blog"), running(scene, "wiki"), running(scene, "shop")) == (0, 2, 2)
    found = eviction(scene.house.store, "blog")
    assert found is not None
    assert (found.by, found.by_person) == (DEPLOYER, False)
    scene.world.room = {"": 4096 * MIB}
    assert look(scene) == []
    scene.world.clock.sleep(CALM_SECONDS + 1)
    assert len(look(scene)) == 1
    assert running(scene, "blog") == 2
    assert look(scene) == []


def test_trouble_with_one_guest_or_with_the_bill_keeps_no_other_one_where_its_owner_needs_memory(
    scene: Scene, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    month = time.strftime("%Y-%m", time.gmtime(scene.house.clock.now()))
    (state / "guests").mkdir()
    (state / "guests" / f"{month}.json").write_text("[")
    use = MemoryGuests.use

    def used(guests: MemoryGuests, terms: GuestTerms) -> dict[str, GuestUse]:
        if terms.tenant == "beta":
            raise DriverFailed("no way to its host")
        return use(guests, terms)

    monkeypatch.setattr(MemoryGuests, "use", used)
    scene.world.room = {"": 400 * MIB}
    ended = list[RolloutResult]()
    with pytest.raises(DriverFailed, match="no way to its host"):
        see_to(scene.house, ("shop", "blog", "wiki"), ended.append)
    assert [each.outcome for each in ended] == ["done"]
    assert (running(scene, "blog"), running(scene, "wiki")) == (0, 2)
    monkeypatch.setattr(MemoryGuests, "use", use)
    with pytest.raises(Refused, match="cannot be read"):
        see_to(scene.house, ("shop", "blog", "wiki"), ended.append)


def test_one_that_did_not_get_healthy_rests_whoever_had_evicted_it() -> None:
    for gone in (replace(BLOG, evicted=NOW - 1000), replace(BLOG, evicted=NOW - 1000, by_person=True, until=NOW - 1)):
        assert done(replace(gone, not_before=NOW + 1), left=4096) == []
        assert done(replace(gone, not_before=NOW), left=4096) == [("blog", "admit")]


def test_a_guest_that_does_not_get_healthy_is_tried_again_after_growing_pauses(scene: Scene) -> None:
    scene.world.room = {"": 400 * MIB}
    look(scene)
    scene.world.room, scene.world.broken = {"": 4096 * MIB}, {"1.0"}
    scene.world.clock.sleep(CALM_SECONDS)
    for pause in (FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS):
        assert len(look(scene)) == 1
        scene.world.clock.sleep(pause - 1)
        assert look(scene) == []
        scene.world.clock.sleep(1)
    scene.world.broken.clear()
    assert len(look(scene)) == 1
    assert running(scene, "blog") == 2


def test_terms_that_are_over_send_a_guest_away(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "tenants.yml").write_text(FILE.replace("memory: 128m", "memory: 128m, until: 2020-01-01"))
    (said,) = look(scene)
    assert "its time was over" in said
    assert (running(scene, "blog"), running(scene, "wiki")) == (2, 0)
    (tmp_path / "tenants.yml").write_text("tenants: {acme: {cpus: 1, memory: 256m}}")
    assert look(scene) == []
    (tmp_path / "tenants.yml").write_text("tenants: [")
    assert look(scene) == []


def test_a_guest_whose_terms_are_over_is_not_started_again_where_nothing_of_it_runs(
    scene: Scene, tmp_path: Path
) -> None:
    for name in [name for name, each in scene.world.instances.items() if each.service == "wiki"]:
        del scene.world.instances[name]  # as after a reboot of its host
    (tmp_path / "tenants.yml").write_text(FILE.replace("memory: 128m", "memory: 128m, until: 2020-01-01"))
    assert len(look(scene)) == 1
    assert adjust.keep(scene.house, "wiki") is None
    assert (running(scene, "wiki"), look(scene)) == (0, [])


def test_what_a_person_evicted_for_a_time_comes_back(scene: Scene) -> None:
    evict(scene.house, "beta", "we need it", seconds=3600)
    assert look(scene) == []
    scene.world.clock.sleep(3601)
    assert len(look(scene)) == 1
    assert running(scene, "wiki") == 2


def test_the_twin_of_a_rollout_of_the_owner_gets_the_memory_of_guests_first(scene: Scene) -> None:
    scene.world.room = {"": 1000 * MIB}
    scene.deploy("2.0", manifest={"limits": {"memory": "300m"}})
    assert (running(scene, "blog"), running(scene, "wiki")) == (0, 2)
    found = eviction(scene.house.store, "blog")
    assert found is not None
    assert found.reason == "shop needs 600 MiB on this host, which has 1,000 MiB left"


def test_services_that_are_released_together_get_the_memory_of_guests_for_all_of_them(scene: Scene) -> None:
    def begins(service: str) -> tuple[Release, Plan]:
        limited = {"service": service, "image": f"{service}:1", "limits": {"memory": "200m"}}
        found = operations.propose(scene.house, request("2.0", manifest=limited))
        return found.release, found.plan

    scene.world.room = {"": 1300 * MIB}
    together = [begins("shop"), begins("api")]
    for alone in together:
        make_room(scene.house, alone[0].service, [alone])
    assert (running(scene, "blog"), running(scene, "wiki")) == (2, 2)
    make_room(scene.house, "the set all", together)
    assert (running(scene, "blog"), running(scene, "wiki")) == (0, 2)
    found = eviction(scene.house.store, "blog")
    assert found is not None
    assert found.reason == "the set all needs 800 MiB on this host, which has 1,300 MiB left"


def test_an_owner_that_grows_gets_the_memory_of_guests_first(scene: Scene) -> None:
    scene.world.room = {"": 700 * MIB}
    adjust.scale(scene.house, "shop", 3, 0, "sale")
    assert (running(scene, "blog"), running(scene, "wiki"), running(scene, "shop")) == (0, 2, 3)


def test_a_guest_does_not_send_another_one_away(scene: Scene) -> None:
    scene.world.room = {"": 600 * MIB}
    guest(scene, "chat", "acme")
    assert (running(scene, "blog"), running(scene, "wiki")) == (2, 2)
