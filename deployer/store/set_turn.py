"""What a rollout writes of its set where it turns or comes to rest: part of its own transactions (`rollouts`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.core.errors import DeployError
from deployer.store.database import Connection

if TYPE_CHECKING:
    from deployer.store.records import Rollout


class GoesForward(DeployError):
    """The set of a rollout was decided to go forward just now: the rollout does not turn back any more."""


def turn_back(db: Connection, rollout: Rollout, error: DeployError) -> None:
    """Have the set of a rollout go back, in the transaction in which the rollout turns; no set is no error.

    Raise GoesForward where it was decided to go forward.
    """
    row = db.execute(
        "select number, name, decided from sets where number in (select number from set_members where rollout = ?)",
        (rollout.number,),
    ).fetchone()
    if row is None or row["decided"] == "back":
        return
    if row["decided"] == "forward":
        raise GoesForward(f"set {row['number']} ({row['name']}) goes forward")
    db.execute(
        "update sets set decided = 'back', culprit = ?, cause = ?, exit = ? where number = ?",
        (rollout.service, error.message, int(error.exit), row["number"]),
    )


def is_last(db: Connection, rollout: int) -> bool:
    """Return, in the transaction in which a rollout of a set comes to rest, whether none of the set is in progress now.

    Of those that come to rest at the same time one is the last, as write transactions take turns. One that is paused is
    in progress while the set goes back: it is rolled back, too.
    """
    row = db.execute(
        "select count(*) as members, coalesce(sum(case when r.outcome = '' or (r.outcome = 'paused' and"
        " s.decided = 'back') then 1 else 0 end), 0) as open from set_members m join sets s on s.number = m.number"
        " join rollouts r on r.number = m.rollout"
        " where m.number in (select number from set_members where rollout = ?)",
        (rollout,),
    ).fetchone()
    return bool(row and row["members"] and not row["open"])
