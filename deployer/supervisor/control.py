"""Starting, reading and stopping a supervised program, from any process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import deployer
from deployer.core import files
from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed
from deployer.supervisor import locks, logfile, port, proc
from deployer.supervisor import spec as specs
from deployer.supervisor import status as reports
from deployer.supervisor.proc import Process
from deployer.supervisor.spec import ProcessSpec
from deployer.supervisor.status import ProcessStatus

LOCK, SUPERVISOR_LOCK, LOG = "lock", "supervisor.lock", "supervisor.log"
KILL_WAIT = 2.0  # seconds that the kernel gets to end a killed process, even when the deadline has passed


def read_status(folder: Path) -> ProcessStatus | None:
    """Return what runs, by the report of the supervisor and by /proc; None when nothing was ever started here."""
    status = reports.load(folder)
    return None if status is None else reports.checked(status)


def ensure_running(folder: Path, spec: ProcessSpec, deadline: Deadline) -> ProcessStatus:
    """Make the program run as specified, under a supervisor; leaves alone what runs so already.

    A program that lives without a supervisor is adopted; one that runs by another spec is stopped first, and one that
    is paused goes on. Returns once the program has been executed; `state` is `exited` for one that waits for its next
    restart. Raises DriverFailed when it cannot be executed, and leaves nothing running then.
    """
    files.folder(folder)
    folder.chmod(0o700)
    with _locked(folder, deadline):
        slept = (folder / reports.ASLEEP).exists()
        (folder / reports.ASLEEP).unlink(missing_ok=True)
        status = _settled(folder, deadline)
        if status is None or not status.supervisor_pid:
            return _resumed(folder, _start(folder, spec, deadline), deadline)
        ends = slept and not status.pid  # its supervisor may have seen that nobody needs what has just been killed
        if specs.load(folder) == spec and not status.error and not ends:
            return _resumed(folder, status, deadline)
        _stop(folder, deadline)
        return _start(folder, spec, deadline)


def pause(folder: Path, deadline: Deadline) -> None:
    """Stop the program where it is, with all of its process group, until `ensure_running`: it keeps its memory.

    One that does not run now, as it has just ended, is not started again. Neither is one that ends while it is paused.
    """
    if folder.is_dir():
        with _locked(folder, deadline):
            (folder / reports.ASLEEP).touch(0o600)
            status = _settled(folder, deadline)
            if status is None or status.program is None:
                _stop(folder, deadline)
            else:
                program = status.program
                proc.signal_group(program, signal.SIGSTOP)
                deadline.until(
                    lambda: program.paused() or not program.alive(), f"{folder.name} does not pause", every=0.001
                )


def stop(folder: Path, deadline: Deadline, *, asleep: bool = False) -> None:
    """End the program and its supervisor: the stop signal, the grace of the spec, SIGKILL.

    At the deadline everything is killed, so that nothing runs when this returns. A folder in which nothing runs is no
    error; its files stay. With `asleep` it is not started by a boot either, only by `ensure_running`.
    """
    if folder.is_dir():
        with _locked(folder, deadline):
            if asleep:
                (folder / reports.ASLEEP).touch(0o600)
            _stop(folder, deadline)


@contextmanager
def _locked(folder: Path, deadline: Deadline) -> Iterator[None]:
    fd = locks.open_lock(folder / LOCK)
    try:
        deadline.until(lambda: locks.try_lock(fd), f"another command starts or stops {folder.name}", every=0.02)
        yield
    finally:
        os.close(fd)


def _settled(folder: Path, deadline: Deadline) -> ProcessStatus | None:
    """Wait until a supervisor that is only just starting has reported, and what it starts runs; return the status.

    It is the one that was seen then: what cannot run is started again a moment later.
    """
    status: ProcessStatus | None = None

    def settled() -> bool:
        nonlocal status
        supervised = _supervised(folder)
        status = read_status(folder)
        return not supervised or (status is not None and bool(status.supervisor_pid) and status.state != "starting")

    deadline.until(settled, f"the supervisor of {folder.name} did not report", every=0.01, hint=_see_log(folder))
    return status


def _resumed(folder: Path, status: ProcessStatus, deadline: Deadline) -> ProcessStatus:
    """Have a program that is paused go on."""
    program = status.program
    if status.state != "paused" or program is None:
        return status
    proc.signal_group(program, signal.SIGCONT)
    deadline.until(lambda: not program.paused(), f"{folder.name} does not go on", every=0.001)
    return reports.checked(replace(status, state="running"))


def _supervised(folder: Path) -> bool:
    """Return whether a supervisor lives: it holds its lock from before its first instruction to its end."""
    fd = locks.open_lock(folder / SUPERVISOR_LOCK)
    try:
        return not locks.try_lock(fd)
    finally:
        os.close(fd)


def _start(folder: Path, spec: ProcessSpec, deadline: Deadline) -> ProcessStatus:
    specs.save(folder, spec)
    before = reports.load(folder)
    if before is not None:  # else the report of an earlier end would be taken for that of the new start
        reports.save(folder, replace(reports.checked(before), state="starting", error=""))
    _launch(folder, deadline)
    status = _settled(folder, deadline)
    if status is None or not status.supervisor_pid:  # it has ended; the report says of what
        status = reports.load(folder)
    if status is None or status.state == "starting":
        raise DriverFailed(
            f"the supervisor of {folder.name} ended before it started anything",
            _see_log(folder),
            log=logfile.tail(folder / LOG, 5),
        )
    if status.error:
        _stop(folder, deadline)
        raise _why_not(folder.name, spec, status.error)
    return reports.checked(status)


def _why_not(name: str, spec: ProcessSpec, error: str) -> DriverFailed:
    if error == port.taken(spec.address):
        return DriverFailed(
            f"{name} cannot have {spec.address}: another program listens there", "stop it, then try again"
        )
    return DriverFailed(f"{name}: cannot run {spec.argv[0]}: {error}", "is it there, and executable?")


def _launch(folder: Path, deadline: Deadline) -> None:
    """Start a supervisor that is nobody's child, with the lock already in its hand."""
    import subprocess

    lock = locks.open_lock(folder / SUPERVISOR_LOCK)
    log = logfile.open_for_child(folder / LOG)
    try:
        if not _free(folder, lock, deadline):  # a supervisor came up by itself; the caller reads its report
            return
        # -S, -P: the supervisor is this package and the standard library, whatever lies where we stand or is installed.
        argv = [sys.executable, "-S", "-P", "-m", "deployer.supervisor", str(folder.absolute()), str(lock)]
        subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={"PYTHONPATH": str(Path(deployer.__file__).parent.parent), "PATH": os.defpath},
            pass_fds=(lock,),
            start_new_session=True,
            timeout=max(deadline.left(), 0.1),
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise DeadlinePassed(f"the supervisor of {folder.name}: not started within {deadline.seconds:g} s") from None
    except subprocess.CalledProcessError as error:
        log_lines = logfile.tail(folder / LOG, 5)
        raise DriverFailed(
            f"the supervisor of {folder.name} ended with {error.returncode}", _see_log(folder), log=log_lines
        ) from None
    finally:
        os.close(lock)
        os.close(log)


