"""What instances wrote last: read from the runtime, without the values of their secrets."""

from __future__ import annotations

from deployer.app import queries
from deployer.app.jobs import overview
from deployer.app.operations import AppContext
from deployer.core.secret import hide
from deployer.drivers.ports import standing
from deployer.views.logs import InstanceLog, LogsView, UnreachableHost


def logs(house: AppContext, service: str, lines: int, colour: str = "") -> LogsView:
    """Return the last lines of each instance of a service (of one colour)."""
    runtime = queries.drivers_of(house, service).runtime
    queries.learn_secrets(house, service)
    there = standing(runtime, service)
    found = [i for i in there.instances if colour in ("", i.colour)]
    return LogsView(
        service,
        tuple(InstanceLog(i.name, tuple(map(hide, runtime.logs(i, lines)))) for i in found),
        tuple(UnreachableHost(host, why) for host, why in there.silent.items()),
    )


def job_logs(house: AppContext, service: str, lines: int, job: str) -> LogsView:
    """Return the last lines of the newest run of a job that has ended."""
    queries.drivers_of(house, service)
    name, found = overview.output(house, service, job, lines)
    return LogsView(service, (InstanceLog(name, found),))
