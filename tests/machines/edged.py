"""A service behind two proxies of the lab, and the machines for it."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker

from tests.lab.machines import Lab
from tests.machines.conftest import deploy, write_inventory
from tests.machines.farm import CONTROL, Farm
from tests.machines.installed import install
from tests.services import require

WEB, EDGE = ("web1", "web2"), ("edge1", "edge2")


def connections(state: Path) -> list[Path]:
    """Return the sockets of the connections to proxies that a state folder keeps."""
    return list((state / "emergency").glob(".ssh-*"))


def end_connections(state: Path) -> None:
    """End these connections."""
    for socket in connections(state):
        line = ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "any"]
        subprocess.run(line, capture_output=True, timeout=20, check=False)


class Edged(Farm):
    """A service on two machines behind two proxies."""

    def __init__(self, folder: Path, lab: Lab, client: docker.DockerClient) -> None:
        super().__init__(folder, lab, client, {"web": WEB, "edge": EDGE})
        self.manifest["traffic"] = {"listen": f"*:{self.port}", "proxies": "edge", "lease": "6s"}
        self.write()
        self.urls = {name: f"http://{lab[name].address}:{self.port}" for name in EDGE}
        self.url = self.urls["edge1"]

    def close(self) -> None:
        try:
            super().close()
        finally:
            self.cut_off()

    def kept(self) -> list[Path]:
        """The sockets of the connections to proxies that are kept."""
        return connections(self.state)

    def cut_off(self) -> None:
        """End them."""
        end_connections(self.state)

    def live_at(self, edge: str) -> str:
        """The live value at a proxy, as its file has it."""
        file = self.lab[edge].root / "etc/haproxy/deployer.d/deployer/maps/state.map"
        values = dict(line.split(" ", 1) for line in file.read_text().splitlines())
        return values[self.name]


@contextmanager
def lab_of_edges() -> Iterator[Lab]:
    """Yield machines with engines, and two with a proxy and a deployer; who asks stands on the controller."""
    require("machines", "ansible", "haproxy", "gcc")
    services = {**dict.fromkeys((CONTROL, *WEB), ("docker",)), **dict.fromkeys(EDGE, ("haproxy",))}
    with Lab(services) as made, made.entered(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inventory(made, folder / "inventory", {"web": WEB, "edge": EDGE})
        deploy(folder, "hosts", "setup", "-i", "inventory", "--limit", "edge", "--yes")
        for edge in EDGE:
            install(made[edge])
        yield made
