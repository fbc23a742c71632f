"""The hosts of proxies that tests share: a disk without room, and how they are whole again for the next test."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from deployer.core.clock import Deadline, SystemClock
from deployer.core.filelock import FileLock
from tests.lab.machines import Lab, Machine

CLOCK = SystemClock()
CONFIG = "/etc/haproxy/deployer.d"
PROXY = f"{CONFIG}/deployer"  # the folder of deployer's files
PATIENCE = 60.0  # seconds: as long as a deployer there waits for a word of a client that is cut off
_FILL = f"""\
mount -t tmpfs -o size=256k tmpfs /mnt
cp -a {PROXY}/. /mnt && cat /dev/zero >/mnt/zeros 2>/dev/null
[ -s /mnt/zeros ] && mount --move /mnt {PROXY} || {{ umount /mnt; exit 1; }}
"""
_MEND = f"""\
while mountpoint -q {PROXY}; do umount --lazy {PROXY} || exit 1; done
systemctl reset-failed haproxy
systemctl start haproxy
"""


@contextmanager
def full(machine: Machine) -> Iterator[None]:
    """Let the disk with deployer's files of a proxy have no room.

    From a moment on at which nobody changes them: what is being written then, and removed a moment later, would leave
    the room that it took.
    """
    lock = FileLock(machine.root / PROXY.lstrip("/") / "lock")
    with lock.held(PATIENCE):
        machine.run("sh", "-c", _FILL)
    try:
        yield
    finally:
        # A deployer there that was asked last may be on its way out.
        Deadline.after(CLOCK, PATIENCE).until(partial(_emptied, machine), f"{PROXY} of {machine.name} is let go")


def _emptied(machine: Machine) -> bool:
    return machine.run("umount", PROXY, check=False).returncode == 0


def mend(lab: Lab, names: Iterable[str]) -> None:
    """Undo what a test has done to network, disks and HAProxy, wherever it was left."""
    lab.heal()
    for name in names:
        lab[name].run("sh", "-c", _MEND)


def whole(lab: Lab, names: Iterable[str]) -> None:
    """See that the hosts of proxies are as a test finds them: reached, their HAProxy running, nobody's service there.

    What is not is put right for the next test, and told by an AssertionError.
    """
    wrong = [told for name in names for told in _faults(lab[name])]
    assert not wrong, "; ".join(wrong)


def _faults(machine: Machine) -> Iterator[str]:
    Deadline.after(CLOCK, PATIENCE).until(partial(_greets, machine.address), f"sshd of {machine.name} greets")
    if machine.run("mountpoint", "-q", PROXY, check=False).returncode == 0:
        yield f"the disk of {machine.name} is another one"
    files = machine.root / PROXY.lstrip("/") / "services"
    if left := sorted(file.stem for file in files.glob("*.json")):
        yield f"{machine.name} still has {', '.join(left)}"
        machine.run("sh", "-c", f"rm -rf {PROXY} {CONFIG}/deployer.cfg && systemctl restart haproxy")
    if (state := machine.run("systemctl", "is-active", "haproxy", check=False).stdout.strip()) != "active":
        yield f"the HAProxy of {machine.name} is {state}"
        machine.run("systemctl", "restart", "haproxy")


def _greets(address: str) -> bool:
    with suppress(OSError), socket.create_connection((address, 22), 2) as connection:
        return connection.recv(4) == b"SSH-"
    return False
