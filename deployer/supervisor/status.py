"""What runs: the supervisor's report, and what /proc says about it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from deployer.core import files
from deployer.core.errors import DriverFailed
from deployer.supervisor.proc import Process, boot_id

FILE = "status.json"
ASLEEP = "asleep"  # beside it, of a program that nobody needs now: neither a boot nor its end starts it again
_MOST = 2**63
State = Literal["starting", "running", "paused", "exited", "stopped"]


@dataclass(frozen=True)
class ProcessStatus:
    """The state of a supervised program.

    `exited` means that it ended by itself (a supervisor that lives starts it again), `stopped` that it was asked to,
    `paused` that it is kept in memory and gets no processor time.
    `pid` and `supervisor_pid` are 0 when there is no such process. `exit_code` is that of the last end, negative for a
    signal, None when it is not known. `started_at` is Unix seconds. `error` says why the program could not be executed.
    """

    supervisor_pid: int = 0
    supervisor_started: int = 0
    pid: int = 0
    pid_started: int = 0
    started_at: float = 0.0
    restarts: int = 0
    state: State = "starting"
    exit_code: int | None = None
    error: str = ""
    spec: str = ""  # digest of the spec that the program was started with
    boot: str = ""

    @property
    def program(self) -> Process | None:
        """The program, if one was started."""
        return Process(self.pid, self.pid_started) if self.pid else None

    @property
    def supervisor(self) -> Process | None:
        """The supervisor, if there is one."""
        return Process(self.supervisor_pid, self.supervisor_started) if self.supervisor_pid else None

    def without_program(self) -> ProcessStatus:
        """Return the same report once the program is gone."""
        return replace(self, pid=0, pid_started=0)


def load(folder: Path) -> ProcessStatus | None:
    """Read the last report as it was written; None when there is none. Raises DriverFailed for a damaged one."""
    try:
        return _of(json.loads((folder / FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, RecursionError) as error:
        raise DriverFailed(
            f"{folder / FILE} cannot be read: {error}", f"end what runs there by hand, then remove {folder}"
        ) from None


def _of(data: dict[str, Any]) -> ProcessStatus:
    status = ProcessStatus(**data)
    numbers = (status.supervisor_pid, status.supervisor_started, status.pid, status.pid_started, status.restarts)
    if not all(type(number) is int and 0 <= number < _MOST for number in numbers):
        raise ValueError("a process is identified by whole numbers")
    if status.state not in get_args(State) or not all(
        isinstance(t, str) for t in (status.error, status.spec, status.boot)
    ):
        raise ValueError(f"{status.state!r} is no state")
    return status


def save(folder: Path, status: ProcessStatus) -> None:
    """Write the report."""
    files.replace(folder / FILE, json.dumps(asdict(status), indent=1))


def checked(status: ProcessStatus) -> ProcessStatus:
    """Correct a report by what really runs: a process that is gone is not reported, whoever ended it."""
    if status.boot != boot_id():
        status = replace(status.without_program(), supervisor_pid=0, supervisor_started=0)
    if status.supervisor is not None and not status.supervisor.alive():
        status = replace(status, supervisor_pid=0, supervisor_started=0)
    if status.program is not None and not status.program.alive():
        status = status.without_program()
    if status.pid and not status.supervisor_pid:
        status = replace(status, state="running")  # an orphan: it may have died before it could report "running"
    if status.program is not None and status.state == "running" and status.program.paused():
        return replace(status, state="paused")
    if not status.pid and (status.state == "running" or (status.state == "starting" and not status.supervisor_pid)):
        return replace(status, state="exited")
    return status
