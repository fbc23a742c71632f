"""Death at every instant: each strategy, each ending, killed before and after each journal write and driver call.

The process is killed (a BaseException that nothing catches), its lock is freed as a dead owner's is, and `resume` or
`abort` is asked for. The promises must hold at every moment; the end must be the same as without the crash.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deployer import operations
from deployer.errors import Refused
from deployer.store.database import Database
from tests.house import house, request
from tests.memory import Crash, World

REPOSITORY = Path(__file__).parents[2]
FAST = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # fsync of hundreds of stores is not what is tested


class Fuse:
    """Counts the instants at which the process may die, and lets it die at one of them."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.count, self.where = at, 0, ""

    def tick(self, what: str) -> None:
        self.count += 1
        if self.count == self.at:
            self.where = what
            raise Crash(what)


@pytest.fixture
def fuse(monkeypatch: pytest.MonkeyPatch) -> Fuse:
    """Tick before and after each commit of the store."""
    current = Fuse()
    original = Database.transaction

    @contextmanager
    def transaction(self: Database) -> Iterator[object]:
        current.tick("before commit")
        with original(self) as db:
            yield db
        current.tick("after commit")

    monkeypatch.setattr(Database, "transaction", transaction)
    # The lock of a crashed process belongs to this very process, which lives: a dead owner is imitated by releasing it.
    monkeypatch.setattr("deployer.engine.walk.Pulse", NoPulse)
    return current


class NoPulse:
    """The pulse needs real time; its own test is elsewhere."""

    def __init__(self, run: object) -> None:
        pass

    def __enter__(self) -> NoPulse:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class Case:
    """How 2.0 is brought out, and what is wrong with it."""

    name: str
    strategy: str
    manifest: dict[str, Any] = field(default_factory=dict)
    world: dict[str, Any] = field(default_factory=dict)


UNHEALTHY: dict[str, Any] = {"broken": {"2.0"}}
WORSE: dict[str, Any] = {"worse": {"2.0"}}
SHORT = {"steps": [10, 50], "for": "1s", "bake": "1s"}  # long enough to find the worse one
CANARY = {"strategy": {"canary": SHORT}}
FRESH = {"strategy": {"canary": {**SHORT, "baseline": "fresh", "steps": [10]}}}
NEEDED = {"strategy": {"canary": {"steps": [50], "bake": "1s"}}}
BAKED = {"strategy": {"bluegreen": {"bake": "1s"}}}
ROLLING = {"strategy": {"rolling": {"for": "1s"}}}
CASES = [
    Case("canary-good", "canary", CANARY),
    Case("canary-unhealthy", "canary", CANARY, UNHEALTHY),
    Case("canary-worse", "canary", CANARY, WORSE),
    Case("canary-needed", "canary", NEEDED, {"rate": 20_000.0}),
    Case("canary-worse-with-everyone", "canary", CANARY, {**WORSE, "worse_above": 5000}),
    Case("canary-over-budget", "canary", {**CANARY, "traffic": {"budget": 2}, "judge": {"alpha": 1e-9}}, WORSE),
    Case("canary-baseline-good", "canary", FRESH),
    Case("canary-baseline-worse", "canary", FRESH, WORSE),
    Case("bluegreen-good", "bluegreen", BAKED),
    Case("bluegreen-worse", "bluegreen", BAKED, WORSE),
    Case("rolling-good", "rolling", ROLLING),
    Case("rolling-unhealthy", "rolling", ROLLING, UNHEALTHY),
    Case("recreate-good", "recreate"),
    Case("recreate-unhealthy", "recreate", {}, UNHEALTHY),
]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
GAPLESS = ("canary", "bluegreen", "rolling")


