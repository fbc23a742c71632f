"""What breaks around a service: an instance that dies, a disk that is full, a folder that cannot be written to."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from deployer.core.errors import Exit
from tests.acceptance.users import met, more, users
from tests.disks import mounted
from tests.live.conftest import Make
from tests.live.shop import COMMAND_SECONDS, Shop
from tests.load import Options
from tests.services import require

pytestmark = pytest.mark.live

READERS = Options(rate=60, kinds=("fresh", "busy", "sticky"))
SIZE = "64M"


def test_an_instance_that_is_killed_costs_no_reader_anything_and_comes_back(shop: Shop) -> None:
    """Requests that may be repeated go to the other instance; the page on traffic says which these are."""
    with users(shop.url, READERS) as load:
        kill_one(shop)
        load.mark("killed")
        more(load)
        shop.wait(lambda s: all(i["up"] for e in s["environments"] for i in e["instances"]), "both are up again")
    assert met(load, "killed") == {"1.0"}


def kill_one(shop: Shop) -> None:
    """End the first instance, as the kernel does when memory is short."""
    if shop.client is not None:
        (first, _) = shop.containers()
        os.kill(shop.client.containers.get(first).attrs["State"]["Pid"], signal.SIGKILL)
        return
    found = subprocess.run(["pgrep", "-f", "-x", r"\./app|.*-S app\.py"], capture_output=True, text=True, check=True)
    ours = [int(pid) for pid in found.stdout.split() if Path(f"/proc/{pid}/cwd").resolve().is_relative_to(shop.folder)]
    os.kill(ours[0], signal.SIGKILL)


@pytest.fixture
def on_a_disk(make_shop: Make) -> Iterator[Shop]:
    """Yield a service whose state folder is a small disk, with 2.0 live and 1.0 warm."""
    shop = make_shop("process")
    shop.state.mkdir(mode=0o700)
    with mounted(shop.state, SIZE):
        for version in ("1.0", "2.0"):
            shop.live(version)
        yield shop
        shop.close()  # before its disk is gone


@pytest.mark.long("five commands on a full disk, under load", every_change=True)
def test_a_full_disk_stops_a_deploy_but_neither_users_nor_the_way_back(on_a_disk: Shop) -> None:
    shop = on_a_disk
    shop.version("3.0")
    filler = shop.state / "filler"
    with users(shop.url) as load:
        with filler.open("wb") as file:
            fill(file.fileno())
        refused = shop.deploy("bluegreen", "--bake", "0", "--version", "3.0", expect=Exit.REFUSED).stderr
        assert "cannot be written: no space is left" in refused
        status = shop.status()
        assert status["stable_version"] == "2.0"
        assert any("cannot be written: no space is left" in problem for problem in status["problems"])
        assert "free space: at least" in shop.deploy("doctor", expect=Exit.NEEDS_PERSON).stdout
        load.mark("refused")
        more(load)
        assert met(load, "refused") == {"2.0"}
        assert "users are safe" in shop.deploy("rollback", expect=Exit.NEEDS_PERSON).stderr
        load.mark("back")
        more(load)
        assert met(load, "back") == {"1.0"}
        filler.unlink()
        assert "r1 (1.0) is live" in shop.deploy("rollback").stdout, "what was left to do"
        shop.deploy("bluegreen", "--bake", "0", "--version", "3.0")
        load.mark("room")
    assert met(load, "room") == {"3.0"}


def fill(descriptor: int) -> None:
    """Write until nothing more fits."""
    with suppress(OSError):
        while os.write(descriptor, b"\0" * 65536):
            pass


@pytest.mark.long("five commands under load")
def test_a_state_folder_that_is_read_only_stops_a_deploy_but_neither_users_nor_the_way_back(
    process_shop: Shop,
) -> None:
    require("root")
    shop = process_shop
    shop.live("2.0")
    shop.version("3.0")
    with users(shop.url) as load:
        assert str(shop.state) in read_only(shop, "bluegreen", "--version", "3.0", expect=Exit.REFUSED)
        status = read_only(shop, "status", expect=Exit.DONE)
        assert "Read-only file system" in status
        assert "r2 (2.0) is live for everyone" in status
        assert "Read-only file system" in read_only(shop, "doctor", expect=Exit.NEEDS_PERSON)
        assert "r1 → r2 (2.0)" in read_only(shop, "history", expect=Exit.DONE)
        load.mark("refused")
        more(load)
        assert met(load, "refused") == {"2.0"}
        assert "users are safe" in read_only(shop, "rollback", expect=Exit.NEEDS_PERSON)
        load.mark("back")
        more(load)
        assert met(load, "back") == {"1.0"}
        assert "r1 (1.0) is live" in shop.deploy("rollback").stdout, "what was left to do"
        load.mark("writable")
    assert met(load, "writable") == {"1.0"}


def read_only(shop: Shop, *arguments: str, expect: int) -> str:
    """Run `deploy ARGUMENTS` where the state folder is on a file system that nobody can write to."""
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    apart = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(shop.state)]
    done = subprocess.run(
        [*apart, *shop.command(*arguments)],
        cwd=shop.folder,
        env=shop.environment(),
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert done.returncode == expect, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr
