"""The supervisor's loop: start or adopt the program, wait for its end or for ours, start it again."""

from __future__ import annotations

import os
import select
import signal
import time
from dataclasses import replace
from pathlib import Path

from deployer.supervisor import logfile, proc
from deployer.supervisor import spec as specs
from deployer.supervisor import status as reports
from deployer.supervisor.backoff import Backoff
from deployer.supervisor.door import UserGate
from deployer.supervisor.launch import launch
from deployer.supervisor.proc import Process
from deployer.supervisor.status import ProcessStatus

KILL_WAIT = 5.0  # seconds that the kernel gets to end a killed process


class SupervisorLoop:
    """Supervises the program of one folder until it is told to end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spec = specs.load(folder)
        self._backoff = Backoff()
        self._door = UserGate(self._spec)
        self._wake = _signals()
        self._ending = False
        self._status = self._begin()

    def run(self) -> None:
        """Keep the program running until SIGTERM, or until it ends if it is not to be restarted."""
        program = self._adopt()
        while True:
            program = program or self._start()
            lived = 0.0
            if program is not None:
                self._stay(program)
                if self._ending:
                    return self._stopped(program)
                lived = program.age()
                self._ended(program)
            if self._status.state == "stopped" or not self._spec.restart or self._pause(self._backoff.after(lived)):
                return None
            self._report(replace(self._status, restarts=self._status.restarts + 1))
            program = None

    def _begin(self) -> ProcessStatus:
        """Report the supervisor; what the one before us knew about a program that still lives is kept."""
        before = reports.load(self._folder)
        known = reports.checked(before) if before is not None else ProcessStatus()
        myself = Process.of(os.getpid())
        if myself is None:
            raise RuntimeError("/proc does not show this process; is it mounted for this pid namespace?")
        known = replace(
            known if known.pid else ProcessStatus(),
            boot=proc.boot_id(),
            supervisor_pid=myself.pid,
            supervisor_started=myself.started,
            state="starting",
        )
        reports.save(self._folder, known)
        return known

    def _report(self, status: ProcessStatus) -> None:
        reports.save(self._folder, status)
        self._status = status

    def _adopt(self) -> Process | None:
        """Take over a program that outlived its supervisor; one that was started otherwise is ended first."""
        program = self._status.program
        if program is None:
            return None
        if self._status.spec != self._spec.digest:
            self._end(program)
            self._report(
                ProcessStatus(self._status.supervisor_pid, self._status.supervisor_started, boot=self._status.boot)
            )
            return None
        self._report(replace(self._status, state="running"))
        return program

    def _start(self) -> Process | None:
        """Start the program; None when it cannot be executed."""
        if blocked := self._door.shut():
            self._report(replace(self._status, state="exited", error=blocked))
            return None
        program, error = launch(self._spec, self._starting)
        if error:
            self._ended(program, error)
            return None
        self._report(replace(self._status, state="running"))
        return program

    def _starting(self, program: Process) -> None:
        self._report(
            replace(
                self._status,
                pid=program.pid,
                pid_started=program.started,
                started_at=time.time(),
                state="starting",
                spec=self._spec.digest,
                error="",
            )
        )
        self._door.hand_over()

    def _stay(self, program: Process) -> None:
        """Wait for the end of the program, or end it when we are told to."""
        with program.handle() as fd:
            while fd is not None and not self._ending:
                if fd in self._poll(self._door.patience(), fd):
                    return
                self._door.open(program)
                logfile.rotate(Path(self._spec.log))
        if self._ending:
            self._end(program)

    def _end(self, program: Process) -> None:
        with program.handle() as fd:
            if fd is None:
                return
            proc.send(fd, self._spec.signal)
            proc.signal_group(program, signal.SIGCONT)  # one that is paused would not see it
            if not proc.wait(fd, self._spec.grace):
                proc.kill_group(program)
                proc.wait(fd, KILL_WAIT)

    def _ended(self, program: Process, error: str = "") -> None:
        if not error and (self._folder / reports.ASLEEP).exists():  # killed while paused: nobody needs it now
            self._stopped(program)
            return
        code = _bury(program)
        self._door.shut()
        self._report(replace(self._status.without_program(), state="exited", exit_code=code, error=error))

    def _stopped(self, program: Process) -> None:
        code = _bury(program)
        self._report(
            replace(
                self._status.without_program(),
                state="stopped",
                exit_code=code,
                supervisor_pid=0,
                supervisor_started=0,
            )
        )

    def _pause(self, seconds: float) -> bool:
        """Wait before a restart; return whether we are to end instead."""
        end = time.monotonic() + seconds
        while not self._ending and (left := end - time.monotonic()) > 0:
            self._poll(left)
        if self._ending:
            self._report(replace(self._status, state="stopped", supervisor_pid=0, supervisor_started=0))
        return self._ending

    def _poll(self, seconds: float, *fds: int) -> set[int]:
        """Wait for one of the descriptors or a signal; remembers a signal in `_ending`."""
        poll = select.poll()
        for fd in (self._wake, *fds):
            poll.register(fd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(int(seconds * 1000 + 0.999))}
        if self._wake in ready:
            os.read(self._wake, 64)
            self._ending = True
        return ready


def _bury(program: Process) -> int | None:
    """Kill what the program left of its group, then collect its exit code; None for an adopted one.

    In this order: as long as the leader is not collected, nobody else can get its number.
    """
    proc.kill_group(program)
    try:
        _, code = os.waitpid(program.pid, 0)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(code)


def _signals() -> int:
    """Turn SIGTERM and SIGINT into bytes on the descriptor that is returned; SIGHUP does not concern us."""
    wake, signalled = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return wake
