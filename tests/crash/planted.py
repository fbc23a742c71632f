"""Bugs that are put in on purpose, each of which the suite has to report: what it cannot see, it does not prove."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from deployer.engine import endings, perform
from deployer.engine.controls import Hold
from deployer.engine.observation import AnalysisStep
from deployer.engine.run import Drive
from deployer.engine.traffic_control import TrafficControl
from deployer.model import spread
from deployer.planning import recipes
from deployer.planning.steps import Step, Watch
from deployer.store import ControlRequest, Lock, Rollout
from deployer.store.journal import Journal
from deployer.store.requests import ControlRequests
from deployer.store.rollouts import Rollouts
from tests.crash.scenarios import CANARY, SCENARIOS, UNHEALTHY, Scenario
from tests.crash.stage import SECRET

LONG = {"strategy": {"canary": {"steps": [50], "for": "8s", "bake": "0s"}}, "traffic": {"lease": "6s"}}
LEASED = Scenario("planted: longer than its lease", "done", manifest=LONG, lease=6.0, apart=5.0)
TALKS = Scenario("planted: tells a secret", "reverted", manifest=CANARY, world={**UNHEALTHY, "words": (SECRET,)})


@dataclass(frozen=True)
class Bug:
    """What replaces what, in which scenario which part of the suite looks for it, and what that has to say."""

    name: str
    said: str
    scenario: str | Scenario
    patches: dict[str, Any] = field(default_factory=dict)
    how: str = "killed"

    @property
    def where(self) -> Scenario:
        """The scenario in which it is looked for."""
        if isinstance(self.scenario, Scenario):
            return self.scenario
        return next(s for s in SCENARIOS if s.name == self.scenario)

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Have the bug in the code for a while."""
        with ExitStack() as patches:
            for target, value in self.patches.items():
                patches.enter_context(mock.patch(target, value))
            yield


def _way_back_in_the_wrong_order(observed: Any, release: Any) -> Any:
    return tuple(reversed(_way_back(observed, release)))


def _done_before_it_is_done(run: Drive, step: Any, doing: Any) -> dict[str, Any]:
    run.store.journal.done(run.lock, run.rollout.number, doing.entry.phase, doing.n, {})
    return _perform(run, step, doing)


def _journal(rollouts: Rollouts) -> Journal:
    return Journal(rollouts._database, rollouts._clock, rollouts._audit)


def _turned_in_two_writes(
    rollouts: Rollouts, lock: Lock, rollout: Rollout, n: int, error: Any, heard: Any = None
) -> None:
    if _journal(rollouts).entry(rollout.number, "forward", n):
        _journal(rollouts).failed(lock, rollout.number, "forward", n, error)
    _turned_back(rollouts, lock, rollout, n, error, heard)


def _promoted_in_two_writes(
    rollouts: Rollouts, lock: Lock, rollout: Rollout, n: int, detail: Any, by: str = ""
) -> None:
    _journal(rollouts).done(lock, rollout.number, "forward", n, detail)
    _promoted(rollouts, lock, rollout, n, detail, by)


def _watched_again(journal: Journal, rollout: Rollout, phase: Any = "forward") -> tuple[tuple[int, Step], ...]:
    left = _left(journal, rollout, phase)
    steps = enumerate(rollout.plan.steps(phase))
    return tuple((n, step) for n, step in steps if isinstance(step, Watch) or (n, step) in left)


def _begun_anew(journal: Journal, lock: Lock, rollout: int, phase: Any, n: int, until: float = 0.0) -> Any:
    _began(journal, lock, rollout, phase, n, until)
    with journal._database.transaction() as db:
        db.execute("update journal set until = ? where rollout = ? and phase = ? and n = ?", (until, rollout, phase, n))
    return journal.entry(rollout, phase, n)


def _kept_before_it_is_recorded(run: Drive, hold: Hold) -> Any:
    run.traffic.keep_share()
    return _hold(run, hold)


def _wish_taken_when_heard(requests: ControlRequests, rollout: int) -> ControlRequest | None:
    ask = _next_request(requests, rollout)
    if ask is not None:
        with requests._database.transaction() as db:
            db.execute("update control_requests set taken_at = 1 where id = ?", (ask.id,))
    return ask


def _written_and_not_read_back(control: TrafficControl, live: Any, deadline: Any) -> None:
    control._traffic.set_traffic(control._rollout.service, live, deadline, None)
    control.given = live
    control.spending.limit = live.budget


def _started_and_not_read_back(run: Drive, step: Any, doing: Any) -> dict[str, Any]:
    release = run.release(step.release)
    for index, host in spread(step.colour, step.instances, step.hosts).items():
        run.drivers.runtime.ensure(run.spec(release, step.colour, index, host), doing.deadline)
    return {}


@contextmanager
def _lock_kept(house: Any, service: str, purpose: str) -> Iterator[Lock]:
    yield house.store.locks.take(service, purpose)


def _nothing(*_: Any, **__: Any) -> None:
    """Leave out what should be done."""


def _over(watching: AnalysisStep, _verdict: Any) -> bool:
    return watching._run.clock.monotonic() >= watching._began + 1.0


