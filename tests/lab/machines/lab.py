"""A switch, a controller and machines, each in a network namespace; nothing is added to the test machine's own."""

from __future__ import annotations

import ctypes
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from deployer.core.clock import Deadline, SystemClock
from tests.lab.machines import cgroups
from tests.lab.machines.machine import Machine
from tests.lab.machines.programs import call

CLOCK = SystemClock()
BASE = Path("/tmp")
NETWORK = "10.213.0"
CONTROLLER = f"{NETWORK}.1"
_DISK_BYTES = 40 << 30  # sparse
_NEWNET = 0x40000000  # CLONE_NEWNET
_HOME = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)  # nobody has entered a lab yet


class Lab:
    """Machines by name; each has the services that are given for it. A context: leaving it removes everything."""

    def __init__(self, machines: Mapping[str, Iterable[str]]) -> None:
        # The pid is in every name, so that a later run knows what a killed one has left.
        self.mark = f"dplab{os.getpid()}-{secrets.token_hex(2)}"
        self.folder = BASE / self.mark
        self.switch, self.controller = f"{self.mark}-switch", f"{self.mark}-controller"
        self.machines = {
            name: Machine(self.folder / name, name, f"{NETWORK}.{10 + n}", f"{self.mark}-{name}", n, services)
            for n, (name, services) in enumerate(machines.items(), 1)
        }

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    def __enter__(self) -> Self:
        sweep()
        try:
            self._up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def key(self) -> Path:
        """Private key that root of each machine accepts."""
        return self.folder / "id"

    @property
    def known_hosts(self) -> Path:
        """Host keys of all machines."""
        return self.folder / "known_hosts"

    @property
    def ssh_args(self) -> str:
        """What ssh must be told besides user and key."""
        return f"-o UserKnownHostsFile={self.known_hosts} -o GlobalKnownHostsFile=/dev/null"

    def _up(self) -> None:
        self.folder.mkdir(mode=0o755)
        self._disk()
        for netns in (self.switch, self.controller, *(m.netns for m in self.machines.values())):
            call("ip", "netns", "add", netns)
            call("ip", "-n", netns, "link", "set", "lo", "up")
        call("ip", "-n", self.switch, "link", "add", "br0", "type", "bridge")
        call("ip", "-n", self.switch, "link", "set", "br0", "up")
        self._cable(self.controller, "controller", CONTROLLER)
        call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", self.key)
        hosts = "127.0.0.1 localhost\n" + "".join(f"{m.address} {m.name}\n" for m in self.machines.values())
        for machine in self.machines.values():
            self._cable(machine.netns, machine.name, machine.address)
            machine.make(self.key.with_suffix(".pub").read_text(), hosts)
            machine.start()
        self.write_known_hosts()
        for machine in self.machines.values():
            machine.wait()

    def write_known_hosts(self) -> None:
        """Write the host keys that the machines have now."""
        lines = []
        for machine in self.machines.values():
            kind, key, *_ = machine.host_key.with_suffix(".pub").read_text().split()
            lines.append(f"{machine.address},{machine.name} {kind} {key}\n")
        self.known_hosts.write_text("".join(lines))

    def _disk(self) -> None:
        # Overlayfs refuses an upper folder inside its lower one, so the disks need a file system of their own; ext4 as
        # tmpfs lacks what Ansible's `backup` and Docker's overlay2 want.
        image = self.folder.with_suffix(".img")
        with image.open("wb") as file:
            file.truncate(_DISK_BYTES)
        try:
            call("mkfs.ext4", "-q", "-F", "-m0", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", image)
            call("mount", "-o", "loop,noatime", image, self.folder)
        finally:
            image.unlink()  # freed when it is unmounted
        call("mount", "--make-private", self.folder)

    def _cable(self, netns: str, port: str, address: str) -> None:
        call("ip", "-n", self.switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", netns)
        call("ip", "-n", self.switch, "link", "set", port, "master", "br0", "up")
        call("ip", "-n", netns, "addr", "add", f"{address}/24", "dev", "eth0")
        call("ip", "-n", netns, "link", "set", "eth0", "up")

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Let this thread, and what it starts meanwhile, stand on the controller, which reaches the machines."""
        with standing(f"/run/netns/{self.controller}"):
            yield

    @staticmethod
    @contextmanager
    def outside() -> Iterator[None]:
        """Let this thread stand on the test machine again, which reaches the Internet."""
        with standing(f"/proc/self/fd/{_HOME}"):
            yield

    # -- faults of the network

    def cut(self, name: str) -> None:
        """Pull the cable of a machine."""
        call("ip", "-n", self.switch, "link", "set", name, "down")

    def drop(self, rule: str) -> None:
        """Drop what matches at the switch, e.g. `ip saddr 10.213.0.11 ip daddr 10.213.0.12` or `tcp dport 22`."""
        self._nft(
            "add table bridge lab; add chain bridge lab forward { type filter hook forward priority 0; };"
            f" add rule bridge lab forward {rule} drop"
        )

    def heal(self) -> None:
        """Undo every fault; machines that are off stay off."""
        self._nft("add table bridge lab; delete table bridge lab")
        for machine in self.machines.values():
            call("ip", "-n", self.switch, "link", "set", machine.name, "up")
            machine.thaw()

    def _nft(self, text: str) -> None:
        call("nsenter", f"--net=/run/netns/{self.switch}", "nft", text)

    def close(self) -> None:
        """Remove everything, however far it has come."""
        for machine in self.machines.values():
            machine.kill()
        _remove(self.mark)


def sweep() -> None:
    """Remove what labs have left whose process was killed; their machines died with it."""
    for folder in BASE.glob("dplab*-*"):
        if (match := re.fullmatch(r"dplab(\d+)-[0-9a-f]{4}", folder.name)) and not Path(f"/proc/{match[1]}").exists():
            _remove(folder.name)


def _remove(mark: str) -> None:
    for line in call("ip", "netns", "list").stdout.splitlines():
        if (name := line.split()[0]).startswith(f"{mark}-"):
            call("ip", "netns", "delete", name, check=False)  # another run may sweep the same
    cgroups.remove(f"{mark}-")
    folder = BASE / mark
    if folder.is_mount():
        # What was killed with its owner may still be on its way out.
        Deadline.after(CLOCK, 60).until(lambda: _unmounted(folder), f"umount {folder}")
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _unmounted(folder: Path) -> bool:
    return call("umount", folder, check=False).returncode == 0 or not folder.is_mount()


@contextmanager
def standing(path: str) -> Iterator[None]:
    """Let this thread, and what it starts meanwhile, stand in a network namespace."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(path)
        yield
    finally:
        _setns(f"/proc/self/fd/{before}")
        os.close(before)


def _setns(path: str) -> None:
    target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(target, _NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {path}")
    finally:
        os.close(target)
