"""Drivers that keep a world in memory: the same Protocols as the real ones, a clock that only sleeps on paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from deployer.clock import Deadline
from deployer.drivers.ports import Drivers, Image
from deployer.errors import DriverFailed, StepFailed
from deployer.events import Tell
from deployer.manifest.models import Manifest
from deployer.model import (
    FULL,
    INITIAL,
    LATENCY_BOUNDS,
    Colour,
    Counts,
    Environment,
    Instance,
    InstanceSpec,
    Live,
    Release,
    Sample,
    Server,
)


class FakeClock:
    """Time that passes only by sleeping."""

    def __init__(self, at: float = 1_700_000_000.0) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


class Crash(BaseException):
    """SIGKILL, as far as a test can have it: no handler of the code under test catches it."""


@dataclass
class World:
    """What exists outside of the store. It outlives every process that acts on it."""

    clock: FakeClock = field(default_factory=FakeClock)
    instances: dict[str, Instance] = field(default_factory=dict)
    live: dict[str, Live] = field(default_factory=dict)
    servers: dict[tuple[str, Colour], dict[str, Server]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)  # versions that fail their health check
    worse: set[str] = field(default_factory=set)  # versions that answer with errors
    rate: float = 100.0
    history: list[Live] = field(default_factory=list)
    versions: dict[int, str] = field(default_factory=dict)
    tick: Callable[[str], None] = lambda _what: None

    def touch(self, what: str) -> None:
        """A driver call begins or ends here."""
        self.tick(what)

    def up(self, service: str, colour: Colour) -> list[str]:
        """Names of servers whose instance runs."""
        there = self.servers.get((service, colour), {})
        return [n for n in there if n in self.instances and self.instances[n].state == "running"]

    def check(self) -> None:
        """The promises that must hold at every instant (only for strategies without a gap)."""
        for service, live in self.live.items():
            if not self.history:
                continue
            alive = not live.lease or live.lease > self.clock.now()
            if live.share and alive:
                assert self.up(service, live.candidate), f"share {live.share} to an empty {live.candidate}"
            if (live.share < FULL or not alive) and self.history[0].stable:
                assert self.up(service, live.stable), f"users on an empty {live.stable}"

    def drivers(self) -> Drivers:
        runtime = MemoryRuntime(self)
        return Drivers(runtime, MemoryTraffic(self), MemoryChecks(self), MemoryPlaybooks(self))


class MemoryRuntime:
    def __init__(self, world: World) -> None:
        self.world = world

    def resolve(self, manifest: Manifest, reference: str, deadline: Deadline, tell: Tell) -> Image:
        return Image(reference, f"sha256:{reference}")

    def instances(self, service: str) -> tuple[Instance, ...]:
        mine = [i for i in self.world.instances.values() if i.service == service]
        return tuple(sorted(mine, key=lambda i: (i.release, i.index)))

    def ensure(self, spec: InstanceSpec, deadline: Deadline) -> Instance:
        self.world.touch(f"before ensure {spec.name}")
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
            )
        self.world.touch(f"after ensure {spec.name}")
        return self.world.instances[spec.name]

    def remove(self, instance: Instance, grace: float, deadline: Deadline) -> None:
        self.world.touch(f"before remove {instance.name}")
        self.world.instances.pop(instance.name, None)
        self.world.touch(f"after remove {instance.name}")

    def logs(self, instance: Instance, lines: int) -> tuple[str, ...]:
        return (f"last words of {instance.name}",)

    def run(self, instance: Instance, command: Sequence[str], deadline: Deadline) -> tuple[int, str]:
        return 0, ""

    def prune(self, keep: Sequence[Release], drop: Sequence[Release]) -> tuple[str, ...]:
        return ()


class MemorySamples:
    def __init__(self, world: World, service: str) -> None:
        self.world, self.service, self.last = world, service, world.clock.now()
        self.owed = 0.0  # parts of candidate requests that did not make a whole one yet

    def take(self) -> Sample:
        now = self.world.clock.now()
        seconds, self.last = now - self.last, now
        live = self.world.live[self.service]
        share = live.share if not live.lease or live.lease > now else 0
        total = round(seconds * self.world.rate)
        self.owed += total * share / FULL
        part = int(self.owed)
        self.owed -= part
        bad = {r for r, v in self.world.versions.items() if v in self.world.worse}
        worse = any(i.release in bad and i.colour == live.candidate for i in self.world.instances.values())
        return Sample(self._counts(total - part, 0), self._counts(part, part // 2 if worse else 0), share)

    def _counts(self, requests: int, errors: int) -> Counts:
        return Counts(requests, errors, tuple([0] * 50 + [requests] + [0] * (len(LATENCY_BOUNDS) - 51)))


class MemoryTraffic:
    def __init__(self, world: World) -> None:
        self.world = world

    def check(self, manifest: Manifest, deadline: Deadline) -> None:
        self.world.touch("check")

    def configure(self, release: Release, colour: Colour | None, deadline: Deadline) -> None:
        self.world.touch("before configure")
        self.world.live.setdefault(release.service, INITIAL)
        self.world.touch("after configure")

    def read(self, service: str) -> Live | None:
        return self.world.live.get(service)

    def steer(self, service: str, live: Live, deadline: Deadline) -> None:
        self.world.touch(f"before steer {live}")
        if live.share and not self.world.up(service, live.candidate):
            raise DriverFailed(f"{live.candidate} has no server that is up")
        if live.share < FULL and not self.world.up(service, live.stable):
            raise DriverFailed(f"{live.stable} has no server that is up")
        self.world.live[service] = live
        self.world.history.append(live)
        self.world.touch(f"after steer {live}")

    def attach(self, service: str, colour: Colour, servers: Sequence[Server], deadline: Deadline) -> None:
        self.world.touch("before attach")
        self.world.servers.setdefault((service, colour), {}).update({s.name: s for s in servers})
        self.world.touch("after attach")

    def drain(self, service: str, colour: Colour, names: Sequence[str], deadline: Deadline) -> int:
        self.world.touch("drain")
        return 0

    def detach(self, service: str, colour: Colour, names: Sequence[str], deadline: Deadline) -> None:
        self.world.touch("before detach")
        for name in names:
            self.world.servers.get((service, colour), {}).pop(name, None)
        self.world.touch("after detach")

    def servers(self, service: str, colour: Colour) -> tuple[tuple[Server, bool], ...]:
        up = self.world.up(service, colour)
        return tuple((s, s.name in up) for s in self.world.servers.get((service, colour), {}).values())

    def preview(self, service: str) -> tuple[str, dict[str, str]]:
        return "http://memory", {}

    @contextmanager
    def samples(self, service: str):  # type: ignore[no-untyped-def]
        yield MemorySamples(self.world, service)

    def forget(self, service: str, deadline: Deadline) -> None:
        self.world.live.pop(service, None)
        for colour in ("blue", "green"):
            self.world.servers.pop((service, colour), None)


class MemoryChecks:
    def __init__(self, world: World) -> None:
        self.world = world

    def probe(self, manifest: Manifest, instance: Instance, deadline: Deadline) -> str:
        version = self.world.versions.get(instance.release)
        return "HTTP 503, expected 200-399" if version in self.world.broken else ""

    def smoke(self, manifest: Manifest, base: str, headers: dict[str, str], deadline: Deadline) -> str:
        return ""


class MemoryPlaybooks:
    def __init__(self, world: World) -> None:
        self.world = world
        self.played: list[str] = []
        self.fails: set[str] = set()

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
            if playbook in self.fails:
                raise StepFailed(f"playbook {playbook}: task 'x' failed on localhost: no")
