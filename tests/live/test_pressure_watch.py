"""The watch of a host on its kernel: the owner waits, guests stand still; and on an engine, if it goes on, they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import docker
import pytest

from tests.live.hostile import HostileBench
from tests.services import go_without, require
from tests.waiting import within

pytestmark = pytest.mark.live

CGROUPS = Path("/sys/fs/cgroup")
UNIFIED = CGROUPS / "unified" if (CGROUPS / "unified" / "cgroup.procs").exists() else CGROUPS
# With little patience, and as if nothing were left on this host.
PROGRAM = (
    sys.executable,
    "-c",
    "import sys; from deployer.drivers.runtime.docker import pressure_watch as w; "
    "w.CALM = w.LASTS = 2.0; w.SCARCE = 2.0; w.main(*sys.argv[1:])",
)
BURN = "while :; do :; done"
# Its pages do not fit into 6 MB: it waits for room at each turn.
THRASH = "while :; do dd if=/dev/zero of=$0 bs=1M count=64 2>/dev/null; cat $0 >/dev/null; done"


@dataclass
class LentHost:
    """Groups of an owner and of a tenant that nobody else has, with what runs in them."""

    name: str
    state: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def guests(self) -> Path:
        return UNIFIED / f"{self.name}-guests"

    @property
    def owner(self) -> Path:
        return UNIFIED / self.name / "owner"

    def run(self, folders: list[Path], script: str, *words: str) -> subprocess.Popen[bytes]:
        """Run a script in groups."""
        enter = " ".join(f"echo $$ > {each}/cgroup.procs;" for each in folders)
        made = subprocess.Popen(["sh", "-c", f"{enter} exec sh -c '{script}' {' '.join(words)}"])
        self.processes.append(made)
        return made

    def watch(self, engine: str = "/none") -> subprocess.Popen[bytes]:
        words = (str(CGROUPS), f"{self.name}-guests", str(self.state), engine, str(UNIFIED / self.name))
        made = subprocess.Popen([*PROGRAM, *words])
        self.processes.append(made)
        return made

    def end(self, *processes: subprocess.Popen[bytes]) -> None:
        for each in processes or self.processes:
            each.kill()
            each.wait(30)

    @property
    def frozen(self) -> bool:
        return "frozen 1" in (self.guests / "cgroup.events").read_text()

    def said(self, name: str = "frozen") -> str:
        with suppress(FileNotFoundError):
            return (self.state / name).read_text().partition(" ")[2].strip()
        return ""


@contextmanager
def made(*folders: Path) -> Iterator[None]:
    """Make groups, and remove them once nothing is in them any more."""
    for each in folders:
        each.mkdir(parents=True)
    try:
        yield
    finally:
        for each in reversed(folders):
            for top in (each, *filter(Path.is_dir, each.iterdir())):
                with suppress(OSError):
                    (top / "cgroup.kill").write_text("1")
            within(30).until(partial(_empty, each), f"{each} is empty")
            for below in filter(Path.is_dir, each.iterdir()):
                below.rmdir()
            each.rmdir()


def _empty(group: Path) -> bool:
    file = group / "cgroup.events"  # v1 has none
    return not file.exists() or "populated 1" not in file.read_text()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LentHost]:
    require("root", "cgroups")
    if not Path("/proc/pressure/memory").exists():
        go_without("pressure: the kernel tells none (psi=1)")
    if not os.access(UNIFIED / "cgroup.procs", os.W_OK):
        go_without("pressure: there is no cgroup v2 that may be changed")
    found = LentHost(f"t{os.getpid()}", tmp_path)
    with made(UNIFIED / found.name, found.owner, found.guests, found.guests / "acme"):
        try:
            yield found
        finally:
            found.end()


@pytest.mark.long("an owner that waits, and a calm time, again and again", every_change=True)
def test_guests_stand_still_while_their_owner_waits_for_processors(host: LentHost) -> None:
    host.run([host.guests / "acme"], BURN)
    watch = host.watch()
    assert not within(3.0).wait(lambda: host.frozen), "what guests wait for themselves is not what the owner waits for"

    busy = [host.run([host.owner], BURN) for _ in range(3 * (os.cpu_count() or 1))]
    within(60).until(lambda: host.frozen, "guests are frozen")
    within(20).until(lambda: host.said() == "owner waits for cpu", "it says why")
    watch.kill()
    watch.wait(30)
    assert host.frozen
    watch = host.watch()
    assert not within(1.0).wait(lambda: not host.frozen), "another one goes on with it"
    host.end(*busy)
    within(120).until(lambda: not host.frozen, "guests go on")
    within(20).until(lambda: host.said() == "", "it says so no more")

    busy = [host.run([host.owner], BURN) for _ in range(3 * (os.cpu_count() or 1))]
    within(60).until(lambda: host.frozen, "guests are frozen again")
    watch.send_signal(signal.SIGTERM)
    assert watch.wait(30) == 0
    within(20).until(lambda: not host.frozen, "nobody stays frozen without a watch")


@contextmanager
def limited(host: LentHost) -> Iterator[list[Path]]:
    """Yield the groups of an owner that has 6 MB of memory."""
    v1 = CGROUPS / "memory" / host.name
    if v1.parent.is_dir():
        with made(v1):
            (v1 / "memory.limit_in_bytes").write_text("6000000")
            try:
                yield [host.owner, v1]
            finally:
                host.end()
                (host.owner / "cgroup.kill").write_text("1")  # what its shells have started
                within(30).until(partial(_empty, host.owner), "the owner is gone")
        return
    for each in (UNIFIED, host.owner.parent):
        (each / "cgroup.subtree_control").write_text("+memory")
    (host.owner / "memory.max").write_text("6000000")
    yield [host.owner]


@pytest.mark.long("an owner that waits for memory until a guest is killed")
def test_if_memory_stays_short_a_tenant_is_killed_and_its_engine_does_not_start_it_again(
    host: LentHost, engine: docker.DockerClient
) -> None:
    require("gcc")
    if engine.info()["CgroupDriver"] != "cgroupfs":
        pytest.skip("the groups of this engine are slices")
    bench, parent = HostileBench(engine), f"/{host.name}-guests/acme"
    guest = engine.containers.run(
        bench.reference("1.0"), detach=True, cgroup_parent=parent, restart_policy={"Name": "on-failure"}
    )
    socket = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    try:
        with limited(host) as groups, tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            host.watch(socket)
            for number in range(3):
                host.run(groups, THRASH, f"{folder}/{number}")
            within(60).until(lambda: host.frozen, "guests are frozen")
            within(20).until(lambda: "owner waits for" in host.said(), "it says why")
            within(120).until(lambda: "waits for memory" in host.said("stopped.acme"), "the tenant is stopped")
            host.end(*host.processes[1:])

            def ended() -> bool:
                guest.reload()
                return str(guest.status) == "exited"

            within(60).until(ended, "the guest has ended")
            assert guest.attrs["State"]["ExitCode"] == 137
            assert guest.attrs["RestartCount"] == 0
            assert not within(2.0).wait(lambda: not ended())
    finally:
        guest.remove(force=True, v=True)
        bench.close()
