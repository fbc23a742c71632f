"""A release: what was deployed, and on which hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from deployer.core.host import Host
from deployer.model.guests import GuestTerms
from deployer.model.places import Colour

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest
    from deployer.manifest.scale import ScaleSettings


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
        """Return it in words."""
        log = "" if self.logged else ", without a transparency log"
        return f"{self.image} is signed by {self.file} (sha256:{self.key[:16]}…){log}"


@dataclass(frozen=True)
class Release:
    """An immutable numbered record of everything that a rollback brings back.

    `image` is what the user wrote, `image_id` what it meant when the release was made: a digest, an
    engine's image ID, or the content hash of a directory. `config_hash` covers image_id, manifest and secrets
    (secrets by a keyed hash); equal hashes are the same release. Secret values live beside the store, not here.
    `hosts` are those of the inventory on which it runs, as they were described when it was made, and `twin` those of
    its green environment where that has its own; both are empty for this host alone. `proxies` are the hosts that
    have its proxies, empty for this one. Of one that is being planned, `spare` is the number of hosts that may still
    fall silent; it is not recorded, its plan has it. One that is `alone` never runs beside another release, as
    the strategy promised that brought it out. `terms` are those of the tenant whose guest it is. `scaled` is the number
    of instances on each host that a person wants now (`deploy scale`), whatever the manifest says; 0 where nobody
    said one. `needed` is the number on all hosts together that the load needs, where the manifest has `scale`, and
    `learned` the requests at once that an instance is known to answer well (0: nothing was learned). These three are
    the service's, not recorded.
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
    hosts: tuple[Host, ...] = ()
    twin: tuple[Host, ...] = ()
    proxies: tuple[Host, ...] = ()
    spare: int = field(default=0, compare=False)
    alone: bool = False
    terms: GuestTerms | None = None
    scaled: int = field(default=0, compare=False)
    needed: int = field(default=0, compare=False)
    learned: int = field(default=0, compare=False)

    @property
    def name(self) -> str:
        """Short name for people: `r42 (2.0)`."""
        return f"r{self.number} ({self.version})"

    @property
    def fleet(self) -> tuple[Host, ...]:
        """Return every host on which it may stand, once each."""
        return tuple({host.name: host for host in (*self.hosts, *self.twin)}.values())

    @property
    def served(self) -> bool:
        """Return whether users reach it: a worker has no port."""
        return self.manifest.port is not None

    def may_run_beside(self, another: Release) -> bool:
        """Return whether both may run at the same time."""
        return not (self.alone or another.alone)

    def host_names(self, colour: Colour) -> tuple[str, ...]:
        """Name the hosts of one of its environments; none is this host."""
        hosts = self.twin if self.twin and colour == "green" else self.hosts
        return tuple(host.name for host in hosts)

    @property
    def scale(self) -> ScaleSettings | None:
        """Return the `scale` of its manifest, with what was learned in the place of `concurrency: auto`."""
        scale = self.manifest.scale
        return scale.knowing(self.learned) if scale is not None else None

    @property
    def replicas(self) -> int:
        """Count the instances that are wanted on each host."""
        return self.scaled if self.scaled and not self.manifest.single else self.manifest.replicas

    def size(self, colour: Colour) -> int:
        """Count the instances of one of its environments."""
        return self.over(len(self.host_names(colour)))

    def over(self, hosts: int) -> int:
        """Count its instances on so many hosts (0 is this host alone): as many replicas on each, or by the load."""
        if not self.scaled and (scale := self.manifest.scale) is not None:
            return scale.within(self.needed)
        return self.replicas * max(1, hosts)

    def least(self) -> Release:
        """Return it as it may be while it is kept warm: it need not have more instances than its manifest says."""
        scaled = 0 if self.manifest.scale else min(self.manifest.replicas, self.replicas)
        return replace(self, scaled=scaled, needed=0)

    def address(self, host: str, here: str = "127.0.0.1") -> str:
        """Return the address of one of its hosts; `here` is that of this one."""
        return next((each.address for each in self.fleet if each.name == host), here)

    def hosts_record(self) -> dict[str, Any]:
        """Return its hosts, and under which terms it is a guest there, as plain data that `read_hosts` reads.

        Nothing for this host alone.
        """
        named = {what: getattr(self, what) for what in _GROUPS}
        found: dict[str, Any] = {what: [asdict(host) for host in hosts] for what, hosts in named.items() if hosts}
        return {**found, "terms": self.terms.record()} if self.terms else found


_GROUPS = ("hosts", "twin", "proxies")


def read_hosts(record: Mapping[str, Any]) -> dict[str, Any]:
    """Read what `Release.hosts_record` gave. Raises ValueError, TypeError or KeyError for anything else."""
    found: dict[str, Any] = {what: tuple(_host(data) for data in record.get(what, ())) for what in _GROUPS}
    return {**found, "terms": GuestTerms.read(record["terms"])} if "terms" in record else found


def _host(data: Mapping[str, Any]) -> Host:
    known = {f.name for f in fields(Host)}  # a later version may have said more of it
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known}
    return Host(**values)


def newest_good(releases: Sequence[Release], before: int) -> Release | None:
    """Return the newest release below a number that users were well served by; `releases` are sorted newest first."""
    return next((r for r in releases if r.number < before and r.status == "good"), None)