_way_back, _perform, _left, _hold = recipes.way_back, perform.perform, Journal.left, endings.hold
_turned_back, _promoted, _began, _next_request = (
    Rollouts.turned_back,
    Rollouts.promoted,
    Journal.began,
    ControlRequests.next,
)
TABLES = ("services", "releases", "rollouts", "journal", "events", "requests", "ports", "audit")

STORE, TRAFFIC, PERFORM, WALK = (
    "deployer.store",
    "deployer.engine.traffic_control.TrafficControl",
    "deployer.engine.perform",
    "deployer.engine.walk",
)
BUGS = [
    Bug(
        "the way back removes the candidate before it takes its users",
        "go to an empty",
        "canary: worse",
        {
            "deployer.planning.recipes.way_back": _way_back_in_the_wrong_order,
            f"{PERFORM}._gets_users": lambda *_: False,
        },
    ),
    Bug(
        "a way back in the wrong order that is refused when it comes to it",
        "needs-attention with exit 8, not reverted",
        "canary: worse",
        {"deployer.planning.recipes.way_back": _way_back_in_the_wrong_order},
    ),
    Bug(
        "an instance is ended before it is drained",
        "before it is drained",
        "bluegreen: worse",
        {f"{PERFORM}.drain": lambda *_: 0},
    ),
    Bug(
        "a step is recorded as done before it is done",
        "recorded as done",
        "canary: done",
        {f"{WALK}.perform": _done_before_it_is_done},
    ),
    Bug(
        "a failed gate and the turn are two writes",
        "was not turned with it",
        "canary: unhealthy",
        {f"{STORE}.rollouts.Rollouts.turned_back": _turned_in_two_writes},
    ),
    Bug(
        "the commit point and the live release are two writes",
        "do not agree",
        "canary: done",
        {f"{STORE}.rollouts.Rollouts.promoted": _promoted_in_two_writes},
    ),
    Bug(
        "a resumed rollout repeats a watch that is done",
        "is done, and begun again",
        "canary: done",
        {f"{STORE}.journal.Journal.left": _watched_again},
    ),
    Bug(
        "a resumed watch begins its time anew",
        "was to end at",
        "canary: done",
        {f"{STORE}.journal.Journal.began": _begun_anew},
    ),
    Bug(
        "a resumed wait for people begins its time anew",
        "was to end at",
        "canary: not approved, reverts",
        {f"{STORE}.journal.Journal.began": _begun_anew},
    ),
    Bug(
        "a wish is taken when it is heard, not with what comes of it",
        "not reverted",
        "canary: aborted",
        {f"{STORE}.requests.ControlRequests.next": _wish_taken_when_heard},
    ),
    Bug("the lease is not renewed", "whose lease ran out", LEASED, {f"{TRAFFIC}.renew_lease": _nothing}),
    Bug(
        "the lease never ends",
        "the lease has 36",
        "canary: done",
        {f"{TRAFFIC}._lease_end": lambda control: int(control._clock.now()) + 3600},
    ),
    Bug("a share is given without a lease", "without a lease", "canary: done", {f"{TRAFFIC}._lease_end": lambda _: 0}),
    Bug(
        "a hold prolongs the lease before it is recorded",
        "s left, 30 s are allowed",
        "canary: held",
        {"deployer.engine.endings.hold": _kept_before_it_is_recorded},
    ),
    Bug(
        "the share grows although nothing can be judged",
        "done with exit 0, not reverted",
        "canary: inconclusive, reverts",
        {"deployer.engine.observation.AnalysisStep.passes": _over},
    ),
    Bug(
        "the health gate lets everything pass",
        "are ill",
        "canary: unhealthy",
        {"deployer.engine.gates.healthy": lambda *_: {}},
    ),
    Bug("ports are not given back", "port 2", "canary: worse", {f"{STORE}.ports.Ports.free_others": _nothing}),
    Bug(
        "the lock is not given back",
        "left: lock",
        "canary: worse",
        {"deployer.app.operations.deployment.locked": _lock_kept},
    ),
    Bug(
        "a release that must be alone is started beside another one",
        "stand at once",
        "rollback: recreated",
        {"deployer.model.Release.may_run_beside": lambda *_: True, f"{PERFORM}.refuse_company": _nothing},
    ),
    Bug(
        "what others say is not searched for secrets",
        "a secret in",
        TALKS,
        {"deployer.engine.run.hide_in": lambda data: data, f"{WALK}._recordable": lambda error: error},
    ),
    Bug(
        "nobody asks for the lock before a change",
        "overtaken",
        "canary: done",
        {"deployer.store.locks.Locks.verify": _nothing, "deployer.store.locks.Locks.renew": _nothing},
        "overtaken",
    ),
    Bug(
        "writes of the store are not fenced",
        "it wrote into the store",
        "canary: done",
        {f"{STORE}.{table}.check": _nothing for table in TABLES},
        "overtaken",
    ),
    Bug(
        "what was started is not read back",
        "do not stand",
        "bluegreen: done",
        {f"{PERFORM}._start": _started_and_not_read_back},
        "disturbed",
    ),
    Bug(
        "what the proxy was told is not read back",
        "the proxy has",
        "bluegreen: done",
        {f"{TRAFFIC}._put": _written_and_not_read_back},
        "disturbed",
    ),
    Bug(
        "what was removed is not read back",
        "recorded as done: drain",
        "bluegreen: worse",
        {f"{PERFORM}._refuse_left": _nothing},
        "disturbed",
    ),
]
