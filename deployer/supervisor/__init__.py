"""Keeps one local program running, beyond the life of the command that started it.

`ensure_running` starts `python -m deployer.supervisor FOLDER`, detached; the folder holds everything about the program:

    spec.json         what to run (0600: environment values may be secret)
    status.json       what runs; replaced as a whole, checked against /proc by `read_status`
    asleep            it was stopped or paused until somebody needs it
    lock              held while somebody starts or stops the program
    supervisor.lock   held by the supervisor as long as it lives
    supervisor.log    what the supervisor itself had to say

A supervisor that is killed leaves its program alone; the next `ensure_running` starts a supervisor that adopts it.
"""

from deployer.supervisor.control import ensure_running, pause, read_status, stop
from deployer.supervisor.spec import ProcessSpec
from deployer.supervisor.status import ProcessStatus

__all__ = ["ProcessSpec", "ProcessStatus", "ensure_running", "pause", "read_status", "stop"]
