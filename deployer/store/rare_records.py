"""Rows that few services have, as frozen data: apart from `records`, which every command reads."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.store.records import person_of


@dataclass(frozen=True)
class ControlRequest:
    """What a person wants of a rollout: to abort, pause or promote it, or to `force` it past what is to be approved."""

    id: int
    kind: str
    by: str
    reason: str


@dataclass(frozen=True)
class Size:
    """How many instances on each host a person wants of a service; `until` is 0 where it does not expire."""

    service: str
    instances: int
    until: float
    by: str
    reason: str
    at: float


@dataclass(frozen=True)
class Need:
    """How many instances the load of a service needs on all hosts together, since when, and why."""

    service: str
    instances: int
    why: str
    at: float


@dataclass(frozen=True)
class Concurrency:
    """How many requests at once an instance of a service is known to answer well, since when, and why."""

    service: str
    requests: int
    why: str
    at: float


@dataclass(frozen=True)
class Vote:
    """What a person said at a gate that waits for approval; `role` is that of their token, "" without one."""

    by: str
    role: str
    refused: bool
    reason: str
    at: float
    event: int  # that tells it

    @property
    def person(self) -> str:
        """Their name, without the host."""
        return person_of(self.by)


@dataclass(frozen=True)
class RolloutTimes:
    """How a rollout went so far: its end, where it has one, the seconds up to it, and those that its steps worked.

    The others were waited: in a watch, for a person, or between two processes.
    """

    number: int
    service: str
    strategy: str
    outcome: str
    exit: int
    ended: bool
    seconds: float
    worked: float
