"""What `deploy status` prints, as plain frozen data; apart from the rest of `data`, so that it is soon there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployer.core import later
from deployer.views.view import View

if TYPE_CHECKING:
    from deployer.views.status_parts import ApprovalView as ApprovalView
    from deployer.views.status_parts import JobView as JobView
    from deployer.views.status_parts import LoadView as LoadView
    from deployer.views.status_parts import LockView as LockView
    from deployer.views.status_parts import MigrationView as MigrationView
    from deployer.views.status_parts import RolloutRow as RolloutRow
    from deployer.views.status_parts import SafetyView as SafetyView

_PARTS = (
    "ApprovalView",
    "JobView",
    "LoadView",
    "LockView",
    "MigrationView",
    "RolloutRow",
    "SafetyView",
)

__getattr__ = later.names(__name__, dict.fromkeys(_PARTS, "deployer.views.status_parts"))


@dataclass(frozen=True)
class InstanceView(View):
    """One instance: what the runtime says of it, and whether the proxy finds it up (None: it does not know it)."""

    name: str
    address: str
    state: str
    health: str = "none"
    up: bool | None = None
    exit_code: int | None = None
    restarts: int = 0
    host: str = ""  # the host of the inventory; empty for this one


@dataclass(frozen=True)
class EnvironmentView(View):
    """One colour, or `baseline`; `role` is stable, candidate, baseline, warm or left over.

    `warm_until` belongs to the role warm. `open` counts requests, WebSockets and tcp sessions at the proxy.
    """

    colour: str
    release: int
    version: str
    role: str
    instances: tuple[InstanceView, ...] = ()
    warm_until: float = 0.0
    open: int = 0


@dataclass(frozen=True)
class SizeView(View):
    """How many instances of the live release run and are wanted: `replicas` on each of so many `hosts`.

    `manifest` is what the manifest says; `by`, `reason` and `until` belong to the word of a person (`until` 0: it does
    not expire), and are empty where nobody said another number. With `scale` the size follows the load. `asleep` is
    since when it sleeps until the next request, 0 while it is awake; `paused`: it keeps its memory meanwhile.
    """

    release: int
    version: str
    instances: int
    wanted: int
    replicas: int
    hosts: int
    manifest: int
    by: str = ""
    reason: str = ""
    until: float = 0.0
    scale: LoadView | None = None
    asleep: float = 0.0
    paused: bool = False


@dataclass(frozen=True)
class KeeperView(View):
    """What the keeper did last of a service and does next; `runs`: there is one. `next_at` 0 is now."""

    runs: bool
    last: str = ""
    last_at: float = 0.0
    last_rollout: int = 0
    next: str = ""
    next_at: float = 0.0


@dataclass(frozen=True)
class StatusView(View):
    """What is live now, read from the proxy, the runtime and the store.

    `share` is what the candidate gets: 0 too when its lease or its budget is over. `lease` 0: it does not run out.
    """

    service: str
    stable: int
    stable_version: str
    candidate: int = 0
    candidate_version: str = ""
    share: int = 0
    lease: float = 0.0
    environments: tuple[EnvironmentView, ...] = ()
    lock: LockView | None = None
    rollout: RolloutRow | None = None
    problems: tuple[str, ...] = ()
    next: str = ""  # what a person may do now
    baseline: int = 0  # share of the fresh instances of stable, in basis points
    safety: SafetyView | None = None  # while a candidate has a share
    approval: ApprovalView | None = None  # while it waits for people
    served: bool = True  # users reach it; False for a worker: it has no share, and no proxy knows its instances
    size: SizeView | None = None  # of the live release
    keeper: KeeperView | None = None
    read: bool = True  # False when proxy or runtime gave no answer: nothing is known then, see `problems`
    jobs: tuple[JobView, ...] = ()
    migration: MigrationView | None = None  # of the live release
    tenant: str = ""  # whose guest it is; empty for a service of the owner of its hosts