def _free(folder: Path, lock: int, deadline: Deadline) -> bool:
    """Take the lock, or find who has it: one that is ending holds it for a moment after its last report."""
    mine = False

    def decided() -> bool:
        nonlocal mine
        mine = locks.try_lock(lock)
        status = read_status(folder)
        return mine or (status is not None and bool(status.supervisor_pid))

    deadline.until(decided, f"the supervisor of {folder.name} neither reported nor ended", every=0.01)
    return mine


def _see_log(folder: Path) -> str:
    return f"its log is {folder / LOG}"


def _stop(folder: Path, deadline: Deadline) -> None:
    try:
        status = _settled(folder, deadline)
    except DeadlinePassed:  # a supervisor that cannot get its program started is stopped none the less
        status = read_status(folder)
    if status is None:
        return
    if status.supervisor is not None:
        _end(status.supervisor, signal.SIGTERM, deadline.left())
    status = read_status(folder)
    if status is not None and status.program is not None:
        spec = specs.load(folder)
        _end(status.program, spec.signal, min(spec.grace, deadline.left()))
        proc.kill_group(status.program)
    if status is not None and (status.state != "stopped" or status.pid):
        reports.save(folder, replace(reports.checked(status), state="stopped"))


def _end(process: Process, number: signal.Signals, seconds: float) -> None:
    """Signal, wait, kill. Raises DriverFailed when even the kill does not end it."""
    with process.handle() as fd:
        if fd is None:
            return
        proc.send(fd, number)
        proc.signal_group(process, signal.SIGCONT)  # one that is paused would not see it
        if proc.wait(fd, seconds):
            return
        proc.send(fd, signal.SIGKILL)
        if not proc.wait(fd, KILL_WAIT):
            raise DriverFailed(
                f"process {process.pid} does not end, not even by SIGKILL", "it hangs in the kernel: look at its disk"
            )
