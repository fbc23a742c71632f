"""`scale.concurrency: auto`: what the keeper learns reaches store, proxy and people, and the next release has it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployer.app import operations
from deployer.app.keeper.load_watch import LOOK_SECONDS, LoadWatch, followed
from deployer.app.operations import adjust
from deployer.app.operations.deployment import propose
from deployer.app.operations.execution import locked
from deployer.app.status import status_of
from deployer.manifest.scale import FIRST_AT_ONCE
from deployer.model import DIFFERS, InstanceLoad
from deployer.store import DEPLOYER
from deployer.views.keeper import lines
from tests.house import REPOSITORY, Scene, request

AUTO: dict[str, Any] = {"replicas": 1, "scale": {"min": 1, "max": 4, "concurrency": "auto", "hold": "60s"}}


class Learning:
    """A scene whose keeper learns, and its watch, whose looks are made one by one."""

    def __init__(self, state: Path) -> None:
        self.scene = Scene(state)
        self.scene.deploy("1.0", manifest=AUTO)
        self.ended = {"full": 0.0, "light": 0.0}
        self.watch = self.watched()

    def watched(self) -> LoadWatch:
        release = followed(self.scene.house, "shop")
        assert release is not None
        return LoadWatch(self.scene.house, release)

    def look(self, seconds: float, full: float, failed: bool = False) -> list[str]:
        """Look for so long: a request takes `full` seconds when full, 0.1 when light. Give what was done."""
        world, said = self.scene.world, list[str]()
        place = "shop", self.scene.live.stable
        world.open[place] = 4  # the size stays
        for _ in range(round(seconds / LOOK_SECONDS)):
            world.clock.sleep(LOOK_SECONDS)
            at_once = {"full": self.number, "light": 3}
            for name, takes in (("full", full), ("light", 0.1)):
                self.ended[name] += at_once[name] / takes * LOOK_SECONDS
            world.each[place] = {
                name: InstanceLoad(at_once[name], round(ended) + 100, round(ended * failed))
                for name, ended in self.ended.items()
            }
            if (done := self.watch.look()) is not None:
                said.append(done.text)
        return said

    @property
    def number(self) -> int:
        """How many requests at once the proxy gives the instance that users are on."""
        (server,) = self.scene.world.servers["shop", self.scene.live.stable].values()
        return server.concurrency

    def shown(self) -> list[str]:
        view = status_of(self.scene.house, "shop")
        return lines(view.size, view.keeper, self.scene.world.clock.now(), lambda text, _style: text)

    def noted(self, version: str, manifest: dict[str, Any]) -> list[str]:
        """What a plan of another version says of it."""
        plan = propose(self.scene.house, request(version, "bluegreen", REPOSITORY, manifest=manifest)).plan
        return [note for note in plan.notes if note.startswith("concurrency: ")]


@pytest.fixture
def learning(state: Path) -> Learning:
    return Learning(state)


def test_what_is_learned_is_recorded_reaches_the_proxy_and_is_shown(learning: Learning) -> None:
    assert learning.number == FIRST_AT_ONCE
    assert learning.shown()[2] == "concurrency: 16 for each instance, until something is learned"
    assert learning.noted("2.0", AUTO) == ["concurrency: 16 for each instance, until something is learned"]
    assert learning.look(100, 0.4) == ["an instance of r1 (1.0) gets 16 requests at once, 12 are wanted: done"]
    assert learning.number == 12
    found = learning.scene.house.store.concurrencies.get("shop")
    assert found is not None
    assert found.requests == 12
    assert found.why == "a full instance ends 40 requests a second that take 100 ms on a light one"
    (row, *_) = learning.scene.house.store.rollouts.of("shop", adjustments=True)
    assert (row.strategy, row.started_by, row.message) == ("scale", DEPLOYER, found.why)
    said = learning.shown()
    assert said[1] == "load: 4 requests at once; at most 12 for each instance"
    assert said[2].startswith("concurrency: 12 for each instance, since ")
    assert said[2].endswith(f": {found.why}")
    view = status_of(learning.scene.house, "shop").to_dict()["size"]["scale"]
    assert (view["concurrency"], view["learns"], view["learned"]) == (12, True, found.why)


def test_the_next_release_and_the_next_keeper_begin_with_it(learning: Learning) -> None:
    learning.look(100, 0.4)
    (note,) = learning.noted("2.0", AUTO)
    assert note.startswith("concurrency: 12 for each instance, since ")
    learning.scene.deploy("2.0", manifest=AUTO)
    assert learning.number == 12
    learning.watch = learning.watched()
    assert learning.look(100, 0.1) == ["an instance of r2 (2.0) gets 12 requests at once, 13 are wanted: done"]
    assert learning.number == 13
    operations.rollback(learning.scene.house, "shop", to=1)
    adjust.keep(learning.scene.house, "shop")
    assert learning.number == 13, "the number is that of the service, whichever release is live"


def test_one_that_had_a_number_begins_with_that(state: Path) -> None:
    learning = Learning(state)
    scene = learning.scene
    fixed = {"replicas": 1, "scale": {"max": 4, "concurrency": 40}}
    scene.deploy("2.0", manifest=fixed)
    assert learning.number == 40
    assert learning.noted("3.0", fixed) == []
    assert learning.noted("3.0", AUTO) == ["concurrency: 40 for each instance, as the release before had it"]
    scene.deploy("3.0", manifest=AUTO)
    assert learning.number == 40
    assert learning.shown()[2].endswith(": as the release before had it")


def test_nothing_is_learned_of_a_rollout_or_from_errors(learning: Learning) -> None:
    assert learning.look(100, 0.4, failed=True) == []
    learning.look(30, 0.4)
    operations.deploy(
        learning.scene.house, request("2.0", "canary", REPOSITORY, manifest=AUTO, options={"percent": 50, "hold": True})
    )
    assert learning.look(100, 0.4) == []
    assert learning.scene.house.store.concurrencies.get("shop") is None


def test_a_proxy_with_another_number_is_put_right(learning: Learning) -> None:
    house = learning.scene.house
    assert adjust.keep(house, "shop") is None
    with locked(house, "shop", "as if the keeper had ended then") as lock:
        house.store.concurrencies.set(lock, 9, "it was measured")
    ended = adjust.keep(house, "shop")
    assert ended is not None
    assert ended.text == "an instance of r1 (1.0) gets 16 requests at once, 9 are wanted: done"
    assert learning.number == 9
    assert adjust.keep(house, "shop") is None


def test_one_of_several_proxies_with_another_number_is_put_right(learning: Learning) -> None:
    """The group of proxies says `DIFFERS` of an instance to which not each of them gives as many."""
    house, place = learning.scene.house, ("shop", learning.scene.live.stable)
    servers = learning.scene.world.servers[place]
    servers.update({name: replace(server, concurrency=DIFFERS) for name, server in servers.items()})
    ended = adjust.keep(house, "shop")
    assert ended is not None
    gets = "an instance of r1 (1.0) gets of each proxy another number of requests at once"
    assert ended.text == f"{gets}, 16 are wanted: done"
    assert learning.number == 16


def test_what_was_learned_goes_with_the_service(learning: Learning) -> None:
    learning.look(100, 0.4)
    with locked(learning.scene.house, "shop", "down") as lock:
        learning.scene.house.store.services.taken_down(lock)
    assert learning.scene.house.store.concurrencies.get("shop") is None
