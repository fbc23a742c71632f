"""The machines are what they claim to be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deployer.core.clock import Deadline, SystemClock
from deployer.drivers.hosts.inventory import hosts
from deployer.transport.ssh import line
from deployer.transport.timeouts import QUICK
from tests.documents import REPOSITORY
from tests.lab.machines import Lab
from tests.lab.machines.programs import call
from tests.services import require

pytestmark = pytest.mark.live
CLOCK = SystemClock()


def ssh(inventory: Path, name: str, *command: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    (host,) = hosts(inventory, name, Deadline.after(CLOCK, 120))
    return subprocess.run(
        [*line(host, QUICK), *command], capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL
    )


def test_a_machine_of_an_inventory_is_reached_by_its_ssh_line(lab: Lab, inventory: Path) -> None:
    done = ssh(inventory, "web2", "hostname; cat /proc/1/comm; docker version --format '{{.Server.Os}}'")

    assert (done.returncode, done.stdout.split()) == (0, ["web2", "systemd", "linux"]), done.stderr


def test_an_unknown_host_key_is_refused(lab: Lab, inventory: Path) -> None:
    former = lab.known_hosts.read_text()
    lab.known_hosts.write_text(former.replace("web1", "other").replace(lab["web1"].address, "10.9.9.9"))
    try:
        done = ssh(inventory, "web1", "true")
    finally:
        lab.known_hosts.write_text(former)

    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


def test_a_power_cut_keeps_the_disk_and_a_reboot_comes_back_by_itself(lab: Lab) -> None:
    web = lab["web1"]
    web.run("sh", "-c", "echo kept >/etc/kept; sync; touch /run/gone")
    web.kill()
    web.start()
    web.wait()
    assert web.run("cat", "/etc/kept").stdout == "kept\n"
    assert web.run("test", "-e", "/run/gone", check=False).returncode == 1

    before = web.boot_id()
    assert before
    web.run("systemctl", "reboot", check=False)
    Deadline.after(CLOCK, 180).until(lambda: web.boot_id() not in ("", before), "the reboot")
    web.wait()
    assert web.run("cat", "/etc/kept").stdout == "kept\n"


def test_faults_of_the_network_end_with_heal(lab: Lab, inventory: Path) -> None:
    lab.cut("web1")
    lab.drop("ip daddr " + lab["web2"].address + " tcp dport 22")
    lab["edge1"].freeze()
    for name in ("web1", "web2", "edge1"):
        (host,) = hosts(inventory, name, Deadline.after(CLOCK, 120))
        done = subprocess.run([*line(host, QUICK, "-o", "ConnectTimeout=2"), "true"], capture_output=True, timeout=60)
        assert done.returncode == 255, name
    lab.heal()
    for name in ("web1", "web2", "edge1"):
        assert ssh(inventory, name, "true").returncode == 0


def test_a_lab_whose_test_is_killed_ends_and_the_next_one_sweeps_it_up(tmp_path: Path) -> None:
    require("machines")
    script = (
        "from tests.lab.machines import Lab\nwith Lab({'web1': ()}) as lab:\n print(lab.mark, flush=True)\n input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        mark = owner.stdout.readline().strip()
        assert f"{mark}-web1" in call("ip", "netns", "list").stdout
        os.kill(owner.pid, signal.SIGKILL)

    with Lab({}) as after:
        assert after.mark != mark
        names = call("ip", "netns", "list").stdout
    assert mark not in names
    assert not Path("/tmp", mark).exists()
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{mark}-*"))
    # What was killed is out of the groups a moment before it is gone.
    Deadline.after(CLOCK, 60).until(
        lambda: not any(mark in _read(p) for p in Path("/proc").glob("[0-9]*/environ")), "nothing of it runs", every=0.5
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
