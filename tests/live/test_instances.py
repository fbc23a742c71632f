"""What reaches the containers of a service, what must reach nobody else, and which images stay for a rollback."""

from __future__ import annotations

import json
import secrets
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest

from deployer.core.clock import Deadline, SystemClock
from deployer.drivers.runtime.docker import commands
from tests.lab import image
from tests.live.conftest import Make
from tests.live.shop import Shop

pytestmark = pytest.mark.live

AT_ONCE = ("bluegreen", "--bake", "0")


def client_of(shop: Shop) -> docker.DockerClient:
    assert shop.client is not None
    return shop.client


def inspected(shop: Shop) -> list[dict[str, Any]]:
    """Return what `docker inspect` says about each container of the service."""
    return [client_of(shop).containers.get(name).attrs for name in shop.containers()]


def ask(shop: Shop, name: str, *command: str) -> str:
    """Run a command of the test app, which prints something, in a container."""
    deadline = Deadline.after(SystemClock(), 30)
    code, output = commands.run(client_of(shop), name, [*image.base()[1], *command], deadline)
    assert code == 0, output
    return output.rstrip("\n")


# -- secrets


@contextmanager
def watched_arguments(seen: set[str]) -> Iterator[None]:
    """Collect the command lines of all processes of this host while something happens."""
    end = threading.Event()

    def look() -> None:
        while not end.wait(0.02):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except (FileNotFoundError, ProcessLookupError):
                    continue  # it ended just now

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join(10)


