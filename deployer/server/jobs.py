"""The server runs the scheduled jobs of all its services."""

from __future__ import annotations

from deployer.app.attendance import JOBS, Attendance
from deployer.app.jobs.scheduler import LOOK_SECONDS, Scheduler
from deployer.server.context import ServerContext
from deployer.server.loop import Loop
from deployer.store.jobs import JobRun

END_SECONDS = 10.0  # for a look that is in progress


class JobRunner(Loop):
    """Runs what is due, as long as the server runs."""

    def __init__(self, desk: ServerContext) -> None:
        super().__init__(desk.log, "jobs", ("jobs.failed", "what is due cannot be read"), LOOK_SECONDS, END_SECONDS)
        self._desk = desk
        self._scheduler = Scheduler(desk.opened, self._ended)
        self._attendance = Attendance(JOBS)

    def look(self) -> None:
        """Start what is due; from the first look on, others see that this server runs the jobs."""
        self._attendance.begin(self._desk.stores.store())
        self._scheduler.look()

    def stop(self) -> None:
        """Look no more, and leave the runs where they are."""
        super().stop()
        self._scheduler.stop()
        self._attendance.end()

    def _ended(self, text: str, run: JobRun | None) -> None:
        known = {"service": run.service, "job": run.job, "outcome": run.outcome, "exit": run.exit} if run else {}
        self._desk.log.say("job.ended" if run else "job.failed", text, text=text, **known)
