"""`python -m deployer.supervisor FOLDER [LOCK]`: supervise the program of a folder, in the background.

LOCK is the descriptor of `supervisor.lock`, already locked by whoever starts us: so the lock is never free between the
decision to start a supervisor and its first instruction.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from deployer.supervisor import locks
from deployer.supervisor.control import SUPERVISOR_LOCK
from deployer.supervisor.watch import SupervisorLoop


def main(arguments: list[str]) -> int:
    """Detach and supervise; gives 3 when the folder already has a supervisor."""
    folder = Path(arguments[0]).absolute()
    lock = int(arguments[1]) if len(arguments) > 1 else locks.open_lock(folder / SUPERVISOR_LOCK)
    os.set_inheritable(lock, False)
    if not locks.try_lock(lock):
        sys.stderr.write(f"{folder} already has a supervisor\n")
        return 3
    if os.fork():  # whoever waits for us must not get a zombie when the supervisor ends
        os._exit(0)
    os.setsid()
    os.chdir("/")
    SupervisorLoop(folder).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
