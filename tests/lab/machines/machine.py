"""One machine of the lab: namespaces whose root is an overlay on the test machine's own root file system.

Whatever packages the test machine has, it has, too, with writes of its own; killing its first process is a power cut.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Iterable
from pathlib import Path

from deployer.core.clock import Deadline, SystemClock
from tests.lab.machines import cgroups
from tests.lab.machines.programs import PATH, SECONDS, call

HERE = Path(__file__).parent
CLOCK = SystemClock()
_MASKED = (
    "systemd-udevd.service",
    "systemd-timesyncd.service",
    "systemd-resolved.service",
    "systemd-networkd.service",
    "systemd-logind.service",
    "console-getty.service",
    "getty.target",
    "ldconfig.service",
    "systemd-remount-fs.service",
    "systemd-firstboot.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-tmpfiles-setup-dev-early.service",
    "dev-hugepages.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-fs-fuse-connections.mount",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
)
_SSHD = """\
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
UseDNS no
MaxSessions 64
MaxStartups 100:30:200
Subsystem sftp internal-sftp
"""


class Machine:
    """A machine; `services` are the units that it starts with, besides ssh."""

    def __init__(self, folder: Path, name: str, address: str, netns: str, number: int, services: Iterable[str]) -> None:
        self.folder, self.name, self.address, self.netns, self.number = folder, name, address, netns, number
        self.services = tuple(services)
        self._power: subprocess.Popen[bytes] | None = None

    # -- its disk

    def make(self, key: str, hosts: str) -> None:
        """Make the disk; `key` is the public key that root accepts, `hosts` its /etc/hosts."""
        for part in ("upper", "work", "root", "docker", "home/.ssh"):
            (self.folder / part).mkdir(parents=True)
        self.write("etc/hostname", f"{self.name}\n")
        self.write("etc/hosts", hosts)
        self.write("etc/resolv.conf", "")
        self.write("etc/ssh/sshd_config", _SSHD)
        call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", self.host_key)
        (self.folder / "home").chmod(0o700)
        (self.folder / "home/.ssh/authorized_keys").write_text(key)
        self.write("etc/lab-boot.sh", (HERE / "boot.sh").read_text())
        settings = {
            "bip": f"172.31.{self.number}.1/24",
            "default-address-pools": [{"base": f"172.30.{self.number}.0/24", "size": 27}],
        }
        self.write("etc/docker/daemon.json", json.dumps(settings))
        self._hide(Path("usr/sbin/policy-rc.d"))
        self._units()

    def write(self, path: str, text: str) -> None:
        """Write a file on the disk of a machine that is off."""
        file = self.folder / "upper" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    @property
    def host_key(self) -> Path:
        """Private half of the key by which ssh knows the machine."""
        return self.folder / "upper/etc/ssh/ssh_host_ed25519_key"

    def _hide(self, path: Path) -> None:
        if (Path("/") / path).exists():
            (self.folder / "upper" / path).parent.mkdir(parents=True, exist_ok=True)
            os.mknod(self.folder / "upper" / path, stat.S_IFCHR, os.makedev(0, 0))  # a whiteout of overlayfs

    def _units(self) -> None:
        units = self.folder / "upper/etc/systemd/system"
        units.mkdir(parents=True)
        os.setxattr(units, "trusted.overlay.opaque", b"y")  # what the test machine has enabled does not count here
        (units / "default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")
        for unit in _MASKED:
            (units / unit).symlink_to("/dev/null")
        for service in ("ssh", *self.services):
            self.write(f"etc/systemd/system/{service}.service.d/lab.conf", "[Unit]\nStartLimitIntervalSec=0\n")
            wants = units / "multi-user.target.wants"
            wants.mkdir(exist_ok=True)
            (wants / f"{service}.service").symlink_to(f"/usr/lib/systemd/system/{service}.service")

    # -- its life

    def start(self) -> None:
        """Switch it on; see `wait`."""
        environ = {
            "PATH": PATH,
            "NAME": self.name,
            "NETNS": self.netns,
            "LAB": str(self.folder),
            "CGROUPS": " ".join(map(str, cgroups.make(self.netns))),
            **({"DEPLOYER_TEST_RUN": run} if (run := os.environ.get("DEPLOYER_TEST_RUN")) else {}),
        }
        with (self.folder / "console.log").open("ab") as console:
            # It dies with us, by SIGKILL too: nothing of a lab outlives its tests.
            self._power = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "sh", HERE / "power.sh"],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=environ,
                start_new_session=True,
            )

    def wait(self, seconds: float = 180) -> None:
        """Wait until sshd, and the engine if it has one, answer."""
        deadline = Deadline.after(CLOCK, seconds)
        deadline.until(self._ssh_answers, f"sshd of {self.name}", hint=self.console())
        if "docker" in self.services:
            deadline.until(self._docker_answers, f"engine of {self.name}", hint=self.console())

    def kill(self) -> None:
        """Cut its power: every process is gone at once, what was on the disk stays."""
        if self._power is None:
            return
        self.thaw()
        if (first := self._first_process()) is not None:
            os.kill(first, signal.SIGKILL)
        else:
            self._power.kill()
        self._power.wait(SECONDS)
        self._power = None
        cgroups.remove(self.netns)

    def is_on(self) -> bool:
        """Return whether its first process lives."""
        return self._first_process() is not None

    def boot_id(self) -> str:
        """Return the id of this boot; "" while it is off or begins.

        It is read from outside: whoever enters a machine that goes down may hang there, and keep it from going down.
        """
        try:
            return Path(f"/proc/{self._first_process()}/root/run/boot_id").read_text(encoding="ascii")
        except (FileNotFoundError, ProcessLookupError):
            return ""

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command on it as root, without ssh. Raises RuntimeError when it fails and `check` is true."""
        return call(*self.command(*command), check=check)

    def command(self, *command: str) -> list[str]:
        """Return the command line by which a command runs on it as root, without ssh."""
        spaces = ("-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w")
        own = ("env", "-i", f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8")  # not what this host's variables say
        return ["nsenter", "-t", str(self._booted()), *spaces, "--", *own, *command]

    @property
    def root(self) -> Path:
        """Its root folder, seen from outside."""
        return Path(f"/proc/{self._booted()}/root")

    def _booted(self) -> int:
        first = self._first_process()
        if first is None:
            raise RuntimeError(f"{self.name} is off: {self.console()}")
        return first

    @property
    def docker_url(self) -> str:
        """Socket of its engine, reachable from outside without ssh."""
        return f"unix:///proc/{self._first_process()}/root/run/docker.sock"

    def console(self) -> str:
        """Return the last lines of its console."""
        return "\n".join((self.folder / "console.log").read_text(errors="replace").splitlines()[-10:])

    # -- its faults

    def freeze(self) -> None:
        """Stop every process of it at once, containers too."""
        cgroups.freeze(self.netns, True)

    def thaw(self) -> None:
        """Let it go on."""
        cgroups.freeze(self.netns, False)

    def _first_process(self) -> int | None:
        """Return the pid of its systemd, as seen from outside; None when it is off."""
        if self._power is None or self._power.poll() is not None:
            return None
        try:
            # power.sh → unshare → systemd
            (unshare,) = Path(f"/proc/{self._power.pid}/task/{self._power.pid}/children").read_text().split()
            (first,) = Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()
        except (OSError, ValueError):
            return None  # between two boots
        return int(first)

    def _ssh_answers(self) -> bool:
        listening = f"{int.from_bytes(socket.inet_aton('0.0.0.0')):08X}:{22:04X} "
        first = self._first_process()
        try:
            return first is not None and listening in Path(f"/proc/{first}/net/tcp").read_text()
        except OSError:
            return False

    def _docker_answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(2)
                sock.connect(self.docker_url.removeprefix("unix://"))
                sock.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b"OK" in sock.recv(4096)
        except OSError:
            return False
