"""A host starts again and nobody types anything: users are served as before, and may still be rolled back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.machines import Lab
from tests.machines.box import HOME, STATE, USER, Box, within
from tests.machines.installed import install
from tests.services import require

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    """Yield a service with 2.0 live and 1.0 warm."""
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
    within().until(
        lambda: len(owners(box)) >= 6, "master and worker of the proxy, two instances of each release are there"
    )
    assert set(owners(box)) == {USER}
    within().until(lambda: not box.findings(), "the doctor finds nothing")
    box.deploy("rollback", "--to", "1", "--force")  # by name: the case before has rolled it back, too
    assert box.version() == "1.0"
    box.deploy("rollback", "--to", "2", "--force")
    assert box.version() == "2.0"


def owners(box: Box) -> list[str]:
    """Return whose each process of the proxy and of the instances is."""
    return box.machine.run("ps", "-o", "user=", "-C", "haproxy,app", check=False).stdout.split()


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
