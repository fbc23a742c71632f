"""Rollouts that nobody drives any more: the server goes on with them, at its start and whenever it finds one.

What cannot be gone on with yet, as the proxy does not respond, is looked at again, after a pause that grows. What is
held or stuck waits for a person. What its process left as it was told, or holds while it hangs, waits for one, too, or
for a server that starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from deployer.app.operations import AppContext
from deployer.app.queries import drivers_of
from deployer.core.errors import DeployError
from deployer.drivers.ports import standing
from deployer.planning.orders import Order
from deployer.server.context import ServerContext
from deployer.server.loop import Loop
from deployer.store import Rollout, Store

LOOK_SECONDS = 5.0  # between two looks at the store
FIRST_SECONDS = 10.0  # before a rollout is tried once more; doubled each time
MOST_SECONDS = 300.0
END_SECONDS = 2.0  # for a look that is in progress; it changes nothing
AT_START, LATER = "deploy serve, at its start", "deploy serve, which looked again"


@dataclass
class _Case:
    """A rollout that nobody drives."""

    rollout: int
    next_at: float  # by the monotonic clock
    ours: bool  # it was there when the server started
    pause: float = FIRST_SECONDS
    run: str = ""


class Reconciler(Loop):
    """Looks after what nobody drives, in the name of `by`."""

    def __init__(self, desk: ServerContext, by: str) -> None:
        failed = ("resuming.failed", "rollouts in progress cannot be read")
        super().__init__(desk.log, "caretaker", failed, LOOK_SECONDS, END_SECONDS)
        self._desk, self._by = desk, by
        self._cases: dict[str, _Case] = {}
        self._started = False

    def look(self) -> None:
        """Look once, and go on with what can be gone on with."""
        store, now = self._desk.stores.store(), self._desk.clock.monotonic()
        left = {rollout.service: rollout for rollout in undriven(store)}
        at_start, self._started = not self._started, True
        for service, case in list(self._cases.items()):
            if service not in left or left[service].number != case.rollout:
                del self._cases[service]
                self.forget(service)
        for service, rollout in left.items():
            # A moment passes between two processes that drive the same rollout: it is not tried at the first look.
            soon = now if at_start else now + LOOK_SECONDS / 2
            case = self._cases.setdefault(service, _Case(rollout.number, soon, at_start))
            if now >= case.next_at and not self._under_way(service, case):
                self._try(store, rollout, case, AT_START if at_start else LATER)
                case.next_at, case.pause = now + case.pause, min(case.pause * 2, MOST_SECONDS)

    def _under_way(self, service: str, case: _Case) -> bool:
        run = self._desk.runner.read(service, case.run) if case.run else None
        return run is not None and run.open

    def _try(self, store: Store, rollout: Rollout, case: _Case, origin: str) -> None:
        if not case.ours and (_was_left(store, rollout) or not store.locks.is_free(rollout.service)):
            return
        try:
            with self._desk.house() as house:
                _refuse_unready(house, rollout.service)
            order = Order(
                "resume", rollout.service, "its process was gone" if origin == LATER else "the server started"
            )
            case.run = self._desk.runner.start(order, self._by, origin).id
        except DeployError as error:
            self._say("resuming.waits", rollout, f"is in progress and waits: {error.message}")
        else:
            self._say("resuming", rollout, "was interrupted: continuing it")

    def _say(self, event: str, rollout: Rollout, text: str) -> None:
        words = f"rollout {rollout.number} of {rollout.service} {text}"
        self.say(rollout.service, event, words, rollout=rollout.number, service=rollout.service)


def undriven(store: Store) -> Iterator[Rollout]:
    """Yield what is in progress and driven by nobody who lives; what is held or stuck waits for a person.

    Adjustments between rollouts are the keeper's. Of a set one is given: who resumes it resumes all of them.
    """
    sets = set[int]()
    for service in store.services.all():
        rollout = store.rollouts.in_progress(service.name)
        if rollout is None or rollout.adjusts:
            continue
        if not rollout.outcome and store.locks.read(service.name) is None:
            group = store.sets.of_rollout(rollout.number) if rollout.plan.meets else None
            if group is None or group.number not in sets:
                yield rollout
            if group is not None:
                sets.add(group.number)


def _was_left(store: Store, rollout: Rollout) -> bool:
    """Return whether its process was told to leave it."""
    last = store.events.last_id_of(rollout.number)
    return any(event.kind == "rollout.detached" for event in store.events.of(rollout.number, last - 1))


def _refuse_unready(house: AppContext, service: str) -> None:
    """Raise DeployError when the proxy or the engine of this host gives no answer: to go on would end in trouble."""
    drivers = drivers_of(house, service)
    if (live := drivers.traffic.read(service)) is not None:
        drivers.traffic.servers(service, live.stable)
    standing(drivers.runtime, service)
