"""The keeper: what it does at once and what at two looks in a row, what it leaves alone, how its patience grows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.app import attendance, operations
from deployer.app.attendance import announced
from deployer.app.due import due
from deployer.app.keeper.keeper import Keeper
from deployer.app.keeper.move_watch import MoveWatch
from deployer.app.keeper.outlook import unattended
from deployer.app.observe import observe
from deployer.app.operations import AppContext, adjust
from deployer.app.operations.execution import locked
from deployer.app.pauses import CALM_SECONDS, FIRST_SECONDS, not_before
from deployer.app.status import status_of
from deployer.engine import RolloutResult
from deployer.model import Environment, Instance, Live, Observed, Release, Server
from deployer.planning.adjustment import Kept, adjustment
from deployer.planning.orders import StopRequest
from deployer.planning.steps import Remove, Start
from deployer.views.keeper import lines
from deployer.views.text import duration
from tests.house import REPOSITORY, Scene, house, manifest, request
from tests.waiting import within

HOLD: dict[str, Any] = {"percent": 10, "hold": True}


class Looks:
    """A scene with a keeper, whose looks are made one by one."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.said: list[str] = []
        self.keeper = Keeper(self._opened, self._say)

    @contextmanager
    def _opened(self, _stop: StopRequest) -> Iterator[AppContext]:
        yield self.scene.house

    def _say(self, service: str, text: str, _ended: RolloutResult | None) -> None:
        self.said.append(f"{service}: {text}")

    def look(self, times: int = 1) -> list[str]:
        """Look so many times, and give what was said."""
        before = len(self.said)
        for _ in range(times):
            self.keeper.look()
            self.keeper.join(60)
        return self.said[before:]

    def up(self) -> list[str]:
        return sorted(self.scene.world.up("shop", self.scene.live.stable))

    def adjustments(self) -> int:
        return sum(r.plan.adjusts for r in self.scene.house.store.rollouts.of("shop", adjustments=True))


@pytest.fixture
def kept(state: Path) -> Iterator[Looks]:
    scene = Scene(state)
    scene.deploy("1.0")
    made = Looks(scene)
    yield made
    made.keeper.stop()


BOTH = ["shop-r1-1", "shop-r1-2"]


def test_a_lost_instance_is_back_after_two_looks(kept: Looks) -> None:
    assert kept.look(3) == []
    kept.scene.world.end("shop-r1-2")
    assert kept.look() == [], "an engine may be about to start it again by itself"
    assert kept.look() == ["shop: shop-r1-2 of r1 (1.0) does not run or gets no users: done"]
    assert kept.up() == BOTH
    assert kept.look(3) == []


ELSEWHERE = "10.0.0.9:21001"


@pytest.mark.parametrize("also", ["", "shop-r1-1"], ids=["all others run", "another one ended"])
def test_an_instance_that_an_engine_started_elsewhere_gets_its_users_there_at_once(kept: Looks, also: str) -> None:
    """It runs: no second look would show anything else."""
    kept.scene.world.move("shop-r1-2", ELSEWHERE)
    if also:
        kept.scene.world.end(also)
    kept.look()
    assert kept.up() == BOTH
    assert kept.scene.world.servers["shop", kept.scene.live.stable]["shop-r1-2"].address == ELSEWHERE
    assert kept.look(3) == []


@pytest.mark.parametrize("what", ["gone from its engine", "unknown to the proxy"])
def test_what_waiting_does_not_change_is_done_at_once(kept: Looks, what: str) -> None:
    world = kept.scene.world
    if what == "gone from its engine":
        del world.instances["shop-r1-1"]
    else:
        del world.servers["shop", kept.scene.live.stable]["shop-r1-1"]
    assert kept.look() == ["shop: shop-r1-1 of r1 (1.0) does not run or gets no users: done"]
    assert kept.up() == BOTH


# -- of an engine that moves instances, each second


@pytest.fixture
def watch(kept: Looks) -> MoveWatch:
    kept.scene.world.moves = True
    return MoveWatch(kept.scene.house, "shop")


