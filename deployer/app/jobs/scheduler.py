"""Runs what is due, each job in a thread of its own: in `deploy serve`, or for a timer of the system.

Due times are worked out from the store at each look, and dealt with in one transaction: a restart neither repeats nor
forgets one, and of two schedulers one runs it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from deployer.app.jobs.runs import pass_over, run_due, take_over
from deployer.app.jobs.times import Due, Schedule, due
from deployer.app.operations import AppContext
from deployer.core.errors import DeployError, Detached
from deployer.core.filelock import FileLock, is_held
from deployer.model import Release
from deployer.planning.orders import StopRequest
from deployer.store import Store
from deployer.store.jobs import DueTime, JobRun

LOOK_SECONDS = 2.0  # between two looks at what is due
END_SECONDS = 5.0  # for the threads of runs that are left where they are
RECENT_SECONDS = 900.0  # a timer that came within this time comes again

Opener = Callable[[StopRequest], AbstractContextManager[AppContext]]
Say = Callable[[str, JobRun | None], None]


class Scheduler:
    """Looks for what is due and runs it. `say` gets a sentence on each run that ended, and on what went wrong."""

    def __init__(self, opened: Opener, say: Say) -> None:
        self._opened, self._say = opened, say
        self._stop = StopRequest(detach=True)  # a run that is left is found again by the next scheduler
        self._running: dict[tuple[str, str], threading.Thread] = {}
        self._known: dict[str, tuple[int, Release | None, Mapping[str, Any]]] = {}

    def look(self) -> None:
        """Start what is due, and take over runs whose process was killed. Raise DeployError when that is not seen."""
        self._running = {key: thread for key, thread in self._running.items() if thread.is_alive()}
        with self._opened(self._stop) as house:
            for run in house.store.jobs.open():
                if not house.store.jobs.is_held(run.service, run.job):
                    self._start((run.service, run.job), partial(take_over, run=run))
            for release, job, found, time in _due(house, self._known):
                if found.missed:
                    pass_over(house, release, job, time, "missed", "nothing ran it at its time")
                    continue
                key = (release.service, job)
                if key in self._running:
                    pass_over(house, release, job, time, "skipped", "the run before was still in progress")
                    continue
                self._start(key, partial(run_due, release=release, job=job, time=time))

    @property
    def busy(self) -> bool:
        """Whether a run goes on."""
        return any(thread.is_alive() for thread in self._running.values())

    def stop(self) -> None:
        """Leave the runs where they are, for the next scheduler."""
        self._stop.asked.set()
        for thread in self._running.values():
            thread.join(END_SECONDS)

    def _start(self, key: tuple[str, str], work: Callable[[AppContext], JobRun | None]) -> None:
        if key in self._running:
            return

        def do() -> None:
            try:
                with self._opened(self._stop) as house:
                    ended = work(house)
                if ended is not None:
                    self._say(ended.text, ended)
            except Detached:
                return
            except DeployError as error:
                self._say(f"{key[1]} of {key[0]}: {error}", None)

        self._running[key] = threading.Thread(target=do, name=f"job {key[1]} of {key[0]}", daemon=True)
        self._running[key].start()


def _due(
    house: AppContext, known: dict[str, tuple[int, Release | None, Mapping[str, Any]]]
) -> Iterator[tuple[Release, str, Due, DueTime]]:
    """Give what is due of every service: its live release is read once."""
    store, now = house.store, house.clock.now()
    for record in store.services.all():
        if known.get(record.name, (-1, None, {}))[0] != record.stable:
            release = store.releases.get(record.name, record.stable) if record.stable else None
            known[record.name] = (record.stable, release, jobs_of(release))
        _, release, jobs = known[record.name]
        for job, settings in jobs.items():
            schedule = Schedule.of(settings)
            since = store.jobs.dealt_with(record.name, job, schedule.key)
            found = due(schedule, since, now)
            if found is not None and release is not None:
                yield release, job, found, DueTime(found.at, schedule.key, since, found.until)


def jobs_of(release: Release | None) -> Mapping[str, Any]:
    """Return the jobs of a release as it recorded them, by name."""
    return (release.manifest.record().get("schedule") or {}) if release else {}


# -- whether anybody looks


@contextmanager
def announced(store: Store) -> Iterator[None]:
    """Let others see, for the length of the block and a while after it, that what is due is run."""
    lock = FileLock(_file(store.folder), shared=True)
    lock.try_take()
    os.utime(lock.path, (store.clock.now(), store.clock.now()))
    try:
        yield
    finally:
        lock.let_go()


def is_attended(store: Store) -> bool:
    """Return whether a server runs what is due, or a timer did so lately."""
    path = _file(store.folder)
    try:
        recent = store.clock.now() - path.stat().st_mtime < RECENT_SECONDS
    except FileNotFoundError:
        return False
    return recent or is_held(path)


def _file(state: Path) -> Path:
    return state / "locks" / "jobs.scheduler"
