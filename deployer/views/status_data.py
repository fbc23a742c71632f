"""What `deploy status` prints, as plain frozen data; apart from the rest of `data`, so that it is soon there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class View:
    """Something that can be printed."""

    def to_dict(self) -> dict[str, Any]:
        """Give plain data for JSON."""
        return asdict(self)


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
    host: str = ""  # the machine of the inventory; empty for this one


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
class LockView(View):
    """Who deploys now: person and machine, since when, which rollout and version, and what for."""

    by: str
    since: float
    rollout: int = 0
    version: str = ""
    host: str = ""
    message: str = ""
    alive: bool = True


@dataclass(frozen=True)
class RolloutRow(View):
    """A rollout in one line. `outcome` is empty while it is open; `exit` is None until it ended."""

    number: int
    strategy: str
    origin: int
    release: int
    version: str
    outcome: str
    exit: int | None
    started_at: float
    seconds: float
    by: str
    message: str = ""
    backup: str = ""  # id of the backup that it made


@dataclass(frozen=True)
class SafetyView(View):
    """What bounds the cost of the candidate now: `spent` of `budget` failed responses (0: no limit) were seen by users.

    `shielded` failed responses did not reach a user: stable answered; `over`: the budget is spent, and the proxy has
    ended the share. `share` is what was given, whether or not lease or budget have ended it.
    """

    share: int = 0
    budget: int = 0
    spent: int = 0
    shield: bool = False
    shielded: int = 0
    over: bool = False


@dataclass(frozen=True)
class ApprovalView(View):
    """What the rollout waits for: `whose` approval in words, how many (`count`), who gave it, until when.

    `expired` says what happens then: revert or hold. `by` and `role` say who may, `own` whether who started it, too.
    """

    whose: str
    count: int
    given: tuple[str, ...]
    until: float
    share: int
    expired: str
    by: tuple[str, ...] = ()
    role: str = ""
    own: bool = False


@dataclass(frozen=True)
class JobRunView(View):
    """A run of a job. `due` is 0 where a person (`by`) started it; `outcome` is empty while it runs.

    `exit` is that of its command, None where it is not known. With the outcomes skipped and missed nothing was run, at
    so many due times (`times`).
    """

    number: int
    job: str
    release: int
    version: str
    due: float
    started_at: float
    seconds: float
    outcome: str
    exit: int | None
    text: str
    by: str
    reason: str = ""
    times: int = 1


@dataclass(frozen=True)
class JobView(View):
    """A job of the live release: its schedule, the next due time, its last runs, the newest first."""

    name: str
    cron: str
    timezone: str
    command: tuple[str, ...]
    next: float
    runs: tuple[JobRunView, ...] = ()


@dataclass(frozen=True)
class JobsView(View):
    """The jobs of a service. `attended`: a server or a timer runs what is due."""

    service: str
    release: int
    version: str
    attended: bool
    jobs: tuple[JobView, ...] = ()


@dataclass(frozen=True)
class LoadView(View):
    """By what a size follows the load: `least` to `most` instances for so many requests at once each (`concurrency`).

    `running` and `waiting` are the requests now; `needed` instances are wanted since `at`, and `why`. `usual` is the
    load of former weeks for which at least `usual_size` instances are there; "" and 0 where these are the fewest. Where
    the keeper `learns` the concurrency, `learned` says from what, and `learned_at` when; 0 while nothing is learned.
    """

    least: int
    most: int
    concurrency: int
    running: int
    waiting: int
    needed: int
    why: str
    at: float
    usual: str = ""
    usual_size: int = 0
    learns: bool = False
    learned: str = ""
    learned_at: float = 0.0


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
class MigrationView(View):
    """How far the migration of the live release has come; `contract` is none, waits, due, in progress, failed or done.

    `text` says that in words. `backups` are the ids of those that were made for it, the newest first; no release before
    the `oldest` one (0: any) can come back.
    """

    release: int
    version: str
    contract: str
    text: str = ""
    backups: tuple[str, ...] = ()
    oldest: int = 0


@dataclass(frozen=True)
class ScaleView(View):
    """How many instances run and are wanted, why, and what the keeper does; `size` is None where nothing is live."""

    service: str
    size: SizeView | None
    keeper: KeeperView | None
    problems: tuple[str, ...] = ()


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
