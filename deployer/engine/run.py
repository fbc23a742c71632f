"""What one drive of a rollout knows: its record, its lock, its drivers, and what people ask of it meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import Aborted, DeployError, Detached, DriverFailed, Exit, MachinesSilent, Refused, TakenBack
from deployer.core.events import Event, Sink
from deployer.core.secret import hide_in
from deployer.emergency import record
from deployer.engine.budget_tracker import BudgetTracker
from deployer.engine.host_observer import HostObserver
from deployer.model import (
    Colour,
    Environment,
    Instance,
    InstanceSpec,
    Live,
    Place,
    Release,
    SecretText,
    join,
    newest_good,
    other,
    taken_back,
)
from deployer.planning.plan import ROLLBACK
from deployer.planning.steps import Promote, Share, Start, Warm
from deployer.store import DEPLOYER, PROMOTIONS, WORDS

if TYPE_CHECKING:
    from deployer.drivers.ports import Drivers
    from deployer.engine.analysis import Analysis
    from deployer.store import ControlRequest, Lock, Rollout, Store


class Hold(Exception):
    """The rollout stops here and waits for a person; not an error."""

    def __init__(self, exit_code: Exit, text: str, by: str = DEPLOYER, *, anew: int | None = None) -> None:
        super().__init__(text)
        self.exit = exit_code
        self.text = text
        self.by = by
        self.anew = anew  # the step whose time is over, and begins again when somebody resumes


@dataclass
class Drive:
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
    address: str = "127.0.0.1"  # of this host, for its instances
    hurry: bool = False  # `deploy promote`: watches and holds are passed
    forced: bool = False  # … and what people were to approve, too
    by: str = ""  # who asked for either of these; "" is who runs this process
    heard: ControlRequest | None = None  # the wish that ends this drive: marked as taken with what comes of it
    approved: bool = (
        False  # `deploy resume` of a hold: the approval at which it paused is given, watches are not passed
    )
    stop_asked: threading.Event = field(default_factory=threading.Event)  # a signal came
    detach: Callable[[], bool] = lambda: False  # whether a signal leaves the rollout where it is
    owed: bool = False  # people elsewhere are to be told of its end
    traffic_mutex: threading.RLock = field(default_factory=threading.RLock)
    given: Live | None = None  # what this drive wrote to the proxy last
    kept_until: int = 0  # the end of the share of a rollout that is paused: nobody renews its lease
    closing: ExitStack = field(default_factory=ExitStack)  # what this drive opened; closed at its end
    spending: BudgetTracker = field(init=False)  # the pulse looks at it too
    lookout: HostObserver = field(init=False)
    _releases: dict[int, Release] = field(default_factory=dict)

    def __post_init__(self) -> None:
        budget = self.candidate.manifest.traffic.budget
        self.spending = BudgetTracker(budget, self.drivers.traffic, self.service, self.tell)
        self.lookout = HostObserver(self.drivers.runtime, self.service, self.tell)

    @cached_property
    def evidence(self) -> Analysis:
        """The stream and the judge of this drive: one for all its watches, opened before the first.

        The judge's false-alarm probability covers all its steps together, and the stream knows which clients are new.
        """
        from deployer.engine.analysis import Analysis
        from deployer.evidence import live_sample
        from deployer.evidence.recording import Recorder, describe, file_of, prune
        from deployer.judge.stable import StableHealth
        from deployer.judge.verdicts import Verdicts

        manifest, number = self.candidate.manifest, self.rollout.number
        origin = self.release(self.rollout.origin) if self.rollout.origin else None
        header = describe(self.candidate, self.clock, rollout=number, origin=origin)
        file = file_of(self.store.folder, number)
        recorder = Recorder(file, header)
        self.closing.callback(recorder.close)
        prune(file.parent)
        newest = live_sample.Latest(live_sample.file_of(self.store.folder, number), self.clock)
        self.closing.callback(newest.remove)
        return Analysis(
            samples=self.closing.enter_context(self.drivers.traffic.samples(self.service)),
            verdicts=Verdicts(manifest.judge, sticky=manifest.traffic.sticky, routes=manifest.traffic.routes),
            stable=StableHealth(manifest.judge),
            recorder=recorder,
            latest=newest,
            clock=self.clock,
            tell=self.tell,
        )

    def stand_down(self) -> None:
        """Leave all as it is to whoever overtook this process."""
        if "evidence" in vars(self):  # it was opened
            self.evidence.stand_down()

    def listen(self) -> None:
        """Open the stream before users are moved: the first answers tell as much as later ones."""
        self.evidence.catch_up()

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
            self._releases[number] = self.store.releases.get(self.service, number)
        return self._releases[number]

    @property
    def candidate(self) -> Release:
        """The release that this rollout brings."""
        return self.release(self.rollout.release)

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

    def look(self) -> None:
        """See what people ask: raises Aborted or Hold; a promote makes the rest pass without waiting.

        On the way back nobody is asked: it is the safe direction. Raises LockLost once this process was overtaken.
        """
        self.store.locks.verify(self.lock)
        if self.rollout.phase == "back":
            return
        if self.stop_asked.is_set():
            raise self._detached() if self.detach() else Aborted("aborted by a signal to this process")
        self._look_at_share()
        ask = self.store.requests.next(self.rollout.number)
        if ask is None:
            return
        reason = f": {ask.reason}" if ask.reason else ""
        self.tell("note", text=f"{WORDS.get(ask.kind, ask.kind)} asked by {ask.by}{reason}")
        if ask.kind in PROMOTIONS:
            self.store.requests.take(self.lock, ask)
            self.promote_for(ask)
            return
        self.heard = ask
        if ask.kind == "abort":
            raise Aborted(f"aborted by {ask.by}{reason}", by=ask.by)
        raise Hold(Exit.DONE, f"paused by {ask.by}{reason}; `deploy resume` goes on", ask.by)

    def promote_for(self, ask: ControlRequest) -> None:
        """Pass all that is left to wait for; what people are to approve only if that was said."""
        self.hurry, self.forced, self.by = True, ask.kind == "force", ask.by

    def _detached(self) -> Detached:
        lease = self.candidate.manifest.traffic.lease
        given = bool(self.given and self.given.share)
        share = f"; its share runs out by itself within {lease:g} s" if given and lease else ""
        return Detached(
            f"rollout {self.rollout.number} is left where it is, by a signal to this process{share}",
            "`deploy resume` goes on, `deploy abort` rolls it back",
        )

    def _look_at_share(self) -> None:
        """Stand down when an emergency command has taken the users back at the proxy, store or no store."""
        if not self.given or not self.given.share:
            return
        try:
            live = self.drivers.traffic.read(self.service)
        except DriverFailed:
            return  # whoever needs the proxy next finds out, with the patience that is right there
        if taken_back(self.given, live):
            raise self.taken_back()

    def taken_back(self) -> TakenBack:
        """Say who took the users off the candidate at the proxy, and why."""
        noted = record.read(str(self.store.folder), self.service)
        if noted is None:
            return TakenBack("aborted: users were taken off the candidate at the proxy")
        reason = f": {noted.reason}" if noted.reason else ""
        return TakenBack(f"aborted by {noted.by}{reason}", by=noted.by)

    def instances(self, colour: Place, release: int = 0) -> tuple[Instance, ...]:
        """Read the instances of a colour (of one release, if given) as they are now, on machines that answer."""
        return tuple(i for i in self.lookout.standing().instances if i.colour == colour and release in (0, i.release))

    def whole(self, colour: Place, release: int) -> tuple[Instance, ...]:
        """Read all instances of a release in a colour: for what must not go on with a part of them.

        Raises MachinesSilent when more machines that have some give no answer than the plan can spare; but on the way
        back, which is the safe direction, what answers is enough.
        """
        instances = self.instances(colour, release)
        needed = {port.host for port in self.store.ports.of(self.service) if port.release == release}
        lost = self.lookout.silent_of(needed)
        if self.rollout.phase == "forward" and len(lost) > self.spare(release):
            raise MachinesSilent(lost, instances)
        return instances

    def spare(self, release: int) -> int:
        """Tell how many machines of a release may be silent while it is started."""
        starts = (s for s in self.rollout.plan.forward if isinstance(s, Start) and s.release == release)
        return max((s.spare for s in starts), default=0)

    def environment(self, colour: Place, release: int) -> Environment:
        """Read the environment of a release in a colour."""
        return Environment(self.service, colour, release, self.instances(colour, release))

    def spec(self, release: Release, colour: Place, index: int, host: str = "") -> InstanceSpec:
        """Say what an instance must be, with the machine and the address that it keeps."""
        port = self.store.ports.assign(self.lock, release.number, index, self.ports, self.port_usable, host)
        address = join(release.address(port.host, self.address), port.number)
        number, secrets = self.rollout.number, self.secrets(release)
        return InstanceSpec(release, colour, index, number, address, secrets, port.host)

    def warm_after(self, promoted: int) -> int:
        """Give the release that a rollback may go to by one write once a release is promoted; 0 when there is none.

        It is the one that the plan keeps warm, if a rollback would choose it. After a rollback there is none: the next
        one within minutes is late, and moves nobody, which an emergency cannot know.
        """
        if self.rollout.plan.strategy == ROLLBACK:
            return 0
        kept = {step.release for step in self.rollout.plan.forward if isinstance(step, Warm)}
        choice = newest_good(self.store.releases.of(self.service), promoted)
        return choice.number if choice and choice.number in kept else 0

    # -- traffic

    def lease_end(self) -> int:
        """Give the moment at which a share given now runs out by itself; 0 when leases are off.

        Of a rollout that is paused it is fixed: no process has to live until then.

        The proxy compares whole seconds. Rounded down, so that users are back within the lease; but one of less than
        two seconds is not over before it can be renewed.
        """
        if self.kept_until:
            return self.kept_until
        seconds = self.candidate.manifest.traffic.lease
        now = self.clock.now()
        return max(int(now + seconds), int(now) + 2) if seconds else 0

    def set_traffic(self, step: Share, deadline: Deadline) -> None:
        """Give the candidate, and the baseline, their shares of the users."""
        live = Live(
            stable=other(self.colour),
            share=step.share,
            lease=self.lease_end() if step.leased and step.share else 0,
            rollout=self.rollout.number,
            budget=self.spending.grant if step.share else 0,
            baseline=step.baseline,
        )
        self.write(live, deadline)
        if live.lease and live.lease <= self.clock.now():  # to write it took longer than the lease: nobody got anything
            self.renew_lease()

    def write(self, live: Live, deadline: Deadline) -> None:
        """Move the users, and tell it. Raises TakenBack when an emergency has ended their share of the candidate."""
        self._put(live, deadline)
        said = asdict(live)
        said.pop("rollout")  # each event names it
        self.tell("traffic.changed", **said)

    def _put(self, live: Live, deadline: Deadline) -> None:
        with self.traffic_mutex:
            given = self.given if self.rollout.phase == "forward" else None  # back is the same direction
            self.drivers.traffic.set_traffic(self.service, live, deadline, given)
            self.given = live
            self.spending.limit = live.budget
            now = self.drivers.traffic.read(self.service)
        if taken_back(live, now):
            raise TakenBack("users were taken off the candidate at the proxy, just as it got them")
        if now != live:
            raise DriverFailed(f"the proxy said that it took {live}, and has {now}", "see `deploy doctor`")

    def look_at_lease(self, live: Live | None) -> None:
        """Tell when the lease of the share has run out: users were on stable since."""
        if live and live.share and live.lease and live.lease <= self.clock.now():
            self.tell("lease.over", share=live.share, seconds=round(self.clock.now() - live.lease, 3))

    def renew_lease(self) -> None:
        """Prolong a leased share and let its budget follow what the candidate answered; nothing to do for any other.

        A budget that is spent already stays so: more would give the candidate users again.
        """
        with self.traffic_mutex:
            live = self.drivers.traffic.read(self.service)
            if not live or not live.share or live.rollout != self.rollout.number:
                return
            fresh = replace(live, lease=live.lease and self.lease_end(), budget=self.spending.grant)
            if fresh == live or self.spending.over:
                return
            self.look_at_lease(live)
            self._put(fresh, Deadline.after(self.clock, 5))

    def keep_share(self) -> None:
        """Let the share last for as long as the manifest says of a paused rollout, whoever lives."""
        self.kept_until = int(self.clock.now() + self.candidate.manifest.traffic.paused)
        self._set_lease()

    def begin_lease(self) -> None:
        """Let a share that was kept run out soon again: from now on it is for a process to keep."""
        self.kept_until = 0
        self._set_lease()

    def end_share(self) -> bool:
        """Let the share that this drive gave end now, as if its lease were over; tell whether there was one.

        The share itself stays in the value: one that is gone was taken away by a person. A value that somebody else
        has written since is left alone.
        """
        with self.traffic_mutex:
            live = self.drivers.traffic.read(self.service)
            if live is None or live != self.given or not live.share:
                return False
            self._put(replace(live, lease=int(self.clock.now()) - 1), Deadline.after(self.clock, 10))
        return True

    def _set_lease(self) -> None:
        with self.traffic_mutex:
            live = self.drivers.traffic.read(self.service)
            if live and live.share and live.rollout == self.rollout.number:
                self.look_at_lease(live)
                self._put(replace(live, lease=self.lease_end()), Deadline.after(self.clock, 10))
