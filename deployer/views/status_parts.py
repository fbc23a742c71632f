"""Parts of `deploy status` that few services have at a time: apart from `status_data`, so that it is soon there."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.views.view import View


@dataclass(frozen=True)
class LockView(View):
    """Who deploys now: person and host, since when, which rollout and version, and what for."""

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
