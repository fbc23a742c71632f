"""The table of loads: what the keeper saw of the load of a service whose size follows it, five minutes at a time."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.store.database import Database

KEPT_SECONDS = 400 * 86_400.0


@dataclass(frozen=True)
class SeenLoads:
    """What was seen of five minutes: see the table."""

    at: float
    seconds: float = 0.0
    asleep: float = 0.0
    instances: float = 0.0
    room: float = 0.0
    busy: float = 0.0
    peak: int = 0


class Loads:
    """Reads and writes what was seen of loads. That belongs to no rollout: it is written without a lock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, service: str, since: float, until: float) -> tuple[SeenLoads, ...]:
        """Return what was seen of a service between two moments, the oldest first."""
        query = (
            "select at, seconds, asleep, instances, room, busy, peak from loads"
            " where service = ? and at >= ? and at < ? order by at"
        )
        return tuple(SeenLoads(**dict(row)) for row in self._database.rows(query, service, since, until))

    def add(self, service: str, seen: SeenLoads) -> None:
        """Add what was seen of five minutes to what was seen of them before; forget what is older than a year."""
        values = (service, seen.at, seen.seconds, seen.asleep, seen.instances, seen.room, seen.busy, seen.peak)
        with self._database.transaction() as db:
            db.execute(
                "insert into loads values (?, ?, ?, ?, ?, ?, ?, ?) on conflict (service, at) do update set"
                " seconds = loads.seconds + excluded.seconds, asleep = loads.asleep + excluded.asleep,"
                " instances = loads.instances + excluded.instances, room = loads.room + excluded.room,"
                " busy = loads.busy + excluded.busy,"
                " peak = case when excluded.peak > loads.peak then excluded.peak else loads.peak end",
                values,
            )
            db.execute("delete from loads where service = ? and at < ?", (service, seen.at - KEPT_SECONDS))
