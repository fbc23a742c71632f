"""One process driving one rollout: its record, its lock, its drivers, and what stands of the service."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import InitVar, dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from deployer.core.clock import Clock
from deployer.core.errors import (
    DeadlinePassed,
    DeployError,
    DriverFailed,
    HostsUnreachable,
    Refused,
    TakenBack,
)
from deployer.core.events import Event, Sink
from deployer.core.secret import hide_in
from deployer.engine.address_follower import AddressFollower
from deployer.engine.controls import Controls
from deployer.engine.host_observer import HostObserver
from deployer.engine.proxy_observer import ProxyObserver
from deployer.engine.set_decision import refuse_turned
from deployer.engine.traffic_control import TrafficControl
from deployer.model import Colour, Environment, Instance, InstanceSpec, Live, Place, Release, SecretText, join

if TYPE_CHECKING:
    from deployer.drivers.ports import EngineDrivers
    from deployer.engine.analysis import Analysis
    from deployer.engine.lost_sides import LostSides
    from deployer.store import Lock, Rollout, Store
    from deployer.store.sets import ReleaseSet


@dataclass
class Drive:
    """What the steps of a rollout share while one process drives it.

    `traffic` moves the users, `controls` hears what people ask, `evidence` compares both sides.
    """

    store: Store
    drivers: EngineDrivers
    clock: Clock
    sink: Sink
    rollout: Rollout
    lock: Lock
    secrets: Callable[[Release], dict[str, SecretText]]
    ports: Sequence[int]
    port_usable: Callable[[int], bool]
    stop_asked: InitVar[threading.Event]
    detach: InitVar[Callable[[], bool]]
    address: str = "127.0.0.1"  # of this host, for its instances
    owed: bool = False  # people elsewhere are to be told of its end
    traffic: TrafficControl = field(init=False)
    controls: Controls = field(init=False)
    lookout: HostObserver = field(init=False)
    follower: AddressFollower = field(init=False)
    proxies: ProxyObserver = field(init=False)
    closing: ExitStack = field(default_factory=ExitStack)  # what this drive opened; closed at its end
    _releases: dict[int, Release] = field(default_factory=dict)

    def __post_init__(self, stop_asked: threading.Event, detach: Callable[[], bool]) -> None:
        settings = self.candidate.manifest.traffic
        served = self.candidate.served
        self.traffic = TrafficControl(
            self.drivers.traffic, self.rollout, settings, self.clock, self.tell, served=served
        )
        self.controls = Controls(self.store, self.rollout, self.lock, self.tell, stop_asked, detach)
        self.lookout = HostObserver(self.drivers.runtime, self.service, self.tell, self.clock)
        self.follower = AddressFollower(self.drivers, self.lookout, self.service, self.clock, self.tell, self.release)
        self.proxies = ProxyObserver(self.drivers.traffic, self.service, self.tell, self._named)

    def _named(self, colour: Colour) -> str:
        return f"r{self.rollout.release if colour == self.colour else self.rollout.origin}"

    # -- the record

    @property
    def service(self) -> str:
        """Name of the service."""
        return self.rollout.service

    @property
    def colour(self) -> Colour:
        """Colour of the candidate."""
        return self.rollout.plan.colour

    def release(self, number: int) -> Release:
        """Return a release, read once."""
        if number not in self._releases:
            self._releases[number] = self.store.releases.get(self.service, number)
        return self._releases[number]

    @property
    def candidate(self) -> Release:
        """The release that this rollout brings."""
        return self.release(self.rollout.release)

    @cached_property
    def group(self) -> ReleaseSet | None:
        """The set whose rollouts all go the same way; None for a rollout by itself."""
        return self.store.sets.of_rollout(self.rollout.number) if self.rollout.plan.meets else None

    @property
    def bound(self) -> bool:
        """Whether the set was decided to go forward: from there on no rollout of it turns back."""
        return self.group is not None and self.store.sets.decided(self.group.number) == "forward"

    def turn_back(self, n: int, error: DeployError) -> None:
        """Write that a step failed and that the rollout goes back from here on."""
        if isinstance(error, TakenBack):
            error = self.controls.taken_back()  # by whom and why, which a driver cannot know
        self.store.rollouts.turned_back(self.lock, self.rollout, n, error, self.controls.heard)
        self.rollout, self.traffic.safe = self.store.rollouts.get(self.rollout.number), True
        self.tell("rollout.rolling_back", error=error.message, hint=error.hint, exit=int(error.exit))

    # -- events and secrets

    def tell(self, kind: str, **data: Any) -> None:
        """Send an event to the store and to whoever looks, without secrets that the words of others may repeat."""
        self.sink(self.store.events.add(self.lock, self._event(kind, data)))

    def tell_at_least(self, kind: str, **data: Any) -> None:
        """Send an event to whoever looks, also when the store does not take it."""
        event = self._event(kind, data)
        with suppress(DeployError):  # whoever writes what must not be lost finds out
            event = self.store.events.add(self.lock, event)
        self.sink(event)

    def _event(self, kind: str, data: dict[str, Any]) -> Event:
        return Event(kind, self.clock.now(), self.service, self.rollout.number, hide_in(data))

    def learn_secrets(self) -> None:
        """Know the secrets of both releases: whoever prints one, nobody repeats it."""
        for number in (self.rollout.release, self.rollout.origin):
            with suppress(Refused):  # the values are gone; whoever needs them says so
                if number:
                    self.secrets(self.release(number))

    # -- what others do meanwhile

    def look(self) -> None:
        """See whether this drive may go on. Raise Aborted, Detached or Hold where people want something else.

        On the way back nobody is asked: it is the safe direction; nor once all of a set go forward. Raise LockLost
        once this process was overtaken.
        """
        self.store.locks.verify(self.lock)
        self.follower.look()
        if self.rollout.phase == "back" or self.bound:
            return
        if not self.rollout.plan.adjusts:
            self.follower.refuse_drifted(self.rollout.release)
        self.controls.look_at_signals(self.traffic.running_out())
        if self.traffic.is_taken_back():
            raise self.controls.taken_back()
        if self.group is not None:
            refuse_turned(self.store, self.group, self.service)
        self.controls.look()

    @cached_property
    def evidence(self) -> Analysis:
        """The stream and the judge of this drive: one for all its watches, opened before users are moved.

        The judge's false-alarm probability covers all its steps together, and the stream knows which clients are new.
        """
        from deployer.engine.analysis import Analysis
        from deployer.evidence import live_sample, recording
        from deployer.evidence.shared_recording import SharedRecording

        origin = self.release(self.rollout.origin) if self.rollout.origin else None
        folder, number = self.store.folder, self.rollout.number
        shared = SharedRecording(self.store, self.lock, number, lambda text: self.tell_at_least("note", text=text))
        shared.start()
        self.closing.callback(shared.close)  # after the recorder
        recorder = recording.begin(folder, self.candidate, self.clock, rollout=number, origin=origin)
        self.closing.callback(recorder.close)
        latest = live_sample.Latest(live_sample.file_of(folder, number), self.clock)
        self.closing.callback(latest.remove)
        samples = self.closing.enter_context(self.drivers.traffic.samples(self.service))
        confirm = partial(self.store.locks.verify, self.lock)
        return Analysis.of(self.candidate.manifest, samples, (recorder, latest), self.clock, self.tell, confirm)

    @cached_property
    def sides(self) -> LostSides:
        """How requests came in this drive that should carry a side."""
        from deployer.engine.lost_sides import LostSides

        chain = self.candidate.manifest.traffic.chain
        return LostSides(self.service, chain.callers if chain else (), self.read_other, self.tell)

    def read_other(self, service: str) -> Live | None:
        """Read what the proxy does for another service; None where it does not know it, or does not respond."""
        try:
            return self.drivers.traffic.read(service)
        except (DriverFailed, DeadlinePassed):
            return None

    def stand_down(self) -> None:
        """Leave all as it is to whoever overtook this process."""
        if "evidence" in vars(self):  # it was opened
            self.evidence.stand_down()

    # -- what stands of the service

    def instances(self, colour: Place, release: int = 0) -> tuple[Instance, ...]:
        """Return the instances of a colour (of one release, if given) as they are now, on hosts that respond."""
        return tuple(i for i in self.lookout.standing().instances if i.colour == colour and release in (0, i.release))

    def whole(self, colour: Place, release: int) -> tuple[Instance, ...]:
        """Return all instances of a release in a colour: for what must not go on with a part of them.

        Raise HostsUnreachable if more hosts that have some do not respond than the plan can spare; but on the way back,
        which is the safe direction, what responds is enough.
        """
        needed = {port.host for port in self.store.ports.of(self.service) if port.release == release}

        def look() -> tuple[Instance, ...]:
            instances = self.instances(colour, release)
            lost = self.lookout.silent_of(needed)
            if self.rollout.phase == "forward" and len(lost) > self.rollout.plan.spare(release):
                raise HostsUnreachable(lost, instances)
            return instances

        return self.lookout.insist(look)

    def environment(self, colour: Place, release: int) -> Environment:
        """Return the environment of a release in a colour."""
        return Environment(self.service, colour, release, self.instances(colour, release))

    def spec(self, release: Release, colour: Place, index: int, host: str = "") -> InstanceSpec:
        """Return what an instance must be, with the host and the address that it keeps."""
        port = self.store.ports.assign(self.lock, release.number, index, self.ports, self.port_usable, host)
        address = join(release.address(port.host, self.address), port.number)
        number, secrets = self.rollout.number, self.secrets(release)
        return InstanceSpec(release, colour, index, number, address, secrets, port.host)
