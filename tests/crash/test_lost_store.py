"""The store is lost at every instant of a rollout: `adopt` records what stands, and all of it has a right end."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deployer.app import doctor, operations
from deployer.app.status import status_of
from tests import tiers
from tests.house import adopt, house, lose, request
from tests.memory import Crash, World

FAST = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # fsync of hundreds of stores is not what is tested


@dataclass(frozen=True)
class Case:
    """How 2.0 is brought out, and what is wrong with it."""

    name: str
    strategy: str
    manifest: dict[str, Any] = field(default_factory=dict)
    world: dict[str, Any] = field(default_factory=dict)


SHORT = {"steps": [10, 50], "for": "1s", "bake": "1s"}
FRESH = {"strategy": {"canary": {**SHORT, "baseline": "fresh", "steps": [10]}}}
CASES = [
    Case("canary-good", "canary", {"strategy": {"canary": SHORT}}),
    Case("canary-worse", "canary", {"strategy": {"canary": SHORT}}, {"worse": {"2.0"}}),
    Case("canary-baseline", "canary", FRESH),
    Case("bluegreen", "bluegreen", {"strategy": {"bluegreen": {"bake": "1s"}}}),
    Case("rolling", "rolling", {"strategy": {"rolling": {"for": "1s"}}, "replicas": 3}),
    Case("recreate", "recreate"),
]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


class Scene:
    """One service with 1.0 live, on which 2.0 is brought out until the process and the store are gone."""

    def __init__(self, folder: Path, case: Case) -> None:
        self.folder, self.case = folder, case
        self.world = World(**case.world)
        self.house = house(folder, self.world)
        self.at, self.count = 0, 0
        operations.deploy(self.house, self._request("1.0"))
        self.world.tick = self._tick

    def _request(self, version: str, **more: Any) -> operations.DeployRequest:
        return request(version, self.case.strategy, manifest=self.case.manifest, **more)

    def _tick(self, what: str) -> None:
        if self.case.strategy != "recreate":
            self.world.check()
        self.count += 1
        if self.count == self.at:
            raise Crash(what)

    def deploy(self, at: int) -> bool:
        """Deploy 2.0, dying at an instant of the world; return whether it died."""
        self.at, self.count = at, 0
        try:
            operations.deploy(self.house, self._request("2.0"))
        except Crash:
            return True
        finally:
            self.at = 0
        return False

    def lose(self) -> None:
        """Lose the store, and adopt what is there."""
        lose(self.house)
        self.house, _ = adopt(self.folder, self.world)

    def end(self, how: str) -> None:
        """Bring what was in progress to its end."""
        rollout = self.house.store.rollouts.in_progress("shop")
        if rollout is None:
            return
        if rollout.outcome == "paused":
            operations.promote(self.house, "shop")
        elif how == "resume":
            operations.resume(self.house, "shop")
        else:
            operations.stop(self.house, "shop")

    def versions(self, place: str) -> list[str]:
        return [self.world.versions[i.release] for i in self.world.instances.values() if i.colour == place]

    def check_end(self) -> None:
        """Users are on one whole release; what is recorded, what stands and what the proxy does agree."""
        doctor.fix(self.house, None)  # a recreate that had begun to stop instances leaves no other trace of itself
        assert [f.text for f in doctor.examine(self.house, None).findings if f.what == "shop" and f.level == "bad"] in (
            [],
            ["r1 should be live, but nothing of it is running"],
        )
        if "shop" not in self.world.live:
            assert self.world.instances == {}, "nothing stood, and nothing is left of it at the proxy"
            assert self.case.strategy == "recreate"
            return
        live, store = self.world.live["shop"], self.house.store
        assert store.rollouts.in_progress("shop") is None
        assert live.share == 0
        assert self.versions("baseline") == []
        stable = store.services.get("shop").stable
        if stable:
            view = status_of(self.house, "shop")
            assert view.stable == stable
            assert not view.problems
            up = self.world.up("shop", live.stable)
            assert len(up) == store.releases.get("shop", stable).manifest.replicas
        else:
            assert self.case.strategy == "recreate", "only that strategy has a time when nothing of stable runs"

    def next_deploy(self) -> None:
        """The next release comes out as if nothing had been."""
        self.world.worse = set()
        assert operations.deploy(self.house, self._request("3.0")).outcome == "done"
        live = self.world.live["shop"]
        assert set(self.versions(live.stable)) == {"3.0"}
        self.check_end()


@contextmanager
def scene(case: Case) -> Iterator[Scene]:
    folder = Path(tempfile.mkdtemp(prefix="dp", dir=FAST))
    try:
        made = Scene(folder, case)
        yield made
        made.house.store.database.close()
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("how", ["abort", "resume"])
@every_case
def test_the_store_is_lost_at_every_instant(case: Case, how: str) -> None:
    with scene(case) as s:
        assert not s.deploy(0)
        instants = s.count
    assert instants > 15
    stride = tiers.draws(1, 9) if how == "abort" else tiers.draws(3, 18)
    for at in range(1 + tiers.SEED % stride, instants + 1, stride):
        with scene(case) as s:
            assert s.deploy(at)
            s.lose()
            s.end(how)
            s.check_end()
            s.next_deploy()


@every_case
def test_the_store_is_lost_after_a_good_end(case: Case) -> None:
    with scene(case) as s:
        assert not s.deploy(0)
        stable = s.house.store.services.get("shop").stable
        s.lose()
        s.end("abort")
        assert s.house.store.services.get("shop").stable == stable
        s.check_end()
        s.next_deploy()
