"""Watches whether the owner of a host waits for processors or memory, and freezes its guests meanwhile.

A program of its own, which `ground.sh` brings to a host and a unit of systemd runs there: it needs Python's standard
library, cgroup v2 (beside v1 will do) and its pressure files, but no control host and no state folder.

    pressure_watch.py CGROUPS GROUP STATE SOCKET [WATCHED]

The owner is every group at the top of `WATCHED` (by default of cgroup v2) but that of guests: what guests wait for
themselves is none of its business. Nor is a group of the owner that its own limit holds back, while the host has more:
freezing guests would not help it. Files in `STATE` say what it does: `watch` is locked while it runs, `frozen` and
`stopped.NAME` say since when and why. Whoever has raised guests, as `ground.sh` does to start or end one, goes first.
"""

from __future__ import annotations

import ctypes
import fcntl
import http.client
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO

WINDOW = 2.0  # seconds; the kernel takes any for root, and multiples of 2 s of whoever has fewer rights
MOST = {"cpu": 1.5, "memory": 0.2}  # seconds in a window for which some process of the owner waited
SCARCE = 0.1  # it counts if less than this part is left to the owner: memory, or processors idle or used by guests
CALM = 10.0  # seconds without pressure until guests go on; twice as long if they had just gone on, and so forth
LONGEST = 320.0
AGAIN = 60.0  # seconds after which it is no longer "just"
LASTS = 10.0  # seconds of pressure on memory, while guests are frozen, until a tenant is stopped; and then the next
LOOK, SPAN = 1.0, 0.5  # seconds between two looks at most, and seconds at least over which processors are looked at
FREEZE, LOCK, ENGINE = 2.0, 1.0, 10.0  # seconds for these
RAISED = 60.0  # seconds for which a raise holds, as in ground.sh


class PressureBrake:
    """When guests are frozen, thawed and stopped: told what presses and when, it says what to do."""

    def __init__(self, frozen: float | None = None) -> None:
        self.frozen, self.last, self.calm = frozen, frozen or 0.0, CALM
        self._thawed = self._stopped = self._memory = self._since = float("-inf")

    def decide(self, pressed: set[str], now: float) -> str:
        """Return freeze, stop, thaw or "". Freezing is said again as long as something presses."""
        if pressed:
            self.last = now
        if "memory" in pressed:
            if now - self._memory > 2 * WINDOW:
                self._since = now
            self._memory = now
        if self.frozen is None:
            if pressed:
                self.calm = min(2 * self.calm, LONGEST) if now - self._thawed < AGAIN else CALM
                self.frozen = now
        elif "memory" in pressed and now - max(self._since, self.frozen, self._stopped) >= LASTS:
            self._stopped = now
            return "stop"
        elif now - self.last >= self.calm:
            self.frozen, self._thawed = None, now
            return "thaw"
        return "freeze" if pressed else ""


