"""What the store gives back: its rows as frozen data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from deployer.core.errors import Exit, StoreDamaged
from deployer.manifest.recorded import recorded
from deployer.model import Outcome, Phase, Release, Signature, read_hosts
from deployer.planning.orders import RolloutResult
from deployer.store.database import Row

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest
    from deployer.planning.plan import Plan
    from deployer.planning.usage import SizingStep

PROMOTIONS = frozenset({"promote", "force"})  # kinds of asks that pass what is left to wait for
WORDS = {"force": "promotion without approval"}  # for kinds of asks that are no words for people


def person_of(who: str) -> str:
    """Return the name of a person of `ann@build-3`, who is the same on every host."""
    return who.rpartition("@")[0] or who


@dataclass(frozen=True)
class Rollout:
    """One attempt to move from a release to another, as it is recorded; `written` is its plan as JSON."""

    number: int
    service: str
    strategy: str
    origin: int
    release: int
    written: str
    phase: Phase
    outcome: Outcome | None
    exit: int
    text: str
    folder: Path
    started_at: float
    started_by: str
    message: str
    ended_at: float | None

    @cached_property
    def plan(self) -> Plan:
        """Its plan, read when it is asked for: of most that are listed it is not. Raise Refused (see `checked`)."""
        from deployer.planning.plan import Plan

        return Plan.from_json(self.written)

    def checked(self) -> Self:
        """Return it with its plan read. Raise Refused where another version wrote that, or where it is damaged."""
        _ = self.plan
        return self

    @property
    def adjusts(self) -> bool:
        """Whether it only adjusts what runs of the live release, which stays live: see `Plan.adjusts`."""
        return self.origin == self.release

    @property
    def open(self) -> bool:
        """Return whether it still waits for its end."""
        return self.ended_at is None

    @property
    def result(self) -> RolloutResult:
        """How it has ended or rests; "paused" for one that is being driven."""
        return RolloutResult(self.outcome or "paused", Exit(self.exit), self.text, self.number)


@dataclass(frozen=True)
class JournalEntry:
    """One line of the journal."""

    phase: Phase
    n: int
    state: str
    began_at: float
    until: float
    ended_at: float | None
    detail: dict[str, Any]


@dataclass(frozen=True)
class ServiceRecord:
    """What was promoted last, and what is kept warm; no release before the `contracted` one can come back."""

    name: str
    stable: int = 0
    warm: int = 0
    warm_colour: str = ""
    warm_until: float = 0.0
    contracted: int = 0


@dataclass(frozen=True)
class Port:
    """A port that an instance has, and on which host of the inventory it runs; "" is this host."""

    number: int
    release: int
    index: int
    host: str = ""


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """Turn what damaged text does to a reader into one error."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        said = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise StoreDamaged(
            f"{what} cannot be read from the store ({said})", "use the version that wrote it, or restore a backup"
        ) from None


def read_release(row: Row) -> Release:
    """Make a release of a row of `releases`. Raises StoreDamaged."""
    what = f"release r{row['number']} of {row['service']}"
    with _readable(what):
        data = dict(row)
        record = dict(json.loads(data["manifest"]))
        data["manifest"] = recorded(record, lambda: _manifest(what, record))
        data["signature"] = Signature(**json.loads(data["signature"])) if data["signature"] else None
        data["alone"] = bool(data["alone"])
        data |= read_hosts(json.loads(data["hosts"] or "{}"))
        return Release(**data)


def _manifest(what: str, record: dict[str, Any]) -> Manifest:
    from deployer.manifest.models import Manifest

    with _readable(what):
        return Manifest.from_record(record)


def read_rollout(row: Row) -> Rollout:
    """Make a rollout of a row of `rollouts`; its plan is read when it is asked for (`Rollout.checked`)."""
    data = dict(row)
    data["written"] = data.pop("plan")
    data["outcome"] = data["outcome"] or None
    data["folder"] = Path(data["folder"])
    return Rollout(**data)


def read_entry(row: Row) -> JournalEntry:
    """Make an entry of a row of `journal`. Raises StoreDamaged."""
    with _readable(f"step {row['n']} ({row['phase']}) of a rollout"):
        detail = dict(json.loads(row["detail"]))
    return JournalEntry(row["phase"], row["n"], row["state"], row["began_at"], row["until"], row["ended_at"], detail)


def read_sizing(row: Row) -> SizingStep:
    """Make a step that changed what runs of a row of `journal`. Raises StoreDamaged."""
    from deployer.planning.kinds import from_dict
    from deployer.planning.usage import SizingStep

    with _readable("a step of a rollout"):
        step = from_dict(dict(json.loads(row["step"])))
    return SizingStep(step, row["began_at"], (row["ended_at"] or 0.0) if row["state"] == "done" else 0.0)
