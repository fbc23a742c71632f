"""A host with guests, and its systemd: the unit comes with the first guest, and does its work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deployer.core.errors import DriverFailed
from deployer.drivers.runtime.docker import pressure_watch
from deployer.drivers.runtime.docker.ground import HostGround
from tests.lab.machines import Lab
from tests.lab.machines.machine import Machine
from tests.services import go_without, require
from tests.waiting import within

pytestmark = pytest.mark.live

UNIT = "deployer-pressure"
# Makes a group at the top of cgroup v2, and is busy in it.
GROUP = """tree=/sys/fs/cgroup
[ ! -d $tree/unified ] || tree=$tree/unified
mkdir -p $tree/$1
"""
BUSY = f"""{GROUP}echo $$ > $tree/$1/cgroup.procs
[ ! -d $tree/../cpu ] || case $1 in
deployer-guests/*) until echo $$ > $tree/../cpu/$1/cgroup.procs; do sleep 0.1; done ;;
esac
while :; do :; done
"""
INSIDE = "cd /sys/fs/cgroup; [ ! -d cpu ] || cd cpu; cat deployer-guests/acme/cgroup.procs"
BOUND = ("bound", "cgroupfs", "268435456", "0", "acme", "134217728", "1.5", "64")


@pytest.fixture
def host() -> Iterator[Machine]:
    require("machines")
    if not Path("/proc/pressure/memory").exists():
        go_without("pressure: the kernel tells none (psi=1)")
    with Lab({"lent": ()}) as lab, lab.entered():
        yield lab["lent"]


def test_a_host_freezes_its_guests_by_a_unit_of_systemd(host: Machine) -> None:
    ground = HostGround(lambda words: host.command(*words), "lent")
    program = Path(pressure_watch.__file__).read_text(encoding="utf-8").rstrip()

    def log() -> str:
        return host.run("journalctl", "-u", UNIT, "-n", "20", check=False).stdout

    def told() -> list[str]:
        return ground.do("used", "cgroupfs", "acme")[3:]

    host.run("sh", "-c", GROUP, "sh", "owner")
    assert told() == [f"{UNIT}.service does not run", "", ""]
    ground.do("watch", "cgroupfs", "/run/docker.sock", program)
    within(120).until(lambda: told() == ["", "", ""], "it watches", hint=log())
    first = host.run("systemctl", "show", "-P", "MainPID", UNIT).stdout
    ground.do("watch", "cgroupfs", "/run/docker.sock", program)
    assert host.run("systemctl", "show", "-P", "MainPID", UNIT).stdout == first

    (host.root / "run/busy").write_text(BUSY)
    host.run("systemd-run", "--unit=guest", "sh", "/run/busy", "deployer-guests/acme")

    def bound() -> bool:
        ground.do(*BOUND)  # again: a systemd that knows v1 alone removes groups in which nothing is
        return host.run("sh", "-c", INSIDE, check=False).stdout != ""

    within(120).until(bound, "the guest is in its group", every=0.3)
    for number in range(6):
        host.run("systemd-run", f"--unit=owner{number}", "sh", "/run/busy", "owner")
    within(120).until(lambda: told()[1].endswith(" waits for cpu"), "guests are frozen", hint=log())
    host.run("kill", "-9", first.strip())

    def runs_again() -> bool:
        return told()[0] == "" and host.run("systemctl", "show", "-P", "MainPID", UNIT).stdout not in (first, "0\n")

    within(120).until(runs_again, "systemd starts it again")
    with pytest.raises(DriverFailed, match=r"lent starts no guest now: .*its guests are frozen: .* waits for cpu"):
        ground.do(*BOUND)
    ground.do("raise", "cgroupfs", "somebody")
    ground.do(*BOUND)
    ground.do("lower", "cgroupfs", "somebody")
    within(120).until(lambda: told()[1] != "", "guests are frozen again")

    host.run("systemctl", "stop", *(f"owner{number}" for number in range(6)))
    within(120).until(lambda: told()[1] == "", "guests go on")
