"""One run of a job: on the live release, beside its instances, never two at once.

It takes no lock of the service, so that neither a rollout nor a run waits for the other: a run that began before a
promotion ends on its own release.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from deployer.app.observe import live_release
from deployer.app.operations import AppContext
from deployer.core.clock import Deadline
from deployer.core.errors import (
    Aborted,
    DeployError,
    Detached,
    HostsUnreachable,
    Locked,
    Refused,
    StepFailed,
    Unreachable,
)
from deployer.core.events import Event
from deployer.core.secret import hide, hide_in
from deployer.drivers.jobs import FoundRun, JobRuntime, JobSpec
from deployer.manifest.units import write_seconds
from deployer.model import Release, SecretText
from deployer.planning.orders import RolloutResult
from deployer.store.jobs import DueTime, JobRun
from deployer.views.text import duration

START_SECONDS = 60.0
REMOVE_SECONDS = 30.0  # besides the grace
AGAIN_SECONDS = 5.0  # between two attempts to reach the host of a run
BY_SCHEDULE = "schedule"
KEPT = 64 * 1024  # characters of the output that are recorded


def run_now(house: AppContext, service: str, job: str, reason: str) -> RolloutResult:
    """Run a job that a person asks for; return how it ended. Raise Locked while it runs, StepFailed if it failed."""
    release = live_release(house.store, service)
    known = release.manifest.record().get("schedule") or {}
    if job not in known:
        there = f"its jobs: {', '.join(known)}" if known else "it has none: see `schedule` in docs/jobs.md"
        raise Refused(f"{service} {release.name} has no job {job or '(none named)'}", there)
    with house.store.jobs.held(service, job) as free:
        if not free:
            raise Locked(f"{job} of {service} is running", "`deploy jobs` shows since when")
        ended = _left_by_others(house, service, job)
        if ended is None or ended.outcome == "lost":
            ended = _run(house, release, job, None, house.store.audit.actor.by, reason)
    if ended is None:
        raise Locked(f"{job} of {service} was started by somebody else just now", "`deploy jobs` shows its run")
    return _ending(ended)


def run_due(house: AppContext, release: Release, job: str, time: DueTime) -> JobRun | None:
    """Run a job at its due time; return its run, None where another process deals with it or a run goes on."""
    service = release.service
    with house.store.jobs.held(service, job) as free:
        if not free:
            pass_over(house, release, job, time, "skipped", "the run before was still in progress")
            return None
        _left_by_others(house, service, job)
        return _run(house, release, job, time, BY_SCHEDULE, "")


def pass_over(house: AppContext, release: Release, job: str, time: DueTime, outcome: str, why: str) -> None:
    """Record that a due time was left out, and why."""
    now = house.clock.now()
    left_out = JobRun(
        0, release.service, job, release.number, time.at, "", BY_SCHEDULE, "", now, now, outcome, None, why
    )
    house.store.jobs.pass_over(left_out, time)


def take_over(house: AppContext, run: JobRun) -> JobRun | None:
    """Follow a run whose process was killed to its end; None where somebody does so already."""
    with house.store.jobs.held(run.service, run.job) as free:
        return _left_by_others(house, run.service, run.job) if free else None


def _left_by_others(house: AppContext, service: str, job: str) -> JobRun | None:
    """Follow the run of a killed process to its end, or record that it is lost; None where none was left."""
    run = house.store.jobs.open_run(service, job)
    if run is None:
        return None
    return _Attended(house, house.store.releases.get(service, run.release), run).to_its_end()


def _run(house: AppContext, release: Release, job: str, time: DueTime | None, by: str, reason: str) -> JobRun | None:
    due = time.at if time is not None else 0.0
    wanted = JobRun(0, release.service, job, release.number, due, "", by, reason, house.clock.now())
    attended = _Attended(house, release, wanted)  # before the record: what the drivers refuse is no run
    run = house.store.jobs.begin(wanted, time)
    return None if run is None else attended.from_its_start(run)


class _Attended:
    """A run of which this process takes care: it holds the lock of the job."""

    def __init__(self, house: AppContext, release: Release, run: JobRun) -> None:
        self._house, self._release, self._run = house, release, run
        self._jobs: JobRuntime = house.drivers(release).jobs
        self._job = release.manifest.schedule[run.job]
        self._output = _JobOutput(lambda line: self._tell("job.output", text=line))
        left = run.started_at + self._job.timeout - house.clock.now()
        self._deadline = Deadline.after(house.clock, min(max(left, 0.0), self._job.timeout))  # if it has started

    def from_its_start(self, run: JobRun) -> JobRun:
        """Start it, on the first host that answers, and follow it to its end."""
        self._run = run
        try:
            self._start()
            self._deadline = Deadline.after(self._house.clock, self._job.timeout)
        except DeployError as error:
            with suppress(DeployError):  # it may have started all the same, when only the response was lost
                self._remove()
            return self._ended("failed", None, f"could not be started: {error}")
        text = f"{self._what} started"
        self._tell("job.started", release=self._release.number, version=self._release.version, text=text)
        return self.to_its_end()

    def to_its_end(self) -> JobRun:
        """Follow it, stop it when its time is over or a person asks for that, remove it, and record how it ended.

        Raise Detached when this process is to leave it: it is found again.
        """
        with suppress(Refused):  # the values are gone; what it prints is shown without them where they are known
            self._secrets()
        try:
            outcome, code, text = self._outcome(self._followed())
            self._remove()
        except Detached:
            raise
        except DeployError as error:
            self._refuse_to_wait()
            outcome, code, text = "lost", None, f"is lost: {error.message}"
        return self._ended(outcome, code, text)

    def _start(self) -> None:
        secrets, silent = self._secrets(), dict[str, str]()
        for host in self._release.host_names("blue") or ("",):
            self._run = self._house.store.jobs.starts_on(self._run, host)
            spec = JobSpec(self._release, self._run.job, self._run.number, secrets, host)
            try:
                return self._jobs.start(spec, Deadline.after(self._house.clock, START_SECONDS))
            except HostsUnreachable as error:
                silent |= error.silent
        raise HostsUnreachable(silent)

    def _remove(self) -> None:
        grace = self._release.manifest.stop.grace
        end = Deadline.after(self._house.clock, grace + REMOVE_SECONDS)
        self._jobs.remove(self._run.name, self._run.host, grace, end)

    def _secrets(self) -> dict[str, SecretText]:
        names = frozenset(self._release.manifest.record()["secrets"])
        return self._house.vault.load(self._release.service, self._release.number, names)

    def _followed(self) -> FoundRun | None:
        """Show what it prints until it ends or is to be ended; return it as it is then, None when it is gone."""
        stopped = self._house.stop.asked.is_set
        while True:
            try:
                self._jobs.follow(self._run.name, self._run.host, self._output.write, self._deadline, stopped)
                return self._jobs.read(self._run.name, self._run.host)
            except Unreachable:
                if self._deadline.passed() or stopped():
                    raise
            self._output.again()
            self._house.clock.sleep(AGAIN_SECONDS)

    def _outcome(self, found: FoundRun | None) -> tuple[str, int | None, str]:
        if found is None:
            return "lost", None, "is lost: it is gone, and nobody saw its end"
        if found.state == "created":
            return "lost", None, "is lost: it was never started"
        if found.state == "exited" and found.exit_code is None:
            return "lost", None, "is lost: nobody saw with which code it ended"
        if found.state == "exited":
            return "failed" if found.exit_code else "done", found.exit_code, f"ended with {found.exit_code}"
        if not self._house.stop.asked.is_set():
            return "timed-out", None, f"was stopped: its timeout of {write_seconds(self._job.timeout)} was over"
        self._refuse_to_wait()
        return "aborted", None, f"was stopped by {self._house.store.audit.actor.by}"

    def _refuse_to_wait(self) -> None:
        """Raise Detached when this process is to leave the run where it is."""
        if self._house.stop.asked.is_set() and self._house.stop.detach:
            raise Detached(f"run {self._run.number} of {self._run.job} goes on", "`deploy jobs` shows it")

    def _ended(self, outcome: str, code: int | None, text: str) -> JobRun:
        now = self._house.clock.now()
        said = hide(f"{self._what} {text}, after {duration(max(0.0, now - self._run.started_at))}")
        self._run = replace(self._run, ended_at=now, outcome=outcome, exit=code, text=said)
        self._house.store.jobs.end(self._run, hide(self._output.end()))
        self._tell("job.ended", outcome=outcome, exit=code, text=said)
        self._house.announcer.report(self._run)
        return self._run

    @property
    def _what(self) -> str:
        return f"{self._run.job} of {self._run.service} (run {self._run.number}, {self._release.name})"

    def _tell(self, kind: str, **data: object) -> None:
        known = {"job": self._run.job, "run": self._run.number}
        self._house.sink(Event(kind, self._house.clock.now(), self._run.service, 0, hide_in({**known, **data})))


class _JobOutput:
    """What a run prints: passed on line by line, the end of it kept."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._line, self._kept = "", ""
        self._seen = self._known = 0

    def again(self) -> None:
        """Expect all of it from its beginning once more."""
        self._known, self._seen = max(self._known, self._seen), 0

    def write(self, chunk: bytes) -> None:
        """Take what was printed."""
        fresh = chunk[max(0, self._known - self._seen) :]
        self._seen += len(chunk)
        self._add(self._decode(fresh))

    def end(self) -> str:
        """Return the end of all that was printed."""
        self._add(self._decode(b"", True))
        if self._line:
            self._tell(self._line)
        self._line = ""
        return self._kept

    def _add(self, text: str) -> None:
        self._kept = (self._kept + text)[-KEPT:]
        *whole, self._line = (self._line + text).split("\n")
        for line in whole:
            self._tell(line.removesuffix("\r"))


def _ending(run: JobRun) -> RolloutResult:
    if run.outcome == "done":
        return RolloutResult.at_once(run.text)
    if run.outcome == "aborted":
        raise Aborted(run.text)
    raise StepFailed(run.text, f"`deploy logs --job {run.job}` has its output")
