"""The nouns of a rollout: frozen data, no I/O."""

from __future__ import annotations

import math
import operator
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal

from deployer.core.host import Host
from deployer.core.secret import SecretText as SecretText

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest

Colour = Literal["blue", "green"]
# Where instances stand: in an environment, or as fresh ones of the stable release that the candidate is compared with
Place = Literal["blue", "green", "baseline"]
PLACES: tuple[Place, ...] = ("blue", "green", "baseline")
COLOURS: tuple[Colour, Colour] = ("blue", "green")
FULL = 10000  # all traffic, in basis points


def other(colour: Colour) -> Colour:
    """Give the other colour."""
    return "green" if colour == "blue" else "blue"


@dataclass(frozen=True)
class Signature:
    """Proof that an image was signed: `image` is what was signed, NAME@DIGEST.

    `key` is the SHA-256 of the public key (DER, hex digits), `file` its name in the manifest; `logged`: the signature
    is in the transparency log too.
    """

    image: str
    key: str
    file: str
    logged: bool

    def explain(self) -> str:
        """Say it in words."""
        log = "" if self.logged else ", without a transparency log"
        return f"{self.image} is signed by {self.file} (sha256:{self.key[:16]}…){log}"


@dataclass(frozen=True)
class Release:
    """An immutable numbered record of everything that a rollback brings back.

    `image` is what the user wrote, `image_id` what it meant when the release was made: a digest, an
    engine's image ID, or the content hash of a directory. `config_hash` covers image_id, manifest and secrets
    (secrets by a keyed hash); equal hashes are the same release. Secret values live beside the store, not here.
    `machines` are those of the inventory on which it runs, as they were described when it was made, and `twin` those of
    its green environment where that has its own; both are empty for this host alone. `proxies` are the machines that
    have its proxies, empty for this one. Of one that is being planned, `spare` is the number of machines that may still
    fall silent; it is not recorded, its plan has it. One that is `alone` never runs beside another release, as
    the strategy promised that brought it out.
    """

    service: str
    number: int
    version: str
    image: str
    image_id: str
    manifest: Manifest
    config_hash: str
    git: str = ""
    created_at: float = 0.0
    created_by: str = ""
    message: str = ""
    # `new` until its first rollout ends; then what became of it
    status: Literal["new", "good", "rolled-back", "failed"] = "new"
    signature: Signature | None = None  # what was proven of the image; None where the manifest asked for nothing
    machines: tuple[Host, ...] = ()
    twin: tuple[Host, ...] = ()
    proxies: tuple[Host, ...] = ()
    spare: int = field(default=0, compare=False)
    alone: bool = False

    @property
    def name(self) -> str:
        """Short name for people: `r42 (2.0)`."""
        return f"r{self.number} ({self.version})"

    @property
    def fleet(self) -> tuple[Host, ...]:
        """Give every machine on which it may stand, once each."""
        return tuple({host.name: host for host in (*self.machines, *self.twin)}.values())

    @property
    def served(self) -> bool:
        """Tell whether users reach it: a worker has no port."""
        return self.manifest.port is not None

    def may_run_beside(self, another: Release) -> bool:
        """Tell whether both may run at the same time."""
        return not (self.alone or another.alone)

    def hosts(self, colour: Colour) -> tuple[str, ...]:
        """Name the machines of one of its environments; none is this host."""
        machines = self.twin if self.twin and colour == "green" else self.machines
        return tuple(host.name for host in machines)

    def size(self, colour: Colour) -> int:
        """Count the instances of one of its environments: so many replicas on each machine."""
        return self.manifest.replicas * max(1, len(self.hosts(colour)))

    def address(self, host: str, here: str = "127.0.0.1") -> str:
        """Give the address of one of its machines; `here` is that of this one."""
        return next((each.address for each in self.fleet if each.name == host), here)

    def machines_record(self) -> dict[str, Any]:
        """Give its machines as plain data that `read_machines` reads; nothing for this host alone."""
        named = {what: getattr(self, what) for what in _GROUPS}
        return {what: [asdict(host) for host in hosts] for what, hosts in named.items() if hosts}


_GROUPS = ("machines", "twin", "proxies")


