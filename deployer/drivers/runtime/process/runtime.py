"""Runs instances as supervised processes of this host.

They outlive every command, but not the host: after a boot `ensure` starts them again.

FOLDER/artifacts/SERVICE/HASH   what is deployed, one snapshot for each content
FOLDER/processes/NAME           one instance: the files of its supervisor, instance.json, log, secrets/
"""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deployer import supervisor
from deployer.core import later
from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed, Refused
from deployer.core.events import Tell
from deployer.drivers.ports import Found
from deployer.drivers.runtime.environ import environment, inherited, split_address
from deployer.drivers.runtime.process import record
from deployer.drivers.runtime.process.record import InstanceFolders, ProcessInstance
from deployer.emergency import endpoint
from deployer.model import Instance, InstanceSpec, Release
from deployer.planning import release_record
from deployer.supervisor import ProcessSpec, logfile
from deployer.supervisor import spec as specs

if TYPE_CHECKING:
    from deployer.drivers.ports import Image
    from deployer.drivers.runtime import artifacts
    from deployer.drivers.runtime.process import jobs, program
    from deployer.drivers.runtime.process.log_window import LogWindow
    from deployer.manifest.models import Manifest
else:  # for what is to run and for what is left of it: no question needs that
    artifacts = later.module("deployer.drivers.runtime.artifacts")
    jobs, program = (later.module(f"deployer.drivers.runtime.process.{name}") for name in ("jobs", "program"))

OUTPUT = 64 * 1024  # bytes of a command's output that are kept


class ProcessRuntime:
    """The runtime `process`. `folder` holds all it owns, `installation` names the state folder."""

    moves = False

    def __init__(self, folder: Path, clock: Clock, installation: str) -> None:
        self._folder = folder.absolute()
        self._clock = clock
        self._installation = installation
        self._instances = InstanceFolders(self._folder / "processes", installation)
        self._snapshots = later.made(lambda: artifacts.Snapshots(self._folder / "artifacts", self._folder))
        self._windows: dict[tuple[str, str], LogWindow] = {}

    def require(self) -> None:
        """Raise Refused when processes cannot be supervised here."""
        if not hasattr(os, "pidfd_open") or not Path("/proc/self/stat").exists():
            raise Refused("runtime process needs Linux 5.3 or later with /proc", "use `runtime: docker`")

    def resolve(self, manifest: Manifest, reference: str, deadline: Deadline, tell: Tell) -> Image:
        """Take a snapshot of the directory or program and name it by its content."""
        from deployer.drivers.ports import Image

        self.require()
        source = Path(reference).absolute()
        if not source.exists():
            raise Refused(
                f"image: there is no directory or program {source}",
                "runtime process deploys a directory; check `image:` and `version:`",
            )
        program.check(manifest, source if source.is_dir() else source.parent)
        try:
            return Image(reference, self._snapshots.of(manifest.service).take(source, deadline, tell))
        except OSError as error:
            raise Refused(f"{source} cannot be copied: {error.strerror}: {error.filename}") from error

    def instances(self, service: str) -> tuple[Instance, ...]:
        """Read all instances of the service, whatever their state, ordered by release and index."""
        found = [
            known.observed(folder.name, supervisor.read_status(folder))
            for folder, known in self._instances.mine()
            if known.service == service
        ]
        return tuple(sorted(found, key=lambda instance: (instance.release, instance.index)))

    def ensure(self, spec: InstanceSpec, deadline: Deadline) -> Instance:
        """Make the process run as specified; one that runs already so is left alone."""
        folder = self._instances.of(spec.name)
        wanted = ProcessInstance.of(spec, self._installation)
        known = record.load(folder)
        if not wanted.same(known):
            self._delete(folder, deadline)
            known = None
        try:
            # What runs is compared with its own spec: PATH or LANG of whoever asks must not restart a live instance.
            process = specs.load(folder) if known is not None else self._prepare(folder, spec)
            if known is None:
                wanted.save(folder)
            if spec.release.served and not _alive(folder):
                _claim(spec)
            status = supervisor.ensure_running(folder, process, deadline)
        except BaseException:
            if known is None:
                self._delete(folder, deadline)
            raise
        return (known or wanted).observed(spec.name, status)

    def remove(self, instance: Instance, grace: float, deadline: Deadline) -> None:
        """Signal the process, wait up to `grace` seconds, kill, remove its folder.

        The grace is never longer than that of the release's own manifest.
        """
        folder = self._instances.of(instance.runtime_id)
        if not folder.exists():
            return
        self._delete(folder, Deadline.after(self._clock, min(grace, deadline.left())))

    def logs(self, instance: Instance, lines: int) -> tuple[str, ...]:
        """Return the last lines that the process wrote."""
        return logfile.tail(self._instances.of(instance.runtime_id) / "log", lines)

    def count_lines(self, instance: Instance, pattern: re.Pattern[str], seconds: float, _deadline: Deadline) -> int:
        """Return in how many lines the pattern is found that came since a look of so many seconds ago."""
        folder, now = self._instances.of(instance.runtime_id), self._clock.now()
        log, key = folder / "log", (instance.name, pattern.pattern)
        from deployer.drivers.runtime.process.log_window import LogWindow

        try:
            if key not in self._windows:
                age = now - (folder / record.FILE).stat().st_mtime
                self._windows[key] = LogWindow.begin(log, fresh=age <= seconds)
            return self._windows[key].count(log, pattern, seconds, now)
        except OSError as error:
            raise DriverFailed(f"the log of {instance.name} cannot be read: {error.strerror}") from error

    def run(self, instance: Instance, command: Sequence[str], deadline: Deadline) -> tuple[int, str]:
        """Run a command where the process runs, with its environment; a command that takes too long is killed."""
        import tempfile

        folder = self._instances.of(instance.runtime_id)
        if not _running(folder):
            raise DriverFailed(f"{instance.name} does not run", "look at its log")
        process = specs.load(folder)
        with tempfile.TemporaryFile() as output:
            code = _run(command, process, output.fileno(), deadline)
            output.seek(max(0, output.seek(0, os.SEEK_END) - OUTPUT))
            return code, output.read().decode("utf-8", "replace")

    def check_release(self, release: Release) -> None:
        """Raise ImageGone when the snapshot of the release is gone."""
        self._snapshots.of(release.service).path(release)

    def prune(self, keep: Sequence[Release], drop: Sequence[Release]) -> tuple[str, ...]:
        """Remove snapshots of `drop` that no release in `keep` and no instance uses; return what was removed."""
        needed = {release.image_id for release in keep} | {known.image for _, known in self._instances.mine()}
        needed |= jobs.images(self._folder)
        return self._snapshots.prune(drop, needed, lambda release: {release.image_id})

    def list_all(self) -> tuple[Found, ...]:
        """Read every instance of this folder, of any service and any store that lay here."""
        home = release_record.home(self._folder)
        seen = [
            Found(known.observed(folder.name, supervisor.read_status(folder)), known.installation, home, known.record)
            for folder, known in self._instances.made()
        ]
        return tuple(sorted(seen, key=lambda f: (f.instance.service, f.instance.release, f.instance.index)))

    def foreign(self, service: str) -> tuple[str, ...]:
        """Name the instances of the service in this folder that belong to another store."""
        mine = {folder for folder, _ in self._instances.mine()}
        others = ((path.name, known) for path, known in self._instances.written() if path not in mine)
        return tuple(sorted(name for name, known in others if known.service == service))

    def garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        """Name snapshots that no release in `keep` and no instance has, and folders of instances that never began."""
        return tuple(str(path) for path in self._unneeded(keep))

    def collect_garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        """Remove what `garbage` names; return what was removed."""
        return artifacts.remove_all(self._unneeded(keep))

    def _unneeded(self, keep: Sequence[Release]) -> tuple[Path, ...]:
        needed = {release.image_id for release in keep} | {known.image for _, known in self._instances.made()}
        needed |= jobs.images(self._folder)
        begun = [p for p in self._instances.every() if record.load(p) is None]
        return (*self._snapshots.unneeded(needed), *(p for p in begun if artifacts.abandoned(p) and not _alive(p)))

    def _prepare(self, folder: Path, spec: InstanceSpec) -> ProcessSpec:
        """Make the folder of an instance with its secrets; return what is to run."""
        manifest = spec.release.manifest
        artifact = self._snapshots.of(spec.release.service).path(spec.release)
        program.check_folders(manifest)
        secrets = program.secret_files(folder, spec)
        return ProcessSpec(
            argv=manifest.command or (),
            cwd=str(artifact),
            env={**inherited(), **environment(spec, str(secrets)), **_listening(spec)},
            log=str(folder / "log"),
            stop_signal=manifest.stop.signal,
            grace=manifest.stop.grace,
            address=spec.address if spec.release.served else "",
            server=f"{spec.release.service}_{spec.colour}/{spec.name}",
            card=endpoint.path(str(self._folder), spec.release.service),
        )

    def _delete(self, folder: Path, deadline: Deadline) -> None:
        import shutil

        if folder.exists():
            supervisor.stop(folder, deadline)
            shutil.rmtree(folder)


