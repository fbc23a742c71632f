"""The tables of jobs: their runs, and up to when the due times of each are dealt with.

A run is no rollout: it takes no lock of its service, and neither waits for the other. The process that has a
run holds a claim, which ends with it; a run without an end and without a holder is finished by the next process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

from deployer.core.clock import Clock
from deployer.core.errors import Refused
from deployer.store.audit import Audit, AuditEntry
from deployer.store.claims import Claims
from deployer.store.database import Connection, Database, Duplicate
from deployer.store.job_notices import JobNotices, is_news

KEPT = 50  # runs of a job that ended
# A clock that was set back by less repeats nothing; by more, what was dealt with lies in a future that was none.
# Debian's cron draws the same line.
SET_BACK = 3 * 3600.0


@dataclass(frozen=True)
class JobRun:
    """A run of a job, or due times at which it was not run. `due` is 0 where a person started it.

    `outcome` is done, failed, timed-out, aborted, lost (nobody saw its end), skipped or missed; empty while it runs.
    `exit` is that of its command, None where it is not known.
    """

    number: int
    service: str
    job: str
    release: int
    due: float
    host: str
    by: str
    reason: str
    started_at: float
    ended_at: float | None = None
    outcome: str = ""
    exit: int | None = None
    text: str = ""
    times: int = 1

    @property
    def name(self) -> str:
        """Name of its container or process."""
        return f"{self.service}.{self.job}.{self.number}"


_COLUMNS = ", ".join(field.name for field in fields(JobRun))


@dataclass(frozen=True)
class DueTime:
    """The due time `at`, and with it all after `since` up to `until`, by the `schedule` that was read."""

    at: float
    schedule: str
    since: float
    until: float


class Jobs:
    """Runs of jobs, and their due times."""

    def __init__(self, database: Database, clock: Clock, audit: Audit, claims: Claims) -> None:
        self._database, self._clock, self._audit, self._claims = database, clock, audit, claims
        self.notices = JobNotices(database, claims)

    @contextmanager
    def held(self, service: str, job: str) -> Iterator[bool]:
        """Hold the lock of a job, as a process with a run of it does; yield whether it was free."""
        lock = self._claims.claim(_claim(service, job))
        taken = lock.try_take()
        try:
            yield taken
        finally:
            lock.let_go()

    def is_held(self, service: str, job: str) -> bool:
        """Return whether a living process has a run of a job."""
        return self._claims.is_held(_claim(service, job))

    def all_dealt_with(self) -> dict[tuple[str, str, str], float]:
        """Return up to when due times are dealt with, by service, job and schedule; nothing of new schedules."""
        rows = self._database.rows("select * from job_times where until <= ?", self._clock.now() + SET_BACK)
        return {(row["service"], row["job"], row["schedule"]): float(row["until"]) for row in rows}

    def dealt_with(self, service: str, job: str, schedule: str) -> float:
        """Return up to when the due times of a job are dealt with: up to now, when its schedule is new."""
        now = self._clock.now()
        rows = self._database.rows(
            "select until from job_times where service = ? and job = ? and schedule = ? and until <= ?",
            service,
            job,
            schedule,
            now + SET_BACK,
        )
        if rows:
            return float(rows[0]["until"])
        with self._database.transaction() as db:
            db.execute(
                "insert into job_times values (?, ?, ?, ?) on conflict (service, job) do update"
                " set schedule = excluded.schedule, until = excluded.until"
                " where job_times.schedule != excluded.schedule or job_times.until > ?",
                (service, job, schedule, now, now + SET_BACK),
            )
        return now

    def begin(self, run: JobRun, time: DueTime | None) -> JobRun | None:
        """Record that a run begins, at its due time if it has one; return it with its number.

        Return None when somebody else has dealt with this due time. Raise Refused while another run has no end.
        """
        with self._database.transaction() as db:
            if time is not None and not _deal_with(db, run, time):
                return None
            try:
                number = db.insert(
                    "insert into job_runs (service, job, release, due, host, by, reason, started_at)"
                    " values (?, ?, ?, ?, ?, ?, ?, ?)",
                    (run.service, run.job, run.release, run.due, run.host, run.by, run.reason, run.started_at),
                    key="number",
                )
            except Duplicate:
                raise Refused(f"{run.job} of {run.service} runs already", "`deploy jobs` shows its run") from None
            return replace(run, number=number)

    def pass_over(self, run: JobRun, time: DueTime) -> bool:
        """Record that due times of a job were left out; several in a row are one record. Return whether it was news.

        What is `skipped` is so because a run goes on: none is recorded while there is none.
        """
        with self._database.transaction() as db:
            key = (run.service, run.job)
            goes_on = db.execute(
                "select 1 from job_runs where service = ? and job = ? and ended_at is null", key
            ).fetchone()
            if (run.outcome == "skipped" and goes_on is None) or not _deal_with(db, run, time):
                return False
            last = db.execute(
                "select number, outcome from job_runs where service = ? and job = ? order by number desc limit 1", key
            ).fetchone()
            now = self._clock.now()
            news = is_news(db, *key, run.outcome, now)
            if last is not None and last["outcome"] == run.outcome:
                db.execute(
                    "update job_runs set times = times + 1, due = ?, ended_at = ?, text = ?, owed = owed or ?"
                    " where number = ?",
                    (run.due, now, run.text, news, last["number"]),
                )
                return True
            db.execute(
                "insert into job_runs (service, job, release, due, by, reason, outcome, text, started_at, ended_at,"
                " owed) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*key, run.release, run.due, run.by, run.reason, run.outcome, run.text, run.started_at, now, news),
            )
            return True

    def starts_on(self, run: JobRun, host: str) -> JobRun:
        """Record on which host a run is about to start, and that this is now."""
        now = self._clock.now()
        with self._database.transaction() as db:
            db.execute(
                "update job_runs set host = ?, started_at = ? where number = ? and ended_at is null",
                (host, now, run.number),
            )
        return replace(run, host=host, started_at=now)

    def end(self, run: JobRun, output: str = "") -> None:
        """Record how a run ended, with its line in the audit log if a person started it; forget the oldest runs."""
        with self._database.transaction() as db:
            now = self._clock.now()
            news = is_news(db, run.service, run.job, run.outcome, now)
            changed = db.execute(
                "update job_runs set ended_at = ?, outcome = ?, exit = ?, text = ?, output = ?, owed = ?"
                " where number = ? and ended_at is null",
                (now, run.outcome, run.exit, run.text, output, news, run.number),
            ).rowcount
            if changed and not run.due:
                entry = AuditEntry(
                    "run", run.service, run.outcome, release=run.release, detail=run.text, reason=run.reason, by=run.by
                )
                self._audit.add(db, entry)
            db.execute(
                "delete from job_runs where service = ? and job = ? and ended_at is not null and number <= ("
                "select number from job_runs where service = ? and job = ? and ended_at is not null"
                " order by number desc limit 1 offset ?)",
                (run.service, run.job, run.service, run.job, KEPT),
            )

    def of(self, service: str, job: str = "", limit: int = KEPT) -> tuple[JobRun, ...]:
        """Return runs of a service, of one job if it is named, the newest first."""
        which, values = ("service = ? and job = ?", (service, job)) if job else ("service = ?", (service,))
        return self._runs(f"{which} order by number desc limit ?", *values, limit)

    def open(self) -> tuple[JobRun, ...]:
        """Return the runs that have no end, of all services."""
        return self._runs("ended_at is null")

    def open_run(self, service: str, job: str) -> JobRun | None:
        """Return the run of a job that has no end; None without one."""
        return next(iter(self._runs("service = ? and job = ? and ended_at is null", service, job)), None)

    def owed(self) -> tuple[JobRun, ...]:
        """Return the runs of which people have still to be notified, while nobody does so."""
        return tuple(run for number in self.notices.owed() for run in self._runs("number = ?", number))

    def output(self, run: JobRun) -> str:
        """Return the last of what a run printed, as it was recorded at its end."""
        rows = self._database.rows("select output from job_runs where number = ?", run.number)
        return str(rows[0]["output"]) if rows else ""

    def _runs(self, which: str, *values: object) -> tuple[JobRun, ...]:
        """Return runs without their output, which is long."""
        rows = self._database.rows(f"select {_COLUMNS} from job_runs where {which}", *values)  # noqa: S608 - our own
        return tuple(JobRun(**dict(row)) for row in rows)


def _claim(service: str, job: str) -> str:
    """Return under which name the claim of a job is."""
    return f"locks/{service}.{job}.job"


def _deal_with(db: Connection, run: JobRun, time: DueTime) -> bool:
    """Record that due times are dealt with; return False when somebody else has done so."""
    return bool(
        db.execute(
            "update job_times set until = ? where service = ? and job = ? and schedule = ? and until = ?",
            (time.until, run.service, run.job, time.schedule, time.since),
        ).rowcount
    )
