"""Runs of jobs as supervised processes that are not started again: FOLDER/jobs/NAME, beside the instances."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from deployer import supervisor
from deployer.core import files
from deployer.core.clock import Clock, Deadline
from deployer.core.undo import undone
from deployer.drivers.jobs import FoundRun, JobSpec
from deployer.drivers.runtime.artifacts import Artifacts
from deployer.drivers.runtime.environ import inherited, job_environment
from deployer.drivers.runtime.identity import read_record
from deployer.drivers.runtime.process import program
from deployer.supervisor import ProcessSpec, ProcessStatus

FILE = "job.json"
FOLDER = "jobs"
LOOK_SECONDS = 0.1  # between two looks at the log of a run
BY_SIGNAL = 128  # a program that a signal has ended: its number is added, as shells do


@dataclass(frozen=True)
class _Record:
    """What a run is, kept beside its process."""

    installation: str
    service: str
    job: str
    number: int
    image: str

    @property
    def name(self) -> str:
        return f"{self.service}.{self.job}.{self.number}"


class ProcessJobs:
    """Runs of jobs of one state folder."""

    def __init__(self, folder: Path, clock: Clock, installation: str) -> None:
        self._folder, self._clock, self._installation = folder.absolute(), clock, installation

    def start(self, spec: JobSpec, deadline: Deadline) -> None:
        """Start a run; of one that does not start, nothing is left."""
        place = self._place(spec.name)
        release = spec.release
        with undone(lambda: self._delete(place, deadline)):
            process = self._prepare(place, spec)
            known = _Record(self._installation, release.service, spec.job, spec.number, release.image_id)
            files.replace(place / FILE, json.dumps(asdict(known), indent=1))
            supervisor.ensure_running(place, process, deadline)

    def read(self, name: str, _host: str) -> FoundRun | None:
        """Read a run; None when there is none of that name."""
        place = self._place(name)
        known = _load(place)
        return None if known is None else _found(known, supervisor.read_status(place))

    def follow(
        self,
        name: str,
        _host: str,
        write: Callable[[bytes], None],
        deadline: Deadline,
        stopped: Callable[[], bool],
    ) -> None:
        """Pass on all that a run prints, until it ends, `stopped` says so, or the time is over."""
        log, place, read = self._place(name) / "log", self._place(name), 0

        def ended() -> bool:
            nonlocal read
            status = supervisor.read_status(place)  # before the log is read: what it prints last is not missed
            read = _copy(log, read, write)
            return status is None or not _goes_on(status) or stopped()

        deadline.wait(ended, every=LOOK_SECONDS)

    def remove(self, name: str, _host: str, grace: float, deadline: Deadline) -> None:
        """Signal the run if it still goes on, wait up to `grace` seconds, kill, remove its folder."""
        self._delete(self._place(name), Deadline.after(self._clock, min(grace, deadline.left())))

    def list_all(self) -> tuple[FoundRun, ...]:
        """Read all runs of this installation that are there."""
        mine = [(place, known) for place, known in _records(self._folder) if known.installation == self._installation]
        return tuple(_found(known, supervisor.read_status(place)) for place, known in mine)

    def _prepare(self, place: Path, spec: JobSpec) -> ProcessSpec:
        manifest, release = spec.release.manifest, spec.release
        artifact = Artifacts(self._folder / "artifacts" / release.service, self._folder).path(release)
        secrets = program.secret_files(place, spec)
        return ProcessSpec(
            argv=spec.settings.command,
            cwd=str(artifact),
            env={**inherited(), **job_environment(spec, str(secrets))},
            log=str(place / "log"),
            stop_signal=manifest.stop.signal,
            grace=manifest.stop.grace,
            restart=False,
        )

    def _place(self, name: str) -> Path:
        return self._folder / FOLDER / name

    def _delete(self, place: Path, deadline: Deadline) -> None:
        if place.exists():
            supervisor.stop(place, deadline)
            shutil.rmtree(place)


def images(folder: Path) -> set[str]:
    """Return the snapshots that runs of jobs of a state folder use."""
    return {known.image for _, known in _records(folder)}


def _records(folder: Path) -> Iterator[tuple[Path, _Record]]:
    for place in sorted((folder / FOLDER).glob("*")):
        known = _load(place)
        if known is not None and known.name == place.name:
            yield place, known


def _load(place: Path) -> _Record | None:
    return read_record(_Record, place / FILE, f"end what runs there by hand, then remove {place}")


def _found(known: _Record, status: ProcessStatus | None) -> FoundRun:
    if status is None:
        return FoundRun(known.service, known.job, known.number, "created")
    if _goes_on(status):
        return FoundRun(known.service, known.job, known.number, "running")
    code = status.exit_code
    code = BY_SIGNAL - code if code is not None and code < 0 else code
    return FoundRun(known.service, known.job, known.number, "exited", code)


def _goes_on(status: ProcessStatus) -> bool:
    """Return whether a run goes on; its end is known once its supervisor has reported it, or is gone itself."""
    if status.state in ("starting", "running", "paused"):
        return True
    return bool(status.supervisor_pid) and status.exit_code is None and not status.error


def _copy(log: Path, read: int, write: Callable[[bytes], None]) -> int:
    """Pass on what was written after `read` bytes; return how many were read now."""
    try:
        with log.open("rb") as file:
            if file.seek(0, os.SEEK_END) < read:
                read = 0  # the log was rotated
            file.seek(read)
            found = file.read()
    except FileNotFoundError:
        return read
    if found:
        write(found)
    return read + len(found)
