"""The watch of a host over what its owner waits for: when guests are frozen, thawed, stopped, and what is said."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.app.evictions import eviction
from deployer.app.guests import listing
from deployer.app.operations.guest_keeping import see_to
from deployer.app.status import status_of
from deployer.drivers.ports.guests import HostWatch
from deployer.drivers.runtime.docker import pressure_watch
from deployer.drivers.runtime.docker.pressure_watch import (
    AGAIN,
    CALM,
    LASTS,
    LONGEST,
    GuestGroup,
    HostRoom,
    OwnerPressure,
    PressureBrake,
    watch,
)
from deployer.planning.orders import RolloutResult
from tests.house import Scene
from tests.unit.test_keeper import Looks

CPU, MEMORY, NOTHING = {"cpu"}, {"memory"}, set[str]()


def acts(brake: PressureBrake, pressed: set[str], *moments: float) -> list[str]:
    return [brake.decide(pressed, at) for at in moments]


# -- when


def test_guests_are_frozen_at_once_and_go_on_after_a_calm_time() -> None:
    brake = PressureBrake()
    assert acts(brake, NOTHING, 0, 5) == ["", ""]
    assert acts(brake, CPU, 6, 8) == ["freeze", "freeze"]
    assert acts(brake, NOTHING, 9, 8 + CALM - 0.1, 8 + CALM, 9 + CALM) == ["", "", "thaw", ""]


def test_who_is_frozen_again_and_again_waits_longer_each_time() -> None:
    brake, now, calms = PressureBrake(), 0.0, list[float]()
    for _ in range(7):
        assert acts(brake, CPU, now) == ["freeze"]
        calms.append(brake.calm)
        now += brake.calm
        assert acts(brake, NOTHING, now) == ["thaw"]
        now += 1
    assert calms == [CALM, 2 * CALM, 4 * CALM, 8 * CALM, 16 * CALM, LONGEST, LONGEST]
    assert acts(brake, CPU, now + AGAIN) == ["freeze"]
    assert brake.calm == CALM


def test_a_tenant_is_stopped_only_if_memory_stays_short_and_one_at_a_time() -> None:
    brake, seconds = PressureBrake(), range(1, int(LASTS) * 2 + 2)
    found = ["freeze", *acts(brake, MEMORY, *[float(n) for n in range(int(LASTS) * 2 + 1)])[1:]]
    assert [n for n in seconds[:-1] if found[n] == "stop"] == [LASTS, 2 * LASTS]
    assert set(acts(PressureBrake(), CPU, *map(float, seconds))) == {"freeze"}


def test_memory_that_was_short_now_and_then_stops_nobody() -> None:
    brake = PressureBrake()
    assert acts(brake, MEMORY, 0, 6, 12, 18) == ["freeze"] * 4


def test_what_was_frozen_by_one_that_was_killed_goes_on() -> None:
    assert acts(PressureBrake(frozen=100), NOTHING, 101, 100 + CALM) == ["", "thaw"]


# -- what


@pytest.fixture
def group(tmp_path: Path) -> GuestGroup:
    """Return a group of cgroup v2, in a folder, with a tenant that has a container; what is frozen says so at once."""
    (tmp_path / "state").mkdir()
    top = tmp_path / "cg" / "deployer-guests"
    (top / "acme" / "c0ffee").mkdir(parents=True)
    for folder in (top, top / "acme", top / "acme" / "c0ffee"):
        for name, text in (("cpu.idle", "1"), ("cpu.weight", "0"), ("memory.current", "5"), ("cgroup.kill", "")):
            (folder / name).write_text(text)
        (folder / "cgroup.events").write_text("populated 1\nfrozen 1\n")
    (top / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    return GuestGroup(tmp_path / "cg", "deployer-guests", tmp_path / "state", str(tmp_path / "no.sock"))


def noted(tmp_path: Path, name: str) -> str:
    file = tmp_path / "state" / name
    return file.read_text().partition(" ")[2].strip() if file.exists() else ""


def test_all_are_frozen_and_their_weight_is_what_it_was(
    group: GuestGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pressure_watch, "FREEZE", 0.01)
    assert group.run
    with group.lifted():
        assert [(group.top / name).read_text() for name in ("cpu.idle", "cpu.weight")] == ["0", "100"]
    assert group.freeze("web waits for cpu")
    assert [(group.top / name).read_text() for name in ("cpu.idle", "cpu.weight", "cgroup.freeze")] == ["1", "0", "1"]
    assert noted(tmp_path, "frozen") == "web waits for cpu"
    assert not group.freeze("again"), "it is said once"
    group.thaw()
    assert (group.top / "cgroup.freeze").read_text() == "0"
    assert noted(tmp_path, "frozen") == ""


def test_who_starts_or_ends_a_guest_goes_first(group: GuestGroup, tmp_path: Path) -> None:
    raised = tmp_path / "state" / "raised.somebody"
    raised.touch()
    assert not group.freeze("web waits for cpu")
    assert group.stop("web waits for memory") == ""
    assert not (group.top / "cgroup.freeze").exists()
    assert noted(tmp_path, "frozen") == ""
    raised.unlink()
    assert group.stop("web waits for memory") == "acme"


def test_an_engine_that_does_not_respond_has_the_kernel_kill(group: GuestGroup, tmp_path: Path) -> None:
    other = group.top / "zeta" / "bead"
    other.mkdir(parents=True)
    (other.parent / "cgroup.events").write_text("populated 1\nfrozen 1\n")
    (other.parent / "memory.current").write_text("9")
    assert group.stop("web waits for memory") == "zeta"
    assert (other / "cgroup.kill").read_text() == "1"
    assert (group.top / "acme" / "c0ffee" / "cgroup.kill").read_text() == ""
    assert noted(tmp_path, "stopped.zeta") == "web waits for memory"


def test_without_a_guest_nothing_is_frozen_and_at_the_end_all_go_on(
    group: GuestGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = iter([False, False, True])
    brake = PressureBrake()
    monkeypatch.setattr(pressure_watch, "SCARCE", 2.0)

    class Waits(OwnerPressure):
        def __init__(self) -> None: ...

        def wait(self, seconds: float) -> dict[str, str]:
            return {"cpu": "web"}

    (group.top / "cgroup.events").write_text("populated 0\nfrozen 0\n")
    watch(group, Waits(), lambda: next(asked), brake)
    assert brake.frozen is None
    assert (group.top / "cgroup.freeze").read_text() == "0"


def test_it_counts_only_if_the_host_has_little_left_for_its_owner(
    group: GuestGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent = iter([(100.0, 50.0), (104.0, 51.0), (104.1, 51.1), (200.0, 51.2)])  # of 4, 0.1 and 96 seconds: 1, 0.1, 0.2
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(HostRoom, "_ticks", lambda _self: next(spent))
    monkeypatch.setattr(HostRoom, "_memory", staticmethod(lambda: 0.5))
    room = HostRoom(group)
    assert [room.scarce() for _ in range(3)] == [set(), set(), {"cpu"}]


def test_what_a_host_has_left_is_read_from_its_kernel(group: GuestGroup, monkeypatch: pytest.MonkeyPatch) -> None:
    (group.top / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    assert group.processors == 2.5
    whole, left = HostRoom(group)._ticks()
    assert whole > left > 2.5
    assert 0 < HostRoom._memory() < 1
    monkeypatch.setattr(pressure_watch, "SCARCE", 2.0)
    assert HostRoom(group).scarce() == {"cpu", "memory"}


# -- what the owner sees


@pytest.fixture
def scene(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    file = tmp_path / "tenants.yml"
    file.write_text("tenants: {acme: {cpus: 1, memory: 64m}}")
    monkeypatch.setenv("DEPLOYER_TENANTS", str(file))
    made = Scene(state)
    with made.house:
        made.deploy("1.0", manifest={"service": "blog", "image": "blog:1", "tenant": "acme"})
        made.world.room = {"": 1 << 40}
        yield made


SINCE = f"since {time.strftime('%Y-%m-%d')} 14:02:11: system.slice waits for memory"


def test_what_a_host_has_frozen_is_said_and_left_alone(scene: Scene) -> None:
    scene.world.watch = HostWatch(frozen=SINCE)
    said = list[Any]()
    see_to(scene.house, ("blog",), said.append, lambda host, text: said.append((host, text)))
    assert said == [("", SINCE)]
    assert f"frozen by this host {SINCE}" in status_of(scene.house, "blog").problems
    assert listing(scene.house).watch[0].frozen == SINCE


def test_the_keeper_says_once_what_a_host_has_frozen(scene: Scene) -> None:
    looks = Looks(scene)
    try:
        for _ in range(2):
            scene.world.watch = HostWatch(frozen=SINCE)
            assert looks.look(3) == [f"guests: frozen by this host {SINCE}"]
            scene.world.watch = HostWatch()
            assert looks.look() == []
    finally:
        looks.keeper.stop()


def test_what_a_host_has_stopped_is_evicted_until_there_is_room(scene: Scene) -> None:
    scene.world.watch = HostWatch(stopped=SINCE)
    ended = list[RolloutResult]()
    see_to(scene.house, ("blog",), ended.append)
    assert [each.outcome for each in ended] == ["done"]
    found = eviction(scene.house.store, "blog")
    assert found is not None
    assert (found.by_person, found.reason) == (False, f"this host stopped it {SINCE}")
    see_to(scene.house, ("blog",), ended.append)
    assert len(ended) == 1
