"""A host with a service that a user of it deploys, behind the deployer's own proxy; it can be started again."""

from __future__ import annotations

import json
import subprocess
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

from deployer.core.clock import Deadline, SystemClock
from tests.lab import image
from tests.lab.machines import Machine

USER, HOME, STATE = "deploy", "/home/deploy", "/var/lib/shop"
SECONDS = 600.0  # for one command of the deployer


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

    def __init__(self, machine: Machine, manifest: str = MANIFEST) -> None:
        self.machine, self.url = machine, f"http://{machine.address}:8080"
        self.home = machine.root / HOME.lstrip("/")
        machine.run("useradd", "-m", USER)
        machine.run("install", "-d", "-o", USER, "-m", "0700", STATE)
        for version in ("1.0", "2.0"):
            self.release(self.home / "releases" / version, version)
        (self.home / "deploy.yml").write_text(textwrap.dedent(manifest))
        machine.run("chown", "-R", f"{USER}:", HOME)

    def release(self, folder: Path, version: str) -> None:
        """Put a version of the service into a folder."""
        image.directory(folder, "c")
        (folder / "run").write_text(f"VERSION={version} exec ./app\n")

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
            answer = requests.get(f"{self.url}/version", timeout=20)
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


def within(seconds: float = 180.0) -> Deadline:
    return Deadline.after(SystemClock(), seconds)