def read_machines(record: Mapping[str, Any]) -> dict[str, tuple[Host, ...]]:
    """Read what `Release.machines_record` gave. Raises ValueError, TypeError or KeyError for anything else."""
    return {what: tuple(_host(data) for data in record.get(what, ())) for what in _GROUPS}


def _host(data: Mapping[str, Any]) -> Host:
    known = {f.name for f in fields(Host)}  # a later version may have said more of it
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known}
    return Host(**values)


def newest_good(releases: Sequence[Release], before: int) -> Release | None:
    """Give the newest release below a number that users were well served by; `releases` are sorted newest first."""
    return next((r for r in releases if r.number < before and r.status == "good"), None)


@dataclass(frozen=True)
class Instance:
    """One container or process, as the runtime sees it now.

    `address` is where the proxy and the health checks reach it, `host:port`; `runtime_id` names it to its
    runtime; `host` is the machine of the inventory that it stands on, "" for this one.
    """

    service: str
    colour: Place
    release: int
    index: int
    name: str
    runtime_id: str
    address: str
    state: Literal["created", "running", "exited"]
    health: Literal["none", "starting", "healthy", "unhealthy"] = "none"
    exit_code: int | None = None
    config_hash: str = ""
    restarts: int = 0
    rollout: int = 0
    host: str = ""


@dataclass(frozen=True)
class InstanceSpec:
    """What an instance must be; `Runtime.ensure` makes it so."""

    release: Release
    colour: Place
    index: int
    rollout: int
    address: str  # host:port handed out by the store; it stays the same across restarts
    secrets: dict[str, SecretText] = field(default_factory=dict)
    host: str = ""  # the machine of the inventory on which it is to stand; "" is this one

    @property
    def name(self) -> str:
        """Name of the instance, unique on all machines: `shop-r42-1`."""
        return f"{self.release.service}-r{self.release.number}-{self.index}"


def join(address: str, port: int) -> str:
    """Write an address with a port, IPv6 in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def release_of(service: str, name: str) -> int:
    """Read the release out of the name of an instance; 0 for a name that is none of the service's."""
    number, _, index = name.removeprefix(f"{service}-r").partition("-")
    return int(number) if name.startswith(f"{service}-r") and number.isdigit() and index.isdigit() else 0


MOST_INSTANCES = 10_000  # of one release in one place, over all machines


def indices(place: Place, instances: int, hosts: Sequence[str] = ()) -> range:
    """Give the numbers of instances in a place: from 1 up; from 101 for a baseline, 10001 where there are machines.

    A baseline runs beside instances of the same release, of which there are 100 at most on a machine: neither names
    nor addresses meet.
    """
    first = 1 if place != "baseline" else MOST_INSTANCES + 1 if hosts else 101
    return range(first, first + instances)


def spread(place: Place, instances: int, hosts: Sequence[str]) -> dict[int, str]:
    """Say on which machine each instance of a place stands: by turns, so that the first few are spread as all are."""
    numbers = indices(place, instances, hosts)
    return {index: hosts[n % len(hosts)] if hosts else "" for n, index in enumerate(numbers)}


@dataclass(frozen=True)
class Environment:
    """The instances of one release in one place."""

    service: str
    colour: Place
    release: int
    instances: tuple[Instance, ...]

    def healthy(self) -> tuple[Instance, ...]:
        """Give the instances that run and are not known to be ill."""
        return tuple(i for i in self.instances if i.state == "running" and i.health != "unhealthy")


@dataclass(frozen=True)
class Live:
    """What the proxy does for a service now: one value, written and read as a whole.

    `share` is the candidate's part in basis points; the candidate is the colour that is not `stable`. `lease` is
    when the share runs out by itself, Unix seconds, 0 for never. `rollout` salts the sticky rolls. At `budget` bad
    responses of the candidate seen by users in this rollout the share ends by itself; 0 is no budget. `baseline` is the
    part of the traffic, in basis points, that goes to the fresh instances of the stable release. `warm` is the release
    that stands ready in the other colour, so that going back to it is one write; 0 is none.
    """

    stable: Colour
    share: int = 0
    lease: int = 0
    rollout: int = 0
    budget: int = 0
    baseline: int = 0
    warm: int = 0

    @property
    def candidate(self) -> Colour:
        """The colour on trial."""
        return other(self.stable)

    @property
    def used(self) -> tuple[Place, ...]:
        """The places that get users."""
        parts: tuple[tuple[Place, bool], ...] = (
            (self.stable, self.share + self.baseline < FULL),
            (self.candidate, self.share > 0),
            ("baseline", self.baseline > 0),
        )
        return tuple(place for place, needed in parts if needed)

    def explain(self) -> str:
        """Say it in words."""
        share = f", {self.share} bp to {self.candidate}" if self.share else ""
        beside = f", {self.baseline} bp to the baseline" if self.baseline else ""
        return f"rollout {self.rollout}: stable is {self.stable}{share}{beside}"


