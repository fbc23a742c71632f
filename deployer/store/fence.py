"""The rows of the locks: who holds a service, and the fence before every write of a process that held it once."""

from __future__ import annotations

import json

from deployer.core.errors import LockLost
from deployer.store import meta
from deployer.store.database import Connection
from deployer.store.owner import Lock


def check(db: Connection, lock: Lock) -> None:
    """Raise LockLost unless the lock is still the current one of its service."""
    row = db.execute("select token, owner, purpose from locks where service = ?", (lock.service,)).fetchone()
    if row is not None and row["token"] == lock.token:
        return
    lost = json.loads(meta.value(db, f"lost:{lock.service}") or "{}")
    if lost.get("token") == lock.token:
        by = f" by {lost['by']}" + (f" ({lost['why']})" if lost["why"] else "")
    else:
        by = f" by {row['owner']} ({row['purpose']})" if row else ""
    raise LockLost(
        f"this process was overtaken{by}: it changes nothing of {lock.service} any more",
        "`deploy status` shows what is live, and whether a rollout is left to `deploy resume` or `deploy abort`",
    )


def read(db: Connection, service: str) -> Lock | None:
    """Return who holds a service as it was written; None for nobody."""
    row = db.execute("select * from locks where service = ?", (service,)).fetchone()
    return Lock(**dict(row)) if row else None


def last_token(db: Connection, service: str) -> int:
    """Return the greatest token that an owner of the service had."""
    row = db.execute("select token from locks where service = ?", (service,)).fetchone()
    return max(int(row["token"]) if row else 0, int(meta.value(db, f"token:{service}") or 0))


def outlive(db: Connection, service: str, token: int) -> None:
    """Ensure that each later owner of a service has a greater token than this."""
    meta.put(db, f"token:{service}", str(max(token, last_token(db, service))))


def drop(db: Connection, lock: Lock) -> None:
    """Delete a lock; its token outlives it, so that a later owner's is always greater."""
    # An earlier owner that comes back to give up what it had lost changes nothing.
    if db.execute("delete from locks where service = ? and token = ?", (lock.service, lock.token)).rowcount:
        outlive(db, lock.service, lock.token)


def note_loss(db: Connection, lock: Lock, by: str, why: str) -> None:
    """Keep for the owner who took its lock, and why."""
    meta.put(db, f"lost:{lock.service}", json.dumps({"token": lock.token, "by": by, "why": why}))
