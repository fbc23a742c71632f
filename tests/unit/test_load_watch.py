"""The size of a service follows its load: what the keeper records, when it leaves it alone, and what people see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployer.app import operations
from deployer.app.keeper.keeper import Keeper
from deployer.app.keeper.load_watch import LOOK_SECONDS, LoadWatch, followed
from deployer.app.keeper.outlook import unattended
from deployer.app.operations import AppContext, adjust
from deployer.app.operations.execution import locked
from deployer.app.pauses import not_before
from deployer.app.status import status_of
from deployer.core.errors import Locked
from deployer.engine import RolloutResult
from deployer.planning.orders import StopRequest
from deployer.store import DEPLOYER
from deployer.views.keeper import lines
from tests.house import REPOSITORY, Scene, request
from tests.waiting import within

SCALE = {"min": 1, "max": 4, "concurrency": 10, "hold": "60s"}


class Loaded:
    """A scene whose service has `scale`, and the watch of it, whose looks are made one by one."""

    def __init__(self, state: Path, **scale: object) -> None:
        self.scene = Scene(state)
        self.scene.deploy("1.0", manifest={"replicas": 1, "scale": {**SCALE, **scale}})
        self.watch = self.watched()

    def watched(self) -> LoadWatch:
        release = followed(self.scene.house, "shop")
        assert release is not None
        return LoadWatch(self.scene.house, release)

    def look(self, requests: int, seconds: float = LOOK_SECONDS) -> list[str]:
        """Look for so long while there are so many requests; return what was done."""
        self.scene.world.open["shop", self.scene.live.stable] = requests
        said = []
        for _ in range(round(seconds / LOOK_SECONDS)):
            self.scene.world.clock.sleep(LOOK_SECONDS)
            if (ended := self.watch.look()) is not None:
                said.append(ended.text)
        return said

    def up(self) -> list[str]:
        return sorted(self.scene.world.up("shop", self.scene.live.stable))


@pytest.fixture
def loaded(state: Path) -> Loaded:
    return Loaded(state)


def test_the_size_follows_the_load(loaded: Loaded) -> None:
    assert loaded.up() == ["shop-r1-1"]
    assert loaded.look(5) == []
    assert loaded.look(24, 4) == [
        "r1 (1.0) has 1 instance, 3 are wanted: done",
        "r1 (1.0) has 3 instances, 4 are wanted: done",
    ]
    assert loaded.up() == [f"shop-r1-{n}" for n in (1, 2, 3, 4)]
    rows = loaded.scene.house.store.rollouts.of("shop", adjustments=True)
    assert (rows[0].strategy, rows[0].started_by, rows[0].message) == ("scale", DEPLOYER, "24 requests at once")
    assert not_before(rows) == 0, "that it followed the load is nothing that did not help"
    assert loaded.look(2, 60) == []
    assert loaded.look(2, 4) == [
        "r1 (1.0) has 4 instances, 3 are wanted: done",
        "r1 (1.0) has 3 instances, 2 are wanted: done",
        "r1 (1.0) has 2 instances, 1 is wanted: done",
    ]


def test_a_word_of_a_person_wins_until_it_ends(loaded: Loaded) -> None:
    house = loaded.scene.house
    adjust.scale(house, "shop", 2, 60.0, "sale")
    assert loaded.up() == ["shop-r1-1", "shop-r1-2"]
    assert not loaded.watch.lasts()
    assert followed(house, "shop") is None
    assert adjust.follow_load(house, "shop", loaded.watch._history.wanted(4)) is None
    assert shown(loaded)[0].startswith("size: 2 instances, as ")
    assert "wants (sale), until" in shown(loaded)[0]
    assert shown(loaded)[0].endswith("; the manifest says 1 to 4")
    adjust.scale(house, "shop", 0, 0.0, "")
    assert loaded.up() == ["shop-r1-1"], "as the load needs"
    assert followed(house, "shop") is not None


def test_the_end_of_a_word_under_load_keeps_what_the_load_needs(loaded: Loaded) -> None:
    house = loaded.scene.house
    adjust.scale(house, "shop", 4, 0.0, "sale")
    loaded.scene.world.open["shop", loaded.scene.live.stable] = 18
    adjust.scale(house, "shop", 0, 0.0, "")
    assert loaded.up() == [f"shop-r1-{n}" for n in (1, 2, 3)], "not the one instance of before"
    assert shown(loaded)[0] == "size: 3 instances of 1 to 4, as the load needs: 18 requests at once"


def shown(loaded: Loaded) -> list[str]:
    view = status_of(loaded.scene.house, "shop")
    return lines(view.size, view.keeper, loaded.scene.world.clock.now(), lambda text, _style: text)


def test_what_people_see(loaded: Loaded) -> None:
    loaded.look(18, 1)
    assert shown(loaded)[:2] == [
        "size: 3 instances of 1 to 4, as the load needs: 18 requests at once",
        "load: 18 requests at once; at most 10 for each instance",
    ]
    assert unattended(loaded.scene.house, "shop") == (
        "nothing does what `scale` of shop asks for between deploys: `deploy serve` does (docs/keeper.md)"
    )


def test_nothing_is_changed_while_others_are_at_work(loaded: Loaded) -> None:
    house = loaded.scene.house
    with locked(house, "shop", "maintenance"):
        assert loaded.look(30, 4) == []
        with pytest.raises(Locked):
            adjust.follow_load(house, "shop", loaded.watch._history.wanted(1))
    operations.deploy(house, request("2.0", "canary", REPOSITORY, options={"percent": 10, "hold": True}))
    assert loaded.look(30, 4) == []


def test_what_a_rollout_left_to_stable_is_not_its_load(loaded: Loaded) -> None:
    loaded.look(24, 4)
    operations.deploy(loaded.scene.house, request("2.0", "canary", REPOSITORY, options={"percent": 50, "hold": True}))
    assert loaded.look(2, 70) == []
    assert operations.stop(loaded.scene.house, "shop", "enough").outcome == "reverted"
    assert loaded.look(24, 1) == [], "those who were on the candidate are back"
    assert loaded.up() == [f"shop-r1-{n}" for n in (1, 2, 3, 4)]
    assert loaded.look(2, 59) == []
    assert loaded.look(2, 2) == ["r1 (1.0) has 4 instances, 3 are wanted: done"]


def test_a_deploy_begins_with_what_the_load_needs(loaded: Loaded) -> None:
    loaded.look(18, 1)
    loaded.scene.deploy("2.0", manifest={"replicas": 1, "scale": SCALE})
    assert loaded.up() == [f"shop-r2-{n}" for n in (1, 2, 3)]
    assert not loaded.watch.lasts(), "another release is live"


def test_a_service_that_had_a_number_begins_with_as_many(state: Path) -> None:
    scene = Scene(state)
    scene.deploy("1.0", manifest={"replicas": 3})
    scene.deploy("2.0", manifest={"replicas": 1, "scale": SCALE})
    assert sorted(scene.world.up("shop", scene.live.stable)) == [f"shop-r2-{n}" for n in (1, 2, 3)]
    assert scene.deploy("2.0", manifest={"replicas": 1, "scale": SCALE}).rollout == 0, "nothing to do"


def test_one_that_does_not_start_is_tried_again_after_a_pause(loaded: Loaded) -> None:
    world = loaded.scene.world

    def ends(what: str) -> None:
        if what == "after ensure shop-r1-3":
            world.end("shop-r1-3")

    world.tick = ends
    (text,) = loaded.look(18, 1)
    assert "not done" in text
    assert loaded.up() == ["shop-r1-1"]
    assert loaded.look(38, 5) == [], "not before the pause is over"
    world.tick = lambda _what: None
    world.clock.sleep(10)
    ending = adjust.keep(loaded.scene.house, "shop")
    assert ending is not None
    assert len(loaded.up()) == 3


def test_the_keeper_watches_until_it_ends(loaded: Loaded) -> None:
    said: list[str] = []

    @contextmanager
    def opened(_stop: StopRequest) -> Iterator[AppContext]:
        yield loaded.scene.house

    def say(service: str, text: str, _ended: RolloutResult | None) -> None:
        said.append(f"{service}: {text}")

    keeper = Keeper(opened, say)
    loaded.scene.world.open["shop", loaded.scene.live.stable] = 18
    keeper.look()
    within(20).until(lambda: len(loaded.up()) == 3, "it has followed")
    keeper.stop()
    assert said == ["shop: r1 (1.0) has 1 instance, 3 are wanted: done"]