class GuestGroup:
    """The guests of a host, as cgroups; `group` is theirs, below the root of each hierarchy."""

    def __init__(self, cgroups: Path, group: str, state: Path, engine: str) -> None:
        self._state, self._engine, self._group = state, engine, group
        self.tree = cgroups / "unified" if (cgroups / "unified" / "cgroup.procs").exists() else cgroups
        self.top = self.tree / group.split("/")[0]
        self._weights = [self.top, cgroups / "cpu" / self.top.name]
        self._usage = {self.tree: "memory.current", cgroups / "memory": "memory.usage_in_bytes"}

    @property
    def run(self) -> bool:
        """Whether there is a process of a guest."""
        return "populated 1" in _read(self.top / "cgroup.events")

    @property
    def processors(self) -> float:
        """Seconds of processors that they have used."""
        found = _read(self.top / "cpu.stat").split()
        return int(found[1]) / 1e6 if found[:1] == ["usage_usec"] else 0.0

    @property
    def raised(self) -> bool:
        """Whether somebody is at work on them."""
        now = time.time()
        with suppress(OSError):
            return any(each.stat().st_mtime > now - RAISED for each in self._state.glob("raised.*"))
        return False

    def freeze(self, why: str) -> bool:
        """Freeze all of them, unless somebody is at work on them; return whether they were not frozen before."""
        with self._alone():
            if self.raised:
                return False
            if "frozen 1" not in _read(self.top / "cgroup.events"):
                with self.lifted():
                    _write(self.top / "cgroup.freeze", "1")
                    _until(lambda: "frozen 1" in _read(self.top / "cgroup.events"), FREEZE)
            if (self._state / "frozen").exists():
                return False
            self._note("frozen", why)
            return True

    def thaw(self) -> None:
        """Have all go on."""
        with self._alone():
            _write(self.top / "cgroup.freeze", "0")
            (self._state / "frozen").unlink(missing_ok=True)

    def stop(self, why: str) -> str:
        """Kill what the tenant has that uses most memory, and return its name; "" where nothing runs."""
        home = self.tree / self._group
        tenants = [each for each in home.iterdir() if "populated 1" in _read(each / "cgroup.events")]
        if not tenants or self.raised:
            return ""
        tenant = max(tenants, key=self._memory)
        self._note(f"stopped.{tenant.name}", why)
        with self.lifted():  # else what is starved takes its time to die
            for each in tenant.iterdir():
                identity = each.name.removeprefix("docker-").removesuffix(".scope")
                if each.is_dir() and not self._killed(identity):
                    _write(each / "cgroup.kill", "1")
        return tenant.name

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Lift the limits of guests for a moment: a task has to run to be frozen or killed."""
        saved = [
            (folder / name, _read(folder / name).strip(), usual)
            for folder in self._weights
            for name, usual in (("cpu.idle", "0"), ("cpu.weight", "100"), ("cpu.shares", "1024"))
            if (folder / name).exists()
        ]
        for file, _, usual in saved:
            _write(file, usual)
        try:
            yield
        finally:
            for file, before, _ in reversed(saved):
                if before and not self.raised:
                    _write(file, before)

    def _killed(self, identity: str) -> bool:
        """Have the engine kill a container, so that it does not start it again; return whether it did."""
        try:
            with closing(_EngineSocket(self._engine)) as connection:
                connection.request("POST", f"/containers/{identity}/kill")
                return connection.getresponse().status in (http.client.NO_CONTENT, http.client.CONFLICT)
        except (OSError, http.client.HTTPException):
            return False

    def _memory(self, tenant: Path) -> int:
        below = tenant.relative_to(self.tree)
        return max(int(_read(root / below / name) or 0) for root, name in self._usage.items())

    def _note(self, name: str, why: str) -> None:
        part = self._state / f".{name}"
        part.write_text(f"{time.time():.0f} {why}\n", encoding="utf-8")
        part.replace(self._state / name)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock of ground.sh; what holds it for longer than a moment is itself held up, and is passed over."""
        with (self._state / "lock").open("a") as file:
            _until(lambda: _locked(file), LOCK)
            yield


class HostRoom:
    """What a host has left for its owner, of all it has."""

    def __init__(self, guests: GuestGroup) -> None:
        self._guests, self._processors = guests, 1.0
        self._whole, self._left = self._ticks()

    def scarce(self) -> set[str]:
        """Return what is scarce: memory now, processors since the last look."""
        whole, left = self._ticks()
        if whole - self._whole >= SPAN * (os.cpu_count() or 1):
            self._processors = (left - self._left) / (whole - self._whole)
            self._whole, self._left = whole, left
        parts = {"cpu": self._processors, "memory": self._memory()}
        return {kind for kind, part in parts.items() if part < SCARCE}

    def _ticks(self) -> tuple[float, float]:
        """Return the seconds of all processors so far, and those of them that were idle or used by guests."""
        line = _read(Path("/proc/stat")).partition("\n")[0]
        spent = [int(each) / os.sysconf("SC_CLK_TCK") for each in line.split()[1:9]]
        return sum(spent), spent[3] + spent[4] + self._guests.processors

    @staticmethod
    def _memory() -> float:
        found = dict(line.split(":") for line in _read(Path("/proc/meminfo")).splitlines())
        return int(found["MemAvailable"].split()[0]) / int(found["MemTotal"].split()[0])


