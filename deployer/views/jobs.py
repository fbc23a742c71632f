"""Scheduled jobs for people: when they run, and how their last runs ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from deployer.views.text import columns, duration, moment, one_line, plural, release

if TYPE_CHECKING:
    from deployer.views.data import JobsView
    from deployer.views.status_parts import JobRunView, JobView

Ink = Callable[[str, str], str]
STYLES = {"": "cyan", "done": "green", "aborted": "yellow", "skipped": "yellow", "missed": "yellow"}


def jobs(view: JobsView, now: float, ink: Ink) -> list[str]:
    """Write the jobs of a service, and the last runs of each."""
    live = release(view.release, view.version)
    if not view.jobs:
        what = f"{live} has no jobs: `schedule:` in the manifest makes some" if view.release else "no release is live"
        return [f"{ink(view.service, 'bold')}  {what}"]
    out = [f"{ink(view.service, 'bold')}  {live}", "", *columns([_heads(ink), *_schedules(view.jobs, now, ink)])]
    runs = sorted((run for job in view.jobs for run in job.runs), key=lambda run: -run.number)
    if runs:
        heads = [ink(head, "dim") for head in ("run", "job", "began", "took", "release", "outcome", "by")]
        out += ["", *columns([heads, *(_run(run, ink) for run in runs)])]
    if not view.attended:
        out += ["", f"{ink('problem', 'red')}: nothing runs these jobs: `deploy serve` does, or a timer with"]
        out[-1] += " `deploy jobs --run-due`"
    return out


def line(job: JobView, now: float, ink: Ink) -> str:
    """Write a job in a line of the status."""
    last = next((run for run in job.runs), None)
    was = f"; {last_outcome(last, now, ink)}" if last else ""
    return f"{ink('job', 'dim')} {job.name}: next in {duration(max(0.0, job.next - now))}{was}"


def last_outcome(run: JobRunView, now: float, ink: Ink) -> str:
    """Return how the last run ended, and when."""
    if not run.outcome:
        return ink(f"running for {duration(run.seconds)} ({release(run.release, run.version)})", "cyan")
    ago = duration(max(0.0, now - run.started_at - run.seconds))
    return f"{_outcome(run, ink)} {ago} ago ({release(run.release, run.version)})"


def _heads(ink: Ink) -> list[str]:
    return [ink(head, "dim") for head in ("job", "schedule", "timezone", "next", "in", "last")]


def _schedules(found: Sequence[JobView], now: float, ink: Ink) -> list[list[str]]:
    return [
        [
            job.name,
            job.cron,
            job.timezone,
            moment(job.next),
            duration(max(0.0, job.next - now)),
            last_outcome(job.runs[0], now, ink) if job.runs else "–",
        ]
        for job in found
    ]


def _run(run: JobRunView, ink: Ink) -> list[str]:
    took = "–" if run.outcome in ("skipped", "missed") else duration(run.seconds)
    name = release(run.release, run.version)
    return [f"#{run.number}", run.job, moment(run.started_at), took, name, _outcome(run, ink), one_line(run.by)]


def _outcome(run: JobRunView, ink: Ink) -> str:
    text = run.outcome or "running"
    if run.exit:
        text += f" (exit code {run.exit})"
    if run.times > 1:
        text += f" {plural(run.times, 'time')}"
    return ink(text, STYLES.get(run.outcome, "red"))
