"""`python -m deployer.supervisor.revive PATTERN...`: supervise again, after a boot, what was to run before it.

Whoever stops a program for good removes its folder; one that a shutdown ended is still there. What runs is left alone.
"""

from __future__ import annotations

import glob
import sys
from collections.abc import Sequence
from pathlib import Path

from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DeployError
from deployer.supervisor import spec as specs
from deployer.supervisor import status as reports
from deployer.supervisor.control import ensure_running

SECONDS = 60.0  # for one program to be executed


def main(patterns: Sequence[str]) -> int:
    """Start every program that the patterns name, in their order; return 1 when one of them does not start."""
    failed = False
    for folder in [Path(found) for pattern in patterns for found in sorted(glob.glob(pattern))]:  # noqa: PTH207
        if (folder / reports.ASLEEP).exists():
            continue
        try:
            ensure_running(folder, specs.load(folder), Deadline.after(SystemClock(), SECONDS))
        except FileNotFoundError:
            continue  # half made: it never ran
        except DeployError as error:
            sys.stderr.write(f"{folder.name}: {error.message}\n")
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
