"""The server runs the scheduled jobs of all its services."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from deployer.app.jobs.scheduler import LOOK_SECONDS, Scheduler, announced
from deployer.app.operations import AppContext
from deployer.core.errors import DeployError
from deployer.planning.orders import StopRequest
from deployer.server.context import ServerContext
from deployer.store.jobs import JobRun

END_SECONDS = 10.0  # for a look that is in progress


class JobRunner:
    """A thread that looks for what is due, as long as the server runs."""

    def __init__(self, desk: ServerContext) -> None:
        self._desk = desk
        self._said = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._scheduler = Scheduler(self._opened, self._ended)

    def start(self) -> None:
        """Look at once, then again and again."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more, and leave the runs where they are."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(END_SECONDS)
            self._scheduler.stop()

    def _run(self) -> None:
        with announced(self._desk.stores.store()):
            while True:
                self._look()
                if self._stop.wait(LOOK_SECONDS):
                    return

    def _look(self) -> None:
        """Look; say once what is in the way."""
        try:
            self._scheduler.look()
            self._said = ""
        except DeployError as error:
            if error.message != self._said:
                self._said = error.message
                self._desk.log.say("jobs.failed", f"what is due cannot be read: {error.message}")

    @contextmanager
    def _opened(self, stop: StopRequest) -> Iterator[AppContext]:
        with self._desk.house() as house:
            house.stop = stop
            yield house

    def _ended(self, text: str, run: JobRun | None) -> None:
        known = {"service": run.service, "job": run.job, "outcome": run.outcome, "exit": run.exit} if run else {}
        self._desk.log.say("job.ended" if run else "job.failed", text, **known)
