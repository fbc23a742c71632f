"""What the store gives back: its rows as frozen data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.core.errors import Exit, StoreDamaged
from deployer.manifest.recorded import recorded
from deployer.model import Outcome, Phase, Release, Signature, read_machines
from deployer.planning.orders import RolloutResult
from deployer.store.database import Row

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest
    from deployer.planning.plan import Plan
    from deployer.planning.usage import SizingStep

PROMOTIONS = frozenset({"promote", "force"})  # kinds of asks that pass what is left to wait for
WORDS = {"force": "promotion without approval"}  # for kinds of asks that are no words for people


def person_of(who: str) -> str:
    """Give the name of a person of `ann@build-3`, who is the same on every machine."""
    return who.rpartition("@")[0] or who


@dataclass(frozen=True)
class Rollout:
    """One attempt to move from a release to another, as it is recorded."""

    number: int
    service: str
    strategy: str
    origin: int
    release: int
    plan: Plan
    phase: Phase
    outcome: Outcome | None
    exit: int
    text: str
    folder: Path
    started_at: float
    started_by: str
    message: str
    ended_at: float | None

    @property
    def open(self) -> bool:
        """Tell whether it still waits for its end."""
        return self.ended_at is None

    @property
    def result(self) -> RolloutResult:
        """How it has ended or rests; "paused" for one that is being driven."""
        return RolloutResult(self.outcome or "paused", Exit(self.exit), self.text, self.number)


@dataclass(frozen=True)
class RolloutTimes:
    """How a rollout went so far: its end, where it has one, the seconds up to it, and those that its steps worked.

    The others were waited: in a watch, for a person, or between two processes.
    """

    number: int
    service: str
    strategy: str
    outcome: str
    exit: int
    ended: bool
    seconds: float
    worked: float


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
class ControlRequest:
    """What a person wants of a rollout: to abort, pause or promote it, or to `force` it past what is to be approved."""

    id: int
    kind: str
    by: str
    reason: str


@dataclass(frozen=True)
class Vote:
    """What a person said at a gate that waits for approval; `role` is that of their token, "" without one."""

    by: str
    role: str
    refused: bool
    reason: str
    at: float
    event: int  # that tells it

    @property
    def person(self) -> str:
        """Their name, without the machine."""
        return person_of(self.by)


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
class Size:
    """How many instances on each machine a person wants of a service; `until` is 0 where it does not expire."""

    service: str
    instances: int
    until: float
    by: str
    reason: str
    at: float


@dataclass(frozen=True)
class Need:
    """How many instances the load of a service needs on all machines together, since when, and why."""

    service: str
    instances: int
    why: str
    at: float


@dataclass(frozen=True)
class Concurrency:
    """How many requests at once an instance of a service is known to answer well, since when, and why."""

    service: str
    requests: int
    why: str
    at: float


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
        data |= read_machines(json.loads(data["machines"] or "{}"))
        return Release(**data)


def _manifest(what: str, record: dict[str, Any]) -> Manifest:
    from deployer.manifest.models import Manifest

    with _readable(what):
        return Manifest.from_record(record)


def read_rollout(row: Row) -> Rollout:
    """Make a rollout of a row of `rollouts`. Raises Refused for a plan of another version."""
    from deployer.planning.plan import Plan

    data = dict(row)
    data["plan"] = Plan.from_json(data["plan"])
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
