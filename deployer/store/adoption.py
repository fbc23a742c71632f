"""Writing into a store what the world still knows of services that it has lost: all of it in one transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from deployer.core.errors import Exit, Refused
from deployer.core.events import Event
from deployer.model import Colour, Release
from deployer.planning.plan import Plan
from deployer.store import meta
from deployer.store.audit import AuditEntry
from deployer.store.database import Connection
from deployer.store.events import add_event
from deployer.store.fence import check
from deployer.store.owner import Lock
from deployer.store.ports import put_port
from deployer.store.records import Port
from deployer.store.releases import add_row
from deployer.store.store import Store


@dataclass(frozen=True)
class Interrupted:
    """A rollout that was in progress when its record was lost.

    `back`: all that is left of it is the way back; otherwise it is paused, for a person to decide.
    """

    number: int
    plan: Plan
    text: str
    back: bool


@dataclass(frozen=True)
class Recovered:
    """What is known again of one service. `stable` and `warm` are numbers of releases, 0 for none."""

    service: str
    releases: tuple[Release, ...]
    stable: int
    warm: int
    warm_colour: Colour
    warm_until: float
    ports: tuple[Port, ...]
    rollout: Interrupted | None
    last_release: int  # the highest number that was ever given, as far as it can be seen


@dataclass(frozen=True)
class Adopted:
    """When the records of a service were rebuilt, and by whom: what came before that is not known."""

    at: float
    by: str


@dataclass(frozen=True)
class LostStore:
    """What is still known of the store that is to be rebuilt; `config_key` is empty where it is lost, too."""

    installation: str
    config_key: str
    last_rollout: int  # the highest number that was seen


def adopt(store: Store, lost: LostStore, locks: Sequence[Lock], services: Sequence[Recovered], *, by: str) -> None:
    """Write the services into the store, each under its lock. Nothing that the store knows already is changed.

    Raise Refused when the store belongs to another installation or knows one of the services: somebody was faster.
    """
    now = store.clock.now()
    with store.database.transaction() as db:
        _take_identity(db, lost)
        for known, lock in zip(services, locks, strict=True):
            check(db, lock)
            _refuse_known(db, known.service)
            _service(db, known)
            for release in known.releases:
                add_row(db, release)
            _numbers(db, known)
            set_ports(db, known)
            if known.rollout:
                add_interrupted(db, known, known.rollout, now, by)
            meta.put(db, f"adopted:{known.service}", json.dumps({"at": now, "by": by}))
            store.audit.add(db, _deed(known))
        begin_rollouts_after(db, lost.last_rollout)


def adopted(store: Store, service: str) -> Adopted | None:
    """Read when the records of a service were rebuilt; None where they are complete."""
    with store.database.reading() as db:
        written = meta.value(db, f"adopted:{service}")
    return Adopted(**json.loads(written)) if written else None


def is_blank(store: Store) -> bool:
    """Return whether a store has no record at all, as a new one has none."""
    with store.database.reading() as db:
        found = db.execute("select 1 from releases union all select 1 from rollouts limit 1").fetchone()
    return found is None


def _take_identity(db: Connection, lost: LostStore) -> None:
    own = meta.value(db, "installation")
    if own != lost.installation:
        # Releases are named, and the audit log begins, by the identity that a store has.
        if db.execute("select 1 from releases union all select 1 from audit limit 1").fetchone():
            raise Refused(
                f"the store belongs to installation {own}, what is running to {lost.installation}",
                "one store cannot have both: use another state folder for one of them",
            )
        meta.put(db, "installation", lost.installation)
    if lost.config_key:
        meta.put(db, "config-key", lost.config_key)


def _refuse_known(db: Connection, service: str) -> None:
    if db.execute("select 1 from releases where service = ?", (service,)).fetchone():
        raise Refused(f"the store knows {service} already", "`deploy doctor` says what differs")


def _service(db: Connection, known: Recovered) -> None:
    db.execute(
        "insert into services (name, stable, warm, warm_colour, warm_until) values (?, ?, ?, ?, ?)"
        " on conflict (name) do update set stable = excluded.stable, warm = excluded.warm,"
        " warm_colour = excluded.warm_colour, warm_until = excluded.warm_until",
        (known.service, known.stable, known.warm, known.warm_colour, known.warm_until),
    )


def _numbers(db: Connection, known: Recovered) -> None:
    meta.put(db, f"last-release:{known.service}", str(known.last_release))


def set_ports(db: Connection, known: Recovered) -> None:
    """Record the ports that instances have, in the transaction of the caller."""
    for port in known.ports:
        put_port(db, known.service, port)


def add_interrupted(db: Connection, known: Recovered, rollout: Interrupted, now: float, by: str) -> None:
    """Record a rollout that was in progress, in the transaction of the caller."""
    plan = rollout.plan
    db.execute(
        "insert into rollouts (number, service, strategy, origin, release, plan, phase, outcome, exit, text,"
        " started_at, started_by, message) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '')",
        (
            rollout.number,
            known.service,
            plan.strategy,
            plan.origin,
            plan.release,
            plan.to_json(),
            "back" if rollout.back else "forward",
            "" if rollout.back else "paused",
            int(Exit.ABORTED if rollout.back else Exit.NEEDS_PERSON),
            rollout.text,
            now,
            by,
        ),
    )
    add_event(db, Event("note", now, known.service, rollout.number, {"text": rollout.text}))


def begin_rollouts_after(db: Connection, last: int) -> None:
    """Let the next rollout have a number that none had before: proxies count and salt by it."""
    db.number_after("rollouts", last)


def _deed(known: Recovered) -> AuditEntry:
    rollout = known.rollout.number if known.rollout else 0
    kept = ", ".join(f"r{release.number}" for release in known.releases) or "no release"
    return AuditEntry("adopt", known.service, "done", rollout, known.stable, f"rebuilt from what is running: {kept}")
