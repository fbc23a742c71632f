"""Instances of tenants on one engine: what they may not have, their group, their network."""

from __future__ import annotations

import hashlib
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.core.clock import Deadline, stamp
from deployer.core.errors import DriverFailed, Refused
from deployer.core.retrying import retry
from deployer.core.undo import afterwards
from deployer.drivers.ports.guests import GuestUse, HostWatch
from deployer.drivers.runtime.docker.engine import CALL, SOCKET, Engine, find_container
from deployer.drivers.runtime.docker.ground import HostGround
from deployer.model import GuestTerms, Instance, Release
from deployer.planning.tenancy import DECLARE, RUNTIMES, current, undeclared
from deployer.transport.fanout import on_all

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

GROUP = "deployer-guests"
# Without NET_RAW, which forges packets, MKNOD, AUDIT_WRITE, SETFCAP, SETPCAP and SYS_CHROOT of what engines give
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")
TMP_BYTES = 64 * 1024 * 1024  # of /tmp and of each volume of an image: memory of the tenant
LAST = 1000  # where a host has no memory left, the kernel ends guests first
FILES = 16_384  # descriptors of a process
AT_ONCE = 20  # containers that are frozen at the same time
_WATCH = Path(__file__).with_name("pressure_watch.py")
NOWHERE = "192.0.2.1"  # of TEST-NET-1: names are asked of nobody


