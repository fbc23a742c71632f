"""The tables of sets: services that are released together, and the one decision that all of their rollouts follow.

That all go forward is written once, before the first of them is promoted; that all go back is written with the turn of
the first that fails. Whichever comes first excludes the other: both are written where the other is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deployer.core.clock import Clock
from deployer.core.errors import Refused
from deployer.store.database import Connection, Database, Row
from deployer.store.fence import check
from deployer.store.owner import Lock

if TYPE_CHECKING:
    from deployer.planning.plan import Plan

Decision = Literal["", "forward", "back"]
AddRollout = Callable[[Connection, "Plan", Path, str, str], int]  # in the transaction of the caller


@dataclass(frozen=True)
class SetMember:
    """A service of a set, the release that it has by it, and its rollout: 0 where that release was live already."""

    service: str
    release: int
    rollout: int


@dataclass(frozen=True)
class ReleaseSet:
    """Services that were released together, and what was decided for all; `cause` is why, by the `culprit`."""

    number: int
    name: str
    strategy: str
    decided: Decision
    culprit: str
    cause: str
    exit: int
    started_at: float
    started_by: str
    message: str
    members: tuple[SetMember, ...]

    @property
    def title(self) -> str:
        """The set in words."""
        return f"set {self.number} ({self.name})"

    @property
    def moved(self) -> tuple[SetMember, ...]:
        """The members that have a rollout."""
        return tuple(member for member in self.members if member.rollout)


@dataclass(frozen=True)
class MemberPlan:
    """What is to be recorded for a member: its lock, its plan, and the folder of its manifest."""

    lock: Lock
    plan: Plan
    folder: Path


class Sets:
    """Reads sets, and writes their beginning and their decision."""

    def __init__(self, database: Database, clock: Clock, add: AddRollout) -> None:
        self._database, self._clock, self._add = database, clock, add

    def get(self, number: int) -> ReleaseSet:
        """Return a set. Raise Refused when there is none of that number."""
        found = self._read("number = ?", number)
        if not found:
            raise Refused(f"there is no set {number}", "`deploy release history` lists them")
        return found[0]

    def of_rollout(self, rollout: int) -> ReleaseSet | None:
        """Return the set that a rollout belongs to."""
        found = self._read("number in (select number from set_members where rollout = ?)", rollout)
        return found[0] if found else None

    def of(self, name: str, limit: int = 50) -> tuple[ReleaseSet, ...]:
        """Return the sets of a name, the newest first."""
        return self._read("name = ?", name, limit=limit)

    def names(self) -> tuple[str, ...]:
        """Return the names of all sets."""
        return tuple(row["name"] for row in self._database.rows("select distinct name from sets order by name"))

    def services(self, name: str) -> frozenset[str]:
        """Return the services that sets of a name have ever had."""
        query = "select distinct m.service from set_members m join sets s on s.number = m.number where s.name = ?"
        return frozenset(row["service"] for row in self._database.rows(query, name))

    def of_release(self, service: str, release: int) -> ReleaseSet | None:
        """Return the newest set by which a service has a release."""
        which = "number in (select number from set_members where service = ? and release = ?)"
        found = self._read(which, service, release, limit=1)
        return found[0] if found else None

    def decided(self, number: int) -> Decision:
        """Return what is decided of a set."""
        rows = self._database.rows("select decided from sets where number = ?", number)
        decision: Decision = rows[0]["decided"] if rows else ""
        return decision

    def begin(
        self,
        name: str,
        strategy: str,
        plans: Sequence[MemberPlan],
        live: Mapping[str, int],
        by: str,
        message: str,
    ) -> ReleaseSet:
        """Record a set and the rollouts of its members in one transaction; `live` are releases that stay as they are.

        Raise Refused when a member has a rollout in progress.
        """
        with self._database.transaction() as db:
            number = db.insert(
                "insert into sets (name, strategy, started_at, started_by, message) values (?, ?, ?, ?, ?)",
                (name, strategy, self._clock.now(), by, message),
                key="number",
            )
            rows = [(number, service, release, 0) for service, release in live.items()]
            for each in plans:
                check(db, each.lock)
                rollout = self._add(db, each.plan, each.folder, by, message)
                rows.append((number, each.plan.service, each.plan.release, rollout))
            db.executemany("insert into set_members (number, service, release, rollout) values (?, ?, ?, ?)", rows)
        return self.get(number)

    def decide_forward(self, lock: Lock, number: int) -> Decision:
        """Have all members go forward, unless one has turned back before; return what is decided."""
        with self._database.transaction() as db:
            check(db, lock)
            db.execute("update sets set decided = 'forward' where number = ? and decided = ''", (number,))
        return self.decided(number)

    def _read(self, which: str, *values: object, limit: int = -1) -> tuple[ReleaseSet, ...]:
        bound = f" limit {limit:d}" if limit >= 0 else ""
        query = f"select * from sets where {which} order by number desc{bound}"  # noqa: S608 - of constants
        rows = self._database.rows(query, *values)
        return tuple(self._set(row) for row in rows)

    def _set(self, row: Row) -> ReleaseSet:
        members = self._database.rows(
            "select service, release, rollout from set_members where number = ? order by service", row["number"]
        )
        return ReleaseSet(**dict(row), members=tuple(SetMember(**dict(member)) for member in members))
