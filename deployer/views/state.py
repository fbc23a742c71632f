"""What a view knows of a rollout: frozen data, built up from events by `deployer.views.reduce`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

StepState = Literal["waiting", "running", "done", "failed", "stopped"]


@dataclass(frozen=True)
class StepLine:
    """One step as it is shown. Times are Unix seconds, `seconds` is how long it took.

    A step `as_needed` passes when enough is shown, at the latest at `limit`; any other watch at `until`.
    """

    text: str
    state: StepState = "waiting"
    kind: str = ""
    began: float = 0.0
    until: float = 0.0
    seconds: float = 0.0
    progress: str = ""
    as_needed: bool = False
    limit: float = 0.0

    @property
    def plays(self) -> bool:
        """Whether it runs playbooks or commands, whose tasks are shown."""
        return self.kind in ("play", "migrate")


@dataclass(frozen=True)
class Task:
    """One task of a playbook on one host."""

    playbook: str
    task: str
    host: str
    status: str
    message: str = ""


@dataclass(frozen=True)
class SideState:
    """What one side answered since the watch began; latencies in ms, None while nothing was answered."""

    requests: int = 0
    errors: int = 0
    p50: float | None = None
    p99: float | None = None


@dataclass(frozen=True)
class Look:
    """Both sides at one moment."""

    at: float
    stable: SideState
    candidate: SideState


@dataclass(frozen=True)
class Cost:
    """The cost of a candidate in this watch: failed responses that users saw and may see, and those kept from them."""

    spent: int = 0
    budget: int = 0  # 0: no limit
    shielded: int = 0
    over: bool = False  # the proxy gives the candidate no more users


@dataclass(frozen=True)
class ProofView:
    """How much is shown of "no worse", from 0 to 1, and about how many more are needed (None: not known), of what."""

    shown: float
    more: int | None = None
    unit: str = "responses"


@dataclass(frozen=True)
class Failure:
    """What went wrong, what to do next, and the last lines that the failing instance wrote."""

    error: str
    hint: str = ""
    log: tuple[str, ...] = ()
    back: bool = False  # it happened on the way back


@dataclass(frozen=True)
class VerdictView:
    """What the judge says now, in one word and one sentence."""

    verdict: str
    text: str


@dataclass(frozen=True)
class EndingView:
    """How the rollout ended, or that it holds."""

    outcome: str
    text: str
    exit: int = 0
    at: float = 0.0


@dataclass(frozen=True)
class ViewState:
    """Everything that the live view shows. Shares are in basis points, times in Unix seconds."""

    service: str = ""
    rollout: int = 0
    release: int = 0
    version: str = ""
    origin: int = 0
    strategy: str = ""
    by: str = ""
    started: float = 0.0
    seen: float = 0.0  # time of the newest event
    forward: tuple[StepLine, ...] = ()
    back: tuple[StepLine, ...] = ()
    turned: bool = False
    promoted: bool = False
    colour: str = ""  # colour of the stable release
    share: int | None = None
    measured: float | None = None
    looks: tuple[Look, ...] = ()  # the last few seconds of this watch, newest last
    lost: int = 0
    baseline: int = 0  # share of the baseline, in basis points
    cost: Cost | None = None
    proof: ProofView | None = None
    metrics: tuple[tuple[str, VerdictView], ...] = ()  # what other sources say, by name
    verdict: VerdictView | None = None
    so_far: VerdictView | None = None  # what the judge says at the newest look
    tasks: tuple[Task, ...] = ()
    failure: Failure | None = None
    ending: EndingView | None = None
    notes: tuple[str, ...] = ()
    approved: tuple[str, ...] = ()  # who approved what it waits for
    needed: int = 0  # how many must
    activity: str = ""  # what happens while no step is in progress

    @property
    def running(self) -> StepLine | None:
        """The step that is in progress, if one is."""
        steps = self.back if self.turned else self.forward
        return next((step for step in reversed(steps) if step.state == "running"), None)

    @property
    def waiting(self) -> StepLine | None:
        """The step that comes next, if one is known."""
        steps = self.back if self.turned else self.forward
        return next((step for step in steps if step.state == "waiting"), None)
