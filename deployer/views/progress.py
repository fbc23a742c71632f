"""How far an order, a rollout and a service are, as the API tells it: plain data for the server and its clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from deployer.views.data import PlanView
from deployer.views.view import View


@dataclass(frozen=True)
class ProposedView:
    """What a deploy would do, and whether that is live already."""

    plan: PlanView
    same: bool


@dataclass(frozen=True)
class RunAnswer(View):
    """How far an order is: `ended` with the exit code of the command, or not yet. `rollout` 0: none has begun (yet).

    `plan` is what was asked for by `plan`; `same` in it tells that it is live already. With `set_name` it is an order
    for a set: `service` is empty, `rollout` that of one of its services, and `plan` has those of all as `services`.
    """

    id: str
    service: str
    action: str
    by: str
    began_at: float
    ended: bool
    ended_at: float
    rollout: int
    exit: int | None
    outcome: str
    text: str
    hint: str
    plan: dict[str, Any] | None = None
    set_name: str = ""


@dataclass(frozen=True)
class RolloutState(View):
    """How far a rollout is, from the store alone: `outcome` is empty and `exit` null until it rests.

    `running`: a process that lives and answers has the lock of its service. `last_event` is the id of its newest event.
    """

    service: str
    rollout: int
    outcome: str
    exit: int | None
    text: str
    running: bool
    last_event: int


@dataclass(frozen=True)
class SetState(View):
    """How far a set is, from the store alone: `outcome` is empty and `exit` null until all of its rollouts rest.

    `open`: one of them has not ended; `running`: a process runs one of them. `first_event` and `last_event` are the ids
    of their first and of their newest event.
    """

    set: int
    name: str
    outcome: str
    exit: int | None
    text: str
    rollouts: dict[str, int]
    open: bool
    running: bool
    first_event: int
    last_event: int


@dataclass(frozen=True)
class SetRow(View):
    """A set in one line: its newest release of all services, and how that is; "" while it is in progress."""

    name: str
    set: int
    strategy: str
    outcome: str
    services: tuple[str, ...]


@dataclass(frozen=True)
class SetsAnswer(View):
    """The sets of which the token sees every service."""

    sets: tuple[SetRow, ...]


@dataclass(frozen=True)
class ServiceRow(View):
    """A service in one line, from the store alone; release and rollout 0 are none, and `tenant` "" is the owner.

    `evicted` says who has evicted a guest, if it stands.
    """

    service: str
    stable: int
    stable_version: str
    rollout: int
    outcome: str
    tenant: str = ""
    evicted: Literal["", "person", "keeper"] = ""


@dataclass(frozen=True)
class ServicesAnswer(View):
    """The services that a token sees."""

    services: tuple[ServiceRow, ...]
