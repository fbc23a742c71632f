"""Deploys from a bundle that are killed at any point: the next command continues them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import image
from tests.live.bundling import bundle, forget, hosts
from tests.live.conftest import Make
from tests.live.shop import COMMAND_SECONDS, Shop

pytestmark = pytest.mark.live

# What a process does before it is killed: the events of its audit hook (sys.addaudithook) that change something.
KILLED = """
import os, signal, sys
at, left = os.environ.get("KILLED_AT"), [0]
def met(event, arguments):
    if event not in ("open", "os.mkdir", "os.rename", "os.symlink", "os.truncate", "socket.connect"):
        return
    if event == "open" and (not isinstance(arguments[2], int) or not arguments[2] & (os.O_CREAT | os.O_WRONLY)):
        return
    left[0] += 1
    if at and left[0] == int(at):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(met)
from deployer.start import main
try:
    main()
finally:
    if not at:
        print(f"events: {left[0]}", file=sys.stderr)
"""
POINTS = 20


def killed(shop: Shop, command: str, place: Path, at: int) -> subprocess.CompletedProcess[str]:
    """Deploy from a bundle, by a process that is killed before its event of this number; 0 is none."""
    words = [sys.executable, "-c", KILLED, command, "--from", str(place), "--state", str(shop.state)]
    environ = {**shop.environment(), "KILLED_AT": str(at or "")}
    return subprocess.run(words, cwd=shop.folder, env=environ, capture_output=True, text=True, timeout=COMMAND_SECONDS)


def events_of(shop: Shop, command: str, place: Path) -> int:
    counted = killed(shop, command, place, 0)
    assert counted.returncode == 0, counted.stderr
    return int(counted.stderr.rpartition("events: ")[2])


@pytest.mark.long("twenty first deploys that are killed, and what comes after each")
def test_a_first_deploy_that_is_killed_anywhere_is_continued(make_shop: Make) -> None:
    here, there = hosts(make_shop, "process")
    place, ends = bundle(here, "1.0"), []
    events = events_of(there, "up", place)
    for point in range(POINTS):
        there.deploy("down", "-y", "--service", there.name)
        shutil.rmtree(there.state)
        ends.append(killed(there, "up", place, 1 + point * events // POINTS).returncode)
        again = there._run("up", "--from", str(place))
        if again.returncode:  # its rollout had begun
            assert "`deploy resume`" in again.stderr, again.stderr
            there.deploy("resume", "--service", there.name)
        assert there.get().text.strip() == "1.0"
        assert not list((there.state / "bundles").glob(".half-*"))
    assert set(ends) <= {0, -9}
    assert ends.count(-9) > POINTS / 2  # how often it looks at what starts is another number each time


@pytest.mark.parametrize("kind", ["docker", "process"])
@pytest.mark.long("twenty kills, and what comes after each")
def test_a_power_cut_is_continued_by_the_next_command(make_shop: Make, kind: str) -> None:
    here, there = hosts(make_shop, kind)
    place = bundle(here, "1.0")
    forget(here, here.client)

    def fresh() -> None:
        shutil.rmtree(there.state, ignore_errors=True)
        if there.client is not None:
            for identity, names in image.named(there.client).items():
                if any(name.split(":")[0].endswith(f"/{there.name}") for name in names):
                    image.remove(identity, there.client)

    events = events_of(there, "plan", place)
    for point in range(POINTS):
        fresh()
        done = killed(there, "plan", place, 1 + point * events // POINTS)
        assert done.returncode == -9, done.stderr
        there.deploy("plan", "--from", str(place))
        assert not list((there.state / "bundles").glob(".half-*"))
    there.deploy("up", "--from", str(place))
    assert there.get().text.strip() == "1.0"