def _alive(folder: Path) -> bool:
    """Return whether anything of the instance lives: its process, or a supervisor that is about to start it."""
    status = supervisor.read_status(folder)
    return status is not None and bool(status.pid or status.supervisor_pid)


def _running(folder: Path) -> bool:
    """Return whether the process runs. It may serve a moment before its supervisor has written that down."""
    status = supervisor.read_status(folder)
    return status is not None and bool(status.pid) and status.state != "paused"


def _listening(spec: InstanceSpec) -> dict[str, str]:
    """Return the variables that say where an instance is to listen."""
    if not spec.release.served:
        return {}
    host, port = split_address(spec.address)
    return {"PORT": str(port), "HOST": host}


def _claim(spec: InstanceSpec) -> None:
    """Make sure that nobody listens on the address: health checks would ask that program instead of ours."""
    host, port = split_address(spec.address)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a former instance do not count
        try:
            probe.bind((host, port))
        except OSError as error:
            raise DriverFailed(
                f"{spec.name} cannot have {spec.address}: {error.strerror}", "stop the program that listens there"
            ) from error


def _run(command: Sequence[str], process: ProcessSpec, output: int, deadline: Deadline) -> int:
    import subprocess

    try:
        started = subprocess.Popen(
            list(command),
            cwd=process.cwd,
            env=dict(process.env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise DriverFailed(f"cannot run {command[0]}: {error.strerror}", "is it there, and executable?") from error
    with started:
        try:
            return started.wait(deadline.left())
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            raise DeadlinePassed(f"{' '.join(command)}: not within {deadline.seconds:g} s") from None
