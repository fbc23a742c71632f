"""A host starts again and nobody types anything: users are served as before, and may still be rolled back."""

from __future__ import annotations

import json
import subprocess
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests

from deployer.core.clock import Deadline, SystemClock
from tests.lab import image
from tests.lab.machines import Lab, Machine
from tests.machines.installed import install
from tests.services import require

pytestmark = pytest.mark.live
SECONDS = 300.0  # for one command of the deployer
USER, HOME, STATE = "deploy", "/home/deploy", "/var/lib/shop"
MANIFEST = """\
    service: shop
    runtime: process
    image: releases/{version}
    command: [sh, ./run]
    port: 8080
    replicas: 2
    health: {http: /health, interval: 200ms, deadline: 20s}
    traffic: {listen: "*:8080", lease: 30s}
    judge: {requests: 0}
    """


class Box:
    """A host with a service that a user of it deploys, behind our own proxy."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        machine.run("useradd", "-m", USER)
        machine.run("install", "-d", "-o", USER, "-m", "0700", STATE)
        for version in ("1.0", "2.0"):
            place = machine.root / HOME.lstrip("/") / "releases" / version
            image.directory(place, "c")
            (place / "run").write_text(f"VERSION={version} exec ./app\n")
        (machine.root / HOME.lstrip("/") / "deploy.yml").write_text(textwrap.dedent(MANIFEST))
        machine.run("chown", "-R", f"{USER}:", HOME)

    def deploy(self, *arguments: str, expect: int = 0, user: str = USER) -> subprocess.CompletedProcess[str]:
        line = f"cd {HOME} && exec env HOME={HOME} DEPLOYER_STATE={STATE} deploy {' '.join(arguments)}"
        command = self.machine.command("runuser", "-u", user, "--", "sh", "-c", line)
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    def findings(self) -> dict[str, str]:
        """What `deploy doctor` finds wrong, by what it looked at."""
        done = self.machine.run(
            *("runuser", "-u", USER, "--", "sh", "-c"),
            f"cd {HOME} && env HOME={HOME} DEPLOYER_STATE={STATE} deploy doctor --output json",
            check=False,
        )
        found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])["findings"]
        return {f["what"]: f["text"] for f in found if f["level"] != "ok"}

    def version(self) -> str:
        with suppress(requests.RequestException):
            answer = requests.get(f"http://{self.machine.address}:8080/version", timeout=5)
            return answer.text.strip() if answer.ok else ""
        return ""

    def reboot(self, how: str) -> None:
        before = self.machine.boot_id()
        if how == "power":
            self.machine.kill()
            self.machine.start()
        else:
            self.machine.run("systemctl", "reboot", check=False)
        within().until(lambda: self.machine.boot_id() not in ("", before), "the host has started again")
        self.machine.wait()


def within(seconds: float = 90.0) -> Deadline:
    return Deadline.after(SystemClock(), seconds)


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    """Give a service with 2.0 live and 1.0 warm."""
    require("machines", "haproxy", "gcc")
    with Lab({"box": ()}) as lab, lab.entered():
        install(lab["box"])
        made = Box(lab["box"])
        made.deploy("up", "--version", "1.0")
        made.deploy("bluegreen", "--bake", "0", "--version", "2.0")
        yield made


def test_the_doctor_says_what_is_missing_and_root_writes_it(box: Box) -> None:
    assert box.findings()["reboot"] == f"after a reboot nothing starts the proxy and the processes of {STATE}"
    refused = box.deploy("init", "--system", expect=2).stderr
    assert f"as root: deploy init --system --state {STATE}" in refused
    said = box.deploy("init", "--system", user="root").stdout
    assert "wrote and enabled /etc/systemd/system/deployer-var-lib-shop.service" in said
    assert "reboot" not in box.findings()
    assert box.version() == "2.0"
    assert not list((box.machine.root / HOME.lstrip("/")).glob("deploy.yml.*"))


@pytest.mark.parametrize("how", ["reboot", "power"])
def test_users_are_served_after_a_reboot_without_a_command(box: Box, how: str) -> None:
    box.deploy("init", "--system", user="root")
    box.reboot(how)
    within().until(lambda: box.version() == "2.0", "users are served again", hint=box.machine.console())
    owners = box.machine.run("ps", "-o", "user=", "-C", "haproxy,app").stdout.split()
    assert set(owners) == {USER}
    assert len(owners) >= 6, "master and worker of the proxy, two instances of each release"
    within().until(lambda: not box.findings(), "the doctor finds nothing")
    box.deploy("rollback")
    assert box.version() == "1.0"
    box.deploy("rollback", "--to", "2", "--force")
    assert box.version() == "2.0"


def test_a_share_of_a_rollout_ends_with_a_reboot_and_the_rollout_is_taken_back(box: Box) -> None:
    box.deploy("init", "--system", user="root")
    assert box.version() == "2.0"
    box.deploy("canary", "--hold", "--percent", "50", "--for", "1s", "--version", "1.0")
    box.reboot("power")
    within().until(lambda: box.version() != "", "users are served again", hint=box.machine.console())
    box.deploy("abort")
    assert box.version() == "2.0"
    within().until(lambda: not box.findings(), "the doctor finds nothing")


def test_a_unit_that_was_edited_or_disabled_is_told(box: Box) -> None:
    box.deploy("init", "--system", user="root")
    unit = "deployer-var-lib-shop.service"
    box.machine.run("systemctl", "disable", unit)
    assert box.findings()["reboot"] == f"{unit} is not enabled"
    file = box.machine.root / "etc/systemd/system" / unit
    file.write_text(file.read_text().replace(f"User={USER}", "User=root"))
    assert "is not what this version writes" in box.findings()["reboot"]
    box.deploy("init", "--system", user="root")
    assert box.findings() == {}


def test_what_was_taken_down_does_not_come_back(box: Box) -> None:
    box.deploy("init", "--system", user="root")
    box.deploy("down", "--yes")
    box.reboot("reboot")
    within().until(lambda: state_of(box) == "active", "the unit has done its work")
    assert box.machine.run("ps", "-o", "pid=", "-C", "haproxy,app", check=False).stdout == ""


def state_of(box: Box) -> str:
    return box.machine.run("systemctl", "is-active", "deployer-var-lib-shop.service", check=False).stdout.strip()
