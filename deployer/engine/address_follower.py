"""Instances that an engine of many hosts started elsewhere: the proxy's servers follow them while a rollout runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from deployer.core.background import BackgroundThread, every
from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed, StepFailed
from deployer.core.events import Tell
from deployer.core.said_once import SaidOnce
from deployer.engine.host_observer import HostObserver
from deployer.model import PLACES, Instance, Place, Release, Server, release_of

if TYPE_CHECKING:
    from deployer.drivers.ports import EngineDrivers

LOOK_SECONDS = 1.0  # between two looks
PROBE_SECONDS = 2.0  # for an instance to show that it is healthy where it is now
ATTACH_SECONDS = 10.0  # for the proxy to find it up there


class AddressFollower:
    """Compares, each second, where instances are with where the proxy looks for them; `release` reads one.

    Only of a runtime that moves instances. An instance gets its requests at its new address once it is healthy there.
    One that is stranded is moved at once.
    """

    def __init__(
        self,
        drivers: EngineDrivers,
        lookout: HostObserver,
        service: str,
        clock: Clock,
        tell: Tell,
        release: Callable[[int], Release],
    ) -> None:
        self._drivers, self._lookout, self._service = drivers, lookout, service
        self._clock, self._tell, self._release = clock, tell, release
        self._next = 0.0
        self._moving: set[str] = set()  # known at their new address, and not in rotation there yet
        self._leaving: frozenset[str] = frozenset()  # being taken out of the proxy: nobody brings them back
        self._said = SaidOnce[str]()
        self._drifted: dict[str, str] = {}  # instances that somebody else has changed, and what, as last seen

    def look(self) -> None:
        """Look, if that is due. Trouble is told once, and it is tried again."""
        now = self._clock.monotonic()
        if not self._drivers.runtime.moves or now < self._next:
            return
        self._next = now + LOOK_SECONDS
        try:
            self._follow(self._lookout.standing().instances)
        except (DriverFailed, DeadlinePassed) as error:
            if self._said.is_new("", error.message):
                self._tell("note", text=f"cannot follow where instances are, trying again: {error.message}")
        else:
            self._said.settle("")

    @contextmanager
    def meanwhile(self, leaving: Collection[str] = ()) -> Iterator[None]:
        """Look each second while a block is open that waits for something else; not for those that are `leaving`."""
        follows, self._leaving = self._drivers.runtime.moves, frozenset(leaving)
        try:
            with BackgroundThread("following", every(LOOK_SECONDS, self.look)) if follows else nullcontext():
                yield
        finally:
            self._leaving = frozenset()

    def refuse_drifted(self, release: int) -> None:
        """Raise StepFailed where an instance of a release was, as last seen, not what is being released."""
        for name, what in self._drifted.items():
            if release_of(self._service, name) == release:
                raise StepFailed(f"{name} is not what r{release} says: {what}", "see who did that, then deploy again")

    def _follow(self, instances: Sequence[Instance]) -> None:
        self._drifted = {i.name: i.drift for i in instances if i.drift}
        for name, what in self._drifted.items():
            if self._said.is_new(name, what):
                self._tell("note", text=f"{name} is not what its release says: {what}")
        for place in PLACES:
            there = [i for i in instances if i.colour == place and i.state == "running" and i.name not in self._leaving]
            if there:
                servers = self._drivers.traffic.servers(self._service, place)
                self._move_stranded(there, {server.name for server, is_up in servers if is_up})
                self._attach_moved(place, there, {server.name: server.address for server, _ in servers})

    def _move_stranded(self, instances: Sequence[Instance], up: Collection[str]) -> None:
        """Have those moved that are stranded, but not where they serve on: the proxy reaches what managers do not."""
        mover = self._drivers.mover
        for instance in (i for i in instances if i.stranded and i.name not in up):
            if mover and mover.move(instance):
                self._tell("note", text=f"{instance.host} is lost: {instance.name} is started on another host")

    def _attach_moved(self, place: Place, instances: Sequence[Instance], known: Mapping[str, str]) -> None:
        self._moving |= {i.name for i in instances if known.get(i.name, i.address) != i.address}
        for instance in instances:
            if instance.name in self._moving and self._is_healthy(instance):
                where = Server(instance.name, instance.address)
                patience = Deadline.after(self._clock, ATTACH_SECONDS)
                self._drivers.traffic.attach(self._service, place, [where], patience)
                self._moving.discard(instance.name)
                at = f"on {instance.host}, at {instance.address}" if instance.host else f"at {instance.address}"
                self._tell("note", text=f"{instance.name} is {at} now, and gets its requests there")

    def _is_healthy(self, instance: Instance) -> bool:
        manifest = self._release(instance.release).manifest
        return not self._drivers.checks.probe(manifest, instance, Deadline.after(self._clock, PROBE_SECONDS))