class Scene:
    """One service with 1.0 live, on which 2.0 is brought out and killed on the way."""

    def __init__(self, folder: Path, fuse: Fuse, case: Case) -> None:
        self.fuse, self.case = fuse, case
        self.world = World(**case.world)
        self.house = house(folder, self.world)
        fuse.at, fuse.count = None, 0
        operations.deploy(self.house, self._request("1.0"))
        self.world.tick = self._tick

    def _request(self, version: str) -> operations.Request:
        return request(version, self.case.strategy, REPOSITORY, manifest=self.case.manifest)

    def _tick(self, what: str) -> None:
        if self.case.strategy in GAPLESS:
            self.world.check()
        self.fuse.tick(what)

    def deploy(self, at: int | None) -> bool:
        """Deploy 2.0, dying at instant `at`; tell whether it died."""
        self.fuse.at, self.fuse.count = at, 0
        try:
            operations.deploy(self.house, self._request("2.0"))
        except Crash:
            self._after_death()
            return True
        return False

    def _after_death(self) -> None:
        self.fuse.at = None
        self.house.store.locks.break_("shop")

    def go_on(self, how: str, at: int | None = None) -> bool:
        """Ask for `resume` or `abort`, dying again at instant `at`; tell whether it died."""
        self.fuse.at, self.fuse.count = at, 0
        if self.house.store.open_rollout("shop") is None:
            return False
        try:
            if how == "resume":
                operations.resume(self.house, "shop")
            else:
                operations.stop(self.house, "shop")
        except Crash:
            self._after_death()
            return True
        except Refused:  # past the commit point there is nothing to abort
            assert how == "abort"
            operations.resume(self.house, "shop")
        return False

    def picture(self) -> dict[str, object]:
        """What the world and the books look like at the end."""
        live = self.world.live["shop"]
        rollouts = self.house.store.rollouts("shop")
        return {
            "versions": sorted(f"{i.colour} {self.world.versions[i.release]}" for i in self.world.instances.values()),
            "stable": live.stable,
            "share": live.share,
            "servers": sorted(n for there in self.world.servers.values() for n in there),
            "open": [r.number for r in rollouts if r.open],
            "outcome": rollouts[0].outcome,
        }


@contextmanager
def scene(fuse: Fuse, case: Case) -> Iterator[Scene]:
    folder = Path(tempfile.mkdtemp(prefix="dp", dir=FAST))
    try:
        made = Scene(folder, fuse, case)
        with made.house:
            yield made
    finally:
        shutil.rmtree(folder)


def uncrashed(fuse: Fuse, case: Case) -> tuple[dict[str, object], int]:
    with scene(fuse, case) as s:
        assert not s.deploy(None)
        return s.picture(), fuse.count


@every_case
def test_killed_once_then_resumed(fuse: Fuse, case: Case) -> None:
    wanted, instants = uncrashed(fuse, case)
    assert instants > 40
    for at in range(1, instants + 1):
        with scene(fuse, case) as s:
            died = s.deploy(at)
            assert died
            begun = bool(s.house.store.rollouts("shop")[0].release == 2)
            s.go_on("resume")
            if begun:
                assert s.picture() == wanted, f"killed at {at} ({fuse.where})"
            else:
                s.deploy(None)  # died before the rollout was recorded: nothing had happened
                assert s.picture()["versions"] == wanted["versions"]


@every_case
def test_killed_once_then_aborted(fuse: Fuse, case: Case) -> None:
    wanted, instants = uncrashed(fuse, case)
    for at in range(1, instants + 1):
        with scene(fuse, case) as s:
            s.deploy(at)
            s.go_on("abort")
            picture = s.picture()
            assert picture["open"] == []
            assert picture["share"] == 0
            if picture["outcome"] == "reverted":
                assert picture["versions"] == ["blue 1.0", "blue 1.0"], f"killed at {at} ({fuse.where})"
            else:
                assert picture["versions"] in (wanted["versions"], ["blue 1.0", "blue 1.0"])


@every_case
def test_killed_twice_then_resumed(fuse: Fuse, case: Case) -> None:
    wanted, instants = uncrashed(fuse, case)
    for at in range(3, instants + 1, 7):
        for again in range(2, 30, 9):
            with scene(fuse, case) as s:
                s.deploy(at)
                if s.house.store.rollouts("shop")[0].release != 2:
                    continue
                s.go_on("resume", again)
                s.go_on("resume")
                assert s.picture() == wanted, f"killed at {at}, then at {again}"
