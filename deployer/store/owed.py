"""Endings that people elsewhere have still to be told: a row each, written in the transaction that ends the rollout.

The row goes when the ending was sent or given up. Who is sending it says a claim: a process that drives a rollout of
which people elsewhere are notified holds one of `telling.lock` until it has done so, however it ends.
"""

from __future__ import annotations

from deployer.store.claims import Claim, Claims
from deployer.store.database import Connection, Database

_TELLING = "telling.lock"


class Owed:
    """The endings of a store that are still to be told."""

    def __init__(self, database: Database, claims: Claims) -> None:
        self._database, self._claims = database, claims

    def of(self, service: str) -> tuple[int, ...]:
        """Return the rollouts of a service whose ending is owed, and told by nobody who lives; the oldest first."""
        with self._database.reading() as db:
            rows = db.execute(
                "select o.rollout from owed_notices o join rollouts r on r.number = o.rollout"
                " where r.service = ? order by 1",
                (service,),
            ).fetchall()
        return tuple(number for (number,) in rows if not self._is_told(number))

    def telling(self, rollout: int) -> Claim:
        """Return the claim that a process holds while it sends the notices of a rollout."""
        return self._claims.claim(_TELLING, rollout)

    def _is_told(self, rollout: int) -> bool:
        try:
            return self._claims.is_held(_TELLING, rollout)
        except OSError:  # told twice then, which is better than not at all
            return False

    def settle(self, rollout: int) -> None:
        """Write that the ending of a rollout was told or given up."""
        with self._database.transaction() as db:
            db.execute("delete from owed_notices where rollout = ?", (rollout,))


def owe(db: Connection, rollout: int) -> None:
    """Write that the ending of a rollout is to be told, in the transaction of the caller."""
    db.execute("insert into owed_notices values (?) on conflict do nothing", (rollout,))
