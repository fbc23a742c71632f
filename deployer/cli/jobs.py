"""Scheduled jobs: `jobs` lists them and runs what is due, `run` runs one now."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import click

from deployer.cli.opening import open_app
from deployer.cli.options import Common, common
from deployer.cli.output import open_lines, print_result
from deployer.cli.session import house, signals
from deployer.core.errors import DeployError, Exit
from deployer.planning.orders import Order, StopRequest
from deployer.views.text import clean

if TYPE_CHECKING:
    from deployer.core.events import Event, Sink
    from deployer.store.jobs import JobRun

LINES = 1000  # of the output of a run at a server


@click.command("jobs")
@common("file", "destination", "service")
@click.option("--run-due", is_flag=True, help="Run what is due, of all services in this state folder; for a timer.")
def jobs(common: Common, run_due: bool) -> int:
    """Show the scheduled jobs of a service: when they run next, and how their last runs ended.

    With --run-due it starts what is due and waits until that has ended; a job that becomes due meanwhile runs, too.
    """
    if run_due:
        return _run_due(common)
    with open_app(common) as app:
        print_result(app.jobs(app.service()), common.output)
    return int(Exit.DONE)


@click.command("run")
@common("file", "destination", "service", "message")
@click.argument("job")
def run(common: Common, job: str) -> int:
    """Run a job of the live release now, show its output, and exit 0 if it ended with 0, 4 if it failed.

    Ctrl-C stops the run; with --on or --server it continues there.
    """
    stop = StopRequest(detach=common.server is not None)
    with open_app(common) as app, signals(stop.asked), open_lines(common.output) as lines:
        name = app.service()
        try:
            ending = app.carry_out(Order("run", name, common.message, job=job), _printed(common, lines), stop)
        except DeployError as error:
            if common.server is not None and error.exit is Exit.FAILED:
                _print_output(app.logs(name, LINES, job=job).instances[0].lines)
            raise
        if common.server is not None:
            _print_output(app.logs(name, LINES, job=job).instances[0].lines)
    sys.stderr.write(f"{ending.text}\n")
    return int(ending.exit)


def _printed(common: Common, lines: Sink) -> Sink:
    """Return what prints the output of a run on stdout; as events where JSON lines are asked for."""

    def seen(event: Event) -> None:
        if common.output == "json":
            lines(event)
        elif event.kind == "job.output":
            _print_output((str(event.data["text"]),))

    return seen


def _print_output(lines: tuple[str, ...]) -> None:
    for line in lines:
        sys.stdout.write(f"{clean(line)}\n")
    sys.stdout.flush()


def _run_due(common: Common) -> int:
    from deployer.app.attendance import JOBS, announced
    from deployer.app.jobs.scheduler import LOOK_SECONDS, Scheduler
    from deployer.app.wiring import open_house
    from deployer.views.plain import sentence

    failed = threading.Event()

    def say(text: str, ended: JobRun | None) -> None:
        _print_output((text,))
        if ended is None or ended.outcome != "done":
            failed.set()

    def hear(event: Event) -> None:
        if event.kind == "notify.failed":
            _print_output((f"{event.service}: {sentence(event)}",))

    asked = threading.Event()
    with house(common) as opened, announced(opened.store, JOBS), signals(asked):
        scheduler = Scheduler(lambda stop: open_house(common.state, hear, stop), say)
        scheduler.look()
        while scheduler.busy and not asked.wait(LOOK_SECONDS):
            scheduler.look()
        scheduler.stop()
    return int(Exit.FAILED if failed.is_set() else Exit.DONE)
