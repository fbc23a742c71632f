"""Runs of jobs on many hosts: one engine each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed, ImageGone
from deployer.drivers.jobs import FoundRun, JobSpec
from deployer.drivers.runtime.docker.fleet_host import FleetHost
from deployer.model import Release

# Brings the image of a release to a host that has lost it; returns whether another host had it
Restore = Callable[[FleetHost, Release, Deadline], bool]


class FleetJobs:
    """Runs of jobs on the hosts of an inventory, each on the one that its specification names."""

    def __init__(self, members: Mapping[str, FleetHost], restore: Restore) -> None:
        self._members, self._restore = members, restore

    def start(self, spec: JobSpec, deadline: Deadline) -> None:
        """Start a run; a host that has lost the image of the release gets it from one that has it."""
        member = self._member(spec.host)
        try:
            member.do(lambda runtime: runtime.jobs.start(spec, deadline))
        except ImageGone:
            if not self._restore(member, spec.release, deadline):
                raise
            member.do(lambda runtime: runtime.jobs.start(spec, deadline))

    def read(self, name: str, host: str) -> FoundRun | None:
        """Read a run; None when there is none of that name."""
        run = self._member(host).read(lambda runtime: runtime.jobs.read(name, host))
        return run and replace(run, host=host)

    def follow(
        self, name: str, host: str, write: Callable[[bytes], None], deadline: Deadline, stopped: Callable[[], bool]
    ) -> None:
        """Pass on all that a run prints, until it ends, `stopped` says so, or the time is over."""
        self._member(host).do(lambda runtime: runtime.jobs.follow(name, host, write, deadline, stopped))

    def remove(self, name: str, host: str, grace: float, deadline: Deadline) -> None:
        """Signal the run if it still goes on, wait up to `grace` seconds, kill, remove."""
        self._member(host).do(lambda runtime: runtime.jobs.remove(name, host, grace, deadline))

    def list_all(self) -> tuple[FoundRun, ...]:
        """Read all runs of this installation on all hosts."""
        return tuple(
            replace(run, host=member.name)
            for member in self._members.values()
            for run in member.read(lambda runtime: runtime.jobs.list_all())
        )

    def _member(self, host: str) -> FleetHost:
        if host not in self._members:
            raise DriverFailed(f"{host or 'this host'} is not a host of this service", "name it in the inventory")
        return self._members[host]
