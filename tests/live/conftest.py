"""Services of the live tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from tests.live.laptop import SSHD_PATH, Laptop
from tests.live.shop import Shop
from tests.live.sshd import Sshd, sshd
from tests.services import require

Make = Callable[[str], Shop]


@pytest.fixture
def make_shop(state: Path, request: pytest.FixtureRequest) -> Iterator[Make]:
    """Make services by kind of runtime; all are taken down at the end."""
    shops: list[Shop] = []

    def make(kind: str) -> Shop:
        require("haproxy")
        client: docker.DockerClient | None = request.getfixturevalue("engine") if kind == "docker" else None
        folder = state / f"s{len(shops)}"
        folder.mkdir()
        shop = Shop(folder, "docker" if kind == "docker" else "process", client)
        shops.append(shop)
        shop.write()
        return shop

    yield make
    for shop in shops:
        shop.close()


@pytest.fixture(params=["docker", "process"])
def shop(request: pytest.FixtureRequest, make_shop: Make) -> Shop:
    """Return a service on each runtime, with version 1.0 live."""
    shop = make_shop(request.param)
    shop.version("1.0")
    shop.deploy("up", "--version", "1.0")
    return shop


@pytest.fixture
def docker_shop(make_shop: Make) -> Shop:
    """Return a service on Docker, with version 1.0 live."""
    shop = make_shop("docker")
    shop.version("1.0")
    shop.deploy("up", "--version", "1.0")
    return shop


@pytest.fixture
def process_shop(make_shop: Make) -> Shop:
    """Return a service of processes, with version 1.0 live."""
    shop = make_shop("process")
    shop.version("1.0")
    shop.deploy("up", "--version", "1.0")
    return shop


@pytest.fixture
def way(process_shop: Shop) -> Iterator[Sshd]:
    """Make the host of a service a control host: somebody with a key gets in by ssh."""
    require("sshd", "root")
    with sshd(process_shop.folder, {"PATH": SSHD_PATH, "DEPLOYER_STATE": str(process_shop.state)}) as made:
        yield made


@pytest.fixture
def laptop(process_shop: Shop, way: Sshd) -> Laptop:
    """Return somebody with a key for that host, and nothing else."""
    return Laptop(process_shop, way)