@pytest.mark.long("three rollouts while all processes are looked at")
def test_secrets_reach_the_instance_and_nobody_else(make_shop: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = make_shop("docker")
    shop.write(
        replicas=1,
        keep={"warm": "0s"},  # so that the rollback starts the old release anew
        secrets={
            "DATABASE_URL": {"env": "TEST_DATABASE_URL"},
            "TOKEN": {"file": "token"},
            "KEY": {"command": ["cat", "key"]},
        },
    )
    shop.version("1.0")
    planted: list[str] = []

    def plant() -> list[str]:
        values = [f"{name}-{secrets.token_hex(12)}" for name in ("db", "token", "key")]
        monkeypatch.setenv("TEST_DATABASE_URL", values[0])
        (shop.folder / "token").write_text(values[1] + "\n")
        (shop.folder / "key").write_text(values[2])
        planted.extend(values)
        return values

    def delivered() -> list[str]:
        (name,) = shop.containers()
        paths = [ask(shop, name, "env", f"{secret}_FILE") for secret in ("DATABASE_URL", "TOKEN", "KEY")]
        assert paths == ["/run/secrets/DATABASE_URL", "/run/secrets/TOKEN", "/run/secrets/KEY"]
        return [ask(shop, name, "cat", path) for path in paths]

    shown: list[str] = []

    def deploy(*arguments: str) -> None:
        done = shop.deploy(*arguments)
        shown.extend((done.stdout, done.stderr, json.dumps(inspected(shop))))

    processes: set[str] = set()
    with watched_arguments(processes):
        old = plant()
        deploy("up", "--version", "1.0")
        assert delivered() == old
        new = plant()
        deploy("plan", "--version", "1.0", "--output", "json")
        deploy(*AT_ONCE, "--version", "1.0", "--output", "json")  # other secrets make another release
        assert delivered() == new
        deploy("rollback")
        assert delivered() == old, "a rollback brings back the values of its time"
        for query in ("status", "history", "show", "releases", "logs"):
            deploy(query, "--output", "json")

    assert any(shop.name in line or str(shop.state) in line for line in processes), "the look at processes saw ours"
    places = {"what was printed or inspected": "\n".join(shown), "arguments of processes": "\n".join(processes)}
    vault = shop.state / "secrets"
    for file in shop.state.rglob("*"):
        if file.is_file() and vault not in file.parents:
            places[str(file)] = file.read_bytes().decode(errors="replace")
    assert any(place.endswith(".db") for place in places), f"the store was looked at: {sorted(places)}"
    found = [place for place, text in places.items() if any(value in text for value in planted)]
    assert found == []
    kept = [file for file in vault.rglob("*") if file.is_file()]
    assert kept, "the values of the releases are here"
    assert {stat.S_IMODE(file.stat().st_mode) for file in kept} == {0o600}


# -- how a container is made


@pytest.mark.long("a service on an engine")
def test_what_the_manifest_says_is_what_the_engine_runs(make_shop: Make) -> None:
    shop = make_shop("docker")
    data = shop.folder / "data"
    data.mkdir()
    (data / "greeting").write_text("hello from the host\n")
    shop.write(
        env={"LOG_LEVEL": "debug", "MOTTO": "50% off; \"now\" & 'here' $HOME"},
        limits={"cpus": 0.5, "memory": "64m", "pids": 64},
        user="1234:1234",
        read_only=True,
        mounts=[{"source": str(data), "target": "/data", "read_only": True}],
        log={"driver": "json-file", "options": {"max-size": "1m"}},
        stop={"signal": "SIGINT", "drain": "5s", "grace": "2s"},
    )
    shop.version("1.0")
    shop.deploy("up", "--version", "1.0")
    assert shop.get().headers["X-Version"] == "1.0"
    containers = inspected(shop)
    assert len(containers) == 2
    for container in containers:
        host, config = container["HostConfig"], container["Config"]
        assert (host["NanoCpus"], host["Memory"], host["PidsLimit"]) == (500_000_000, 64 * 1024**2, 64)
        assert (config["User"], config["StopSignal"], host["ReadonlyRootfs"]) == ("1234:1234", "SIGINT", True)
        assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"])
        assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "1m"}}
        assert {"LOG_LEVEL=debug", "PORT=8080", "MOTTO=50% off; \"now\" & 'here' $HOME"} <= set(config["Env"])
        mounts = [(m["Type"], m["Source"], m["Destination"], m["RW"]) for m in container["Mounts"]]
        assert mounts == [("bind", str(data), "/data", False)]
        (published,) = (p for ports in container["NetworkSettings"]["Ports"].values() for p in ports)
        assert published["HostIp"] == "127.0.0.1", "users reach an instance through the proxy only"
    name = containers[0]["Name"].lstrip("/")
    assert ask(shop, name, "cat", "/data/greeting") == "hello from the host"
    assert ask(shop, name, "env", "MOTTO") == "50% off; \"now\" & 'here' $HOME"
    assert "\nUid:\t1234\t1234\t" in ask(shop, name, "cat", "/proc/1/status")
    assert "\nNoNewPrivs:\t1\n" in ask(shop, name, "cat", "/proc/1/status")


# -- images


@pytest.mark.long("six rollouts on an engine")
def test_old_images_go_and_rollback_targets_stay(make_shop: Make) -> None:
    shop = make_shop("docker")
    client = client_of(shop)
    shop.write(replicas=1, keep={"warm": "0s", "releases": 2})
    versions = [f"{number}.0" for number in range(1, 6)]
    identities: dict[str, str] = {}
    for version in versions:
        shop.version(version)
        identities[version] = str(client.images.get(f"{shop.name}:{version}").id)
        shop.deploy(*AT_ONCE, "--version", version)
    assert ours(shop) == {identities["4.0"], identities["5.0"]}
    for version in versions:  # what a person built stays
        assert client.images.get(f"{shop.name}:{version}").id == identities[version]

    client.images.remove(f"{shop.name}:4.0")  # the person's own tag goes, ours holds the image
    shop.deploy("rollback")
    assert shop.get().headers["X-Version"] == "4.0"
    assert ours(shop) == {identities["4.0"]}, "a release that was left is no rollback target any more"


def ours(shop: Shop) -> set[str]:
    """Return the ids of the images of the service that a tag of ours keeps."""
    return {
        identity
        for identity, names in image.named(client_of(shop)).items()
        if any(name.startswith("deployer-") and f"/{shop.name}:" in name for name in names)
    }