class DockerGuests:
    """What one engine and its host do for tenants; without `ground`, the host is this one if the engine's socket is."""

    def __init__(self, engine: Engine, ground: HostGround | None = None) -> None:
        self._engine, self._ground = engine, ground
        self._driver = ""

    def require(self, terms: GuestTerms) -> None:
        """Raise Refused where the engine lacks what the terms of a tenant ask for."""
        with self._engine.client("what it can do for guests") as client:
            said = client.info()
        if self._ground is None and said.get("Name") != socket.gethostname():
            raise _no_shell()
        if missing := undeclared(terms.isolation, said.get("Runtimes") or {}):
            raise Refused(
                f"{terms.tenant} is to be isolated by {terms.isolation}, and the engine has no runtime {missing}",
                DECLARE,
            )
        if terms.disk and not _bounds_disk(said):
            raise Refused(
                f"{terms.tenant}: the engine cannot limit the disk of a container: {_storage(said)}",
                "overlay2 on xfs with pquota can; or leave out `disk`, and instances write to memory only",
            )

    def check(self, terms: GuestTerms) -> None:
        """Raise Refused where the host cannot keep a tenant to its terms; its group and its rules are there then."""
        self.require(terms)
        try:
            self.prepare(terms)
        except DriverFailed as error:
            raise Refused(error.message, error.hint) from error

    def prepare(self, terms: GuestTerms) -> None:
        """See to the group of a tenant and to what its network reaches, as its terms are now. Raise DriverFailed."""
        terms = current(terms)
        lent, own = (terms.lent_memory, terms.lent_cpus), (terms.memory, terms.cpus, terms.pids)
        numbers = ([f"{each:.12g}" for each in some] for some in (lent, own))
        engine = SOCKET if self._ground else self._engine.address.removeprefix("unix://")
        # First, as it has systemd read its units anew, and one that knows cgroup v1 alone removes empty groups then.
        self._grounded().do("watch", self._cgroups(), engine, _WATCH.read_text(encoding="utf-8").rstrip())
        self._grounded().do("bound", self._cgroups(), *next(numbers), terms.tenant, *next(numbers))
        self._grounded().do("fence", bridge(terms.tenant), terms.network)
        with self._engine.client(f"network of {terms.tenant}") as client:
            _network(client, terms)

    @contextmanager
    def raised(self) -> Iterator[None]:
        """Let guests have their part for a moment: at the lowest weight, on a host without idle processors, they are
        neither started nor frozen nor killed. Raise DriverFailed.
        """
        ground, driver, name = self._grounded(), self._cgroups(), secrets.token_hex(8)
        ground.do("raise", driver, name)
        with afterwards(lambda: ground.do("lower", driver, name)):
            yield

    def freeze(self, instances: Sequence[Instance], deadline: Deadline) -> None:
        """Pause containers, of which none is starved meanwhile: a task has to run to be frozen.

        On a busy host the engine may give one up (`unable to freeze`): it is tried again until the deadline.
        """

        def halt(instance: Instance) -> None:
            with self._engine.client(f"freeze {instance.name}", min(CALL, deadline.left())) as client:
                if (found := find_container(client, instance.runtime_id)) and found.status == "running":
                    client.api.pause(instance.runtime_id)

        def frozen(instance: Instance) -> None:
            retry(partial(halt, instance), deadline, _may_freeze_yet)

        with self.raised():
            on_all({each.name: each for each in instances}, frozen, AT_ONCE).all()

    def end(self, container: Container, grace: float, deadline: Deadline) -> None:
        """Signal a guest, wait up to `grace` seconds, kill it: not starved, or that would take its time.

        One that is frozen goes on first: a sandbox of gVisor takes no signal before, and the engine gives it up.
        """
        identity = str(container.id)
        if container.status == "paused":
            what, limit = f"thaw {container.name}", min(CALL, deadline.left())
            with self.raised(), self._engine.client(what, limit) as client, suppress_gone():
                client.api.unpause(identity)
        if grace > 0:
            with self._engine.client(f"stop {container.name}", min(CALL, deadline.left())) as client:
                signal = container.attrs["Config"].get("StopSignal") or "SIGTERM"
                with suppress_gone():
                    client.api.kill(identity, signal)
                patience = Deadline.after(deadline.clock, min(grace, deadline.left()))
                patience.wait(lambda: not _runs(client, identity))
        with self.raised(), self._engine.client(f"kill {container.name}", min(CALL, deadline.left())) as client:
            if _runs(client, identity):
                with suppress_gone():
                    client.api.kill(identity)
                deadline.until(lambda: not _runs(client, identity), f"kill {container.name}")

    def hold(self, container: Container, terms: GuestTerms) -> None:
        """Raise DriverFailed, and leave nothing of it, where what was started is not in the group of its tenant.

        An engine makes groups for its own runtime; another one does it as it understands its arguments.
        """
        if terms.isolation not in RUNTIMES or not (process := container.attrs["State"].get("Pid")):
            return
        try:
            self._grounded().do("holds", self._cgroups(), terms.tenant, str(process))
        except DriverFailed as error:
            container.remove(force=True, v=True)
            runtime = RUNTIMES[terms.isolation]
            raise DriverFailed(
                f"{container.name} would not be held to the terms of {terms.tenant}: {error.message}",
                f'with the driver systemd, {runtime} needs "--systemd-cgroup" in its runtimeArgs, and cgroup v2',
            ) from error

    def room(self) -> dict[str, int]:
        """Return how many bytes of memory this host can still give."""
        return {"": int(self._grounded().do("room")[0])}

    def use(self, terms: GuestTerms) -> dict[str, GuestUse]:
        """Return what a tenant uses here."""
        told = self._grounded().do("used", self._cgroups(), terms.tenant)
        cpu, memory, processes, unwatched, frozen, stopped = told
        watch = HostWatch(unwatched, _noted(frozen), _noted(stopped))
        return {"": GuestUse(int(cpu) / 1e6, int(memory), int(processes), watch)}

    def confined(
        self, client: docker.DockerClient, arguments: Mapping[str, Any], service: str, terms: GuestTerms
    ) -> dict[str, Any]:
        """Return the arguments of `containers.create` with what a guest is held to; others of its tenant find it by
        the name of its service.

        It does not come back with its engine or its host: who starts it again sees to its group and network first.
        """
        volumes = client.images.get(arguments["image"]).attrs["Config"].get("Volumes") or {}
        endpoint = client.api.create_endpoint_config(aliases=[service])
        memory = min(arguments.get("mem_limit") or terms.memory, terms.memory)
        out = terms.network == "out"
        held = {
            "cgroup_parent": self._parent(terms.tenant),
            "network": network(terms.tenant),
            "networking_config": {network(terms.tenant): endpoint},
            "dns": list(terms.dns) if out else [NOWHERE],
            "mem_limit": memory,
            "memswap_limit": memory,
            "pids_limit": min(arguments.get("pids_limit") or terms.pids, terms.pids),
            "cap_drop": ["ALL"],
            "cap_add": list(CAPABILITIES),
            "log_config": {"type": "local", "config": {"max-size": "10m", "max-file": "3"}},
            "oom_score_adj": LAST,
            "ulimits": [_ulimit("core", 0), _ulimit("nofile", FILES)],
            "restart_policy": {"Name": "on-failure"},
            "read_only": not terms.disk or bool(arguments.get("read_only")),
            "tmpfs": dict.fromkeys(("/tmp", *volumes), f"size={TMP_BYTES},mode=1777"),  # noqa: S108 - in it
        }
        disk = {"storage_opt": {"size": str(terms.disk)}} if terms.disk else {}
        runtime = {"runtime": RUNTIMES[terms.isolation]} if terms.isolation in RUNTIMES else {}
        return {**arguments, **held, **disk, **runtime}

    def _cgroups(self) -> str:
        if not self._driver:
            with self._engine.client("its driver of cgroups") as client:
                self._driver = str(client.info().get("CgroupDriver") or "none")
        if self._driver not in ("cgroupfs", "systemd"):
            raise Refused(
                f"the engine limits nothing (cgroup driver {self._driver})", "guests need one that runs as root"
            )
        return self._driver

    def _parent(self, tenant: str) -> str:
        """Return where the engine makes the groups of containers of a tenant."""
        if self._cgroups() == "systemd":
            return f"{GROUP}-{tenant.replace('-', '_')}.slice"
        return f"/{GROUP}/{tenant}"

    def _grounded(self) -> HostGround:
        if self._ground is None and not self._engine.address.startswith("unix://"):
            raise _no_shell()
        return self._ground or HostGround()


