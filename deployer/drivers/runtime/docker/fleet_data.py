"""The data of containers on hosts of an inventory: each host's own, through its own engine.

On one host it has the names that it would have on this one, so that it can move between both; on several, the name of
the host goes before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deployer.core.clock import Deadline
from deployer.core.errors import Refused
from deployer.drivers.ports.data import Restoring, SavedData
from deployer.drivers.runtime.docker.data import DockerData
from deployer.drivers.runtime.docker.fleet_host import FleetHost
from deployer.drivers.runtime.docker.image_distribution import ImageDistribution

if TYPE_CHECKING:
    from deployer.manifest.sections import Mount


class FleetData:
    """The data below the `mounts` of a service on each of its hosts.

    It goes through a container of an image that a host may lack: it gets it from the engine of `control`, this host.
    """

    kind: Literal["mount", "playbook"] = "mount"

    def __init__(self, hosts: Sequence[FleetHost], control: FleetHost, mounts: Sequence[Mount], folder: Path) -> None:
        self._supply = ImageDistribution(control)
        every = [(host, DockerData(mounts, folder, host.engine)) for host in hosts]
        self._of = {f"{host.name}:" if hosts[1:] else "": (host, data) for host, data in every}

    def names(self) -> tuple[str, ...]:
        """Return the places in an instance where it may write to what outlives it, on each host."""
        return tuple(f"{prefix}{name}" for prefix, (_, data) in self._of.items() for name in data.names())

    def source(self, name: str) -> str:
        """Return the volume or the folder that is mounted there, with its host."""
        host, data, place = self._found(name)
        return f"{data.source(place)} on {host.name}"

    def save(self, name: str, image: str, target: Path, deadline: Deadline) -> None:
        """Copy what is mounted there into a file of this host; nothing may be running that mounts it."""
        with self._on(name, image, deadline) as (data, place):
            data.save(place, image, target, deadline)

    def is_free(self, name: str, image: str, deadline: Deadline, *, overwrite: bool) -> bool:
        """Return whether nothing is in what is mounted there, or it is a volume, which can be removed."""
        with self._on(name, image, deadline) as (data, place):
            return data.is_free(place, image, deadline, overwrite=overwrite)

    def restore(self, name: str, image: str, saved: SavedData, deadline: Deadline, how: Restoring) -> None:
        """Fill a volume or a folder and read it back; a volume that was not filled to the end is removed."""
        with self._on(name, image, deadline) as (data, place):
            data.restore(place, image, saved, deadline, how)

    @contextmanager
    def _on(self, name: str, image: str, deadline: Deadline) -> Iterator[tuple[DockerData, str]]:
        """Yield the data of the host that a name says, which has the image; its errors name it."""
        host, data, place = self._found(name)
        self._supply.lend(host, image, deadline)
        try:
            yield data, place
        except Refused as error:
            raise Refused(f"{host.name}: {error.message}", error.hint) from error

    def _found(self, name: str) -> tuple[FleetHost, DockerData, str]:
        prefix = "" if "" in self._of else f"{name.partition(':')[0]}:"
        if prefix not in self._of or not name.startswith(f"{prefix}/"):
            known = ", ".join(host.name for host, _ in self._of.values())
            raise Refused(
                f"the bundle has data for {name}, and the service runs on {known}",
                "data of one host goes to one host, data of several to as many of the same names",
            )
        host, data = self._of[prefix]
        return host, data, name.removeprefix(prefix)
