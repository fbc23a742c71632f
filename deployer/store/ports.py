"""The table of ports: which instance has which, over all hosts; one that was just freed is given out last."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from deployer.core.clock import Clock
from deployer.core.errors import Refused
from deployer.store.database import Connection, Database
from deployer.store.fence import check
from deployer.store.owner import Lock
from deployer.store.records import Port


class Ports:
    """Assigns ports to instances and frees them.

    Each `installation` begins its search elsewhere, so that two of them on one host seldom want the same port.
    """

    def __init__(self, database: Database, clock: Clock, installation: str) -> None:
        self._database, self._clock, self._installation = database, clock, installation

    def assign(
        self,
        lock: Lock,
        release: int,
        index: int,
        ports: Sequence[int],
        usable: Callable[[int], bool],
        host: str = "",
    ) -> Port:
        """Return the port of an instance, and its host: what it has, else the free one that was unused for longest.

        A port is given once over all hosts. One that was just freed comes last, since a proxy or a client may still
        hold its address. `usable` is asked of ports of this host.
        """
        key = (lock.service, release, index)
        with self._database.transaction() as db:
            check(db, lock)
            row = db.execute(
                "select port, host from ports where service = ? and release = ? and idx = ? and freed_at is null", key
            ).fetchone()
            if row:
                return Port(row["port"], release, index, row["host"])
            known = {r["port"]: r["freed_at"] for r in db.execute("select port, freed_at from ports")}
            for port in self._in_order(ports, known):
                if host or usable(port):
                    given = Port(port, release, index, host)
                    put_port(db, lock.service, given)
                    return given
        raise Refused(f"no free port among {ports[0]}-{ports[-1]}", "widen DEPLOYER_PORTS, e.g. 21000-28999")

    def _in_order(self, ports: Sequence[int], known: dict[int, float | None]) -> list[int]:
        """Return the free ones: first those that nobody ever had, then those that were freed longest ago."""
        start = int(self._installation, 16) % len(ports)
        fresh = [port for port in (*ports[start:], *ports[:start]) if port not in known]
        freed = {port: at for port, at in known.items() if at is not None}
        return fresh + sorted((port for port in ports if port in freed), key=freed.__getitem__)

    def of(self, service: str) -> tuple[Port, ...]:
        """Return the ports that instances of a service have: all that may stand of it."""
        rows = self._database.rows(
            "select port, release, idx, host from ports where service = ? and freed_at is null order by release, idx",
            service,
        )
        return tuple(Port(row["port"], row["release"], row["idx"], row["host"]) for row in rows)

    def is_held(self, port: int) -> bool:
        """Return whether an instance has this port."""
        return bool(self._database.rows("select 1 from ports where port = ? and freed_at is null", port))

    def free(self, lock: Lock, release: int, index: int) -> None:
        """Free a port after its instance is gone and the proxy has forgotten it."""
        with self._database.transaction() as db:
            check(db, lock)
            db.execute(
                "update ports set freed_at = ? where service = ? and release = ? and idx = ?",
                (self._clock.now(), lock.service, release, index),
            )

    def free_others(self, lock: Lock, here: Collection[tuple[int, int]], silent: Collection[str] = ()) -> None:
        """Free the ports of a service but those of the instances that are left: `here`, by release and index.

        Also those that were handed out for an instance which was never started, its maker having died before. What
        is on a `silent` host may be left: it keeps its port.
        """
        service, now = lock.service, self._clock.now()
        with self._database.transaction() as db:
            check(db, lock)
            gone = [
                (now, service, port.release, port.index)
                for port in self.of(service)
                if (port.release, port.index) not in here and port.host not in silent
            ]
            db.executemany("update ports set freed_at = ? where service = ? and release = ? and idx = ?", gone)


def put_port(db: Connection, service: str, port: Port) -> None:
    """Record which port an instance has, in the transaction of the caller: it has no other, and nobody else has it."""
    key = (service, port.release, port.index)
    db.execute("delete from ports where port = ? or service = ? and release = ? and idx = ?", (port.number, *key))
    db.execute(
        "insert into ports (port, service, release, idx, freed_at, host) values (?, ?, ?, ?, null, ?)",
        (port.number, *key, port.host),
    )