def _noted(line: str) -> str:
    """Return a note of the host as text; "" for none."""
    at, _, why = line.partition(" ")
    return f"since {stamp(float(at))}: {why}" if why else ""


def _may_freeze_yet(error: Exception) -> bool:
    return isinstance(error, DriverFailed) and "unable to freeze" in error.message


def is_guest(attributes: Mapping[str, Any]) -> bool:
    """Return whether a container is one of a guest."""
    return GROUP in str(attributes["HostConfig"].get("CgroupParent") or "")


def _runs(client: docker.DockerClient, identity: str) -> bool:
    found = find_container(client, identity)
    return found is not None and found.status in ("running", "paused", "restarting")


@contextmanager
def suppress_gone() -> Iterator[None]:
    """Let go that a container is gone, or has ended."""
    import docker.errors

    try:
        yield
    except docker.errors.APIError as error:
        if error.status_code not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            raise


def _no_shell() -> Refused:
    return Refused("guests need a shell of the host of the engine", "reach it by ssh, or lend this host")


def refuse_unbounded(release: Release) -> None:
    """Raise DriverFailed for a release of a guest of which no terms are known: nothing would hold it."""
    if release.manifest.tenant and release.terms is None:
        raise DriverFailed(
            f"{release.name} is a guest of {release.manifest.tenant}, and its terms are not recorded",
            "deploy it again",
        )


def network(tenant: str) -> str:
    """Return the name of a tenant's network."""
    return f"{GROUP}-{tenant}"


def bridge(tenant: str) -> str:
    """Return the name of the bridge of a tenant's network, by which the rules of the host know it."""
    return f"dg-{hashlib.sha256(tenant.encode()).hexdigest()[:10]}"


def _network(client: docker.DockerClient, terms: GuestTerms) -> None:
    """Make the network of a tenant where it is not there. Raise DriverFailed for one that is another."""
    import docker.errors

    name = network(terms.tenant)
    # Published ports are not reached in a network that is `internal`: the rules of the host keep what is in it apart.
    options = {"com.docker.network.bridge.name": bridge(terms.tenant)}
    with suppress(docker.errors.APIError):  # another process makes it, or has made it
        if not client.networks.list(names=[name]):
            client.networks.create(name, driver="bridge", options=options, check_duplicate=True)
    found = [each for each in client.networks.list(names=[name]) if each.name == name]
    if not found:
        raise DriverFailed(f"the network {name} cannot be made", "see the log of the engine")
    if found[0].attrs["Options"].get("com.docker.network.bridge.name") != bridge(terms.tenant):
        raise DriverFailed(f"the network {name} is not deployer's", f"remove it: docker network rm {name}")


def _ulimit(name: str, most: int) -> dict[str, Any]:
    return {"Name": name, "Soft": most, "Hard": most}


def _bounds_disk(said: Mapping[str, Any]) -> bool:
    """Return whether an engine can limit the disk of a container, from what it says of itself."""
    status = {str(key): str(value) for key, value in said.get("DriverStatus") or ()}
    driver = said.get("Driver")
    return driver in ("btrfs", "zfs") or (driver == "overlay2" and status.get("Backing Filesystem") == "xfs")


def _storage(said: Mapping[str, Any]) -> str:
    status = {str(key): str(value) for key, value in said.get("DriverStatus") or ()}
    return f"{said.get('Driver')} on {status.get('Backing Filesystem', 'an unknown file system')}"
