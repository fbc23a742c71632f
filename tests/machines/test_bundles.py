"""A bundle is made on one machine and deployed on others, to which no route leads and which have next to nothing."""

from __future__ import annotations

import hashlib
import json
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
from tests.lab.machines import Lab, Machine
from tests.lab.machines.lab import CONTROLLER
from tests.live.laptop import USERS
from tests.load import Load
from tests.machines.installed import install, install_python
from tests.services import require

pytestmark = pytest.mark.live
MAKER, BARE, ENGINE = "maker", "bare", "engine"
HOME = "srv/shop"
PORT = 8080
PROGRAMS = ("usr/sbin/haproxy", "usr/bin/docker", "usr/sbin/dockerd", "usr/bin/containerd")
SECONDS = 600


@pytest.fixture(scope="module")
def machines() -> Iterator[Lab]:
    """Give a machine with a deployer and an engine, and two that know of neither it nor each other."""
    require("machines", "gcc")
    with Lab({MAKER: ("docker",), BARE: (), ENGINE: ("docker",)}) as lab, lab.entered():
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
        return requests.get(f"{self.url}/version", timeout=10).text.strip()


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
