"""Runs of jobs that nobody takes care of any more, and what is left of runs that ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from deployer.app.doctor.finding import Discrepancy, Fix
from deployer.app.jobs.runs import REMOVE_SECONDS, take_over
from deployer.app.operations import AppContext
from deployer.core.clock import Deadline
from deployer.core.errors import DeployError
from deployer.drivers.jobs import FoundRun, JobRuntime
from deployer.store import Lock
from deployer.store.jobs import JobRun


def job_runs(house: AppContext) -> Iterator[Discrepancy]:
    """Compare the runs that have no end in the store with those that are there."""
    there = _there(house)
    known = {run.name: run for run in house.store.jobs.open()}
    for run in known.values():
        if house.store.jobs.is_held(run.service, run.job):
            continue
        text = f"the process that ran {run.job} (run {run.number}) is gone"
        found, _ = there.get(run.name, (None, None))
        if found is not None and found.state == "running":
            remedy = "the run goes on: `deploy serve` or `deploy jobs --run-due` follows it to its end"
            yield Discrepancy("warn", run.service, text, remedy)
        else:
            yield Discrepancy(
                "warn", run.service, text, "", Fix(f"record how run {run.number} ended", _settle(house, run))
            )
    for name, (found, runtime) in there.items():
        if name not in known and found.state != "running":
            cure = Fix(f"remove {name}", _remove(house, runtime, found))
            yield Discrepancy("warn", found.service, f"{name} is left of a run that is over", "", cure)


def _there(house: AppContext) -> dict[str, tuple[FoundRun, JobRuntime]]:
    found: dict[str, tuple[FoundRun, JobRuntime]] = {}
    anywhere = house.anywhere()
    for kind in ("docker", "process"):
        try:
            found |= {run.name: (run, anywhere[kind].jobs) for run in anywhere[kind].jobs.list_all()}
        except DeployError:
            continue  # that no engine answers is said elsewhere, where one is needed
    return found


def _settle(house: AppContext, run: JobRun) -> Callable[[Lock | None], None]:
    def do(_lock: Lock | None) -> None:
        take_over(house, run)

    return do


def _remove(house: AppContext, runtime: JobRuntime, found: FoundRun) -> Callable[[Lock | None], None]:
    def do(_lock: Lock | None) -> None:
        runtime.remove(found.name, found.host, 0.0, Deadline.after(house.clock, REMOVE_SECONDS))

    return do
