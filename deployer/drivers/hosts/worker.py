"""`python -m deployer.drivers.hosts.worker`: run one playbook, print its events as JSON lines.

The job comes as one line on stdin, which then stays open as a lifeline: when it closes, because the deployer gave up or
was killed, the playbook and everything it started are killed and the private folder is removed.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import sys
from pathlib import Path
from typing import Any

import ansible_runner

from deployer.drivers.hosts.markers import end_marked
from deployer.drivers.hosts.reports import END, slim
from deployer.drivers.hosts.workspace import forget_secrets

LOOK = 0.2  # seconds between two looks at the lifeline


def main() -> int:
    """Run the job of stdin; its events go to what was stdout."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # nothing that a library prints may get between the events
    job = json.loads(sys.stdin.buffer.readline())
    folder = job["run"]["private_data_dir"]
    gone = finished = False

    def say(event: dict[str, Any]) -> bool:
        if event.get("event") == "playbook_on_start":
            forget_secrets(Path(folder))
        if not gone and (kept := slim(event)):
            out.write(json.dumps(kept) + "\n")
        return False  # ansible-runner need not write it to a file

    def deserted() -> bool:
        nonlocal gone
        gone = gone or bool(select.select([0], [], [], 0)[0] and not os.read(0, 1))
        return gone

    try:
        runner = ansible_runner.run(
            **job["run"],
            quiet=True,
            event_handler=say,
            cancel_callback=deserted,
            settings={"pexpect_timeout": LOOK, "suppress_output_file": True},
        )
        finished = not deserted()
        if finished:
            out.write(json.dumps({"event": END, "status": runner.status, "rc": runner.rc}) + "\n")
    finally:
        if not finished:
            end_marked(job["mark"])
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
