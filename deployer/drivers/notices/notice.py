"""One notice: plain data for a webhook, a title and a few lines for a chat."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from deployer.manifest.occasion import Occasion
from deployer.planning.orders import OCCASIONS

VERSION = 1  # of the JSON body; it counts up when a field changes its meaning or goes
ENDINGS: frozenset[str] = frozenset(
    {"paused", "detached", "done", "reverted", "needs-attention"}
)  # of a drive, one each
LONGEST = 600  # characters of a sentence: chats cut what is longer, or refuse it

Kind = Occasion | Literal["test"]


class NotSent(Exception):
    """A notice was not taken; `again` tells whether it may be another time. The words hold no secret."""

    def __init__(self, text: str, *, again: bool = True) -> None:
        super().__init__(text)
        self.again = again


@dataclass(frozen=True)
class NoticeSide:
    """What one side answered in the newest watch."""

    requests: int
    errors: int


@dataclass(frozen=True)
class NoticeJob:
    """The run of a job that did not end well, and how it ended."""

    name: str
    run: int
    outcome: str

    @property
    def words(self) -> str:
        """Return it in a few words."""
        how = {"timed-out": "timed out", "lost": "is lost", "missed": "was missed"}.get(self.outcome, "failed")
        return f"job {self.name} {how}"


@dataclass(frozen=True)
class Notice:
    """What is told of a rollout or a job at one moment; a number that is not known is None."""

    kind: Kind
    at: float  # Unix seconds
    service: str
    text: str
    rollout: int = 0
    release: int = 0
    version: str = ""
    strategy: str = ""
    by: str = ""
    reason: str = ""
    share: int | None = None  # of the release that this is about, basis points
    verdict: str = ""
    candidate: NoticeSide | None = None
    stable: NoticeSide | None = None
    job: NoticeJob | None = None
    seconds: float | None = None  # since the rollout, or the run of the job, began
    exit: int | None = None
    link: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)  # the same for each attempt to send it

    @property
    def title(self) -> str:
        """Return it in a few words."""
        what = f"{self.service} {self.version}".rstrip()
        match self.kind:
            case "started":
                return f"{what}: {self.strategy} started"
            case "verdict":
                return f"{what}: {self.verdict}"
            case "approval":
                return f"{what}: waits for approval"
            case "paused":
                return f"{what}: waits for a person"
            case "detached":
                return f"{what}: detached, still in progress"
            case "done" | "reverted" if self.strategy in OCCASIONS:  # what is live stays live
                return f"{what}: {self.strategy} {'done' if self.kind == 'done' else 'failed'}"
            case "done":
                return f"{what} is live"
            case "reverted":
                return f"{what}: rolled back"
            case "needs-attention":
                return f"{what}: needs a person"
            case "certificate":
                return f"{what}: a certificate ends soon"
            case "job-failed":
                return f"{what}: {self.job.words if self.job else 'a job failed'}"
            case "test":
                return f"{what}: a test"

    @property
    def lines(self) -> tuple[str, ...]:
        """Return the rest: the sentence, the numbers, who and why, where to look."""
        why = f": {self.reason}" if self.reason else ""
        about = (f"rollout {self.rollout}" if self.rollout else "", f"r{self.release}" if self.release else "")
        by = f"by {self.by}{why}" if self.by else ""
        said = (self.text, "; ".join(self._numbers()), ", ".join(filter(None, (*about, self.strategy, by))), self.link)
        return tuple(filter(None, said))

    def _numbers(self) -> Iterator[str]:
        if self.share is not None:
            yield f"share {self.share / 100:g}%"
        for role, side in (("candidate", self.candidate), ("stable", self.stable)):
            if side is not None:
                yield f"{role} {side.errors:,} errors in {side.requests:,} requests"
        if self.verdict and self.kind != "verdict":
            yield f"verdict {self.verdict}"
        if self.seconds is not None:
            yield f"after {self.seconds:.0f} s"
        if self.exit is not None:
            yield f"exit code {self.exit}"

    def to_dict(self) -> dict[str, Any]:
        """Return the body of a webhook: all fields, always, with null for a number that is not known."""
        data = asdict(self)
        named = {"version": VERSION, "event": data.pop("kind"), "id": data.pop("id"), "at": round(data.pop("at"), 3)}
        released = {"number": data.pop("release"), "version": data.pop("version")}
        return {**named, "title": self.title, **data, "release": released}


def trial(service: str, version: str, at: float) -> Notice:
    """Make a notice by which people try whether it arrives."""
    return Notice("test", at, service, "This is a test: notifications about rollouts arrive here.", version=version)
