"""What is live while rollouts are in progress, read in the background: who asks for numbers waits for no host."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deployer.core.clock import Clock
from deployer.core.errors import DeployError

if TYPE_CHECKING:
    from deployer.server.context import ServerContext

EVERY = 5.0  # seconds from the end of a reading to the next one, at the least
PART = 0.1  # of the time may go into reading
PATIENCE = 2.0  # seconds that somebody waits for the reading in progress


@dataclass(frozen=True)
class ServiceObservation:
    """What proxy and runtime said of a service with a rollout in progress, and when (monotonic); `read`: they did.

    `share` is in force, `asked` was given, in basis points; `lease` 0 does not run out, `budget` 0 is no limit.
    """

    service: str
    at: float
    read: bool
    share: int = 0
    asked: int = 0
    lease: float = 0.0
    budget: int = 0
    spent: int = 0


@dataclass
class Observer:
    """Keeps the newest look; reads again when somebody asks and it is old, one reading at a time."""

    look: Callable[[], tuple[ServiceObservation, ...]]
    clock: Clock
    _seen: tuple[ServiceObservation, ...] = ()
    _until: float | None = None  # monotonic: up to then it is new enough
    _reading: threading.Event | None = None
    _failed: Exception | None = None
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def newest(self) -> tuple[ServiceObservation, ...]:
        """Return the newest look, waiting a little for one that is in progress. Raises what looking raised."""
        with self._mutex:
            if self._reading is None and (self._until is None or self.clock.monotonic() >= self._until):
                self._reading = threading.Event()
                threading.Thread(target=self._read, args=(self._reading,), name="live numbers", daemon=True).start()
            reading = self._reading
        if reading is not None:
            reading.wait(PATIENCE)
        with self._mutex:
            failed, self._failed = self._failed, None
            if failed is not None:
                raise failed
            return self._seen

    def _read(self, ended: threading.Event) -> None:
        began, seen, failed = self.clock.monotonic(), None, None
        try:
            seen = self.look()
        except Exception as error:  # noqa: BLE001 - raised by `newest`, in the thread of who asked
            failed = error
        with self._mutex:
            now = self.clock.monotonic()
            self._seen, self._failed = self._seen if seen is None else seen, failed
            self._until = now + max(EVERY, (now - began) / PART)
            self._reading = None
        ended.set()


def look(desk: ServerContext) -> tuple[ServiceObservation, ...]:
    """Read what is live of all services that have a rollout in progress."""
    store, found = desk.stores.store(), []
    for service in store.services.all():
        if store.rollouts.in_progress(service.name) is not None:
            found.append(_look(desk, service.name))
    return tuple(found)


def _look(desk: ServerContext, service: str) -> ServiceObservation:
    try:
        with desk.app() as app:
            told = app.status(service)
    except DeployError:  # what it is about, `deploy status` says; here it is known that nothing is known
        return ServiceObservation(service, desk.clock.monotonic(), read=False)
    safety = told.safety
    return ServiceObservation(
        service,
        desk.clock.monotonic(),
        told.read,
        share=told.share,
        asked=safety.share if safety else 0,
        lease=told.lease,
        budget=safety.budget if safety else 0,
        spent=safety.spent if safety else 0,
    )
