"""The runs of jobs of which people have still to be notified, by the column `owed` of their table.

It is set in the transaction that ends a run, and unset when the notice was sent or given up. Who is sending it says
a claim, as for the endings of rollouts (owed.py).
"""

from __future__ import annotations

from deployer.store.claims import Claim, Claims
from deployer.store.database import Connection, Database

BAD = ("failed", "timed-out", "lost", "missed")  # the outcomes of which people are notified
DAY = 86_400.0
_TELLING = "locks/jobs.telling"


class JobNotices:
    """The notices about runs of jobs that are owed."""

    def __init__(self, database: Database, claims: Claims) -> None:
        self._database, self._claims = database, claims

    def owed(self) -> tuple[int, ...]:
        """Return the numbers of the runs of which people have still to be notified, and nobody alive does so."""
        rows = self._database.rows("select number from job_runs where owed order by number")
        return tuple(number for (number,) in rows if not self._claims.is_held(_TELLING, number))

    def is_owed(self, run: int) -> bool:
        """Return whether people have still to be notified of a run."""
        return bool(self._database.rows("select 1 from job_runs where owed and number = ?", run))

    def telling(self, run: int) -> Claim:
        """Return the claim that a process holds while it notifies people of a run."""
        return self._claims.claim(_TELLING, run)

    def settle(self, run: int) -> None:
        """Record that people were notified of a run, or cannot be."""
        with self._database.transaction() as db:
            db.execute("update job_runs set owed = ? where number = ?", (False, run))


def is_news(db: Connection, service: str, job: str, outcome: str, now: float) -> bool:
    """Return whether people are to be notified of an outcome: a bad one, the first in a row or on this day."""
    if outcome not in BAD:
        return False
    before = db.execute(
        "select outcome, ended_at from job_runs where service = ? and job = ? and ended_at is not null"
        " and outcome not in ('skipped', 'aborted') order by number desc limit 1",
        (service, job),
    ).fetchone()
    return before is None or before["outcome"] not in BAD or before["ended_at"] // DAY != now // DAY