@dataclass(frozen=True)
class MeasuredTraffic:
    """What users ask of a service: requests a second on average over the last `seconds`, and in the last second.

    A proxy counts over its reloads, for an hour at most before the last one.
    """

    rate: float
    seconds: float
    now: float

    def __add__(self, more: MeasuredTraffic) -> MeasuredTraffic:
        """Return the traffic of two proxies together; the average is that of the shorter time."""
        return MeasuredTraffic(self.rate + more.rate, min(self.seconds, more.seconds), self.now + more.now)


# Before the first deploy: the first environment is the blue one.
INITIAL = Live(stable="green")


def taken_back(given: Live | None, now: Live | None) -> bool:
    """Tell whether somebody ended, at the proxy, the share that a rollout had given its candidate.

    A lease that is over and a budget that is spent leave the share standing in the value; an emergency does not. After
    a promotion there is no share either, but stable is the other colour.
    """
    if given is None or now is None or not given.share:
        return False
    return (now.stable, now.share, now.rollout) == (given.stable, 0, given.rollout)


@dataclass(frozen=True)
class Observed:
    """What strategies plan on: read from the world at the time of planning.

    `stable` is the release that users are on (None before the first deploy); `blue`, `green` and `baseline` are the
    environments that stand. `silent` are the machines that gave no answer, and why: what stands there was not seen.
    """

    service: str
    live: Live | None
    stable: Release | None
    blue: Environment | None = None
    green: Environment | None = None
    baseline: Environment | None = None
    silent: Mapping[str, str] = field(default_factory=dict)

    @property
    def colour(self) -> Colour:
        """The colour in which a candidate goes."""
        return (self.live or INITIAL).candidate

    @property
    def standing(self) -> frozenset[Place]:
        """The places in which something stands, whether it runs or not."""
        return frozenset(place for place in PLACES if self.environment(place))

    def environment(self, place: Place) -> Environment | None:
        """Give the environment in a place, if one stands."""
        return {"blue": self.blue, "green": self.green, "baseline": self.baseline}[place]


@dataclass(frozen=True)
class Server:
    """An instance as the proxy knows it."""

    name: str
    address: str


Phase = Literal["forward", "back"]
Outcome = Literal["done", "reverted", "paused", "needs-attention"]


@dataclass(frozen=True)
class Counts:
    """Requests of one side since some moment; `latency` counts good answers per bucket, see `latency_bucket`.

    `errors` are answers that blame the release: 5xx by it, or by the proxy for it, also those that a user did not see
    because stable answered instead. Forced (preview) requests are left out. `latency` may end early: what is not there
    is 0. `kinds` counts good answers by what they are, see `kinds`; it may end early too.
    """

    requests: int = 0
    errors: int = 0
    latency: tuple[int, ...] = ()
    kinds: tuple[int, ...] = ()

    def __add__(self, more: Counts) -> Counts:
        return Counts(
            self.requests + more.requests,
            self.errors + more.errors,
            _added(self.latency, more.latency),
            _added(self.kinds, more.kinds),
        )

    def quantile(self, q: float) -> float | None:
        """Give the latency in ms under which the part `q` of the good answers fell (upper edge of its bucket)."""
        fell = list(accumulate(self.latency))
        if not fell or not fell[-1]:
            return None
        return LATENCY_BOUNDS[min(bisect_left(fell, q * fell[-1]), len(LATENCY_BOUNDS) - 1)]


