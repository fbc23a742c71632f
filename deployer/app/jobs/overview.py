"""What is known of the jobs of a service: schedules, next due times, last runs. It reads, and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.app.attendance import JOBS, is_attended
from deployer.app.jobs.scheduler import jobs_of
from deployer.app.jobs.times import Schedule
from deployer.app.operations import AppContext
from deployer.core.errors import Refused
from deployer.model import Release
from deployer.store.jobs import JobRun
from deployer.views.status_parts import JobRunView, JobView

if TYPE_CHECKING:
    from deployer.views.data import JobsView

RUNS = 5  # of a job that are shown


def overview(house: AppContext, service: str) -> JobsView:
    """Return the jobs of the live release of a service."""
    record = house.store.services.get(service)
    release = house.store.releases.get(service, record.stable) if record.stable else None
    from deployer.views.data import JobsView  # with all other results, which a status does not need

    return JobsView(
        service=service,
        release=record.stable,
        version=release.version if release else "",
        attended=is_attended(house.store, JOBS),
        jobs=jobs(house, release),
    )


def jobs(house: AppContext, release: Release | None) -> tuple[JobView, ...]:
    """Return the jobs of a release with their last runs, by whatever release these were."""
    known = jobs_of(release)
    if not known or release is None:
        return ()
    versions = {each.number: each.version for each in house.store.releases.of(release.service)}
    found = []
    for name, settings in known.items():
        schedule = Schedule.of(settings)
        runs = house.store.jobs.of(release.service, name, RUNS)
        found.append(
            JobView(
                name=name,
                cron=schedule.cron,
                timezone=schedule.timezone,
                command=tuple(settings["command"]),
                next=schedule.next(house.clock.now()),
                runs=tuple(_run(run, versions.get(run.release, "?"), house.clock.now()) for run in runs),
            )
        )
    return tuple(found)


def output(house: AppContext, service: str, job: str, lines: int) -> tuple[str, tuple[str, ...]]:
    """Return the name of the newest run of a job and the last lines that it printed. Raise Refused without one."""
    for run in house.store.jobs.of(service, job):
        if run.ended_at is not None and run.outcome not in ("skipped", "missed"):
            return run.name, tuple(house.store.jobs.output(run).splitlines()[-lines:])
    raise Refused(f"no run of {job} of {service} has ended yet", "`deploy jobs` shows its jobs and their runs")


def _run(run: JobRun, version: str, now: float) -> JobRunView:
    return JobRunView(
        number=run.number,
        job=run.job,
        release=run.release,
        version=version,
        due=run.due,
        started_at=run.started_at,
        seconds=(run.ended_at or now) - run.started_at,
        outcome=run.outcome,
        exit=run.exit,
        text=run.text,
        by=run.by,
        reason=run.reason,
        times=run.times,
    )
