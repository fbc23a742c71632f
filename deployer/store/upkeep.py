"""What `deploy doctor` reads of a store beyond what commands need, and how it brings records up to what is so."""

from __future__ import annotations

from deployer.store.adoption import Recovered, add_interrupted, begin_rollouts_after, set_ports
from deployer.store.audit import AuditEntry
from deployer.store.fence import check
from deployer.store.owner import Lock
from deployer.store.releases import add_row
from deployer.store.store import Store


def latest(store: Store) -> float:
    """Return the moment of what was recorded last, Unix seconds; 0 in a new store."""
    with store.database.reading() as db:
        row = db.execute(
            "select max(at) as last from (select max(at) as at from events"
            " union all select max(started_at) from rollouts) as records"
        ).fetchone()
        return float(row["last"] or 0.0)


def last_rollout(store: Store) -> int:
    """Return the highest number that a rollout was ever given."""
    with store.database.reading() as db:
        return db.last_number("rollouts")


def catch_up(store: Store, lock: Lock, known: Recovered, last: int) -> None:
    """Record what is so of a service whose records say something else; what they know beyond that stays.

    `last` is the highest number of a rollout that was seen.
    """
    with store.database.transaction() as db:
        check(db, lock)
        recorded = {
            row["number"] for row in db.execute("select number from releases where service = ?", (known.service,))
        }
        for release in known.releases:
            if release.number not in recorded:
                add_row(db, release)
        if known.stable:
            status = "update releases set status = ? where service = ? and number = ?"
            db.execute(status, ("good", known.service, known.stable))
        db.execute(
            "update services set stable = ?, warm = ?, warm_colour = ?, warm_until = ? where name = ?",
            (known.stable, known.warm, known.warm_colour, known.warm_until, known.service),
        )
        set_ports(db, known)
        if known.rollout:
            add_interrupted(db, known, known.rollout, store.clock.now(), lock.owner)
        begin_rollouts_after(db, last)
        detail = f"recorded as it is: r{known.stable} is live" if known.stable else "recorded as it is: nothing is live"
        rollout = known.rollout.number if known.rollout else 0
        store.audit.add(db, AuditEntry("repair", known.service, "done", rollout, known.stable, detail))
