"""`image.yml` brings an image to machines: from the engine here, without what they have, or from a registry."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import docker
import pytest

from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import StepFailed
from deployer.core.resources import builtin
from deployer.drivers.hosts import AnsiblePlaybooks
from deployer.drivers.hosts.inventory import hosts
from deployer.manifest.models import Manifest
from deployer.model import Release
from deployer.transport import ssh
from deployer.transport.timeouts import QUICK
from tests.lab import registry
from tests.lab.archive import Image, layer
from tests.lab.machines import Lab
from tests.machines.conftest import HOME, WEB

pytestmark = pytest.mark.live
CLOCK = SystemClock()
BASE = 8 << 20  # bytes of the layer that both versions share


def _listens(lab: Lab, name: str, port: str) -> bool:
    return port in lab[name].run("cat", "/proc/net/tcp").stdout


@pytest.fixture
def clients(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, docker.DockerClient]]:
    """Yield the engines by machine; that of `home` is the one here."""
    monkeypatch.setenv("DOCKER_HOST", lab[HOME].docker_url)
    made = {name: docker.DockerClient(base_url=lab[name].docker_url, timeout=60) for name in (HOME, *WEB)}
    yield made
    for client in made.values():
        for image in client.images.list():
            client.images.remove(str(image.id), force=True)
        client.close()


@pytest.fixture(scope="module")
def base() -> bytes:
    return os.urandom(BASE)


def version(base: bytes, number: int, folder: Path) -> Image:
    top = folder / f"top{number}"
    top.write_text(f"version {number}")
    bottom = folder / "bottom"
    bottom.write_bytes(base)
    return Image((layer([(bottom, "/base")]), layer([(top, "/top")])), entrypoint=("/none",))


def bring(inventory: Path, reference: str, variables: str = "") -> dict[str, list[str]]:
    """Play image.yml for a release of an image; return what changed, by machine."""
    if variables:
        (inventory / "group_vars" / "web.yml").write_text(variables)
    manifest = Manifest.model_validate({"service": "shop", "image": "shop", "port": 8080})
    release = Release("shop", 1, "1", reference, "sha256:0", manifest, "hash")
    changed: dict[str, list[str]] = {}

    def tell(kind: str, **data: Any) -> None:
        if data.get("status") == "changed":
            changed.setdefault(data["host"], []).append(data["task"])

    driver = AnsiblePlaybooks(inventory.parent, builtin("playbooks"), inventory, CLOCK)
    driver.play(release, None, ["image.yml"], {}, Deadline.after(CLOCK, 600), tell)
    return changed


def received(lab: Lab, name: str) -> int:
    """Return how many bytes have come to a machine by its cable."""
    return int(lab[name].run("cat", "/proc/net/dev").stdout.partition("eth0:")[2].split()[0])


def test_an_image_comes_to_all_machines_and_of_the_next_one_only_what_is_new(
    lab: Lab, inventory: Path, clients: dict[str, docker.DockerClient], base: bytes, tmp_path: Path
) -> None:
    (first,) = clients[HOME].images.load(version(base, 1, tmp_path).archive("shop:1"))
    came = received(lab, "web1")

    assert bring(inventory, "shop:1") == {name: ["Load missing"] for name in WEB}

    assert {clients[name].images.get("shop:1").id for name in WEB} == {first.id}
    assert received(lab, "web1") - came > BASE
    assert bring(inventory, "shop:1") == {}

    (second,) = clients[HOME].images.load(version(base, 2, tmp_path).archive("shop:2"))
    came = received(lab, "web1")
    bring(inventory, "shop:2")

    assert {clients[name].images.get("shop:2").id for name in WEB} == {second.id}
    assert received(lab, "web1") - came < BASE / 4
    assert not [
        line for name in WEB for line in lab[name].run("sh", "-c", "ls /tmp").stdout.split() if "image-" in line
    ]


def test_a_tag_that_means_another_image_by_now_is_brought_again(
    inventory: Path, clients: dict[str, docker.DockerClient], base: bytes, tmp_path: Path
) -> None:
    clients[HOME].images.load(version(base, 3, tmp_path).archive("shop:3"))
    bring(inventory, "shop:3")
    (moved,) = clients[HOME].images.load(version(base, 4, tmp_path).archive("shop:3"))

    bring(inventory, "shop:3")

    assert {clients[name].images.get("shop:3").id for name in WEB} == {moved.id}


def test_an_image_that_is_not_here_fails_before_anything_is_sent(
    inventory: Path, clients: dict[str, docker.DockerClient]
) -> None:
    with pytest.raises(StepFailed, match="Ask the engine here for gone:1") as failed:
        bring(inventory, "gone:1")

    assert "No such image" in str(failed.value)


def test_machines_pull_from_a_registry(
    lab: Lab, inventory: Path, clients: dict[str, docker.DockerClient], base: bytes, tmp_path: Path
) -> None:
    with registry.running() as store:
        store.publish("shop", "5", version(base, 5, tmp_path))
        store.login(tmp_path)
        with tunnels(lab, inventory, store.host):
            for name in WEB:
                (lab[name].folder / "home/.docker").mkdir(exist_ok=True)
                (lab[name].folder / "home/.docker/config.json").write_text((tmp_path / "config.json").read_text())
            reference = f"{store.host}/shop:5"

            first = bring(inventory, reference, "image_from: registry\n")
            second = bring(inventory, reference)

    assert first == {name: [f"Pull {reference}"] for name in WEB}
    assert second == {}
    assert all(clients[name].images.get(reference) for name in WEB)


@contextmanager
def tunnels(lab: Lab, inventory: Path, address: str) -> Iterator[None]:
    """Let the machines reach a port of ours as their own, since engines speak plain HTTP to nobody else."""
    running = [
        subprocess.Popen(
            ssh.line(host, QUICK, "-N", "-R", f"{address}:{address}", "-o", "ExitOnForwardFailure=yes"),
            stdin=subprocess.DEVNULL,
        )
        for host in hosts(inventory, "web", Deadline.after(CLOCK, 120))
    ]
    port = f":{int(address.rpartition(':')[2]):04X}"
    try:
        for name in WEB:
            listens = partial(_listens, lab, name, port)
            Deadline.after(CLOCK, 60).until(listens, f"port of {name}")
        yield
    finally:
        for tunnel in running:
            tunnel.terminate()
        for tunnel in running:
            tunnel.wait(60)
