"""What is in one project of Incus, and the changes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DriverFailed, Refused
from deployer.core.listening import program_at
from deployer.drivers.runtime.environ import chosen_secrets
from deployer.drivers.runtime.incus import options, virtual
from deployer.drivers.runtime.incus.api import Incus, at
from deployer.drivers.runtime.incus.images import IncusImages
from deployer.model import InstanceSpec


class IncusProject:
    """One project: its images, and what becomes of its instances."""

    def __init__(self, incus: Incus, clock: Clock, installation: str) -> None:
        self._clock, self.incus = clock, incus
        self.images = IncusImages(incus, installation)

    def check(self, networks: tuple[str, ...]) -> None:
        """Raise Refused where the project, its root disk or a network is missing."""
        name = self.incus.project
        if self.incus.of("").get(f"project {name}", at("projects", name)) is None:
            raise Refused(
                f"incus.project: Incus has no project {name}",
                f"make it, with its limits: `incus project create {name} -c limits.memory=4GiB`; see docs/incus.md",
            )
        profile = self.incus.get("profile default", at("profiles", "default")) or {"devices": {}}
        if not any(device.get("path") == "/" for device in profile["devices"].values()):
            raise Refused(
                f"incus: the profile `default` of the project {name} has no root disk",
                "make a storage pool, and add it: "
                f"`incus profile device add default root disk path=/ pool=POOL --project {name}`",
            )
        for network in networks:
            if self.incus.get(f"network {network}", at("networks", network)) is None:
                raise Refused(f"networks: Incus has no network {network}", f"make it: `incus network create {network}`")

    def read(self, name: str) -> dict[str, Any] | None:
        """Return what Incus says of an instance; None where there is none."""
        found: dict[str, Any] | None = self.incus.get(name, at("instances", name))
        return found

    def create(self, spec: InstanceSpec, wanted: Mapping[str, Any], deadline: Deadline) -> None:
        """Make an instance, with its secrets, and do not start it."""
        self.images.keep(spec.release)
        with self._explained():
            self.incus.change(f"create {spec.name}", "POST", at("instances"), wanted, deadline)
        if wanted["type"] != virtual.KIND:  # which have them from cloud-init
            self._bring_secrets(spec)

    def start(self, spec: InstanceSpec, there: Mapping[str, Any], deadline: Deadline) -> None:
        """Have an instance run, and know where it is reached."""
        action = {**dict.fromkeys(options.RUNNING, ""), "Frozen": "unfreeze"}.get(there["status"], "start")
        if action:
            self._begin(spec, action, deadline)
        port = spec.release.manifest.port
        if there["type"] == virtual.KIND and port is not None:
            found = {f"{options.PREFIX}{options.REACHED}": virtual.address(self.incus, spec.name, port, deadline)}
            if not found.items() <= there["config"].items():
                path = at("instances", spec.name)
                self.incus.change(f"address of {spec.name}", "PATCH", path, {"config": found}, deadline)

    def stop(self, name: str, seconds: float) -> None:
        """Ask an instance to shut down, and give it so many seconds; one that goes on is left to whoever removes it."""
        limit, path = Deadline.after(self._clock, seconds), at("instances", name, "state")
        self.incus.begin(f"stop {name}", "PUT", path, {"action": "stop", "timeout": int(seconds)}, limit)
        limit.wait(lambda: (self.read(name) or {"status": "Stopped"})["status"] == "Stopped", every=0.1)

    def delete(self, name: str, deadline: Deadline) -> None:
        """Kill an instance if it runs, and remove it."""
        there = self.read(name)
        if there is None:
            return
        if there["status"] not in ("Stopped", "Error"):
            self._act(name, {"action": "stop", "timeout": -1, "force": True}, deadline)
        self.incus.change(f"remove {name}", "DELETE", at("instances", name), None, deadline)

    def _begin(self, spec: InstanceSpec, action: str, deadline: Deadline) -> None:
        try:
            self._act(spec.name, {"action": action, "timeout": -1}, deadline)
        except DriverFailed as error:
            if _taken(error.message, spec.address):
                raise DriverFailed(
                    f"{spec.name} cannot have {spec.address}: another program listens there", "stop it, then try again"
                ) from error
            error.hint = error.hint or f"`incus info --show-log {spec.name}` and the log of Incus say more"
            raise

    def _bring_secrets(self, spec: InstanceSpec) -> None:
        files = chosen_secrets(spec, "file")
        place = at("instances", spec.name, "files")
        if files:
            for folder in ("/etc/deployer", options.SECRETS):
                self.incus.put(f"secrets of {spec.name}", f"{place}?path={folder}", "directory", "0755")
        for name, value in files.items():
            path = f"{place}?path={options.SECRETS}/{name}"
            self.incus.put(f"secret {name} of {spec.name}", path, "file", "0444", value.encode())

    def _act(self, name: str, body: Mapping[str, Any], deadline: Deadline) -> None:
        self.incus.change(f"{body['action']} {name}", "PUT", at("instances", name, "state"), body, deadline)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DriverFailed as error:
            if f'in project "{self.incus.project}"' in error.message:  # of limits that do not let it make one
                error.hint = f"see `incus project info {self.incus.project}`: free something, or raise that limit"
            raise


def _taken(said: str, address: str) -> bool:
    """Return whether an instance failed since another program listens where Incus was to listen for it.

    Where the process of Incus that finds it so ends before Incus has read why, Incus says only that it has ended.
    """
    if "address already in use" in said:
        return True
    return "starting proxy device" in said and bool(program_at(int(address.rpartition(":")[2])))