class OwnerPressure:
    """Triggers of the kernel on all groups of the owner."""

    def __init__(self, watched: Path, guests: Path, most: dict[str, float]) -> None:
        self._watched, self._guests, self._most = watched, guests, most
        self._poll, self._files = select.poll(), dict[int, tuple[str, str]]()
        self._attach()
        if not self._files:
            sys.exit(f"no group in {watched} has triggers")

    def wait(self, seconds: float) -> dict[str, str]:
        """Wait for pressure; return what waits by what it waits for."""
        self._attach()
        found: dict[str, str] = {}
        for descriptor, event in self._poll.poll(seconds * 1000):
            if event & select.POLLERR:  # its group is gone
                self._poll.unregister(descriptor)
                os.close(descriptor)
                del self._files[descriptor]
            else:
                group, kind = self._files[descriptor]
                found.setdefault(kind, group)
        return found

    def _attach(self) -> None:
        known = set(self._files.values())
        for folder in self._watched.iterdir():
            for kind, most in self._most.items():
                if folder == self._guests or (folder.name, kind) in known or not folder.is_dir():
                    continue
                with suppress(OSError):  # it is gone, or tells no pressure
                    self._trigger(folder, kind, most)

    def _trigger(self, folder: Path, kind: str, most: float) -> None:
        descriptor = os.open(folder / f"{kind}.pressure", os.O_RDWR | os.O_NONBLOCK)
        try:
            os.write(descriptor, f"some {most * 1e6:.0f} {WINDOW * 1e6:.0f}\0".encode())
        except OSError:
            os.close(descriptor)
            raise
        self._poll.register(descriptor, select.POLLPRI)
        self._files[descriptor] = folder.name, kind


class _EngineSocket(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ENGINE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ENGINE)
        self.sock.connect(self._path)


def watch(guests: GuestGroup, pressure: OwnerPressure, ended: Callable[[], bool], brake: PressureBrake) -> None:
    """Do what the brake says until the end; guests go on then."""
    room = HostRoom(guests)
    while not ended():
        found, scarce = pressure.wait(LOOK), room.scarce()
        waits = {kind: group for kind, group in found.items() if kind in scarce}
        why = ", ".join(f"{group} waits for {kind}" for kind, group in sorted(waits.items()))
        if brake.frozen is None and not guests.run:
            continue
        match brake.decide(set(waits), time.monotonic()):
            case "freeze" if guests.freeze(why):
                _say(f"frozen: {why}")
            case "stop" if tenant := guests.stop(why):
                _say(f"stopped {tenant}: {why}")
            case "thaw":
                guests.thaw()
                _say("thawed")
    guests.thaw()


def _say(text: str) -> None:
    print(text, flush=True)


def _read(file: Path) -> str:
    with suppress(OSError):
        return file.read_text(encoding="utf-8")
    return ""


def _write(file: Path, text: str) -> None:
    """Write what a kernel may not have, or may not take now: it is tried again with the next pressure."""
    with suppress(OSError):
        file.write_text(text, encoding="utf-8")


def _locked(file: IO[str]) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether something was so within so many seconds."""
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return found


def main(cgroups: str, group: str, state: str, engine: str, watched: str = "") -> None:
    """Watch until SIGTERM."""
    asked = list[int]()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda which, _: asked.append(which))
    ctypes.CDLL(None).mlockall(3)  # it must not wait for its own pages; a host that refuses has them read again
    guests = GuestGroup(Path(cgroups), group, Path(state), engine)
    with (Path(state) / "watch").open("w") as lock:
        if not _until(lambda: _locked(lock), LOCK):
            sys.exit("another one watches")
        was = (Path(state) / "frozen").exists()  # by one that was killed
        pressure = OwnerPressure(Path(watched) if watched else guests.tree, guests.top, MOST)
        watch(guests, pressure, lambda: bool(asked), PressureBrake(time.monotonic() if was else None))


if __name__ == "__main__":
    main(*sys.argv[1:])
