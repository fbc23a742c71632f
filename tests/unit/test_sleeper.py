"""The sleeper, where something fails or is killed halfway: files and workers agree again by whoever comes next."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed
from deployer.drivers.sleeping import sleeper as sleepers
from deployer.drivers.sleeping.sleeper import LocalSleeper
from deployer.drivers.traffic.haproxy import reload, sleeping
from deployer.drivers.traffic.haproxy import spec as specs
from deployer.drivers.traffic.haproxy.layout import Home
from deployer.drivers.traffic.haproxy.master import MasterSocket
from deployer.drivers.traffic.haproxy.parts import Parts
from deployer.drivers.traffic.haproxy.proxy import Proxy
from deployer.drivers.traffic.haproxy.servers import Servers
from deployer.drivers.traffic.haproxy.sleeping import HAProxySleep
from deployer.model import Server
from tests.memory import FakeClock
from tests.unit.test_haproxy_render import having, spec

SCALE = {"min": 0, "max": 4, "concurrency": 10, "wait": "2s"}


class Host:
    """Two instances of one service, its files, and workers that can be killed before they are told."""

    def __init__(self, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = FakeClock()
        self.sleeper = LocalSleeper(state, self.clock)
        self.services = Home(state / "proxy", state / "proxy" / "haproxy.cfg").services
        self.services.mkdir(parents=True)
        known = having(
            spec("shop", scale=SCALE), Server("shop-r1-1", "127.0.0.1:21001"), Server("shop-r1-2", "127.0.0.1:21002")
        )
        self.known = known.with_side("blue", known.blue.model_copy(update={"starter": "process"}))
        specs.save(self.services, self.known)
        self.running = {"shop-r1-1": True, "shop-r1-2": True}
        self.paused: set[str] = set()
        self.waker_gets = False  # what the workers know
        self.tell_fails, self.drains, self.ill = 0, True, ""
        self.start_error: Exception | None = None
        self.prepared = False
        self._replace(monkeypatch)

    def _replace(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(HAProxySleep, "attend", lambda *_: None)
        monkeypatch.setattr(HAProxySleep, "drained", lambda *_: self.drains)
        monkeypatch.setattr(Parts, "answering", lambda *_: nullcontext())
        monkeypatch.setattr(reload, "persist", lambda _proxy, known: specs.save(self.services, known))
        monkeypatch.setattr(MasterSocket, "undisturbed", lambda _self, work, _deadline: work())
        monkeypatch.setattr(sleeping._SleepingBackend, "_tell", self._tell)
        monkeypatch.setattr(sleeping._SleepingBackend, "wakes", lambda *_: self.waker_gets, raising=False)
        monkeypatch.setattr(sleepers, "probe", lambda *_: self.ill)
        self.sleeper._starters["process"] = self

    def _tell(self, side: specs.BackendSide, _deadline: Deadline) -> None:
        if self.tell_fails:
            self.tell_fails -= 1
            raise DriverFailed("killed before it was told", "")
        self.waker_gets = bool(side.asleep)

    def prepare(self) -> None:
        self.prepared = True

    def stop(self, name: str, _grace: float, _deadline: Deadline) -> None:
        self.running[name] = False
        self.paused.discard(name)

    def pause(self, name: str, _deadline: Deadline) -> None:
        self.running[name] = False
        self.paused.add(name)

    def start(self, name: str, _deadline: Deadline) -> bool:
        if self.start_error and name == "shop-r1-2":
            raise self.start_error
        before, self.running[name] = self.running[name], True
        self.paused.discard(name)
        return not before

    def sleep(self) -> bool:
        patience, deadline = Deadline.after(self.clock, 1.0), Deadline.after(self.clock, 60.0)
        return self.sleeper.sleep("shop", "blue", 1.0, patience, deadline)

    def wake(self) -> str:
        return self.sleeper.wake("shop", "blue").name

    @property
    def asleep(self) -> bool:
        return "blue" in self.sleeper.asleep("shop")

    @property
    def up(self) -> list[str]:
        return [name for name, runs in self.running.items() if runs]


BOTH = ["shop-r1-1", "shop-r1-2"]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def fails(what: Callable[[], Any], error: type[Exception] = DriverFailed) -> None:
    with pytest.raises(error):
        what()


def test_a_sleep_that_was_killed_before_the_workers_were_told_tells_them_when_it_is_repeated(host: Host) -> None:
    host.tell_fails = 1
    fails(host.sleep)
    since = host.sleeper.asleep("shop")
    assert (host.asleep, host.waker_gets, host.up) == (True, False, BOTH)
    host.clock.sleep(5.0)
    assert host.sleep()
    assert (host.asleep, host.waker_gets, host.up) == (True, True, [])
    assert host.sleeper.asleep("shop") == since, "since the first try"


def test_a_wake_that_cannot_tell_the_workers_leaves_it_running_and_the_next_one_tells_them(host: Host) -> None:
    assert host.sleep()
    host.tell_fails = 2
    fails(host.wake)
    assert host.up == BOTH
    fails(host.wake)
    assert (host.up, host.waker_gets) == (BOTH, True)
    assert host.wake() == "shop-r1-1"
    assert (host.asleep, host.up, host.waker_gets) == (False, BOTH, False)
    assert [bool(wake.error) for wake in host.sleeper.wakes("shop")] == [True, True, False]


def test_a_wake_while_it_drains_does_not_stop_what_ran_before(host: Host) -> None:
    assert host.sleep()
    host.running["shop-r1-1"] = True
    host.ill = "503"
    fails(host.wake, DeadlinePassed)
    assert host.up == ["shop-r1-1"], "only what it started itself"


@pytest.mark.parametrize("error", [DriverFailed("gone", ""), OSError("disk full")])
def test_what_was_started_is_stopped_where_another_does_not_start(host: Host, error: Exception) -> None:
    assert host.sleep()
    host.start_error = error
    fails(host.wake, type(error))
    assert (host.up, host.asleep) == ([], True)
    assert host.sleeper.wakes("shop")[-1].error


def test_what_pauses_is_not_stopped_and_what_is_not_healthy_afterwards_is(host: Host) -> None:
    specs.save(host.services, host.known.with_side("blue", host.known.blue.model_copy(update={"pauses": True})))
    assert host.sleep()
    assert (host.asleep, host.waker_gets, host.up, sorted(host.paused)) == (True, True, [], BOTH)
    assert host.wake() == "shop-r1-1"
    assert (host.asleep, host.up, host.paused) == (False, BOTH, set())
    assert host.sleep()
    host.ill = "503"
    fails(host.wake, DeadlinePassed)
    assert (host.asleep, host.up, host.paused) == (True, [], set()), "the next request starts it afresh"


def test_what_a_start_needs_is_at_hand_before_somebody_waits_for_it(host: Host) -> None:
    host.sleeper.prepare("shop", "blue")
    assert host.prepared


def test_a_place_that_is_being_left_is_not_opened_again_by_who_passes_the_waker(host: Host) -> None:
    known = specs.require(host.services, "shop")
    specs.save(host.services, known.with_side("blue", known.blue.leaving(["shop-r1-2"])))
    host.waker_gets = True
    assert host.wake() == "shop-r1-1"
    assert specs.require(host.services, "shop").blue.members[1].leaving


def test_who_comes_while_it_drains_keeps_it_awake(host: Host) -> None:
    host.drains = False
    assert not host.sleep()
    assert (host.asleep, host.up, host.waker_gets) == (False, BOTH, False)


@pytest.mark.parametrize(
    ("running", "old", "idle", "in_use"),
    [({}, False, 9, False), ({"shop-r1-1": 1}, False, 0, True), ({"waker": 1}, False, 0, True), ({}, True, 1, True)],
    ids=["nobody", "on an instance", "passed on by the waker", "a client of an old worker"],
)
def test_it_is_in_use_while_a_request_may_still_come_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: dict[str, int], old: bool, idle: int, in_use: bool
) -> None:
    """An old worker does not learn that a service sleeps: clients that wait on it must be gone first."""
    Host(tmp_path, monkeypatch)
    seen = {name: SimpleNamespace(running=running.get(name, 0)) for name in ("shop-r1-1", "shop-r1-2", "waker")}
    servers = SimpleNamespace(seen=lambda *_: seen, idle=lambda *_: idle)
    master = SimpleNamespace(workers=lambda _deadline: [SimpleNamespace(old=old)])
    proxy = SimpleNamespace(master=master, home=Home(tmp_path / "proxy", tmp_path / "proxy" / "haproxy.cfg"))
    backend = sleeping._SleepingBackend(cast(Proxy, proxy), cast(Servers, servers), "shop", "blue")
    assert backend.in_use(Deadline.after(FakeClock(), 1.0)) is in_use
