"""Several services in one world in memory, and threads that take turns, so that the same instants come again."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from unittest import mock

from deployer.app.operations import AppContext, RolloutResult
from deployer.app.operations.sets import SetRequest, deploy_set
from deployer.core.errors import DeployError, LockLost
from deployer.model import Live
from deployer.store import Lock
from deployer.store.locks import Locks
from deployer.transport.fanout import Answers
from tests.crash.stage import on_paper
from tests.house import request
from tests.memory import BEAT_SECONDS, FakeClock, World

SERVICES = ("backend", "frontend", "mailer")
SHORT: dict[str, Any] = {"canary": {"steps": [10, 50], "for": "1s", "bake": "1s"}}
T = TypeVar("T")


class Turns(FakeClock):
    """A clock on paper for several threads: one runs at a time, and the next one when it sleeps."""

    def __init__(self, at: float = 1_700_000_000.0, ahead: float = 0.0) -> None:
        self._local = threading.local()
        self._turn = threading.Condition()
        self._asleep: list[tuple[float, int]] = []  # when each thread that is not running goes on, and its ticket
        self._tickets, self._running = 0, False
        self.hearts: list[PaperHeart] = []  # of the locks that are held
        super().__init__(at, ahead)

    @property
    def beat(self) -> Callable[[], None] | None:
        """What beats while this thread sleeps."""
        return getattr(self._local, "beat", None)

    @beat.setter
    def beat(self, beat: Callable[[], None] | None) -> None:
        self._local.beat = beat

    def sleep(self, seconds: float) -> None:
        for heart in tuple(self.hearts):
            heart.beat(self.at)
        end = self.at + seconds
        while self.beat and max(self.at, getattr(self._local, "next", 0.0)) <= end:
            self._wake_at(max(self.at, getattr(self._local, "next", 0.0)))
            self._local.next = self.at + BEAT_SECONDS
            self._beat(self.beat)
        self._wake_at(max(self.at, end))

    def _wake_at(self, moment: float) -> None:
        with self._turn:
            if self._asleep:
                self._running = False
                self._await(self._enrol(moment))
            self.at = max(self.at, moment)

    def _enrol(self, moment: float) -> tuple[float, int]:
        self._tickets += 1
        ticket = (moment, self._tickets)
        heapq.heappush(self._asleep, ticket)
        self._turn.notify_all()
        return ticket

    def _await(self, ticket: tuple[float, int]) -> None:
        """Wait until nobody runs and this thread is the next; a test that hangs here ends by its own time-out."""
        self._turn.wait_for(lambda: not self._running and self._asleep[0] == ticket)
        heapq.heappop(self._asleep)
        self._running = True

    def on_all(self, items: Mapping[str, Any], work: Callable[[Any], T], limit: int) -> Answers[str, T]:
        """Do the work on all items, in threads that take turns."""
        assert limit >= len(items)
        ok: dict[str, T] = {}
        failed: dict[str, DeployError] = {}
        bugs: list[BaseException] = []

        def one(key: str, ticket: tuple[float, int]) -> None:
            with self._turn:
                self._await(ticket)
            try:
                ok[key] = work(items[key])
            except DeployError as error:
                failed[key] = error
            except BaseException as bug:  # noqa: BLE001 - raised again by the caller's thread
                bugs.append(bug)
            finally:
                with self._turn:
                    self._running = False
                    self._turn.notify_all()

        with self._turn:
            self._running = True
            tickets = {key: self._enrol(self.at) for key in items}
            threads = [threading.Thread(target=one, args=each, daemon=True) for each in tickets.items()]
        for thread in threads:
            thread.start()
        with self._turn:
            self._running = False
            self._turn.notify_all()
        for thread in threads:
            thread.join(600)
            assert not thread.is_alive(), "threads wait for each other"
        with self._turn:
            self._await(self._enrol(self.at))  # one of several commands goes on in its turn
        for bug in bugs:
            raise bug
        return Answers({key: ok[key] for key in items if key in ok}, failed)


class PaperHeart:
    """The heart of a lock on paper: it beats while it is open, whatever its rollout does, when any thread sleeps."""

    def __init__(self, clock: Turns, locks: Locks, lock: Lock) -> None:
        self._clock, self._locks, self._lock, self._at = clock, locks, lock, clock.at

    def __enter__(self) -> None:
        self._clock.hearts.append(self)

    def beat(self, now: float) -> None:
        """Show a sign of life when it is time for one."""
        if now >= self._at + BEAT_SECONDS:
            self._at = now
            with suppress(LockLost):
                self._locks.renew(self._lock)

    def __exit__(self, *_: object) -> None:
        self._clock.hearts.remove(self)


@dataclass
class SetWorld(World):
    """A world with several services; `bad` is the one of which the versions in `worse` fail half of their requests."""

    bad: str = ""
    also: str = ""  # another one like it
    unfit: set[str] = field(default_factory=set)  # services whose 2.0 is never healthy

    def failing_part(self, service: str, live: Live, share: int) -> float:
        """The part of the candidate's requests that is answered with errors."""
        return super().failing_part(service, live, share) if service in (self.bad, self.also) else 0.0

    def well(self, instance: Any) -> bool:
        """Return whether an instance runs and passes its health check."""
        ill = instance.service in self.unfit and self.versions.get(instance.release) == "2.0"
        return super().well(instance) and not ill

    def copy(self) -> World:
        """The same world once more, with a clock of its own."""
        made = super().copy()
        made.clock = Turns(made.clock.at, made.clock.ahead)
        return made


@contextmanager
def by_turns(world: World) -> Iterator[None]:
    """Let the rollouts of sets in this world run by turns, on paper."""
    clock = world.clock
    assert isinstance(clock, Turns)
    heart = mock.patch(
        "deployer.app.operations.execution.Heartbeat", lambda locks, lock, _tell: PaperHeart(clock, locks, lock)
    )
    places = ("deployer.app.operations.sets.on_all", "deployer.app.operations.set_rollback.on_all")
    with on_paper(), heart, mock.patch(places[0], clock.on_all), mock.patch(places[1], clock.on_all):
        yield


def wanted(version: str, services: Sequence[str] = SERVICES, strategy: str = "canary", **more: Any) -> SetRequest:
    """Return a release of services as it is asked for."""
    manifests = more.pop("manifests", {})
    requests = tuple(
        request(
            manifests.get(service, {}).get("version", version),
            strategy,
            manifest={"service": service, "image": f"{service}:1.0", "strategy": SHORT, "health": {"deadline": "4s"}}
            | manifests.get(service, {}),
        )
        for service in services
    )
    return SetRequest("shop", requests, strategy=strategy, **more)


def release(house: AppContext, version: str, **more: Any) -> RolloutResult:
    """Release all services at a version."""
    return deploy_set(house, wanted(version, **more))


def versions_live(house: AppContext) -> dict[str, str]:
    numbers = {service: house.store.services.get(service).stable for service in SERVICES}
    return {s: house.store.releases.get(s, n).version if n else "" for s, n in numbers.items()}


def in_chain(service: str) -> dict[str, Any]:
    """Return what the manifest of a service says of a chain: from the frontend through the backend to the mailer."""
    callers = {"backend": ["frontend"], "mailer": ["backend"]}.get(service)
    strict = {"callers": callers, "without_side": "stable"} if callers else {}
    return {"traffic": {"chain": {"name": "shop", **strict}}}