def _added(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    long, short = sorted((one, other), key=len, reverse=True)
    return (*map(operator.add, long, short), *long[len(short) :])


# Bucket 0 is below 1 ms, then 64 buckets an octave up to 131 s: the upper edges, in ms. An edge belongs to the bucket
# above it. Sixteen buckets an octave, as the judge uses them, are four of these each.
PER_OCTAVE, OCTAVES = 64, 17
LATENCY_BOUNDS: tuple[float, ...] = tuple(2 ** (k / PER_OCTAVE) for k in range(PER_OCTAVE * OCTAVES + 1))


def latency_bucket(ms: float) -> int:
    """Give the bucket of a latency in milliseconds."""
    return 0 if ms < 1 else min(PER_OCTAVE * OCTAVES, 1 + int(PER_OCTAVE * math.log2(ms)))


@dataclass(frozen=True)
class Coins:
    """Answers whose side was thrown by independent coins that fell on the candidate with probability `p`.

    Where each request is thrown, these are all of them. Where a client keeps its side, a client counts once in a step:
    with its first answer. `first_errors` are then clients (of stable, of the candidate) that failed for the first time
    in the rollout, whichever of their answers that was; otherwise (0, 0). `first_kinds` are the same for each kind.
    """

    p: float
    stable: Counts = Counts()
    candidate: Counts = Counts()
    first_errors: tuple[int, int] = (0, 0)
    first_kinds: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())

    def __add__(self, more: Coins) -> Coins:
        (s, c), (more_s, more_c) = self.first_errors, more.first_errors
        (stable, candidate), (more_stable, more_candidate) = self.first_kinds, more.first_kinds
        return Coins(
            self.p,
            self.stable + more.stable,
            self.candidate + more.candidate,
            (s + more_s, c + more_c),
            (_added(stable, more_stable), _added(candidate, more_candidate)),
        )


@dataclass(frozen=True)
class Waiting:
    """Requests of both sides that had no end when the proxy was asked, and the probability of the candidate."""

    p: float
    stable: int
    candidate: int

    def __add__(self, more: Waiting) -> Waiting:
        return Waiting(self.p, self.stable + more.stable, self.candidate + more.candidate)


@dataclass(frozen=True)
class Sample:
    """What both sides answered since the last look, and the share that is in force.

    `stable` is what the candidate is compared with: the fresh baseline where there is one, and `rest` is then what the
    other instances of stable answered. `stable` and `candidate` hold every answer; `coins` what may be bet on, by
    probability, and `routes` the same for each path prefix of `traffic.routes` (by its place there). `shielded` are
    errors of the candidate that its users did not see. `waiting` is there when the proxy was asked since. `few` are
    failed answers that are left out of all that, because a few addresses gave most of the failures.
    """

    stable: Counts
    candidate: Counts
    share: int
    lost: int = 0  # lines that the reader could not get: known to be missing
    coins: tuple[Coins, ...] = ()
    routes: tuple[tuple[int, tuple[Coins, ...]], ...] = ()
    rest: Counts = Counts()
    shielded: int = 0
    waiting: Waiting | None = None
    few: int = 0

    def __add__(self, more: Sample) -> Sample:
        """Merge what another proxy saw at the same time; the share is that of the left one.

        A client that keeps its side and came in at both is then two coins: give such proxies one tally instead.
        """
        routes: dict[int, tuple[Coins, ...]] = {}
        for number, coins in (*self.routes, *more.routes):
            routes[number] = merged(routes.get(number, ()), coins)
        return Sample(
            self.stable + more.stable,
            self.candidate + more.candidate,
            self.share,
            self.lost + more.lost,
            merged(self.coins, more.coins),
            tuple(sorted(routes.items())),
            self.rest + more.rest,
            self.shielded + more.shielded,
            self.waiting + more.waiting if self.waiting and more.waiting else self.waiting or more.waiting,
            self.few + more.few,
        )


def merged(*parts: tuple[Coins, ...]) -> tuple[Coins, ...]:
    """Add coins of the same probability up."""
    by_p: dict[float, Coins] = {}
    for coins in (c for part in parts for c in part):
        by_p[coins.p] = by_p[coins.p] + coins if coins.p in by_p else coins
    return tuple(by_p[p] for p in sorted(by_p))
