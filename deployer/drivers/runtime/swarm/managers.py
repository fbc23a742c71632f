"""Asks a manager of the Swarm: the first of the engines in reach that is one, and answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from deployer.core.errors import DeadlinePassed, DriverFailed, HostsUnreachable
from deployer.drivers.runtime.docker.fleet_host import FleetHost

if TYPE_CHECKING:
    import docker

T = TypeVar("T")
READ_SECONDS = 5.0  # for a question: then another manager is asked, as a node may be lost at any moment
WRITE_SECONDS = 20.0  # for a change: managers that have no leader say so after 5 s
INIT = "`docker swarm init` makes one of this host; DOCKER_HOST or `hosts` names a manager of another"
PROMOTE = "name a manager in DOCKER_HOST or among `hosts`, or make this one a manager: docker node promote NODE"
# One that asks the leader, and hears nothing as that is lost just now, says that it is unavailable.
LEADERLESS = (
    "does not have a leader",
    "context deadline exceeded",
    "lost quorum",
    "raft: stopped",
    "code = Unavailable",
)
SERVES_ON = "what runs serves on; start its managers again, more than half are needed (docs/swarm.md)"


class NotManager(DriverFailed):
    """None of the engines in reach is a manager of a Swarm."""


class NoLeader(DriverFailed):
    """The managers have no leader: more than half of them are gone, and nothing can be changed."""


class Managers:
    """The engines that may be managers, asked one after the other; the one that answered last is asked first."""

    def __init__(self, engines: Sequence[FleetHost]) -> None:
        self._engines = list(engines)
        self._mutex = threading.Lock()

    def ask(self, what: str, work: Callable[[docker.DockerClient], T], seconds: float = READ_SECONDS) -> T:
        """Let a manager do something whose calls may take `seconds` each.

        Raise NotManager if none of those that answer is a manager, HostsUnreachable where no manager answers that has
        a leader: without one nothing can be changed, and what is read may be old.
        """
        silent: dict[str, str] = {}
        refusals: list[NotManager] = []
        for engine in self._in_order():
            try:
                done = engine.read(lambda _runtime, engine=engine: _asked(engine, what, work, seconds))  # type: ignore[misc]
            except HostsUnreachable as error:
                silent |= error.silent
            except NoLeader as error:
                silent[engine.name] = error.message
            except NotManager as error:
                refusals.append(error)
            else:
                self._prefer(engine)
                return done
        if refusals and not silent:
            raise refusals[0]
        raise HostsUnreachable(silent | {"": refusals[0].message} if refusals and "" not in silent else silent)

    def _in_order(self) -> tuple[FleetHost, ...]:
        with self._mutex:
            return tuple(self._engines)

    def _prefer(self, engine: FleetHost) -> None:
        with self._mutex:
            self._engines.remove(engine)
            self._engines.insert(0, engine)


def _asked(engine: FleetHost, what: str, work: Callable[[docker.DockerClient], T], seconds: float) -> T:
    try:
        with engine.engine.client(what, seconds) as client:
            return work(client)
    except DeadlinePassed:
        raise
    except DriverFailed as error:
        raise _meant(engine, error) from error


def _meant(engine: FleetHost, error: DriverFailed) -> DriverFailed:
    """Return what an error of an engine means for whoever wants a manager."""
    import docker.errors

    cause, where = error.__cause__, engine.name or "the engine of this host"
    if not isinstance(cause, docker.errors.APIError):
        return error
    said = error.message.partition(": ")[2] or error.message
    if cause.status_code == 503 and "not a swarm manager" in said:
        if "Worker nodes" in said:
            return NotManager(f"{where} is a worker of its Swarm, and only a manager can be asked", PROMOTE)
        return NotManager(f"{where} is not part of a Swarm", INIT)
    if cause.status_code == 503 and "unlocked" in said:
        return NotManager(f"the Swarm of {where} is locked", "docker swarm unlock")
    if any(words in said for words in LEADERLESS):
        return NoLeader(f"the Swarm has no leader: {error.message}", SERVES_ON)
    return error


def leaderless(nodes: Sequence[Mapping[str, object]]) -> str:
    """Return why nothing can be changed, from what a manager says of all nodes; "" where there is a leader.

    One that was elected just now does not know where anything can run until its nodes have found it.
    """
    managers = [node["ManagerStatus"] for node in nodes if node.get("ManagerStatus")]
    known = [m for m in managers if isinstance(m, dict)]
    if any(m.get("Leader") for m in known):
        states = {status.get("State") for node in nodes if isinstance(status := node.get("Status"), dict)}
        new = "unknown" in states and "ready" not in states
        return "the Swarm has a new leader, which has not heard from any node yet" if new else ""
    up = sum(1 for m in known if m.get("Reachability") == "reachable")
    return f"the Swarm has no leader: {up} of {len(known)} managers are reachable; {SERVES_ON}"
