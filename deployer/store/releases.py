"""The table of releases: what was deployed under which number, and whether it proved good."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from deployer.core.clock import Clock
from deployer.core.errors import Refused
from deployer.model import Release, Signature
from deployer.store import meta
from deployer.store.concurrencies import LEARNED
from deployer.store.database import Connection, Database, Row
from deployer.store.fence import check
from deployer.store.needs import NEEDED
from deployer.store.owner import Lock
from deployer.store.records import read_release
from deployer.store.sizes import SCALED

if TYPE_CHECKING:
    from deployer.planning.plan import Plan


class Releases:
    """Numbers releases and reads them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def add(self, lock: Lock, draft: Release) -> Release:
        """Record a release under the next number of its service."""
        with self._database.transaction() as db:
            check(db, lock)
            release = replace(draft, number=_next_number(db, draft.service), created_at=self._clock.now())
            db.execute("insert into services (name) values (?) on conflict do nothing", (draft.service,))
            add_row(db, release)
        return release

    def next_number(self, service: str) -> int:
        """Return the number that the next release of a service will have."""
        with self._database.reading() as db:
            return _next_number(db, service)

    def get(self, service: str, number: int) -> Release:
        """Return a release. Raise Refused when there is no such number."""
        rows = self._rows("where service = ? and number = ?", service, number)
        if not rows:
            raise Refused(f"{service} has no release r{number}", "`deploy history --releases` lists them")
        return read_release(rows[0])

    def of(self, service: str) -> tuple[Release, ...]:
        """Return all releases of a service, the newest first."""
        return tuple(read_release(row) for row in self._rows("where service = ? order by number desc", service))

    def _rows(self, which: str, *values: object) -> list[Row]:
        """Return rows with the size that a person wants now, the one that the load needs, and what was learned."""
        columns = f"*, {SCALED} as scaled, {NEEDED} as needed, {LEARNED} as learned"
        query = f"select {columns} from releases {which}"  # noqa: S608 - constants
        return self._database.rows(query, self._clock.now(), *values)


def add_row(db: Connection, release: Release) -> None:
    """Write a release as it is, in the transaction of the caller."""
    db.execute(
        "insert into releases values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            release.service,
            release.number,
            release.version,
            release.image,
            release.image_id,
            json.dumps(release.manifest.record()),
            release.config_hash,
            release.git,
            release.created_at,
            release.created_by,
            release.message,
            release.status,
            json.dumps(asdict(release.signature)) if release.signature else "",
            json.dumps(hosts) if (hosts := release.hosts_record()) else "",
            int(release.alone),
        ),
    )


def set_status(db: Connection, service: str, number: int, status: str) -> None:
    """Write what a release has proved to be, in the transaction of the caller."""
    db.execute("update releases set status = ? where service = ? and number = ?", (status, service, number))


def what_is_brought(db: Connection, plan: Plan) -> str:
    """Return what a plan brings, in words that still tell it when the release is forgotten."""
    row = db.execute(
        "select version, image, image_id, signature from releases where service = ? and number = ?",
        (plan.service, plan.release),
    ).fetchone()
    what = f" ({row['version']}), {row['image']} = {row['image_id']}" if row else ""
    if row and row["signature"]:
        what += f", {Signature(**json.loads(row['signature'])).explain()}"
    return f"{plan.strategy}: {f'r{plan.origin}' if plan.origin else 'nothing'} → r{plan.release}{what}"


def _next_number(db: Connection, service: str) -> int:
    """Return a number that no release had before, also none whose record is lost."""
    known = db.execute("select max(number) from releases where service = ?", (service,)).fetchone()[0]
    return max(int(known or 0), int(meta.value(db, f"last-release:{service}") or 0)) + 1
