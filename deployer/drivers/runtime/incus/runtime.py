"""Runs instances as unprivileged system containers of Incus. Owns only what it made, by its configuration keys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DriverFailed, Refused
from deployer.core.undo import undone
from deployer.drivers.ports import Found, Image
from deployer.drivers.runtime.environ import chosen_secrets
from deployer.drivers.runtime.identity import same
from deployer.drivers.runtime.incus import options
from deployer.drivers.runtime.incus.api import Incus, at
from deployer.drivers.runtime.incus.images import IncusImages
from deployer.model import Instance, InstanceSpec, Release

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest

UNDO_SECONDS = 30.0


class IncusRuntime:
    """The runtime `incus`. `installation` names the store: two of them in one project never meet."""

    moves = False

    def __init__(self, clock: Clock, installation: str, home: str = "", incus: Incus | None = None) -> None:
        self._clock, self._installation, self._home = clock, installation, home
        self._incus = incus or Incus(clock)
        self._shelf = IncusImages(self._incus, installation)

    def resolve(self, manifest: Manifest, reference: str, *_: object) -> Image:
        """Pin an image that Incus has; check what else the manifest needs of it."""
        profile = self._incus.get("profile default", at("profiles", "default")) or {"devices": {}}
        if not any(device.get("path") == "/" for device in profile["devices"].values()):
            raise Refused(
                f"incus: the profile `default` of the project {self._incus.project} has no root disk",
                "make a storage pool, and add it: `incus profile device add default root disk path=/ pool=POOL`",
            )
        for network in manifest.networks:
            if self._incus.get(f"network {network}", at("networks", network)) is None:
                raise Refused(f"networks: Incus has no network {network}", f"make it: `incus network create {network}`")
        return self._shelf.resolve(reference)

    def instances(self, service: str) -> tuple[Instance, ...]:
        """Read all containers of the service, whatever their state, ordered by release and index."""
        seen = (options.observed(each) for each in self._all() if self._mine(each))
        return tuple(sorted((i for i in seen if i.service == service), key=lambda i: (i.release, i.index)))

    def ensure(self, spec: InstanceSpec, deadline: Deadline) -> Instance:
        """Make the container run as specified; one that runs already so is left alone."""
        there = self._read(spec.name)
        if there is not None and not self._mine(there):
            raise DriverFailed(
                f"a container named {spec.name} exists in Incus that deployer does not manage",
                "rename or remove it; deployer touches only what it made",
            )
        wanted = options.create(spec, self._installation, self._home)
        if there is not None and not (options.begun(there) and same(there["config"], _kept(wanted), options.PREFIX)):
            self._delete(spec.name, deadline)
            there = None
        if there is None:
            with undone(lambda: self._delete(spec.name, Deadline.after(self._clock, UNDO_SECONDS))):
                self._create(spec, wanted, deadline)
                self._start(spec, "Stopped", deadline)
        else:
            self._start(spec, there["status"], deadline)
        made = self._read(spec.name)
        if made is None:
            raise DriverFailed(
                f"{spec.name} was started, and Incus does not have it", "is another program removing it?"
            )
        return options.observed(made)

    def remove(self, instance: Instance, grace: float, deadline: Deadline) -> None:
        """Ask the container to shut down, wait up to `grace` seconds, kill, remove it."""
        there = self._read(instance.name)
        if there is None or there["config"].get("volatile.uuid") != instance.runtime_id:
            return
        if not self._mine(there):
            raise DriverFailed(f"{instance.name} is no longer managed by deployer", "look at it: `incus config show`")
        seconds = min(grace, deadline.left())
        if there["status"] == "Running" and seconds >= 1:
            self._stop(instance.name, seconds)
        self._delete(instance.name, deadline)

    def logs(self, instance: Instance, lines: int) -> tuple[str, ...]:
        """Return the last lines that its programs wrote to the console."""
        if lines <= 0:
            return ()
        text = self._incus.text(f"console of {instance.name}", at("instances", instance.name, "console"))
        return tuple(line.rstrip("\r") for line in text.splitlines()[-lines:])

    def count_lines(self, instance: Instance, *_: object) -> int:
        """Raise DriverFailed: the console says of no line when it was written."""
        raise DriverFailed(f"{instance.name}: runtime incus cannot count lines of its log", "choose another metric")

    def run(self, instance: Instance, command: Sequence[str], deadline: Deadline) -> tuple[int, str]:
        """Run a command in the container; give its exit code and what it printed."""
        from deployer.drivers.runtime.incus import commands

        return commands.run(self._incus, instance.name, command, deadline)

    def check_release(self, release: Release) -> None:
        """Raise ImageGone where Incus does not have the image of the release any more."""
        self._shelf.check(release)

    def prune(self, keep: Sequence[Release], drop: Sequence[Release]) -> tuple[str, ...]:
        """Remove images of `drop` that no release in `keep` and no container uses; give what was removed."""
        return self._shelf.remove(self._shelf.dropped(drop, keep, _used(self._all())))

    def list_all(self) -> tuple[Found, ...]:
        """Read every container that a deployer made, of any service and any store."""
        seen = [options.found(each) for each in self._all() if options.made(each)]
        return tuple(sorted(seen, key=lambda f: (f.instance.service, f.instance.release, f.instance.index)))

    def foreign(self, service: str) -> tuple[str, ...]:
        """Name the containers with the name or the keys of an instance of the service that we did not make."""
        like = re.compile(f"{re.escape(service)}-r[0-9]+-[0-9]+")
        return tuple(
            sorted(
                each["name"]
                for each in self._all()
                if not self._mine(each)
                and (like.fullmatch(each["name"]) or each["config"].get(f"{options.PREFIX}service") == service)
            )
        )

    def garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        """Name the aliases of ours on images that no release in `keep` and no container has."""
        return self._shelf.unneeded(keep, _used(self._all()))

    def collect_garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        """Take these aliases away, and with the last one of an image the image."""
        return self._shelf.remove(self.garbage(keep))

    # -- what Incus has

    def _all(self) -> list[dict[str, Any]]:
        return self._incus.get("containers of Incus", f"{at('instances')}?recursion=1") or []

    def _read(self, name: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self._incus.get(name, at("instances", name))
        return found

    def _mine(self, attributes: Mapping[str, Any]) -> bool:
        owner = attributes["config"].get(f"{options.PREFIX}installation")
        return owner == self._installation and options.made(attributes)

    # -- changes

    def _create(self, spec: InstanceSpec, wanted: Mapping[str, Any], deadline: Deadline) -> None:
        files = chosen_secrets(spec, "file")
        self._shelf.keep(spec.release)
        self._incus.change(f"create {spec.name}", "POST", at("instances"), wanted, deadline)
        place = at("instances", spec.name, "files")
        if files:
            for folder in ("/etc/deployer", options.SECRETS):
                self._incus.put(f"secrets of {spec.name}", f"{place}?path={folder}", "directory", "0755")
        for name, value in files.items():
            path = f"{place}?path={options.SECRETS}/{name}"
            self._incus.put(f"secret {name} of {spec.name}", path, "file", "0444", value.encode())

    def _start(self, spec: InstanceSpec, status: str, deadline: Deadline) -> None:
        action = {"Running": "", "Frozen": "unfreeze"}.get(status, "start")
        if not action:
            return
        try:
            self._act(spec.name, {"action": action, "timeout": -1}, deadline)
        except DriverFailed as error:
            if "address already in use" in error.message:
                raise DriverFailed(
                    f"{spec.name} cannot have {spec.address}: another program listens there", "stop it, then try again"
                ) from error
            error.hint = error.hint or f"`incus info --show-log {spec.name}` and the log of Incus say more"
            raise

    def _stop(self, name: str, seconds: float) -> None:
        """Ask a container to shut down, and give it so many seconds; one that goes on is left to whoever removes it."""
        limit, path = Deadline.after(self._clock, seconds), at("instances", name, "state")
        self._incus.begin(f"stop {name}", "PUT", path, {"action": "stop", "timeout": int(seconds)}, limit)
        limit.wait(lambda: (self._read(name) or {"status": "Stopped"})["status"] == "Stopped", every=0.1)

    def _delete(self, name: str, deadline: Deadline) -> None:
        there = self._read(name)
        if there is None:
            return
        if there["status"] not in ("Stopped", "Error"):
            self._act(name, {"action": "stop", "timeout": -1, "force": True}, deadline)
        self._incus.change(f"remove {name}", "DELETE", at("instances", name), None, deadline)

    def _act(self, name: str, body: Mapping[str, Any], deadline: Deadline) -> None:
        self._incus.change(f"{body['action']} {name}", "PUT", at("instances", name, "state"), body, deadline)


def _used(containers: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the images of which containers are made."""
    return {each["config"].get(f"{options.PREFIX}image", "") for each in containers}


def _kept(wanted: Mapping[str, Any]) -> dict[str, str]:
    return {key: value for key, value in wanted["config"].items() if key.startswith(options.PREFIX)}
