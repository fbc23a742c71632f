"""The nouns of a rollout: frozen data, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from deployer.manifest.models import Manifest
from deployer.secret import SecretText as SecretText

Colour = Literal["blue", "green"]
FULL = 10000  # all traffic, in basis points


def other(colour: Colour) -> Colour:
    """Give the other colour."""
    return "green" if colour == "blue" else "blue"


@dataclass(frozen=True)
class Release:
    """An immutable numbered record of everything that a rollback brings back.

    `image` is what the user wrote, `image_id` what it meant when the release was made: a digest, an
    engine's image ID, or the content hash of a directory. `config_hash` covers image_id, manifest and secrets
    (secrets by a keyed hash); equal hashes are the same release. Secret values live beside the store, not here.
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
    standing: Literal["new", "good", "rolled-back", "failed"] = "new"

    @property
    def name(self) -> str:
        """Short name for people: `r42 (2.0)`."""
        return f"r{self.number} ({self.version})"


@dataclass(frozen=True)
class Instance:
    """One container or process, as the runtime sees it now.

    `address` is where the proxy and the health checks reach it, `host:port`; `runtime_id` names it to its
    runtime.
    """

    service: str
    colour: Colour
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


@dataclass(frozen=True)
class InstanceSpec:
    """What an instance must be; `Runtime.ensure` makes it so."""

    release: Release
    colour: Colour
    index: int
    rollout: int
    address: str  # host:port handed out by the store; it stays the same across restarts
    secrets: dict[str, SecretText] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the instance, unique on its machine: `shop-r42-1`."""
        return f"{self.release.service}-r{self.release.number}-{self.index}"


@dataclass(frozen=True)
class Environment:
    """The instances of one release in one colour."""

    service: str
    colour: Colour
    release: int
    instances: tuple[Instance, ...]

    def healthy(self) -> tuple[Instance, ...]:
        """Give the instances that run and are not known to be ill."""
        return tuple(i for i in self.instances if i.state == "running" and i.health != "unhealthy")


@dataclass(frozen=True)
class Live:
    """What the proxy does for a service now: one value, written and read as a whole.

    `share` is the candidate's part in basis points; the candidate is the colour that is not `stable`. `lease` is
    when the share runs out by itself, Unix seconds, 0 for never. `rollout` salts the sticky rolls.
    """

    stable: Colour
    share: int = 0
    lease: int = 0
    rollout: int = 0

    @property
    def candidate(self) -> Colour:
        """The colour on trial."""
        return other(self.stable)


# Before the first deploy: the first environment is the blue one.
INITIAL = Live(stable="green")


@dataclass(frozen=True)
class Observed:
    """What strategies plan on: read from the world at the time of planning.

    `stable` is the release that users are on (None before the first deploy), `blue` and `green` are the
    environments that stand.
    """

    service: str
    live: Live | None
    stable: Release | None
    blue: Environment | None = None
    green: Environment | None = None

    @property
    def colour(self) -> Colour:
        """The colour in which a candidate goes."""
        return (self.live or INITIAL).candidate

    def environment(self, colour: Colour) -> Environment | None:
        """Give the environment of a colour, if one stands."""
        return self.blue if colour == "blue" else self.green


@dataclass(frozen=True)
class Server:
    """An instance as the proxy knows it."""

    name: str
    address: str


Phase = Literal["forward", "back"]
Outcome = Literal["done", "reverted", "held", "stuck"]


@dataclass(frozen=True)
class Counts:
    """Requests of one side since some moment; `latency` counts answers per bucket of `LATENCY_BOUNDS`.

    `errors` are answers that blame the release: 5xx by it, or by the proxy for it. Forced (preview) requests are
    left out.
    """

    requests: int = 0
    errors: int = 0
    latency: tuple[int, ...] = ()

    def __add__(self, more: Counts) -> Counts:
        long, short = sorted((self.latency, more.latency), key=len, reverse=True)
        merged = tuple(a + (short[i] if i < len(short) else 0) for i, a in enumerate(long))
        return Counts(self.requests + more.requests, self.errors + more.errors, merged)

    def quantile(self, q: float) -> float | None:
        """Give the latency in ms under which the part `q` of the answers fell (upper edge of its bucket)."""
        total = sum(self.latency)
        if not total:
            return None
        seen = 0
        for bound, count in zip(LATENCY_BOUNDS, self.latency, strict=False):
            seen += count
            if seen >= q * total:
                return bound
        return LATENCY_BOUNDS[-1]


# Sixteen buckets an octave, from 1 ms to about 131 s: the upper edges, in ms.
LATENCY_BOUNDS: tuple[float, ...] = tuple(2 ** (k / 16) for k in range(1, 17 * 16 + 1))


@dataclass(frozen=True)
class Sample:
    """What both sides answered since the last look, and the share under which it was drawn."""

    stable: Counts
    candidate: Counts
    share: int
    lost: int = 0  # lines that the reader could not get: known to be missing
