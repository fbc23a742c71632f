"""What goes wrong in a chaos run: each fault hits something real, at a moment that chance has chosen.

A fault gives the moments (Unix seconds) between which requests may be lost because of it: those that are on what was
killed, and, of a proxy, those that come before it is back. A fault of the tool itself may cost nobody anything.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deployer import supervisor
from deployer.clock import Deadline, SystemClock
from deployer.drivers.traffic.haproxy.master import Master
from deployer.errors import DeployError
from tests.live.shop import Shop

LEASE = 3.0  # seconds, of the chaos runs
BACK_WITHIN = 10.0  # seconds in which a killed proxy answers again
DOWN_WITHIN = 2.0  # seconds in which the proxy has found a killed instance down and nothing is sent to it any more


@dataclass(frozen=True)
class Scar:
    """Between which moments requests may be lost, and why."""

    why: str
    since: float
    until: float


class Gone(Exception):
    """What the fault was to hit is not there: the command has ended, or nothing runs yet."""


Fault = Callable[[Shop, "subprocess.Popen[str]", random.Random], tuple[Scar, ...]]


def kill_tool(_shop: Shop, tool: subprocess.Popen[str], _chance: random.Random) -> tuple[Scar, ...]:
    """SIGKILL of the process that drives the rollout: it costs nobody a request."""
    _alive(tool)
    tool.kill()
    tool.wait(10)
    return ()


def freeze_tool(_shop: Shop, tool: subprocess.Popen[str], _chance: random.Random) -> tuple[Scar, ...]:
    """SIGSTOP for longer than the lease, then SIGCONT: the proxy has taken the users back meanwhile."""
    _alive(tool)
    tool.send_signal(signal.SIGSTOP)
    time.sleep(LEASE + 1.0)  # what is tried is that this time passes
    tool.send_signal(signal.SIGCONT)
    return ()


def kill_proxy(shop: Shop, _tool: subprocess.Popen[str], chance: random.Random) -> tuple[Scar, ...]:
    """SIGKILL of the proxy's master or its worker; the supervisor starts it again."""
    master = _master(shop)
    within = Deadline.after(SystemClock(), 5)
    victim = chance.choice([master.pid(within), *(w.pid for w in master.current(within))])
    since = time.time()
    os.kill(victim, signal.SIGKILL)
    until = time.monotonic() + BACK_WITHIN
    while not _answers(shop):
        if time.monotonic() > until:
            raise AssertionError(f"the proxy is not back within {BACK_WITHIN:g} s")
        time.sleep(0.02)
    return (Scar("the proxy was killed", since, time.time() + 0.1),)


def kill_instance(shop: Shop, _tool: subprocess.Popen[str], chance: random.Random) -> tuple[Scar, ...]:
    """SIGKILL of one instance, of whichever side."""
    victims = _instances(shop)
    if not victims:
        raise Gone
    since = time.time()
    chance.choice(victims)()
    return (Scar("an instance was killed", since, since + DOWN_WITHIN),)


def reload_proxy(shop: Shop, _tool: subprocess.Popen[str], _chance: random.Random) -> tuple[Scar, ...]:
    """A reload by somebody else: it costs nobody a request."""
    with suppress(DeployError):  # one reload at a time: the tool's own may be under way
        _master(shop).reload(Deadline.after(SystemClock(), 5))
    return ()


FAULTS: dict[str, tuple[int, Fault]] = {  # with how often they come, relative to each other
    "the tool is killed": (10, kill_tool),
    "the tool is frozen past its lease": (2, freeze_tool),
    "the proxy is killed": (3, kill_proxy),
    "an instance is killed": (4, kill_instance),
    "the proxy is reloaded by somebody": (2, reload_proxy),
}


def _alive(tool: subprocess.Popen[str]) -> None:
    if tool.poll() is not None:
        raise Gone


def _master(shop: Shop) -> Master:
    path = shop.state / "proxy" / "master.sock"
    if not path.exists():
        raise Gone
    return Master(path, SystemClock())


def _answers(shop: Shop) -> bool:
    try:
        return shop.get("/version").ok
    except OSError:
        return False


def _instances(shop: Shop) -> list[Callable[[], None]]:
    if shop.client is not None:
        found = shop.client.containers.list(filters={"label": f"deployer.service={shop.name}"})
        return [container.kill for container in found]
    folders = sorted(Path(shop.state, "processes").glob("*/status.json"))
    pids = [status.pid for f in folders if (status := supervisor.read_status(f.parent)) and status.pid]
    return [lambda pid=pid: _kill(pid) for pid in pids]  # type: ignore[misc]


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
