"""What goes wrong in a chaos run: each fault hits something real, at a moment that chance has chosen.

A fault gives the moments (Unix seconds) between which requests may be lost because of it: those that are on what was
killed, and those that come before a proxy is back. Any other fault may cost nobody anything.
"""

from __future__ import annotations

import http.client
import math
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import docker.errors
from docker.models.containers import Container

from deployer import supervisor
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DeployError
from deployer.drivers.traffic.haproxy.master import MasterSocket
from tests.chaos.machine import Machine
from tests.live.shop import Kind, Shop

LEASE = 3.0  # seconds, of the chaos runs
BACK_WITHIN = 60.0  # seconds in which a killed proxy is reachable again
DOWN_WITHIN = 2.0  # seconds in which the proxy has found a killed instance down and nothing is sent to it any more
AWAY = (0.0, 4.0)  # seconds for which the engine is gone, or the disk full
JUMPS = (-3600, -40, 40, 3600, 86_400)  # seconds that the wall clock is off, of which one is chosen


@dataclass(frozen=True)
class Scar:
    """Between which moments requests may be lost, and why."""

    why: str
    since: float
    until: float


class Gone(Exception):
    """What the fault was to hit is not there: the command has ended, or nothing runs yet."""


@dataclass(frozen=True)
class Scene:
    """A deploy in progress, and all that can be hit."""

    shop: Shop
    machine: Machine
    tool: subprocess.Popen[str]

    def alive(self) -> None:
        """Raise Gone once the command has ended."""
        if self.tool.poll() is not None:
            raise Gone


def kill_tool(scene: Scene, _chance: random.Random) -> tuple[Scar, ...]:
    """SIGKILL of the process that drives the rollout: it costs nobody a request."""
    scene.alive()
    scene.tool.kill()
    scene.tool.wait(60)
    return ()


def freeze_tool(scene: Scene, _chance: random.Random) -> tuple[Scar, ...]:
    """SIGSTOP for longer than the lease, then SIGCONT: the proxy has taken the users back meanwhile."""
    scene.alive()
    scene.tool.send_signal(signal.SIGSTOP)
    time.sleep(LEASE + 1.0)  # what is tried is that this time passes
    scene.tool.send_signal(signal.SIGCONT)
    return ()


def kill_proxy(scene: Scene, chance: random.Random) -> tuple[Scar, ...]:
    """SIGKILL of the proxy's master or its worker; the supervisor starts it again."""
    master = _master(scene.shop)
    within = Deadline.after(SystemClock(), 60)
    victim = chance.choice([master.pid(within), *(w.pid for w in master.current(within))])
    since = time.time()
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:  # a reload of the tool has just ended it
        raise Gone from None
    _until_answered(scene.shop)
    return (Scar("the proxy was killed", since, time.time() + 0.1),)


def kill_instance(scene: Scene, chance: random.Random) -> tuple[Scar, ...]:
    """SIGKILL of one instance, of whichever side; it is started again."""
    since = time.time()
    chance.choice(_instances(scene.shop)).kill()
    return (Scar("an instance was killed", since, since + DOWN_WITHIN),)


def remove_instance(scene: Scene, chance: random.Random) -> tuple[Scar, ...]:
    """Somebody removes a container by hand, or what stands for one where processes run: nobody starts it again."""
    since = time.time()
    chance.choice(_instances(scene.shop)).remove()
    return (Scar("an instance was removed", since, since + DOWN_WITHIN),)


def kill_engine(scene: Scene, chance: random.Random) -> tuple[Scar, ...]:
    """SIGKILL of the Docker engine, which comes back later.

    While it is away nobody notices. When it comes back, it writes what it forwards anew: for a moment nothing is, and
    requests wait. It costs nobody one. Of a plain one, what it forwards ends with it; back again, it ends its
    containers, and somebody has to start them.
    """
    if scene.machine.engine is None:
        raise Gone
    killed = time.time()
    scene.machine.engine.kill()
    time.sleep(chance.uniform(*AWAY))  # the time without an engine
    scene.machine.engine.start()
    return (Scar("the engine was killed", killed, math.inf),) if scene.machine.engine.plain else ()


