"""What one drive of a rollout knows: its record, its lock, its drivers, and what people ask of it meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from deployer.clock import Clock, Deadline
from deployer.drivers.ports import Drivers
from deployer.errors import Aborted, Exit, LockLost
from deployer.events import Event, Sink
from deployer.judge.verdicts import Verdicts
from deployer.model import Colour, Environment, Instance, InstanceSpec, Live, Outcome, Release, SecretText, other
from deployer.steps import Promote
from deployer.store import Lock, Rollout, Store


@dataclass(frozen=True)
class Ending:
    """How a drive of a rollout ended, with its exit code and one sentence."""

    outcome: Outcome
    exit: Exit
    text: str
    rollout: int


class Hold(Exception):
    """The rollout stops here and waits for a person; not an error."""

    def __init__(self, exit_code: Exit, text: str) -> None:
        super().__init__(text)
        self.exit = exit_code
        self.text = text


@dataclass
class Run:
    """One process driving one rollout."""

    store: Store
    drivers: Drivers
    clock: Clock
    sink: Sink
    rollout: Rollout
    lock: Lock
    secrets: Callable[[Release], dict[str, SecretText]]
    ports: Sequence[int]
    port_usable: Callable[[int], bool]
    host: str = "127.0.0.1"
    hurry: bool = False  # `deploy promote`: watches and approvals are passed
    approved: bool = False  # `deploy resume` of a hold: the approval that it held at is given, watches are not passed
    stop_asked: threading.Event = field(default_factory=threading.Event)  # a signal came
    traffic_mutex: threading.RLock = field(default_factory=threading.RLock)
    lost: LockLost | None = None
    _releases: dict[int, Release] = field(default_factory=dict)

    @cached_property
    def verdicts(self) -> Verdicts:
        """The judge of this drive: one for all steps, so that its false-alarm probability covers them together."""
        manifest = self.candidate.manifest
        return Verdicts(manifest.judge, sticky=manifest.traffic.sticky)

    @property
    def service(self) -> str:
        """Name of the service."""
        return self.rollout.service

    @property
    def colour(self) -> Colour:
        """Colour of the candidate."""
        step = self.rollout.plan.forward[self.rollout.plan.commit]
        if not isinstance(step, Promote):
            raise TypeError("the commit point of a plan is its promote step")
        return step.colour

    def release(self, number: int) -> Release:
        """Read a release, once."""
        if number not in self._releases:
            self._releases[number] = self.store.release(self.service, number)
        return self._releases[number]

    @property
    def candidate(self) -> Release:
        """The release that this rollout brings."""
        return self.release(self.rollout.release)

    def tell(self, kind: str, **data: Any) -> None:
        """Send an event to the store and to whoever looks."""
        event = Event(kind, self.clock.now(), self.service, self.rollout.number, data)
        self.sink(self.store.add_event(event))

    def fence(self) -> None:
        """Raise LockLost once this process was overtaken; asked before each change of the world."""
        if self.lost:
            raise self.lost
        self.store.locks.verify(self.lock)

    def look(self) -> None:
        """See what people ask: raises Aborted or Hold; a promote makes the rest pass without waiting.

        On the way back nobody is asked: it is the safe direction.
        """
        if self.lost:
            raise self.lost
        if self.rollout.phase == "back":
            return
        if self.stop_asked.is_set():
            raise Aborted("aborted by a signal to this process")
        ask = self.store.next_ask(self.rollout.number)
        if ask is None:
            return
        self.store.take_ask(self.lock, ask)
        reason = f": {ask.reason}" if ask.reason else ""
        self.tell("note", text=f"{ask.kind} asked by {ask.by}{reason}")
        if ask.kind == "abort":
            raise Aborted(f"aborted by {ask.by}{reason}")
        if ask.kind == "pause":
            raise Hold(Exit.DONE, f"paused by {ask.by}{reason}; `deploy resume` goes on")
        self.hurry = True

    def instances(self, colour: Colour, release: int = 0) -> tuple[Instance, ...]:
        """Read the instances of a colour (of one release, if given) as they are now."""
        return tuple(
            i for i in self.drivers.runtime.instances(self.service) if i.colour == colour and release in (0, i.release)
        )

    def environment(self, colour: Colour, release: int) -> Environment:
        """Read the environment of a release in a colour."""
        return Environment(self.service, colour, release, self.instances(colour, release))

    def spec(self, release: Release, colour: Colour, index: int) -> InstanceSpec:
        """Say what an instance must be, with the address that it keeps."""
        port = self.store.port(self.service, release.number, index, self.ports, self.port_usable)
        return InstanceSpec(release, colour, index, self.rollout.number, f"{self.host}:{port}", self.secrets(release))

    # -- traffic

    def lease_end(self) -> int:
        """Give the moment at which a share given now runs out by itself; 0 when leases are off."""
        seconds = self.candidate.manifest.traffic.lease
        return int(self.clock.now() + seconds) + 1 if seconds else 0

    def steer(self, share: int, *, leased: bool, deadline: Deadline) -> None:
        """Give the candidate this share of the users."""
        self.fence()
        live = Live(
            stable=other(self.colour),
            share=share,
            lease=self.lease_end() if leased and share else 0,
            rollout=self.rollout.number,
        )
        with self.traffic_mutex:
            self.drivers.traffic.steer(self.service, live, deadline)
        self.tell("traffic.changed", stable=live.stable, share=live.share, lease=live.lease)

    def renew_lease(self) -> None:
        """Prolong a leased share; nothing to do for any other."""
        with self.traffic_mutex:
            live = self.drivers.traffic.read(self.service)
            if live and live.share and live.lease and live.rollout == self.rollout.number:
                deadline = Deadline.after(self.clock, 5)
                self.drivers.traffic.steer(self.service, replace(live, lease=self.lease_end()), deadline)

    def end_lease(self) -> None:
        """Let the share stay without a lease: a person decided to hold."""
        self.fence()
        with self.traffic_mutex:
            live = self.drivers.traffic.read(self.service)
            if live and live.share and live.lease:
                self.drivers.traffic.steer(self.service, replace(live, lease=0), Deadline.after(self.clock, 10))
