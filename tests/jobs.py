"""Runs of jobs in memory, for tests of what starts, follows and records them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed
from deployer.drivers.jobs import FoundRun, JobSpec


@dataclass
class MemoryJobs:
    """Keeps each run until it is removed; one ends when a test says so, or at once with what `codes` has for it."""

    codes: dict[str, int] = field(default_factory=lambda: {"_migrate": 0})
    prints: dict[str, bytes] = field(default_factory=dict)
    runs: dict[str, FoundRun] = field(default_factory=dict)
    specs: dict[str, JobSpec] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    refuses: str = ""
    changed: threading.Condition = field(default_factory=threading.Condition)

    def start(self, spec: JobSpec, deadline: Deadline) -> None:
        if self.refuses:
            raise DriverFailed(self.refuses)
        assert not [run for run in self.runs.values() if (run.job, run.state) == (spec.job, "running")], (
            "two runs of a job at once"
        )
        run = FoundRun(spec.release.service, spec.job, spec.number, "running", host=spec.host)
        with self.changed:
            self.specs[run.name], self.runs[run.name] = spec, run
            self.started.append(run.name)
            self.changed.notify_all()
        if spec.job in self.codes:
            self.end(run.name, self.codes[spec.job])

    def copy(self) -> MemoryJobs:
        """Return the same runs once more, as a process that was just killed leaves them."""
        return replace(
            self, runs=dict(self.runs), specs=dict(self.specs), started=[*self.started], changed=threading.Condition()
        )

    def end(self, name: str, code: int) -> None:
        """Let a run end."""
        with self.changed:
            self.runs[name] = replace(self.runs[name], state="exited", exit_code=code)
            self.changed.notify_all()

    def await_run(self, name: str) -> None:
        """Wait until a run has started."""
        with self.changed:
            assert self.changed.wait_for(lambda: name in self.runs, 30), f"{name} was not started"

    def read(self, name: str, host: str) -> FoundRun | None:
        return self.runs.get(name)

    def follow(
        self, name: str, host: str, write: Callable[[bytes], None], deadline: Deadline, stopped: Callable[[], bool]
    ) -> None:
        if name not in self.runs:
            return
        write(self.prints.get(self.runs[name].job, b""))
        with self.changed:
            self.changed.wait_for(
                lambda: self.runs[name].state == "exited" or stopped() or deadline.passed(), timeout=30
            )

    def remove(self, name: str, host: str, grace: float, deadline: Deadline) -> None:
        self.runs.pop(name, None)

    def list_all(self) -> tuple[FoundRun, ...]:
        return tuple(self.runs.values())