def fill_disk(scene: Scene, chance: random.Random) -> tuple[Scar, ...]:
    """No byte is left on the disk of the state folder, and then there is again: it costs nobody a request."""
    scene.machine.disk.fill()
    try:
        time.sleep(chance.uniform(*AWAY))  # the time without a disk
    finally:
        scene.machine.disk.free()
    return ()


def reload_proxy(scene: Scene, _chance: random.Random) -> tuple[Scar, ...]:
    """A reload by somebody else: it costs nobody a request."""
    with suppress(DeployError):  # one reload at a time: the tool's own may be in progress
        _master(scene.shop).reload(Deadline.after(SystemClock(), 60))
    return ()


def jump(scene: Scene, chance: random.Random) -> tuple[Scar, ...]:
    """The wall clock of the tool, the supervisors and the proxy jumps: it costs nobody a request."""
    scene.machine.clock.set(chance.choice(JUMPS))
    return ()


@dataclass(frozen=True)
class Fault:
    """What goes wrong, how often relative to the others, and where there is such a thing."""

    act: Callable[[Scene, random.Random], tuple[Scar, ...]]
    weight: int
    kinds: tuple[Kind, ...] = ("process", "docker")


FAULTS = {
    "the tool is killed": Fault(kill_tool, 10),
    "the tool is frozen past its lease": Fault(freeze_tool, 2),
    "the proxy is killed": Fault(kill_proxy, 3),
    "an instance is killed": Fault(kill_instance, 3),
    "an instance is removed by hand": Fault(remove_instance, 2),
    "the engine is killed": Fault(kill_engine, 4, ("docker",)),
    "the disk is full": Fault(fill_disk, 2),
    "the proxy is reloaded by somebody": Fault(reload_proxy, 2),
    "the clock jumps": Fault(jump, 2),
}


def _master(shop: Shop) -> MasterSocket:
    path = shop.state / "proxy" / "master.sock"
    if not path.exists():
        raise Gone
    return MasterSocket(path, SystemClock())


def _until_answered(shop: Shop) -> None:
    until = time.monotonic() + BACK_WITHIN
    while not _answers(shop):
        if time.monotonic() > until:
            raise AssertionError(f"the proxy is not back within {BACK_WITHIN:g} s")
        time.sleep(0.02)


def _answers(shop: Shop) -> bool:
    try:
        return shop.get("/version").ok
    except OSError:
        return False


@dataclass(frozen=True)
class Victim:
    """One instance, as somebody with a shell on the machine could hit it."""

    kill: Callable[[], None]
    remove: Callable[[], None]


def _instances(shop: Shop) -> list[Victim]:
    found = _containers(shop) if shop.client is not None else _processes(shop)
    if not found:
        raise Gone
    return found


def _containers(shop: Shop) -> list[Victim]:
    assert shop.client is not None
    made = []
    for container in shop.client.containers.list(filters={"label": f"deployer.service={shop.name}"}, sparse=True):

        def kill(this: Container = container) -> None:
            with _there():
                this.kill()

        def remove(this: Container = container) -> None:
            with _there():
                this.remove(force=True)

        made.append(Victim(kill, remove))
    return made


@contextmanager
def _there() -> Iterator[None]:
    """Miss a container that the tool removes in this moment: it is not found, or it conflicts with its end."""
    try:
        yield
    except docker.errors.APIError as error:
        if error.status_code not in (http.client.NOT_FOUND, http.client.CONFLICT):
            raise
        raise Gone from error


def _processes(shop: Shop) -> list[Victim]:
    made = []
    for file in sorted(Path(shop.state, "processes").glob("*/status.json")):
        status = supervisor.read_status(file.parent)
        if status is not None and status.pid:

            def remove(folder: Path = file.parent, pids: tuple[int, ...] = (status.supervisor_pid, status.pid)) -> None:
                for pid in filter(None, pids):  # the supervisor first, or it starts another one
                    _kill(pid)
                shutil.rmtree(folder, ignore_errors=True)

            made.append(Victim(lambda pid=status.pid: _kill(pid), remove))  # type: ignore[misc]
    return made


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
