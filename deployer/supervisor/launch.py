"""Starts the program: known to the status file before its first instruction, in a session of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from deployer.supervisor import logfile
from deployer.supervisor.proc import Process
from deployer.supervisor.spec import ProcessSpec


def launch(spec: ProcessSpec, record: Callable[[Process], None]) -> tuple[Process, str]:
    """Start the program; return its process and, if it could not be executed, why.

    The new process waits until `record` has returned. If we die before, it ends without having run anything, so no
    program ever runs that the status file does not know.
    """
    go_read, go_write = os.pipe()
    error_read, error_write = os.pipe()
    log = logfile.open_for_child(Path(spec.log))
    pid = os.fork()
    if pid == 0:
        os.close(go_write)
        _become(spec, log, go_read, error_write)
    for fd in (log, go_read, error_write):
        os.close(fd)
    try:
        process = Process.of(pid)
        if process is None:  # it cannot have ended: it waits for us
            raise ChildProcessError(f"process {pid} was killed before it ran {spec.argv[0]}")
        record(process)
        os.write(go_write, b"\n")
    finally:
        os.close(go_write)
    with os.fdopen(error_read, "r", encoding="utf-8") as errors:
        return process, errors.read()  # ends when exec closes the other side


def _become(spec: ProcessSpec, log: int, go: int, errors: int) -> None:
    """Turn the forked process into the program; never returns."""
    try:
        os.setsid()
        if os.read(go, 1) != b"\n":
            os._exit(125)
        with open(os.devnull) as null:  # noqa: PTH123 -- only the descriptor is wanted
            os.dup2(null.fileno(), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        _reset_signals()
        os.chdir(spec.cwd)
        os.execvpe(spec.argv[0], list(spec.argv), dict(spec.env))  # noqa: S606 -- no shell is wanted
    except OSError as error:
        os.write(errors, f"{error.filename or spec.argv[0]}: {error.strerror}".encode())
    except ValueError as error:  # a NUL byte in an argument or a variable
        os.write(errors, str(error).encode())
    finally:
        os._exit(127)


def _reset_signals() -> None:
    """Set the signal dispositions that a shell would give the program."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
