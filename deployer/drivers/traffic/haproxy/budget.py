"""What users saw of a candidate's bad answers: counted by every worker, kept in the live value beyond its life.

A worker compares its own count plus what its value says was spent before with the budget. A worker that comes later
(reload, restart) begins with an empty table and with the value of the file, in which the count read last stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from deployer.clock import Deadline
from deployer.drivers.traffic.haproxy.master import Gone, Master, Worker

TABLE = "deployer-budget"
_COUNT = re.compile(r"\bgpc0=(\d+)")


def table() -> Iterator[str]:
    """Give the lines of the table."""
    yield f"backend {TABLE} from deployer-http"
    # A service has one key for each rollout. One that is not touched for so long has no users.
    yield "  stick-table type string len 64 size 20k expire 20d store gpc0"


def key(service: str, rollout: int) -> str:
    """Give the key under which a rollout is counted: the next one begins at 0."""
    return f"{service}@{rollout}"


def count(master: Master, worker: Worker, service: str, rollout: int, deadline: Deadline) -> int:
    """Ask a worker what it counted since it began; 0 for an old one that has ended."""
    try:
        reply = master.run(worker, f"show table {TABLE} key {key(service, rollout)}", deadline)
    except Gone:
        if worker.old:
            return 0
        raise
    match = _COUNT.search(reply)
    return int(match[1]) if match else 0


def total(workers: Iterable[tuple[int, int]]) -> int:
    """Add up what was spent before each worker began, and what it counted since.

    A worker begins with what its predecessor had counted by then, while that one may go on counting.
    """
    reached = 0
    for before, since in sorted(workers):
        reached = max(reached, before) + since
    return reached