def test_one_that_runs_elsewhere_is_followed_and_then_nobody_is_asked(kept: Looks, watch: MoveWatch) -> None:
    world = kept.scene.world
    assert watch.look() is None
    world.end("shop-r1-2")
    assert watch.look() is None, "where it will be is not known yet"
    world.instances["shop-r1-2"] = replace(world.instances["shop-r1-2"], state="running", address=ELSEWHERE)
    ended = watch.look()
    assert ended is not None
    assert ended.outcome == "done"
    assert kept.up() == BOTH
    assert watch.look() is None


def test_one_that_is_served_where_the_proxy_has_it_stays_there(
    kept: Looks, watch: MoveWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of the hosts is cut off from the engine's managers, and the proxy reaches both: no request is lost."""
    stable = kept.scene.live.stable
    kept.scene.world.move("shop-r1-2", ELSEWHERE)
    monkeypatch.setattr(kept.scene.world, "up", lambda *_: list(kept.scene.world.servers["shop", stable]))
    assert watch.look() is None


@pytest.mark.parametrize("what", ["paused", "locked", "adjusted before"])
def test_one_that_somebody_else_sees_to_is_not_followed(kept: Looks, watch: MoveWatch, what: str) -> None:
    scene = kept.scene
    if what == "paused":
        operations.deploy(scene.house, request("2.0", "canary", REPOSITORY, options=HOLD))
    if what == "adjusted before":
        for _ in range(2):
            scene.world.end("shop-r1-2")
            adjust.keep(scene.house, "shop")
    before = kept.adjustments()
    scene.world.move("shop-r1-2", ELSEWHERE)
    with locked(scene.house, "shop", "maintenance") if what == "locked" else nullcontext():
        assert watch.look() is None
    assert kept.adjustments() == before


def test_a_stranded_instance_is_moved_and_followed(kept: Looks, watch: MoveWatch) -> None:
    world = kept.scene.world
    world.strand("shop-r1-2", up=True)
    assert watch.look() is None
    assert world.moved == [], "it serves on"
    world.strand("shop-r1-2")
    with locked(kept.scene.house, "shop", "maintenance"):
        assert watch.look() is None
    assert world.moved == [], "somebody else is at work"
    assert watch.look() is None, "where it will be is not known yet"
    assert world.moved == ["shop-r1-2"]
    ended = watch.look()
    assert ended is not None
    assert ended.outcome == "done"
    assert kept.up() == BOTH


def test_the_release_that_is_live_now_is_watched(kept: Looks, watch: MoveWatch) -> None:
    assert watch.lasts()
    kept.scene.deploy("2.0")
    kept.scene.world.move("shop-r2-1", ELSEWHERE)
    assert watch.look() is not None
    assert kept.up() == ["shop-r2-1", "shop-r2-2"]
    kept.scene.world.moves = False
    kept.scene.deploy("3.0")
    assert not watch.lasts()


def test_the_keeper_watches_what_moves_also_while_a_rollout_is_in_progress(kept: Looks) -> None:
    scene = kept.scene
    scene.world.moves = True
    operations.deploy(scene.house, request("2.0", "canary", REPOSITORY, options=HOLD))
    kept.look()
    operations.stop(scene.house, "shop")
    scene.world.move("shop-r1-2", ELSEWHERE)
    within(20).until(lambda: kept.up() == BOTH, "it is followed without another look")


def test_one_that_comes_back_by_itself_is_left_alone(kept: Looks) -> None:
    there = kept.scene.world.instances["shop-r1-2"]
    for _ in range(3):
        kept.scene.world.end("shop-r1-2")
        kept.look()
        kept.scene.world.instances["shop-r1-2"] = there
        kept.look()
    assert kept.adjustments() == 0


def test_a_service_that_cannot_be_put_right_is_tried_again_after_growing_pauses(kept: Looks) -> None:
    world, store = kept.scene.world, kept.scene.house.store

    def ends(what: str) -> None:
        if what == "after ensure shop-r1-2":
            world.end("shop-r1-2")

    world.tick = ends
    world.end("shop-r1-2")
    began = []
    for _ in range(5):
        kept.look(2)
        row = store.rollouts.of("shop", 1, adjustments=True)[0]
        assert (row.strategy, row.outcome) == ("keep", "reverted")
        again = not_before((row, *store.rollouts.of("shop", adjustments=True)[1:]))
        began.append(again - (row.ended_at or 0.0))
        world.clock.sleep(again - world.clock.now() - 1)
        assert kept.look(3) == [], "not before"
        world.clock.sleep(1)
    assert began == [FIRST_SECONDS * 2**n for n in range(5)]
    world.tick = lambda _what: None
    kept.look(2)
    assert kept.up() == BOTH


def test_one_that_dies_again_and_again_is_not_started_in_a_loop(kept: Looks) -> None:
    for _ in range(100):
        kept.scene.world.end("shop-r1-2")
        kept.look()
        kept.scene.world.clock.sleep(5)
    assert 3 <= kept.adjustments() <= 7


@pytest.mark.parametrize("what", ["paused", "locked", "down", "never"])
def test_what_is_left_alone(kept: Looks, what: str) -> None:
    scene = kept.scene
    if what == "paused":
        operations.deploy(scene.house, request("2.0", "canary", REPOSITORY, options=HOLD))
    if what == "down":
        operations.down(scene.house, "shop")
    elif what != "never":
        scene.world.end("shop-r1-2")
    before = dict(scene.world.instances)
    if what == "locked":
        with locked(scene.house, "shop", "maintenance"):
            assert kept.look(3) == []
    else:
        assert kept.look(3) == []
    assert scene.world.instances == before
    assert kept.adjustments() == 0


def test_an_adjustment_whose_process_was_killed_is_finished(kept: Looks) -> None:
    scene = kept.scene
    scene.world.end("shop-r1-2")
    with locked(scene.house, "shop", "adjusting what runs") as lock:
        release = scene.house.store.releases.get("shop", 1)
        drivers = scene.house.drivers(release)
        plan = due(scene.house, drivers, release, observe(scene.house.store, drivers, "shop"))
        assert plan is not None
        scene.house.store.rollouts.begin(lock, plan, Path.cwd(), "deployer", "")
    assert len(kept.look()) == 1
    assert kept.up() == BOTH
    assert scene.house.store.rollouts.in_progress("shop") is None


def test_of_two_keepers_one_works_and_the_other_waits_for_its_end(kept: Looks) -> None:
    other = Looks(kept.scene)
    kept.look()
    assert not kept.keeper.waits
    kept.scene.world.end("shop-r1-2")
    assert other.look(3) == []
    assert other.keeper.waits
    kept.keeper.stop()
    assert len(other.look(2)) == 1
    assert kept.up() == BOTH
    other.keeper.stop()


def test_a_trouble_is_said_once_and_keeps_no_other_service_waiting(kept: Looks) -> None:
    scene = kept.scene
    operations.deploy(scene.house, request("1.0", "bluegreen", REPOSITORY, manifest={"service": "blog"}))
    scene.world.live.pop("blog")
    scene.world.end("shop-r1-2")
    said = kept.look(4)
    assert [text for text in said if text.startswith("blog")] == [
        "blog: the proxy does not know blog\n  → `deploy doctor` says what is missing"
    ]
    assert kept.up() == BOTH


def test_the_status_shows_what_it_did_and_does(kept: Looks) -> None:
    scene = kept.scene

    def shown() -> list[str]:
        view = status_of(scene.house, "shop")
        return lines(view.size, view.keeper, scene.world.clock.now(), lambda text, _style: text)

    assert shown() == []
    scene.deploy("2.0")
    assert shown() == [], "it goes with the next deploy, without a keeper"
    kept.look()
    warm = scene.house.store.services.get("shop").warm_until - scene.world.clock.now()
    assert shown() == [f"keeper: next, in {duration(warm)}: r1 is removed, which is kept warm until then"]
    scene.world.end("shop-r2-2")
    assert shown() == ["keeper: next: shop-r2-2 of r2 (2.0) does not run or gets no users"]
    kept.look(2)
    assert shown()[0] == "keeper: just now: shop-r2-2 of r2 (2.0) does not run or gets no users: done"
    adjust.scale(scene.house, "shop", 3, 3600.0, "sale")
    assert "size: 3 instances, as " in shown()[0]
    kept.keeper.stop()
    scene.world.end("shop-r2-2")
    assert shown()[-1] == (
        "keeper: none runs (`deploy serve` or `deploy keep`); it would see to this:"
        " shop-r2-2 of r2 (2.0) does not run or gets no users"
    )


def test_keys_that_need_somebody_are_named(state: Path) -> None:
    scene = Scene(state)
    jobs = {"schedule": {"nightly": {"cron": "0 3 * * *", "command": ["x"]}}}
    scene.deploy("1.0", manifest={**jobs, "keep": {"warm": "5m"}})
    text = "nothing does what {} of shop {} for between deploys: `deploy serve` does (docs/keeper.md)"
    assert unattended(scene.house, "shop", warm=True) == text.format("`schedule` and `keep.warm`", "ask")
    assert unattended(scene.house, "shop") == text.format("`schedule`", "asks")
    with announced(scene.house.store, attendance.JOBS), announced(scene.house.store, attendance.KEEPER):
        assert unattended(scene.house, "shop", warm=True) == ""
    assert unattended(scene.house, "blog") == ""


# -- pure


def test_a_calm_time_ends_the_count(kept: Looks) -> None:
    store, clock = kept.scene.house.store, kept.scene.world.clock
    for _ in range(3):
        kept.scene.world.end("shop-r1-2")
        adjust.keep(kept.scene.house, "shop")
    rows = store.rollouts.of("shop", adjustments=True)
    last = rows[0].ended_at or 0.0
    assert not_before(rows) == last + FIRST_SECONDS * 4
    clock.sleep(CALM_SECONDS + FIRST_SECONDS * 4 + 1)
    kept.scene.world.end("shop-r1-2")
    adjust.keep(kept.scene.house, "shop")
    assert not_before(store.rollouts.of("shop", adjustments=True)) == 0.0
    assert not_before(()) == 0.0


def _release(**more: Any) -> Release:
    return Release("shop", 5, "5.0", "shop:5.0", "sha256:5", manifest(**more), "hash")


def _instance(index: int, state: Any) -> Instance:
    name = f"shop-r5-{index}"
    return Instance("shop", "blue", 5, index, name, name, f"127.0.0.1:{20000 + index}", state)


@settings(max_examples=60)
@given(
    there=st.dictionaries(st.integers(1, 8), st.sampled_from(["running", "exited", "created"])),
    replicas=st.integers(1, 6),
    scaled=st.integers(0, 6),
    known=st.sets(st.integers(1, 8)),
    ago=st.integers(-10, 10),
)
def test_what_is_planned_ends_at_the_size_and_never_takes_what_users_need(
    there: dict[int, Any], replicas: int, scaled: int, known: set[int], ago: int
) -> None:
    release = replace(_release(replicas=replicas), scaled=scaled)
    blue = Environment("shop", "blue", 5, tuple(_instance(n, state) for n, state in sorted(there.items())))
    green = Environment("shop", "green", 4, (replace(_instance(1, "running"), colour="green", release=4),))
    observed = Observed("shop", Live("blue"), None, blue if there else None, green)
    names = (_instance(n, "running") for n in known)
    servers = {each.name: Server(each.name, each.address) for each in names}
    plan = adjustment(observed, release, servers, Kept(4, "green", 100.0 - ago), 100.0)
    size = release.size("blue")
    right = all(there.get(n) == "running" and n in known for n in range(1, size + 1)) and not any(
        n > size for n in there
    )
    if right and ago < 0:
        assert plan is None
        return
    assert plan is not None
    assert plan.adjusts
    removed = [step for step in plan.forward if isinstance(step, Remove)]
    assert [step.colour for step in removed].count("green") == (ago >= 0)
    mine = [step.keep for step in removed if step.colour == "blue"]
    assert mine == sorted(mine, reverse=True)
    assert all(keep >= size for keep in mine), "never below what is wanted"
    assert not mine or mine[-1] == size
    starts = [step.instances for step in plan.forward if isinstance(step, Start)]
    assert starts in ([], [size])
    back = [step for step in plan.back if isinstance(step, Remove)]
    assert all(step.keep >= (max(there) if step.colour == "blue" else 1) for step in back), "nothing that stood goes"


def test_a_house_of_its_own_sees_the_same_size(kept: Looks) -> None:
    adjust.scale(kept.scene.house, "shop", 3, 0.0, "")
    with house(kept.scene.house.store.folder, kept.scene.world) as other:
        assert other.store.releases.get("shop", 1).replicas == 3
