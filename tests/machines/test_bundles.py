"""A bundle is made on one machine and deployed on others, to which no route leads and which have next to nothing."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
import yaml

from tests.lab import image
from tests.lab.archive import Image, layer
from tests.lab.machines import Lab, Machine
from tests.lab.machines.lab import CONTROLLER
from tests.live.laptop import USERS
from tests.load import Load
from tests.machines.installed import install, install_python
from tests.services import require

pytestmark = pytest.mark.live
MAKER, BARE, ENGINE, SMALL = "maker", "bare", "engine", "small"
HOME = "srv/shop"
PORT = 8080
PROGRAMS = ("usr/sbin/haproxy", "usr/bin/docker", "usr/sbin/dockerd", "usr/bin/containerd")
SECONDS = 600


@pytest.fixture(scope="module")
def machines() -> Iterator[Lab]:
    """Yield a machine with a deployer and an engine, and two that know of neither it nor each other."""
    require("machines", "gcc")
    with Lab({MAKER: ("docker",), BARE: (), ENGINE: ("docker",), SMALL: ("docker",)}) as lab, lab.entered():
        install(lab[MAKER])
        for name, lacks in ((BARE, PROGRAMS), (ENGINE, PROGRAMS[:1])):
            for program in lacks:
                (lab[name].root / program).unlink(missing_ok=True)
        for one in (MAKER, BARE, ENGINE):  # the controller alone reaches them, as their users do
            lab.drop(f"ip saddr {lab[one].address} ip daddr != {CONTROLLER}")
        yield lab


class Site:
    """A machine on which a service is to run, with nothing of it but what is carried there."""

    def __init__(self, machine: Machine, python: dict[str, str]) -> None:
        self.machine, self.python = machine, python
        self.url = f"http://{machine.address}:{PORT}"
        (machine.root / HOME).mkdir(parents=True)

    def carry(self, file: Path) -> str:
        """Bring a file there as a stick would; return its digest as the machine reads it."""
        shutil.copy(file, self.machine.root / HOME)
        return self.machine.run("sha256sum", f"/{HOME}/{file.name}").stdout.split()[0]

    def sh(self, *words: str, expect: int = 0) -> str:
        """Run `sh FILE WORDS` there."""
        python = (f"{name}={value}" for name, value in self.python.items())
        return said(self.machine, f"/{HOME}", "env", *python, "sh", *words, expect=expect)

    def version(self) -> str:
        return requests.get(f"{self.url}/version", timeout=30).text.strip()


def made(maker: Machine, kind: str) -> list[Path]:
    """Make bundles of versions 1.0 and 2.0 on a machine, each twice; return the files."""
    folder = maker.root / "srv" / kind
    folder.mkdir(parents=True)
    manifest: dict[str, Any] = {
        "service": "shop",
        "image": "shop" if kind == "docker" else "releases/{version}",
        "runtime": kind,
        "port": 8080,
        "health": {"http": "/health", "interval": "200ms", "deadline": "20s"},
        "traffic": {"listen": f"*:{PORT}"},
        "judge": {"requests": 5},
        "strategy": {"canary": {"steps": [50], "for": "2s", "bake": "1s"}},
    }
    if kind == "process":
        manifest["command"] = ["sh", "./run"]
    (folder / "deploy.yml").write_text(yaml.safe_dump(manifest))
    for version in ("1.0", "2.0"):
        if kind == "docker":
            with closing(docker.DockerClient(base_url=maker.docker_url, timeout=60)) as client:
                image.build(f"shop:{version}", version=version, env={"DRAIN": "3000"}, client=client)
        else:
            command = image.directory(folder / "releases" / version, "c")
            (folder / "releases" / version / "run").write_text(f"VERSION={version} DRAIN=3000 exec {command[0]}\n")
    return [bundle(maker, folder, version) for version in ("1.0", "2.0")]


def bundle(maker: Machine, folder: Path, version: str) -> Path:
    first, second = (folder / f"{version}{name}.bundle" for name in ("", "-again"))
    more = ("--since", "1.0.bundle") if version != "1.0" else ("--with", "deployer")
    for file in (first, second):
        said(maker, f"/srv/{folder.name}", "deploy", "bundle", "make", "--version", version, "-o", file.name, *more)
    assert digest(first) == digest(second)
    return first


def digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def said(machine: Machine, folder: str, *words: str, expect: int = 0) -> str:
    """Run a command in a folder of a machine, with the state folder in there; return what it printed."""
    command = machine.command("sh", "-c", f'cd {folder} && DEPLOYER_STATE=$PWD/state exec "$@"', "sh", *words)
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(("name", "kind"), [(BARE, "process"), (ENGINE, "docker")])
def test_a_file_is_all_that_goes_there(name: str, kind: str, machines: Lab) -> None:
    maker, site = machines[MAKER], Site(machines[name], install_python(machines[name]))
    first, second = made(maker, kind)
    if kind == "docker":
        raw = maker.run("skopeo", "inspect", "--raw", f"oci-archive:/srv/{kind}/{first.name}").stdout
        with closing(docker.DockerClient(base_url=maker.docker_url, timeout=60)) as client:
            assert json.loads(raw)["config"]["digest"] == client.images.get("shop:1.0").id
    for one, other in ((MAKER, name), (name, MAKER)):
        assert machines[one].run("ping", "-c1", "-W1", machines[other].address, check=False).returncode != 0
    for command in ("deploy", "haproxy"):
        assert site.machine.run("sh", "-c", f"command -v {command}", check=False).returncode != 0
    for file in (first, second):
        assert site.carry(file) == digest(file)

    assert "is live" in site.sh(first.name, "up")
    assert site.version() == "1.0"
    with Load(site.url, USERS) as load:
        load.until(lambda now: now.answered > 100, "the load has started")
        site.sh(first.name, "canary", "--from", second.name)
        load.mark("live")
        load.until(lambda now: now.answered > 400, "some requests after the end")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert site.version() == "2.0"
    assert "nothing to do" in site.sh(first.name, "up", "--from", second.name)


def big(maker: Machine, folder: Path, size: int) -> Path:
    """Make a bundle of an image with a layer of so many bytes that nothing packs."""
    folder.mkdir(parents=True)
    (folder / "deploy.yml").write_text("service: big\nimage: big:1\nversion: '1'\nport: 8080\n")
    (folder / "much").write_bytes(os.urandom(size))
    layers, program = image.base()
    made = Image((*layers, layer([(folder / "much", "/much")])), entrypoint=program, env={"PATH": "/"})
    with closing(docker.DockerClient(base_url=maker.docker_url, timeout=60)) as client:
        client.images.load(made.archive("big:1"))
    said(maker, "/srv/big", "deploy", "bundle", "make", "-o", "big.bundle")
    return folder / "big.bundle"


def test_a_full_disk_of_the_engine_is_told_and_the_same_command_continues(machines: Lab) -> None:
    """The engine's data lies on a small disk: too small for the image, then for what loading it takes beside it."""
    maker, small, size = machines[MAKER], machines[SMALL], 40_000_000
    install(small)
    (small.root / HOME).mkdir(parents=True)
    shutil.copy(big(maker, maker.root / "srv" / "big", size), small.root / HOME)
    small.run("systemctl", "stop", "docker.socket", "docker")
    small.run("mount", "-t", "tmpfs", "-o", "size=56m", "tmpfs", "/var/lib/docker")
    small.run("systemctl", "start", "docker")
    small.wait()
    small.run("dd", "if=/dev/zero", "of=/var/lib/docker/filler", "bs=1M", "count=20")

    def used() -> int:
        return int(small.run("du", "-s", "--block-size=1", "/var/lib/docker").stdout.split()[0])

    def refused() -> str:
        return said(small, f"/{HOME}", "deploy", "plan", "--from", "big.bundle", expect=2)

    before = used()
    first = refused()
    needed = re.search(
        r"needs ([0-9,]+) bytes in /var/lib/docker, where the engine keeps its data; ([0-9,]+) are", first
    )
    assert needed is not None, first
    assert int(needed[1].replace(",", "")) > size > int(needed[2].replace(",", ""))
    assert "make room there" in first
    small.run("rm", "/var/lib/docker/filler")
    second = refused()
    assert "the engine does not take the image of" in second
    assert re.search(r"no space left on device.*; [0-9,]+ bytes are free in /var/lib/docker", second), second
    with closing(docker.DockerClient(base_url=small.docker_url, timeout=60)) as client:
        assert client.images.list(all=True) == []
    assert used() < before - 15_000_000
    small.run("mount", "-o", "remount,size=400m", "/var/lib/docker")
    said(small, f"/{HOME}", "deploy", "plan", "--from", "big.bundle")
    with closing(docker.DockerClient(base_url=small.docker_url, timeout=60)) as client:
        assert len(client.images.list()) == 1
