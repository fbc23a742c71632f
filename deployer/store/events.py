"""The table of events: what happened in a rollout, to be read later or from another host."""

from __future__ import annotations

import json
from dataclasses import replace

from deployer.core.events import PASSING, Event
from deployer.store.database import Connection, Database, Row
from deployer.store.fence import check
from deployer.store.owner import Lock


class Events:
    """Keeps events and reads them by their ids, which grow."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, lock: Lock, event: Event) -> Event:
        """Keep an event; passing ones are only given back."""
        if event.kind in PASSING:
            return event
        with self._database.transaction() as db:
            check(db, lock)
            return add_event(db, event)

    def of(self, rollout: int, after: int = 0) -> tuple[Event, ...]:
        """Return the events of a rollout that come after an event id."""
        rows = self._database.rows("select * from events where rollout = ? and id > ? order by id", rollout, after)
        return tuple(_event(row) for row in rows)

    def since(self, after: int, limit: int) -> tuple[Event, ...]:
        """Return events of all services that come after an event id, the oldest first."""
        rows = self._database.rows("select * from events where id > ? order by id limit ?", after, limit)
        return tuple(_event(row) for row in rows)

    def last_id(self) -> int:
        """Return the id of the newest event, 0 when there is none."""
        return int(self._database.rows("select coalesce(max(id), 0) as id from events")[0]["id"])

    def last_id_of(self, rollout: int) -> int:
        """Return the id of the newest event of a rollout, 0 when there is none."""
        rows = self._database.rows("select coalesce(max(id), 0) as id from events where rollout = ?", rollout)
        return int(rows[0]["id"])

    def first_id_of(self, rollout: int) -> int:
        """Return the id of the first event of a rollout that is kept, 0 when there is none."""
        rows = self._database.rows("select coalesce(min(id), 0) as id from events where rollout = ?", rollout)
        return int(rows[0]["id"])

    def last(self, rollout: int, kind: str, field: str) -> str:
        """Return a field of the newest event of a kind of a rollout; "" for none."""
        rows = self._database.rows(
            "select data from events where rollout = ? and kind = ? order by id desc limit 1", rollout, kind
        )
        return str(json.loads(rows[0]["data"]).get(field, "")) if rows else ""

    def last_verdict(self, rollout: int) -> str:
        """Return the word that the judge said last of a rollout; "" before it said any."""
        return self.last(rollout, "verdict", "verdict")


def add_event(db: Connection, event: Event) -> Event:
    """Write an event in the transaction of the caller; return it with its place in the store."""
    number = db.insert(
        "insert into events (at, service, rollout, kind, data) values (?, ?, ?, ?, ?)",
        (event.at, event.service, event.rollout, event.kind, json.dumps(event.data, default=str)),
        key="id",
    )
    return replace(event, id=number)


def forget_events(db: Connection, service: str, keep: int) -> None:
    """Remove the events of all finished rollouts of a service but the newest ones; of one that is open none.

    Adjustments between them are counted apart: a keeper with much to do does not make a deploy forgotten.
    """
    for which in ("!=", "="):
        db.execute(
            "delete from events where rollout in (select number from rollouts where service = ?"  # noqa: S608 - constants
            f" and ended_at is not null and origin {which} release and number >= (select min(rollout) from events)"
            f" and number <= (select number from rollouts where service = ? and ended_at is not null"
            f" and origin {which} release order by number desc limit 1 offset ?))",
            (service, service, keep),
        )


def _event(row: Row) -> Event:
    return Event(row["kind"], row["at"], row["service"], row["rollout"], json.loads(row["data"]), row["id"])
