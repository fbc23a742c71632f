"""Runs what is due, each job in a thread of its own: in `deploy serve`, or for a timer of the system.

Due times are worked out from the store at each look, and dealt with in one transaction: a restart neither repeats nor
forgets one, and of two schedulers one runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any

from deployer.app.homes import is_elsewhere
from deployer.app.jobs.runs import pass_over, run_due, take_over
from deployer.app.jobs.times import Schedule, due
from deployer.app.operations import AppContext
from deployer.app.side_threads import SideThreads
from deployer.core.errors import Detached
from deployer.model import Release
from deployer.planning.orders import StopRequest
from deployer.store import ServiceRecord, Store
from deployer.store.jobs import DueTime, JobRun

LOOK_SECONDS = 2.0  # between two looks at what is due
END_SECONDS = 5.0  # for the threads of runs that are left where they are

Opener = Callable[[StopRequest], AbstractContextManager[AppContext]]
Say = Callable[[str, JobRun | None], None]
_Key = tuple[str, str]  # service and job
_Scheduled = tuple[Release, str, Schedule]


class Scheduler:
    """Looks for what is due and runs it. `say` gets a sentence on each run that ended, and on what went wrong.

    What is wrong with a job or a service is said once, and keeps no other one waiting.
    """

    def __init__(self, opened: Opener, say: Say) -> None:
        self._opened, self._say = opened, say
        self._stop = StopRequest(detach=True)  # a run that is left is found again by the next scheduler
        self._threads = SideThreads[_Key](self._trouble)
        self._known: dict[str, tuple[int, tuple[_Scheduled, ...]]] = {}  # by service: its live release and the jobs
        self._after: dict[_Key, tuple[str, float, float]] = {}  # schedule, moment, and the first due time after it

    def look(self) -> None:
        """Start what is due, and take over runs whose process was killed. Raise DeployError when that is not seen."""
        self._threads.prune()
        with self._opened(self._stop) as house:
            for run in house.store.jobs.open():
                if not house.store.jobs.is_held(run.service, run.job):
                    self._start((run.service, run.job), partial(take_over, run=run))
            for run in house.store.jobs.owed():
                self._start((run.service, f"the notice about {run.job}"), partial(_report, run=run))
            dealt_with = house.store.jobs.all_dealt_with()
            for scheduled in self._scheduled(house.store):
                release, job, schedule = scheduled
                with self._threads.noted((release.service, job)):
                    since = dealt_with.get((release.service, job, schedule.key))
                    if since is None or self._next(scheduled, since) <= house.clock.now():
                        self._look_at(house, release, job, schedule)

    @property
    def busy(self) -> bool:
        """Whether a run goes on."""
        return self._threads.busy

    def stop(self) -> None:
        """Leave the runs where they are, for the next scheduler."""
        self._stop.asked.set()
        self._threads.join(END_SECONDS)

    def _scheduled(self, store: Store) -> Iterator[_Scheduled]:
        """Yield the jobs of all services; a live release is read once."""
        for service in store.services.all():
            if service.name not in self._known or self._known[service.name][0] != service.stable:
                self._known[service.name] = (-1, ())
                with self._threads.noted((service.name, "")):
                    self._known[service.name] = (service.stable, _read(store, service))
            yield from self._known[service.name][1]

    def _next(self, scheduled: _Scheduled, since: float) -> float:
        """Return the first due time of a job after a moment; each look asks for that of all jobs, so it is kept."""
        release, job, schedule = scheduled
        key = (release.service, job)
        if self._after.get(key, ("", 0.0, 0.0))[:2] != (schedule.key, since):
            self._after[key] = (schedule.key, since, schedule.next(since))
        return self._after[key][2]

    def _look_at(self, house: AppContext, release: Release, job: str, schedule: Schedule) -> None:
        """Deal with what is due of a job."""
        key = (release.service, job)
        since = house.store.jobs.dealt_with(*key, schedule.key)
        found = due(schedule, since, house.clock.now())
        if found is None:
            return
        time = DueTime(found.at, schedule.key, since, found.until)
        if found.missed:
            pass_over(house, release, job, time, "missed", "nothing ran it at its time")
        elif key in self._threads:
            pass_over(house, release, job, time, "skipped", "the run before was still in progress")
        else:
            self._start(key, partial(run_due, release=release, job=job, time=time))

    def _start(self, key: _Key, work: Callable[[AppContext], JobRun | None]) -> None:
        def do() -> None:
            with suppress(Detached):
                with self._opened(self._stop) as house:
                    ended = work(house)
                self._threads.settled(key)
                if ended is not None:
                    self._say(ended.text, ended)

        self._threads.begin(key, f"job {key[1]} of {key[0]}", do)

    def _trouble(self, key: _Key, text: str) -> None:
        service, job = key
        self._say(f"{job} of {service}: {text}" if job else f"{service}: {text}", None)


def _report(house: AppContext, run: JobRun) -> None:
    """Notify people of a run; the house waits for that at its end."""
    house.announcer.report(run)


def _read(store: Store, service: ServiceRecord) -> tuple[_Scheduled, ...]:
    if not service.stable or is_elsewhere(store, service.name):
        return ()
    release = store.releases.get(service.name, service.stable)
    return tuple((release, job, Schedule.of(settings)) for job, settings in jobs_of(release).items())


def jobs_of(release: Release | None) -> Mapping[str, Any]:
    """Return the jobs of a release as it recorded them, by name."""
    return (release.manifest.record().get("schedule") or {}) if release else {}
