"""Drivers that keep a world in memory: the same Protocols as the real ones, a clock that only sleeps on paper."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self

from deployer.core.clock import Deadline
from deployer.core.errors import (
    DeadlinePassed,
    DriverFailed,
    HostsUnreachable,
    ImageGone,
    LockLost,
    NoServerUp,
    Refused,
    StepFailed,
    TakenBack,
)
from deployer.core.events import Tell
from deployer.drivers.notices import Notice, NotSent
from deployer.drivers.ports import NOTHING, Drift, Drivers, Found, Image, MetricSide
from deployer.drivers.ports.guests import GuestUse, HostWatch
from deployer.drivers.ports.sleeping import Wake
from deployer.drivers.traffic.turns import refuse_older
from deployer.engine import Drive
from deployer.engine.lease_renewer import beat
from deployer.manifest.build import Build
from deployer.manifest.models import Manifest, Metric, Recipient
from deployer.model import (
    FULL,
    INITIAL,
    PLACES,
    Colour,
    Environment,
    GuestTerms,
    Instance,
    InstanceLoad,
    InstanceSpec,
    Live,
    Load,
    LostProxy,
    MeasuredTraffic,
    Place,
    Release,
    SecretText,
    Server,
    Signature,
    taken_back,
)
from deployer.planning import release_record
from deployer.planning.certificates import ServedCertificate
from deployer.planning.tenancy import DECLARE, undeclared
from tests.flow import Flow, MemorySamples
from tests.jobs import MemoryJobs

BEAT_SECONDS = 5.0


class FakeClock:
    """Time that passes only by sleeping. `ahead` is how far somebody has set the wall clock since."""

    def __init__(self, at: float = 1_700_000_000.0, ahead: float = 0.0) -> None:
        self.at, self.ahead = at, ahead
        self.beat: Callable[[], None] | None = None  # of a living deployer, see PaperPulse
        self._next_beat = 0.0

    def now(self) -> float:
        return self.at + self.ahead

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        end = self.at + seconds
        while self.beat and max(self.at, self._next_beat) <= end:
            self.at = max(self.at, self._next_beat)
            self._next_beat = self.at + BEAT_SECONDS
            self._beat(self.beat)
        self.at = max(self.at, end)  # what a beat waited for passed meanwhile

    def _beat(self, beat: Callable[[], None]) -> None:
        self.beat = None  # one that waits itself does not begin another
        try:
            beat()
        finally:
            self.beat = beat


class PaperPulse:
    """Pulse and heart of a deployer whose time passes on paper: they beat while somebody sleeps."""

    def __init__(self, run: Drive) -> None:
        self.run = run

    def __enter__(self) -> None:
        if isinstance(self.run.clock, FakeClock):
            self.run.clock.beat = self._beat

    def _beat(self) -> None:
        with suppress(LockLost):
            self.run.store.locks.renew(self.run.lock)
        # The real one is a thread of its own, which waits while the engine writes to the proxy.
        if not self.run.traffic.mutex._is_owned():  # type: ignore[attr-defined]
            beat(self.run)

    def __exit__(self, *_: object) -> None:
        if isinstance(self.run.clock, FakeClock):
            self.run.clock.beat = None


class Crash(BaseException):
    """SIGKILL, as far as a test can have it: no handler of the code under test catches it."""


@dataclass
class World:
    """What exists outside of the store. It outlives every process that acts on it."""

    clock: FakeClock = field(default_factory=FakeClock)
    instances: dict[str, Instance] = field(default_factory=dict)
    live: dict[str, Live] = field(default_factory=dict)
    servers: dict[tuple[str, Place], dict[str, Server]] = field(default_factory=dict)
    moves: bool = False  # an engine of many hosts starts instances elsewhere
    moved: list[str] = field(default_factory=list)  # stranded instances that it was told to start elsewhere …
    elsewhere: str = "10.0.0.9:21001"  # … and where that is
    talkative: int = 0  # WebSockets that are open wherever users are …
    open: dict[tuple[str, Place], int] = field(default_factory=dict)  # … and stay there when users are moved
    concurrency: dict[tuple[str, Place], int] = field(default_factory=dict)  # requests at once for each instance
    each: dict[tuple[str, Place], dict[str, InstanceLoad]] = field(default_factory=dict)  # what they have, by name
    drained: set[str] = field(default_factory=set)  # servers that get no new requests
    broken: set[str] = field(default_factory=set)  # versions that fail their health check
    words: tuple[str, ...] = ()  # more that instances print before they end
    ill: set[Place] = field(default_factory=set)  # places whose instances fail it, whatever their version
    smokes: str = ""  # what the smoke tests see that they should not
    failing: set[str] = field(default_factory=set)  # playbooks and commands that fail
    ran: list[tuple[str, ...]] = field(default_factory=list)  # commands: where, and their words
    given: dict[str, dict[str, str]] = field(default_factory=dict)  # what a command got last, by its words
    worse: set[str] = field(default_factory=set)  # versions that answer half of their requests with errors
    worse_above: int = 0  # … but only while their share is above this one
    usual: float = 0.0  # part of all responses, of either side, that are errors
    shield: float = 0.0  # part of the candidate's errors that stable answers instead
    silent_until: float = 0.0  # when the proxy is reachable again
    unsigned: set[str] = field(default_factory=set)  # images that no key has signed
    metrics: dict[tuple[str, str], float | str] = field(default_factory=dict)  # by name and side; text is a failure
    rate: float = 100.0
    counted: float = 600.0  # seconds since the proxy began to count

    @property
    def traffic(self) -> MeasuredTraffic | None:
        """What the proxy counted."""
        return MeasuredTraffic(self.rate, self.counted, self.rate) if self.counted else None

    jobs: MemoryJobs = field(default_factory=MemoryJobs)
    clocks: dict[Live, float] = field(default_factory=dict)  # by live value: how far the clock was set when it was seen
    silent: dict[str, str] = field(default_factory=dict)  # hosts that give no answer, and why
    lost: dict[str, LostProxy] = field(default_factory=dict)  # proxies that a rollout goes on without …
    taken_out: set[str] = field(default_factory=set)  # proxies that take no new connections
    cut: set[str] = field(default_factory=set)  # … and those of them that still do not respond
    history: list[Live] = field(default_factory=list)
    versions: dict[int, str] = field(default_factory=dict)
    tick: Callable[[str], None] = lambda _what: None
    flows: dict[str, Flow] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)  # that are kept for releases
    gone: set[str] = field(default_factory=set)  # versions whose image is not there any more
    torn: dict[str, Live] = field(default_factory=dict)  # what a worker of the proxy does instead of what its file says
    shown: dict[str, str] = field(default_factory=dict)  # PEM that the proxy shows, by domain
    unread: set[str] = field(default_factory=set)  # services whose live value the proxy has lost
    carried: dict[str, Found] = field(default_factory=dict)  # whose an instance is, and what it carries; by its name
    lent: list[GuestTerms] = field(default_factory=list)  # terms that hosts were asked to keep
    runtimes: set[str] = field(default_factory=set)  # that the engine has declared
    room: dict[str, int] = field(default_factory=lambda: {"": 64 * 1024**3})  # bytes that hosts can still give
    used: dict[str, int] = field(default_factory=dict)  # bytes, by tenant
    unfrozen: bool = False  # whether nothing can be frozen
    frozen: list[str] = field(default_factory=list)  # instances of guests, in their order
    watch: HostWatch = field(default_factory=HostWatch)  # what the host does with guests by itself
    asleep: dict[tuple[str, Place], float] = field(default_factory=dict)  # places whose instances wait to be woken
    sleeps_as: Literal["exited", "paused"] = "exited"  # what becomes of an instance that sleeps
    impatient: bool = False  # somebody comes while a service goes to sleep
    attended: int = 0  # how often it was seen to that somebody wakes what sleeps
    wakes: list[Wake] = field(default_factory=list)
    notifier: MemoryNotifier = field(default_factory=lambda: MemoryNotifier())

    def flow(self, service: str) -> Flow:
        """The requests of a service."""
        return self.flows.setdefault(service, Flow(self, service))

    def failing_part(self, service: str, live: Live, share: int) -> float:
        """The part of the candidate's requests that is answered with errors."""
        bad = {r for r, v in self.versions.items() if v in self.worse}
        mine = (i for i in self.instances.values() if i.service == service and i.colour == live.candidate)
        return 0.5 if share > self.worse_above and any(i.release in bad for i in mine) else 0.0

    def touch(self, what: str) -> None:
        """A driver call begins or ends here."""
        self.tick(what)

    def up(self, service: str, colour: Place) -> list[str]:
        """Names of servers whose instance runs at their address and passes its health check."""
        known = self.servers.get((service, colour), {})
        return [name for name, server in known.items() if self.passes(server) and name not in self.drained]

    def passes(self, server: Server) -> bool:
        """Return whether a server passes the proxy's own check."""
        there = self.instances.get(server.name)
        return there is not None and there.address == server.address and self.well(there)

    def well(self, instance: Instance) -> bool:
        """Return whether an instance runs and passes its health check."""
        sound = self.versions.get(instance.release) not in self.broken and instance.colour not in self.ill
        return sound and instance.state == "running" and instance.host not in self.silent

    def copy(self) -> World:
        """The same world once more, as a process that was just killed leaves it: nobody reads its streams."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        own: dict[str, Any] = {
            name: value.copy() for name, value in values.items() if isinstance(value, dict | list | set)
        }
        own |= {
            "clock": FakeClock(self.clock.at, self.clock.ahead),
            "servers": {key: dict(servers) for key, servers in self.servers.items()},
            "tick": lambda _what: None,
            "flows": {},
            "notifier": self.notifier.copy(),
            "jobs": self.jobs.copy(),
        }
        made = replace(self, **own)
        made.flows = {service: flow.copy(made) for service, flow in self.flows.items()}
        return made

    def move(self, name: str, address: str) -> None:
        """Let an engine start an instance elsewhere."""
        self.instances[name] = replace(self.instances[name], address=address)

    def strand(self, name: str, up: bool = False) -> None:
        """Let the host of an instance be lost; it is `up` where the proxy reaches that host all the same."""
        self.instances[name] = replace(self.instances[name], stranded=True)
        self.drained |= set() if up else {name}

    def end(self, name: str) -> None:
        """Let an instance end by itself."""
        self.instances[name] = replace(self.instances[name], state="exited", exit_code=1)

    def check(self) -> None:
        """The promises that must hold at every instant (only for strategies without a gap)."""
        for service, live in self.live.items():
            if not self.history:
                continue
            alive = not live.lease or live.lease > self.clock.now()
            if live.share and alive:
                assert self.up(service, live.candidate), f"share {live.share} to an empty {live.candidate}"
            if live.baseline and alive:
                assert self.up(service, "baseline"), f"share {live.baseline} to an empty baseline"
            if (live.share < FULL or not alive) and self.history[0].stable:
                assert self.up(service, live.stable), f"users on an empty {live.stable}"

    def drivers(self, installation: str = "", home: str = "") -> Drivers:
        traffic = MemoryTraffic(self)
        return Drivers(
            MemoryRuntime(self, installation, home),
            traffic,
            traffic.inspection,
            traffic.upkeep,
            MemoryChecks(self),
            MemoryPlaybooks(self),
            MemoryMetrics(self),
            MemorySignatures(self),
            MemoryBuilder(self),
            self.jobs,
            MemoryCertificates(self),
            MemorySleeper(self),
            MemoryGuests(self),
            pauser=MemoryPauser(self),
            mover=MemoryMover(self),
        )


class MemorySleeper:
    """Stops instances until somebody comes, who is `impatient`: comes while they are stopped."""

    def __init__(self, world: World) -> None:
        self.world = world

    def asleep(self, service: str) -> Mapping[Place, float]:
        return {place: at for (name, place), at in self.world.asleep.items() if name == service}

    def attend(self, deadline: Deadline) -> None:
        self.world.attended += 1

    def sleep(self, service: str, colour: Colour, grace: float, patience: Deadline, deadline: Deadline) -> bool:
        self.world.touch("before sleep")
        if self.world.impatient:
            return False
        self.world.asleep[service, colour] = self.world.clock.now()
        for name in self.world.servers[service, colour]:
            self.world.instances[name] = replace(self.world.instances[name], state=self.world.sleeps_as)
        self.world.touch("after sleep")
        return True

    def wakes(self, service: str) -> tuple[Wake, ...]:
        return tuple(self.world.wakes)


class MemoryGuests:
    """Keeps nobody apart, and notes whose instances were frozen."""

    def __init__(self, world: World) -> None:
        self.world = world

    def require(self, terms: GuestTerms) -> None:
        if missing := undeclared(terms.isolation, self.world.runtimes):
            raise Refused(f"the engine has no runtime {missing}", DECLARE)

    def check(self, terms: GuestTerms) -> None:
        self.require(terms)
        self.world.lent.append(terms)

    def freeze(self, instances: Sequence[Instance], deadline: Deadline) -> None:
        if self.world.unfrozen:
            raise DriverFailed("unable to freeze")
        for each in instances:
            self.world.instances[each.name] = replace(each, state="paused")
            self.world.frozen.append(each.name)

    def room(self) -> dict[str, int]:
        return dict(self.world.room)

    def use(self, terms: GuestTerms) -> dict[str, GuestUse]:
        return {"": GuestUse(1.5, self.world.used.get(terms.tenant, 2 * 1024**2), 3, self.world.watch)}


class MemoryPauser:
    """Pauses instances; the runtime has them go on."""

    def __init__(self, world: World) -> None:
        self.world = world

    def pause(self, instance: Instance, deadline: Deadline) -> None:
        self.world.touch(f"before pause {instance.name}")
        assert instance.name not in self.world.servers[instance.service, instance.colour], "users may be sent there"
        self.world.instances[instance.name] = replace(self.world.instances[instance.name], state="paused")
        self.world.touch(f"after pause {instance.name}")


class MemoryMover:
    """Starts stranded instances elsewhere."""

    def __init__(self, world: World) -> None:
        self.world = world

    def move(self, instance: Instance) -> bool:
        self.world.touch(f"move {instance.name}")
        self.world.moved.append(instance.name)
        self.world.instances[instance.name] = replace(instance, address=self.world.elsewhere, stranded=False)
        return True


class MemoryCertificates:
    """What the proxy shows for each domain."""

    def __init__(self, world: World) -> None:
        self.world = world

    def install(self, given: Sequence[ServedCertificate], deadline: Deadline) -> None:
        self.world.touch("before install")
        for one in given:
            if not one.placeholder or one.domain not in self.world.shown:
                self.world.shown[one.domain] = one.pem
        self.world.touch("after install")

    def shown(self, service: str) -> Mapping[str, Mapping[str, str]]:
        return {"": dict(self.world.shown)}


class MemoryBuilder:
    """Knows each image by its name."""

    def __init__(self, world: World) -> None:
        self.world = world

    def build(
        self,
        build: Build,
        tag: str,
        secrets: Mapping[str, SecretText],
        deadline: Deadline,
        tell: Tell,
        stopped: Callable[[], bool],
    ) -> str:
        self.world.touch(f"build {tag}")
        tell("note", text=f"building {tag}")
        return f"sha256:{tag}"


class MemoryRuntime:
    def __init__(self, world: World, installation: str = "", home: str = "") -> None:
        self.world = world
        self.installation = installation
        self.home = home

    @property
    def moves(self) -> bool:
        return self.world.moves

    def resolve(self, manifest: Manifest, reference: str, deadline: Deadline, tell: Tell) -> Image:
        return Image(reference, reference if reference.startswith("sha256:") else f"sha256:{reference}")

    def instances(self, service: str) -> tuple[Instance, ...]:
        mine = [i for i in self.world.instances.values() if i.service == service and self._mine(i.name)]
        self._speak(tuple(i for i in mine if i.host not in self.world.silent))
        return tuple(sorted(mine, key=lambda i: (i.release, i.index)))

    def _speak(self, seen: tuple[object, ...]) -> None:
        if self.world.silent:
            raise HostsUnreachable(self.world.silent, seen)

    def _reach(self, host: str) -> None:
        if host in self.world.silent:
            raise HostsUnreachable({host: self.world.silent[host]})

    def _mine(self, name: str) -> bool:
        there = self.world.carried.get(name)
        return there is None or there.installation == self.installation

    def list_all(self) -> tuple[Found, ...]:
        there = sorted(self.world.instances.values(), key=lambda i: (i.service, i.release, i.index))
        found = [replace(self.world.carried[i.name], instance=i) for i in there if i.name in self.world.carried]
        self._speak(tuple(f for f in found if f.instance.host not in self.world.silent))
        return tuple(found)

    def foreign(self, service: str) -> tuple[str, ...]:
        like = re.compile(rf"{re.escape(service)}-r\d+-\d+")
        return tuple(n for n in sorted(self.world.instances) if like.fullmatch(n) and not self._mine(n))

    def garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        needed = {r.image_id for r in keep}
        return tuple(sorted(self.world.images - needed))

    def collect_garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        gone = self.garbage(keep)
        self.world.images -= set(gone)
        return gone

    def ensure(self, spec: InstanceSpec, deadline: Deadline) -> Instance:
        self.world.touch(f"before ensure {spec.name}")
        self._reach(spec.host)
        self.world.versions[spec.release.number] = spec.release.version
        there = self.world.instances.get(spec.name)
        if there is None or there.state != "running" or there.config_hash != spec.release.config_hash:
            self.world.instances[spec.name] = Instance(
                service=spec.release.service,
                colour=spec.colour,
                release=spec.release.number,
                index=spec.index,
                name=spec.name,
                runtime_id=f"memory:{spec.name}",
                address=spec.address,
                state="running",
                config_hash=spec.release.config_hash,
                rollout=spec.rollout,
                host=spec.host,
            )
            self.world.carried[spec.name] = Found(
                self.world.instances[spec.name], self.installation, self.home, release_record.write(spec.release)
            )
        self.world.touch(f"after ensure {spec.name}")
        return self.world.instances[spec.name]

    def remove(self, instance: Instance, grace: float, deadline: Deadline) -> None:
        self.world.touch(f"before remove {instance.name}")
        self._reach(instance.host)
        self.world.instances.pop(instance.name, None)
        self.world.carried.pop(instance.name, None)
        self.world.touch(f"after remove {instance.name}")

    def logs(self, instance: Instance, lines: int) -> tuple[str, ...]:
        return (f"last words of {instance.name}", *self.world.words)

    def count_lines(self, instance: Instance, pattern: re.Pattern[str], seconds: float, deadline: Deadline) -> int:
        return sum(bool(pattern.search(line)) for line in self.logs(instance, 100))

    def run(self, instance: Instance, command: Sequence[str], deadline: Deadline) -> tuple[int, str]:
        self.world.ran.append((instance.name, *command))
        return (3, "no\n") if " ".join(command) in self.world.failing else (0, "fine\n")

    def check_release(self, release: Release) -> None:
        if release.version in self.world.gone:
            raise ImageGone(f"the image of {release.service} {release.name} is gone", "deploy another release")

    def prune(self, keep: Sequence[Release], drop: Sequence[Release]) -> tuple[str, ...]:
        self._speak(())
        return ()


class MemoryTraffic:
    def __init__(self, world: World) -> None:
        self.world = world

    @property
    def inspection(self) -> Self:
        return self

    @property
    def upkeep(self) -> Self:
        return self

    def check(self, manifest: Manifest, deadline: Deadline) -> None:
        self.world.touch("check")

    def configure(self, release: Release, colour: Place | None, deadline: Deadline) -> None:
        self.world.touch("before configure")
        self.world.live.setdefault(release.service, INITIAL)
        self.world.flow(release.service).sticky = release.manifest.traffic.sticky
        if colour is not None:
            self.world.concurrency[release.service, colour] = release.scale.each if release.scale else 0
        if colour is None:
            self.world.servers.pop((release.service, "baseline"), None)
        self.world.touch("after configure")

    def read(self, service: str) -> Live | None:
        if service in self.world.unread:
            raise DriverFailed("the proxy's workers do not agree about it: worker 1: nothing")
        return self.world.live.get(service)

    def set_traffic(self, service: str, live: Live, deadline: Deadline, given: Live | None = None) -> None:
        self.world.touch(f"before set_traffic {live}")
        refuse_older(service, live, self.world.live.get(service))
        if taken_back(given, self.world.live.get(service)):
            raise TakenBack("users were taken off the candidate at the proxy")
        if live.share + live.baseline > FULL:
            raise DriverFailed(f"{live.share} and {live.baseline} bp are more than all the traffic")
        self._refuse_nowhere(service, live)
        self.world.flow(service).advance()
        self.world.live[service] = live
        self.world.history.append(live)
        self.world.open |= {(service, place): self.world.talkative for place in live.used}
        self.world.touch(f"after set_traffic {live}")

    def _refuse_nowhere(self, service: str, live: Live) -> None:
        """Refuse, as a real proxy's driver does, unless nobody is moved by it or nothing is lost."""
        now = self.world.live.get(service, INITIAL)
        in_force = 0 if now.lease and now.lease <= self.world.clock.now() else now.share
        if now.stable == live.stable and in_force == live.share and live.baseline in (0, now.baseline):
            return
        if not live.share and not self.world.up(service, "blue") and not self.world.up(service, "green"):
            return
        used: tuple[tuple[Place, int | bool], ...]
        used = (live.candidate, live.share), (live.stable, live.share < FULL), ("baseline", live.baseline)
        for place, needed in used:
            if needed and not self.world.up(service, place):
                raise NoServerUp(f"no server of {place} is up, users are not sent there")

    def introduce(self, service: str, colour: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        self.world.touch("before introduce")
        known = self.world.servers.setdefault((service, colour), {})
        for server in servers:
            if server.name not in known:
                known[server.name] = server
                self.world.drained.add(server.name)
        self.world.touch("after introduce")

    def attach(self, service: str, colour: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        self.world.touch("before attach")
        if ill := [s.name for s in servers if not self.world.passes(s)]:
            deadline.clock.sleep(deadline.left())
            raise DeadlinePassed(f"{ill[0]} does not pass the proxy's check within {deadline.seconds:g} s")
        each = self.world.concurrency.get((service, colour), 0)
        known = {s.name: replace(s, concurrency=each) for s in servers}
        self.world.servers.setdefault((service, colour), {}).update(known)
        self.world.drained -= {s.name for s in servers}
        self.world.asleep.pop((service, colour), None)
        self.world.touch("after attach")

    def drain(self, service: str, colour: Place, names: Sequence[str], deadline: Deadline) -> int:
        self.world.touch("drain")
        self.world.drained |= set(names)
        return 0

    def hand_over(self, service: str, colour: Place, part: float, deadline: Deadline) -> int:
        self.world.touch("before hand_over")
        live = self.world.live.get(service)
        assert live is None or colour not in live.used, f"connections of {colour}, where users are, are closed"
        there = self.world.open.get((service, colour), 0)
        closed = math.ceil(there * part)
        self.world.open[service, colour] = there - closed
        self.world.touch("after hand_over")
        return closed

    def load(self, service: str) -> dict[Place, Load]:
        found = {place: self.world.open.get((service, place), 0) for place in PLACES}
        each = {place: self.world.each.get((service, place), {}) for place in PLACES}
        return {place: Load(count, count, 0, count, count, each[place]) for place, count in found.items()}

    def measured(self, service: str) -> MeasuredTraffic | None:
        return self.world.traffic if service in self.world.live else None

    def detach(self, service: str, colour: Place, names: Sequence[str], deadline: Deadline) -> None:
        self.world.touch("before detach")
        for name in names:
            self.world.servers.get((service, colour), {}).pop(name, None)
            self.world.drained.discard(name)
        if not self.world.servers.get((service, colour)):
            self.world.open.pop((service, colour), None)
        self.world.touch("after detach")

    def servers(self, service: str, colour: Place) -> tuple[tuple[Server, bool], ...]:
        self._answer()
        up = self.world.up(service, colour)
        return tuple((s, s.name in up) for s in self.world.servers.get((service, colour), {}).values())

    def _answer(self) -> None:
        if self.world.clock.now() < self.world.silent_until:
            raise DriverFailed("the proxy does not respond")

    def preview(self, service: str) -> tuple[str, dict[str, str]]:
        return "http://memory", {}

    def spent(self, service: str) -> int:
        self._answer()
        live = self.world.live.get(service)
        if live is None or not live.budget:
            return 0
        flow = self.world.flow(service)
        flow.advance()
        return flow.spent.get(live.rollout, 0)

    @contextmanager
    def samples(self, service: str) -> Iterator[MemorySamples]:
        flow = self.world.flow(service)
        flow.advance()
        stream = MemorySamples(flow)
        flow.streams.append(stream)
        try:
            yield stream
        finally:
            flow.streams.remove(stream)

    def reachable(self) -> tuple[MemoryTraffic, dict[str, str]]:
        return self, dict.fromkeys(self.world.cut, "no response")

    def lost(self, service: str) -> tuple[LostProxy, ...]:
        return tuple(self.world.lost.values())

    def retry_lost(self, service: str, deadline: Deadline) -> None:
        if self.world.lost:
            self.bring_back(service, deadline)

    def bring_back(self, service: str, deadline: Deadline) -> tuple[str, ...]:
        self.world.touch("bring_back")
        back = tuple(name for name in self.world.lost if name not in self.world.cut)
        self.world.lost = {name: one for name, one in self.world.lost.items() if name in self.world.cut}
        return back

    def take_out(self, proxies: Collection[str], deadline: Deadline) -> int:
        self.world.touch(f"take_out {', '.join(proxies)}")
        self.world.taken_out |= set(proxies)
        return 0

    def put_back(self, proxies: Collection[str], deadline: Deadline) -> None:
        self.world.touch(f"put_back {', '.join(proxies)}")
        self.world.taken_out -= set(proxies)

    def services(self) -> tuple[str, ...]:
        return tuple(sorted(self.world.live))

    def drift(self, service: str) -> tuple[Drift, ...]:
        self._answer()
        does, says = self.world.torn.get(service), self.world.live.get(service)
        return () if does in (None, says) else (Drift(f"a worker does {does}, its files say {says}"),)

    def repair(self, service: str, deadline: Deadline, lost: Mapping[str, Live] = NOTHING) -> None:
        if service in self.world.unread:
            self.world.unread.discard(service)
            self.world.live[service] = lost[service]
        self.world.torn.pop(service, None)
        self.set_traffic(service, self.world.live[service], deadline)

    def forget(self, service: str, deadline: Deadline) -> None:
        self.world.live.pop(service, None)
        for place in PLACES:
            self.world.servers.pop((service, place), None)


class MemoryChecks:
    def __init__(self, world: World) -> None:
        self.world = world

    def probe(self, manifest: Manifest, instance: Instance, deadline: Deadline) -> str:
        return "" if self.world.well(instance) else "HTTP 503, expected 200-399"

    def smoke(self, manifest: Manifest, base: str, headers: dict[str, str], deadline: Deadline) -> str:
        return self.world.smokes


class MemoryMetrics:
    def __init__(self, world: World) -> None:
        self.world = world

    def read(
        self, metric: Metric, side: MetricSide, secrets: Mapping[str, SecretText], deadline: Deadline
    ) -> float | None:
        value = self.world.metrics.get((metric.name, side.side))
        if isinstance(value, str):
            raise DriverFailed(value)
        return value


class MemorySignatures:
    def __init__(self, world: World) -> None:
        self.world = world

    def prove(self, manifest: Manifest, image: Image, known: Sequence[Signature], deadline: Deadline) -> Signature:
        for signature in known:
            return signature
        self.world.touch("prove")
        if image.reference in self.world.unsigned:
            raise Refused(f"{image.reference} has no signature")
        return Signature(f"{image.reference}@{image.id}", "ab" * 32, "cosign.pub", logged=False)


class MemoryNotifier:
    """Takes what people elsewhere are told. `refuses` says why somebody is not, by name, and how often it is asked."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Notice, dict[str, str]]] = []
        self.refuses: dict[str, NotSent] = {}
        self.asked: list[str] = []
        self.before: Callable[[str], object] = lambda _name: None  # what it waits for

    def send(self, recipient: Recipient, notice: Notice, secrets: Mapping[str, SecretText], deadline: Deadline) -> None:
        self.asked.append(recipient.name)
        self.before(recipient.name)
        if recipient.name in self.refuses:
            raise self.refuses[recipient.name]
        self.sent.append((recipient.name, notice, {name: value.reveal() for name, value in secrets.items()}))

    def copy(self) -> MemoryNotifier:
        """Return another one that was told the same so far."""
        made = MemoryNotifier()
        made.sent = list(self.sent)
        return made

    def to(self, name: str) -> list[Notice]:
        """Return what somebody was told, in order."""
        return [notice for told, notice, _ in self.sent if told == name]


class MemoryPlaybooks:
    def __init__(self, world: World) -> None:
        self.world = world
        self.played: list[str] = []
        self.fails: set[str] = set()

    def command(
        self,
        release: Release,
        environment: Environment | None,
        words: Sequence[str],
        extra: dict[str, str],
        deadline: Deadline,
    ) -> tuple[int, str]:
        self.world.touch("command")
        self.world.ran.append(("here", *words))
        self.world.given[" ".join(words)] = extra
        return (3, "no\n") if " ".join(words) in self.world.failing else (0, "fine\n")

    def play(
        self,
        release: Release,
        environment: Environment | None,
        playbooks: Sequence[str],
        extra: dict[str, str],
        deadline: Deadline,
        tell: Tell,
    ) -> None:
        self.world.touch("play")
        for playbook in playbooks:
            self.played.append(playbook)
            if playbook in self.fails | self.world.failing:
                raise StepFailed(f"playbook {playbook}: task 'x' failed on localhost: no")
