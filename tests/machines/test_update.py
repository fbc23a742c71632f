"""`deploy hosts update` of machines on which instances have users."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import state_folder
from tests.lab.machines import Lab, Machine
from tests.load import Load, Options
from tests.machines.farm import WEB, Farm, lab_of_engines, live_farm

pytestmark = pytest.mark.live
USERS = Options(rate=60, kinds=("fresh", "busy", "post", "sticky"))
UPDATE = ("hosts", "update", "--yes", "-m", "security fixes")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Yield machines whose packages are all there are: an update brings nothing, and takes seconds."""
    with lab_of_engines() as made:
        for name in WEB:
            made[name].run("sh", "-c", "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*")
        yield made


@pytest.fixture(scope="module")
def farm(lab: Lab) -> Iterator[Farm]:
    """Yield a service with version 1.0 live on three machines."""
    with state_folder(Path("/tmp")) as folder, live_farm(lab, folder) as made:
        yield made


def audit(farm: Farm) -> list[tuple[str, str, str]]:
    """Return what was recorded of machines, the newest first."""
    records = farm.events("audit")[0]["records"]
    assert {r["reason"] for r in records if r["action"] == "hosts-update" and r["result"] != "failed"} <= {
        "security fixes"
    }
    return [(r["action"], r["result"], r["detail"]) for r in records if r["action"] == "hosts-update"]


def up(status: dict[str, Any]) -> dict[str, bool]:
    return {i["host"]: i["up"] for e in status["environments"] for i in e["instances"]}


def test_two_machines_reboot_one_after_the_other_and_nobody_notices(farm: Farm, lab: Lab) -> None:
    for name in ("web1", "web2"):
        lab[name].run("touch", "/var/run/reboot-required")
    boots = {name: lab[name].boot_id() for name in WEB}
    with Load(farm.url, USERS) as load:
        load.until(lambda now: now.answered > 40, "the load runs")
        done = farm.deploy(*UPDATE, "--limit", "web1,web2")
        wanted = load.counters().answered + 60
        load.until(lambda now: now.answered >= wanted, "requests after the update")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert [name for name in WEB if lab[name].boot_id() != boots[name]] == ["web1", "web2"]
    assert up(farm.status()) == dict.fromkeys(WEB, True)
    farm.deploy("doctor")
    steps = [line for line in done.stderr.splitlines() if "-r1-" in line]
    ways = ("no new requests", "no request is open any more", "in rotation again") * 2
    assert all(way in step for way, step in zip(ways, steps, strict=True)), done.stderr
    assert audit(farm) == [
        ("hosts-update", "done", "web1, web2"),
        ("hosts-update", "begun", f"web1, web2 of {farm.folder / 'inventory'}"),
    ]


def test_what_fails_on_a_machine_ends_it_and_the_machine_serves_again(farm: Farm, lab: Lab) -> None:
    lab["web1"].run("sh", "-c", "echo nonsense >/etc/apt/sources.list.d/broken.list")
    try:
        with Load(farm.url, USERS) as load:
            load.until(lambda now: now.answered > 40, "the load runs")
            done = farm.deploy(*UPDATE, expect=4)
            report = load.stop()
    finally:
        lab["web1"].run("rm", "/etc/apt/sources.list.d/broken.list")
    assert report.failed == 0, report.text()
    assert "failed on web1" in done.stderr
    assert "no host done; not done: web1, web2, web3" in done.stderr
    assert up(farm.status()) == dict.fromkeys(WEB, True)
    assert audit(farm)[0][1] == "failed"


def test_what_would_take_too_much_is_refused_and_what_is_killed_is_put_right(farm: Farm, lab: Lab) -> None:
    boots = {name: lab[name].boot_id() for name in WEB}
    done = farm.deploy(*UPDATE, "--at-once", "2", expect=2)
    assert (
        f"web1, web2 cannot be taken out of rotation: {farm.name} would have 1 of 3 instances for its users"
        in done.stderr
    )

    with standing_still(lab["web3"]):
        killed_in_the_middle(farm)
    assert f"the proxy sends no traffic to {farm.name}-r1-3" in farm.deploy("doctor", expect=8).stdout
    farm.deploy("doctor", "--fix")
    assert up(farm.status()) == dict.fromkeys(WEB, True)
    assert {name: lab[name].boot_id() for name in WEB} == boots


@contextmanager
def standing_still(machine: Machine) -> Iterator[None]:
    """Let each update of a machine stand still in its middle: whoever looks, or interrupts it, is not too late."""
    (machine.root / "run/stands").touch()
    hook = machine.root / "etc/apt/apt.conf.d/99stands"
    hook.write_text('APT::Update::Pre-Invoke {"while [ -e /run/stands ]; do sleep 0.2; done";};\n')
    try:
        yield
    finally:
        hook.unlink()
        (machine.root / "run/stands").unlink()


def killed_in_the_middle(farm: Farm) -> None:
    """Interrupt an update of web3, which takes it back, and kill another one, which does not."""
    with farm.start(*UPDATE, "--limit", "web3") as update:
        status = farm.wait(lambda now: up(now)["web3"] is False, "web3 is out of rotation")
        assert "update of web3" in str(status["lock"])
        refused = farm.deploy("bluegreen", "--version", "1.0", expect=5)
        assert "update of web3" in refused.stderr
        update.send_signal(signal.SIGTERM)
        assert update.wait(120) == 6
    assert up(farm.status())["web3"] is True, "it came back before the process ended"

    with farm.start(*UPDATE, "--limit", "web3") as update:
        farm.wait(lambda now: up(now)["web3"] is False, "web3 is out of rotation")
        update.kill()
        update.wait(60)
