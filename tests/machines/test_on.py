"""`deploy --on` from a second machine of the lab, whose only way to the control host is a cable and a key."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployer.core.errors import Exit
from tests.lab.machines import Lab, Machine
from tests.lab.machines.lab import CONTROLLER
from tests.live.afar import kinds, recorded, rest, until
from tests.live.laptop import SSHD_PATH, USERS
from tests.live.shop import COMMAND_SECONDS, Shop
from tests.live.sshd import Sshd, args, sshd
from tests.load import Load
from tests.machines.installed import install
from tests.services import require

pytestmark = pytest.mark.live


class Laptop:
    """A machine with a deployer, a key for the control host, and nothing else."""

    def __init__(self, machine: Machine, shop: Shop, way: Sshd) -> None:
        self.machine = machine
        self.url = f"{way.address}{shop.folder}"
        shutil.copytree(way.keys, machine.root / "root/keys", dirs_exist_ok=True)

    def command(self, *arguments: str) -> list[str]:
        settings = {"DEPLOYER_ON": self.url, "DEPLOYER_SSH_ARGS": args(Path("/root/keys")), "DEPLOYER_ACTOR": "ann"}
        return self.machine.command("env", *(f"{k}={v}" for k, v in settings.items()), "deploy", *arguments)

    def deploy(self, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=COMMAND_SECONDS)
        assert done.returncode == expect, f"{shlex.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    @contextmanager
    def start(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            self.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture(scope="module")
def machines() -> Iterator[Lab]:
    require("machines", "haproxy", "gcc")
    with Lab({"laptop": ()}) as made, made.entered():
        install(made["laptop"])
        yield made


@pytest.fixture
def shop(machines: Lab, state: Path) -> Iterator[Shop]:
    """Yield a service with version 1.0 live on the controller."""
    folder = state / "s"
    folder.mkdir()
    made = Shop(folder, "process", None)
    made.program = "c"
    made.write(strategy={"canary": {"steps": [{"share": 30, "for": "10m"}], "bake": "0s"}})
    for version in ("1.0", "2.0", "3.0"):
        made.version(version)
    try:
        made.deploy("up", "--version", "1.0")
        yield made
    finally:
        made.close()


@pytest.fixture
def laptop(machines: Lab, shop: Shop) -> Iterator[Laptop]:
    with sshd(shop.folder, {"PATH": SSHD_PATH, "DEPLOYER_STATE": str(shop.state)}, CONTROLLER) as way:
        yield Laptop(machines["laptop"], shop, way)
    machines.heal()


def test_a_deploy_from_elsewhere_and_one_here_are_one_hand(shop: Shop, laptop: Laptop, machines: Lab) -> None:
    here = re.escape(socket.gethostname())
    with shop.start("canary", "--version", "2.0", "--output", "json") as mine:
        until(mine, "sample")
        refused = laptop.deploy("up", "--version", "3.0", expect=Exit.LOCKED)
        who = (
            rf"{shop.name} is being changed by \S+@{here} since \d\d:\d\d:\d\d: canary of 2\.0"
            rf" \(pid {mine.pid} on {here}, "
        )
        assert re.search(who, refused.stderr), refused.stderr
        assert "was rolled back" in laptop.deploy("abort", "-m", "I come first").stdout
        rest(mine, Exit.ABORTED)
    with laptop.start("canary", "--version", "3.0", "--output", "json") as theirs:
        until(theirs, "sample")
        refused = shop.deploy("up", "--version", "2.0", expect=Exit.LOCKED)
        address = re.escape(machines["laptop"].address)
        who = (
            rf"{shop.name} is being changed by ann@laptop since \d\d:\d\d:\d\d: canary of 3\.0"
            rf" \(pid \d+ on {here}, --on, ssh from {address}, deployer "
        )
        assert re.search(who, refused.stderr), refused.stderr
        assert laptop.deploy("promote", "-m", "good").stdout == "r3 (3.0) is live\n"
        events, _ = rest(theirs, Exit.DONE)
    assert events[-1]["outcome"] == "done"
    started = shop.events("history")[0]["rollouts"]
    assert [(row["by"].partition("@")[0] == "ann", row["outcome"]) for row in started[:2]] == [
        (True, "done"),
        (False, "reverted"),
    ]


def test_a_cable_that_is_pulled_in_mid_rollout_and_put_back(shop: Shop, laptop: Laptop, machines: Lab) -> None:
    shop.write(strategy={"canary": {"steps": [{"share": 30, "for": "90s"}], "bake": "0s"}})
    with Load(shop.url, USERS) as load:
        with laptop.start("canary", "--version", "2.0", "--output", "json") as client:
            begun = until(client, "sample")
            machines.cut("laptop")
            told = until(client, "note")  # ssh has noticed, by its keep-alives
            assert shop.status()["share"] == 3000, "the rollout goes on"
            machines.heal()
            shown, _ = rest(client, Exit.DONE)
        report = load.stop()
    assert "the server does not respond" in told[-1]["text"]
    assert report.failed == 0, report.text()
    assert kinds(begun + told + shown) == kinds(recorded(shop, 2)), "nothing is missed, nothing is shown twice"
    assert shown[-1]["outcome"] == "done"
    assert len(shop.events("history")[0]["rollouts"]) == 2
