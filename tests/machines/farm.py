"""A service on machines of the lab, as a user would deploy it from the controller."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import docker

from tests.lab.machines import Lab, Machine
from tests.live.shop import Shop
from tests.machines.conftest import write_inventory
from tests.services import require

WEB = ("web1", "web2", "web3")
CONTROL = "control"  # its engine is the one that images are built on


class Farm(Shop):
    """A service whose instances stand on machines, one on each unless said."""

    seconds = 600  # of a command: it asks several hosts, one of which may not answer, on a machine that is busy besides

    def __init__(self, folder: Path, lab: Lab, client: docker.DockerClient, groups: dict[str, Sequence[str]]) -> None:
        super().__init__(folder, "docker", client)
        self.lab = lab
        self.inventory(groups)
        self.manifest |= {
            "hosts": "web",
            "inventory": "inventory",
            "replicas": 1,
            "strategy": {"canary": {"steps": [20], "for": "2s", "bake": "1s"}},
            # What was in flight on a machine that is lost is lost; the next request must not be.
            "health": {"http": "/health", "interval": "200ms", "deadline": "60s"},
        }
        self.write()

    def inventory(self, groups: dict[str, Sequence[str]]) -> None:
        """Write the inventory anew."""
        folder = self.folder / "inventory"
        if folder.exists():
            for file in (folder / "hosts", folder / "group_vars" / "all.yml"):
                file.unlink()
            (folder / "group_vars").rmdir()
            folder.rmdir()
        write_inventory(self.lab, folder, {group: tuple(names) for group, names in groups.items()})

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "DOCKER_HOST": self.lab[CONTROL].docker_url}

    def on(self, machine: str) -> list[str]:
        """Names of the containers of the service on a machine, whatever their state."""
        with engine(self.lab[machine]) as client:
            found = client.containers.list(all=True, filters={"label": f"deployer.service={self.name}"})
            return sorted(str(c.name) for c in found)

    def image_on(self, client: docker.DockerClient) -> str:
        """Return the image of an instance of the service that an engine runs."""
        (runs, *_) = client.containers.list(filters={"label": f"deployer.service={self.name}"})
        return str(runs.attrs["Image"])

    def hosts(self) -> dict[str, str]:
        """Machine of each instance, by name, as `deploy status` has it."""
        return {i["name"]: i["host"] for e in self.status()["environments"] for i in e["instances"]}


@contextmanager
def lab_of_engines() -> Iterator[Lab]:
    """Yield machines with an engine each; who asks stands on the controller, which reaches them."""
    require("machines", "ansible", "haproxy", "gcc")
    with Lab(dict.fromkeys((CONTROL, *WEB), ("docker",))) as made, made.entered():
        yield made


@contextmanager
def engine(machine: Machine) -> Iterator[docker.DockerClient]:
    """Yield a client of a machine's engine, without ssh."""
    client = docker.DockerClient(base_url=machine.docker_url, timeout=30)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def live_farm(lab: Lab, folder: Path, **manifest: object) -> Iterator[Farm]:
    """Yield a service with version 1.0 live on three hosts; `manifest` has keys of its own."""
    with engine(lab[CONTROL]) as client:
        made = Farm(folder, lab, client, {"web": WEB})
        made.write(**manifest)
        try:
            made.version("1.0")
            made.deploy("up", "--version", "1.0")
            yield made
        finally:
            made.close()
