"""What the proxy knows about one service: its entry, and a backend for each colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from deployer.core.errors import DriverFailed, Refused
from deployer.drivers.traffic.haproxy import layout
from deployer.drivers.traffic.haproxy.spec_facts import ENTRY, TRIAL, not_known, said_of
from deployer.manifest.models import Health, Manifest, Model, Timeouts, TrafficSettings
from deployer.manifest.text import Name
from deployer.manifest.traffic import ProxyHosts
from deployer.model import COLOURS, Place, Server

QUEUE = 5.0  # seconds in which an instance must take a request, unless the manifest says so
ServerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]
ServerAddress = Annotated[str, StringConstraints(pattern=r"^([0-9.]{7,15}|\[[0-9a-fA-F:.]+\]):\d{1,5}$")]


class BackendServer(Model):
    """A server of a backend; one that is `leaving` gets no new requests, also after a restart of the proxy."""

    name: ServerName
    address: ServerAddress
    leaving: bool = False


class BackendSide(Model):
    """The backend of one colour: it belongs to the release that stands there."""

    health: Health
    protocol: Literal["http1", "h2"] = "http1"
    timeouts: Timeouts = Timeouts()
    affinity: Literal["none", "instance"] = "none"
    retry: Literal["answers", "connections"] = "answers"
    concurrency: int = 0  # requests that an instance gets at once; 0: as many as come
    wait: float = QUEUE  # seconds in which an instance must take a request
    # What starts the instances of a service that sleeps while nobody comes; "" for one that never sleeps: see `waker`
    starter: Literal["", "docker", "process"] = ""
    pauses: bool = False  # while it sleeps its instances are paused, not stopped
    ignored: tuple[str, ...] = ()  # paths and user agents that do not wake it
    asleep: float = 0.0  # since when it sleeps; 0: it is awake
    members: tuple[BackendServer, ...] = ()

    @property
    def keeps_instance(self) -> bool:
        """Whether a client keeps its instance."""
        return self.affinity == "instance"

    def member(self, name: str) -> BackendServer | None:
        """Return the member of that name."""
        return next((m for m in self.members if m.name == name), None)

    def having(self, servers: Sequence[Server]) -> BackendSide:
        """Return the side with these servers in it, ready; others stay."""
        fresh = {s.name: BackendServer(name=s.name, address=s.address) for s in servers}
        kept = {m.name: m for m in self.members}
        return self.model_copy(update={"members": tuple((kept | fresh).values()), "asleep": 0.0})

    def leaving(self, names: Iterable[str]) -> BackendSide:
        """Return the side with these members marked as leaving."""
        gone = set(names)
        members = (m.model_copy(update={"leaving": True}) if m.name in gone else m for m in self.members)
        return self.model_copy(update={"members": tuple(members)})

    def without(self, names: Iterable[str]) -> BackendSide:
        """Return the side without these members."""
        gone = set(names)
        members = tuple(m for m in self.members if m.name not in gone)
        return self.model_copy(update={"members": members, "asleep": self.asleep if members else 0.0})

    def sleeping(self, since: float) -> BackendSide:
        """Return the side as it sleeps: no instance gets a request, and the waker gets them all."""
        return self.leaving(m.name for m in self.members).model_copy(update={"asleep": since})

    def awake(self) -> BackendSide:
        """Return the side with all of its instances in use."""
        members = tuple(m.model_copy(update={"leaving": False}) for m in self.members)
        return self.model_copy(update={"members": members, "asleep": 0.0})


class Spec(Model):
    """One service. The entry (addresses, names, stickiness) is shared by both sides."""

    service: Name
    key: Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9+/]{43}=)?$")] = Field("", repr=False)  # see `identity`
    chain_key: Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9+/]{43}=)?$")] = Field("", repr=False)
    entry: TrafficSettings
    blue: BackendSide
    green: BackendSide
    # By which manifest each place, the entry and its rules about a candidate are: see `spec_facts`
    said: dict[str, str] = Field(default_factory=dict)
    baseline: BackendSide | None = (
        None  # fresh instances of the stable release, while a candidate is compared with them
    )

    @property
    def places(self) -> tuple[Place, ...]:
        """The places that have a backend."""
        return (*COLOURS, "baseline") if self.baseline else COLOURS

    @property
    def keeps_instance(self) -> bool:
        """Whether a client keeps its instance, at one of the places."""
        return any(self.side(place).keeps_instance for place in self.places)

    def side(self, place: Place) -> BackendSide:
        """Return the side of a place. Raises DriverFailed for a baseline that is not there."""
        side = {"blue": self.blue, "green": self.green, "baseline": self.baseline}[place]
        if side is None:
            raise DriverFailed(f"the proxy has no {place} of {self.service}", "configure it first")
        return side

    def with_side(self, place: Place, side: BackendSide) -> Spec:
        """Return the spec with another side in a place."""
        return self.model_copy(update={place: side})

    def bare(self) -> Spec:
        """Return the spec without servers: what only a reload can change."""
        return self.model_copy(
            update={place: self.side(place).model_copy(update={"members": ()}) for place in self.places}
        )

    def keeping(self, known: Spec | None) -> Spec:
        """Return the spec with the servers that another one has in the same places."""
        if known is None:
            return self
        made = self
        for place in (p for p in self.places if p in known.places):
            before = known.side(place)
            side = self.side(place).model_copy(update={"members": before.members, "asleep": before.asleep})
            made = made.with_side(place, side)
        return made

    def names(self, place: Place) -> frozenset[str]:
        """Return the names of the servers in a place; none of a place that is not there."""
        return frozenset(m.name for m in self.side(place).members) if place in self.places else frozenset()


def configured(spec: Spec | None, service: str, manifest: Manifest, place: Place | None, learned: int = 0) -> Spec:
    """Return the spec after `TrafficSettings.configure`: a place's side, or (None) the entry, as the manifest says.

    Where `scale.concurrency` is learned, `learned` is what it is now (0: nothing yet).

    The entry comes last in a rollout, and ends a baseline; what of it only concerns a candidate comes with that.
    """
    traffic = manifest.traffic
    # Which proxies there are is not for one of them to know.
    entry = traffic.model_copy(update={"haproxy": None, "proxies": ProxyHosts(), "tls": _absolute(traffic)})
    scale = manifest.scale
    side = BackendSide(
        health=manifest.health,
        protocol=traffic.protocol,
        timeouts=traffic.timeouts,
        affinity=traffic.affinity,
        retry=traffic.retry,
        concurrency=scale.knowing(learned).each if scale else 0,
        wait=scale.wait if scale else QUEUE,
        starter=_starter(manifest) if scale and scale.sleeps and place != "baseline" else "",
        pauses=scale.sleeps and scale.sleep == "pause" if scale else False,
        ignored=scale.wake.ignored if scale and scale.sleeps else (),
    )
    said = said_of(manifest, learned)
    if spec is None:
        parts = (*COLOURS, ENTRY, TRIAL)
        return Spec(service=service, entry=entry, blue=side, green=side, said=dict.fromkeys(parts, said))
    if spec.entry.mode != entry.mode:
        raise Refused(
            f"{service} is a {spec.entry.mode} service at the proxy; both sides of a rollout must speak the same",
            f"deploy it under another name to change traffic.mode to {entry.mode}",
        )
    if place is None:
        by: dict[str, str] = {colour: spec.said[colour] for colour in COLOURS if colour in spec.said}
        by |= {ENTRY: said, TRIAL: said}
        return spec.model_copy(update={"entry": entry, "baseline": None, "said": by})
    members = spec.side(place).members if place in spec.places else ()
    asleep = spec.side(place).asleep if place in spec.places and side.starter else 0.0
    trial = {key: getattr(entry, key) for key in ("shield", "budget", "routes", "chain")} if place != "baseline" else {}
    now = {place: said, **({TRIAL: said} if trial else {})}
    guarded = spec.model_copy(update={"entry": spec.entry.model_copy(update=trial), "said": spec.said | now})
    return guarded.with_side(place, side.model_copy(update={"members": members, "asleep": asleep}))


def _starter(manifest: Manifest) -> Literal["", "docker", "process"]:
    return manifest.runtime if manifest.runtime in ("docker", "process") else ""


def _absolute(traffic: TrafficSettings) -> object:
    """Return the TLS settings with paths that do not depend on where the next command is started."""
    if traffic.tls is None or traffic.tls.certificates is None:
        return traffic.tls
    paths = tuple(str(Path(p).absolute()) for p in traffic.tls.certificates)
    return traffic.tls.model_copy(update={"certificates": paths})


def load(folder: Path, service: str) -> Spec | None:
    """Read the spec of a service; None when the proxy does not know it."""
    path = folder / f"{service}.json"
    text = layout.read(path)
    if text is None:
        return None
    try:
        return Spec.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise DriverFailed(
            f"{path} is not readable: {where + ': ' if where else ''}{first['msg']}",
            "it was edited, or written by a newer version; move it away and `deploy doctor --fix` writes it again",
        ) from None


def require(folder: Path, service: str) -> Spec:
    """Read the spec of a service. Raise DriverFailed when the proxy does not know it."""
    known = load(folder, service)
    if known is None:
        raise not_known(service)
    return known


def load_all(folder: Path) -> dict[str, Spec]:
    """Read all specs, by service."""
    specs = (load(folder, path.stem) for path in sorted(folder.glob("*.json")))
    return {spec.service: spec for spec in specs if spec is not None}


def save(folder: Path, spec: Spec) -> None:
    """Write the spec of a service."""
    layout.write(folder / f"{spec.service}.json", spec.model_dump_json(indent=1) + "\n", 0o600)


def refuse_odd(servers: Sequence[Server]) -> None:
    """Refuse what is no name or address: it would be read as a command on the socket of the proxy."""
    for server in servers:
        try:
            BackendServer(name=server.name, address=server.address)
        except ValueError:
            raise DriverFailed(
                f"{server.name[:60]!a} at {server.address[:60]!a} cannot be a server of the proxy",
                "`deploy doctor` shows who made that instance",
            ) from None
