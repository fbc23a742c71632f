"""What is brought out, how, and what is wrong with it: each strategy with its options, and each way to end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from deployer.app import operations
from deployer.app.operations import RolloutResult, adjust
from deployer.app.operations.contract import contract
from tests.crash.stage import SERVICE, Process

ADJUSTMENTS = ("scale", "keep", "contract")  # commands that are aborted by whoever deploys next
Act = Callable[[Process], RolloutResult | None]


@dataclass(frozen=True)
class Scenario:
    """A service whose `past` was brought out before, and a command that is given then.

    `world` says what is wrong with 2.0; `asks` what a person wants when an event of that kind comes for the n-th time:
    abort, pause, promote, force, or a signal to the process; or who approves or refuses: `approve ben`. `ends` is what
    comes of it with nobody killed; `makes` how many rollouts the command begins; `apart` after how many seconds without
    any change an instant is another one.
    """

    name: str
    ends: str
    strategy: str = "canary"
    manifest: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    world: dict[str, Any] = field(default_factory=dict)
    asks: dict[tuple[str, int], str] = field(default_factory=dict)
    past: tuple[str, ...] = ("1.0",)
    before: Act | None = None
    act: Act | None = None
    makes: int = 1
    gap: bool = False
    lease: float = 30.0
    apart: float = 0.4

    @property
    def what(self) -> str:
        """The strategy, or the command that it is about."""
        return self.name.partition(":")[0]

    def deploy(self, process: Process, version: str, **more: Any) -> RolloutResult:
        return process.deploy(version, self.strategy, manifest=self.manifest, options=self.options, **more)

    def command(self, process: Process) -> RolloutResult | None:
        """Run the command that the scenario is about."""
        return self.act(process) if self.act else self.deploy(process, "2.0")


UNHEALTHY: dict[str, Any] = {"broken": {"2.0"}}
WORSE: dict[str, Any] = {"worse": {"2.0"}}
NOBODY: dict[str, Any] = {"rate": 0.0}
SHORT: dict[str, Any] = {"steps": [10, 50], "for": "1s", "bake": "1s"}  # long enough to find the worse one


def _canary(**more: Any) -> dict[str, Any]:
    return {"strategy": {"canary": {**SHORT, **more}}}


def _undecided(what: str) -> dict[str, Any]:
    """Ask for evidence that nobody gives, for as long as it takes not to come."""
    canary = {"steps": [10], "within": "10s", "bake": "0s"}
    return {"strategy": {"canary": canary}, "judge": {"undecided": what}}


CANARY = _canary()
FRESH = _canary(baseline="fresh", steps=[10])
NEEDED = {"strategy": {"canary": {"steps": [50], "bake": "1s"}}}
FULL_ONLY = _canary(steps=[100], bake="0s")
HOLD = _canary(hold=True)
METRIC = {"name": "queue", "http": "http://metrics/", "max": 10, "interval": "1s", "failures": 1}
METERED = {**_canary(**{"for": "3s"}), "judge": {"requests": 5, "metrics": [METRIC]}}
BAKED = {"strategy": {"bluegreen": {"bake": "1s"}}}
AT_ONCE = {"strategy": {"bluegreen": {"bake": "0s"}}}
ROLLING = {"strategy": {"rolling": {"for": "1s"}}}
ROLLED_AT_ONCE = {"strategy": {"rolling": {"batch": 2, "for": "0s"}}}
COLD = {**BAKED, "keep": {"warm": "0s"}}
MACHINES = {"runtime": "ansible", "verbs": "qemu", "image": "disk-{version}"}
PAUSED = {**BAKED, **MACHINES, "keep": {"paused": True}}
HOOKED = {
    **CANARY,
    "update": ["migrate.yml"],
    "smoke": [{"get": "/"}],
    "hooks": {"before": ["b.yml"], "after": ["a.yml"], "on_done": ["d.yml"], "on_failure": ["f.yml"]},
}
EXPAND, CONTRACT = {"run": ["bin/expand"], "in": "instance"}, {"run": ["bin/contract"]}
MIGRATED = {**BAKED, "migrate": {"backup": {"run": ["bin/backup"]}, "expand": [EXPAND], "contract": [CONTRACT]}}
HANDED_OVER = {"traffic": {"handover": {"former": "2s", "rolled_back": "1s"}}}
TALKATIVE: dict[str, Any] = {"talkative": 3}  # WebSockets are open wherever users are
MOVED = "traffic.changed"
ASKED, GIVEN = "approval.asked", "approval.given"


def _approved(**more: Any) -> dict[str, Any]:
    consent = {"by": ["ann", "ben"], "count": 2, "within": "10s", **more}
    return _canary(steps=[{"share": 10, "approve": consent}])


def _held(process: Process) -> RolloutResult:
    return process.deploy("2.0", "canary", manifest=HOLD)


def _all(process: Process, act: Callable[..., RolloutResult]) -> RolloutResult:
    return act(process.house, SERVICE)


def _down(process: Process) -> None:
    operations.down(process.house, SERVICE)


def _scaled(process: Process, size: int) -> RolloutResult:
    return adjust.scale(process.house, SERVICE, size, 0.0, "")


def _kept(process: Process) -> RolloutResult | None:
    return adjust.keep(process.house, SERVICE)


def _lost(process: Process) -> None:
    process.world.end(f"{SERVICE}-r1-2")


def _contracted(process: Process) -> RolloutResult:
    return contract(process.house, SERVICE, drop=True)


def _warm_is_over(process: Process) -> None:
    clock = process.world.clock
    clock.sleep(process.house.store.services.get(SERVICE).warm_until - clock.now() + 1)


SCENARIOS = [
    # canary
    Scenario("canary: done", "done", manifest=CANARY),
    Scenario("canary: done beside a warm one", "done", manifest=CANARY, past=("0.9", "1.0")),
    Scenario("canary: done, evidence decides", "done", manifest=NEEDED, world={"rate": 20_000.0}),
    Scenario("canary: done, fresh baseline", "done", manifest=FRESH),
    Scenario("canary: done, all at once", "done", manifest=FULL_ONLY),
    Scenario("canary: done, percent", "done", manifest=CANARY, options={"percent": 20}),
    Scenario("canary: done, no lease", "done", manifest={**CANARY, "traffic": {"lease": "0s"}}, lease=0.0),
    Scenario("canary: done, playbooks and hooks", "done", manifest=HOOKED),
    Scenario("canary: done, metric", "done", manifest=METERED, world={"metrics": {("queue", "candidate"): 3.0}}),
    Scenario("canary: done, undecided proceeds", "done", manifest=_undecided("proceed"), world=NOBODY, apart=10.0),
    Scenario("canary: unhealthy", "reverted", manifest=CANARY, world=UNHEALTHY),
    Scenario("canary: unhealthy baseline", "reverted", manifest=FRESH, world={"ill": {"baseline"}}),
    Scenario("canary: smoke test fails", "reverted", manifest=HOOKED, world={"smokes": "GET /: HTTP 500"}),
    Scenario("canary: playbook fails", "reverted", manifest=HOOKED, world={"failing": {"migrate.yml"}}),
    Scenario("canary: worse", "reverted", manifest=CANARY, world=WORSE),
    Scenario("canary: worse with everyone", "reverted", manifest=CANARY, world={**WORSE, "worse_above": 5000}),
    Scenario("canary: worse than a fresh baseline", "reverted", manifest=FRESH, world=WORSE),
    Scenario(
        "canary: over budget",
        "reverted",
        manifest={**CANARY, "traffic": {"budget": 2}, "judge": {"alpha": 1e-9}},
        world=WORSE,
    ),
    Scenario("canary: metric worse", "reverted", manifest=METERED, world={"metrics": {("queue", "candidate"): 30.0}}),
    Scenario("canary: inconclusive, reverts", "reverted", manifest=_undecided("revert"), world=NOBODY, apart=10.0),
    Scenario("canary: inconclusive, holds", "paused", manifest=_undecided("hold"), world=NOBODY, apart=10.0),
    Scenario("canary: held", "paused", manifest=HOLD),
    Scenario("canary: paused", "paused", manifest=CANARY, asks={(MOVED, 1): "pause"}),
    Scenario("canary: aborted", "reverted", manifest=CANARY, asks={(MOVED, 2): "abort"}),
    Scenario("canary: aborted by a signal", "reverted", manifest=CANARY, asks={(MOVED, 1): "signal"}),
    Scenario("canary: promoted on the way", "done", manifest=CANARY, asks={(MOVED, 1): "promote"}),
    Scenario(
        "canary: approved by both",
        "done",
        manifest=_approved(),
        asks={(ASKED, 1): "approve ann", (GIVEN, 1): "approve ben"},
    ),
    Scenario("canary: refused", "reverted", manifest=_approved(), asks={(ASKED, 1): "refuse ben"}),
    Scenario("canary: not approved, reverts", "reverted", manifest=_approved(), apart=3.0),
    Scenario("canary: not approved, holds", "paused", manifest=_approved(expired="hold"), apart=3.0),
    Scenario("canary: worse while it waits", "reverted", manifest=_approved(), world={**WORSE, "worse_above": 1000}),
    Scenario("canary: forced past an approval", "done", manifest=_approved(), asks={(ASKED, 1): "force"}),
    Scenario("canary: first", "done", manifest=CANARY, past=(), gap=True),
    Scenario(
        "canary: first, not approved",
        "reverted",
        manifest={**CANARY, "approve": {"by": ["ann"], "within": "10s"}},
        past=(),
        gap=True,
        apart=3.0,
    ),
    Scenario("canary: first, unhealthy", "reverted", manifest=CANARY, past=(), world=UNHEALTHY, gap=True),
    # the others
    Scenario("bluegreen: done", "done", "bluegreen", BAKED),
    Scenario("bluegreen: done, nothing kept warm", "done", "bluegreen", COLD, past=("0.9", "1.0")),
    Scenario("bluegreen: done, no bake", "done", "bluegreen", AT_ONCE),
    Scenario("bluegreen: done, connections open", "done", "bluegreen", {**BAKED, **HANDED_OVER}, world=TALKATIVE),
    Scenario(
        "bluegreen: worse, connections open",
        "reverted",
        "bluegreen",
        {**BAKED, **HANDED_OVER},
        world={**WORSE, **TALKATIVE},
    ),
    Scenario("bluegreen: unhealthy", "reverted", "bluegreen", BAKED, world=UNHEALTHY),
    Scenario("bluegreen: worse", "reverted", "bluegreen", BAKED, world=WORSE),
    Scenario("rolling: done", "done", "rolling", ROLLING),
    Scenario("rolling: done, two at once", "done", "rolling", ROLLED_AT_ONCE),
    Scenario("rolling: unhealthy", "reverted", "rolling", ROLLING, world=UNHEALTHY),
    Scenario("rolling: worse", "reverted", "rolling", ROLLING, world=WORSE),
    Scenario("rolling: aborted half way", "reverted", "rolling", ROLLING, asks={(MOVED, 1): "abort"}),
    Scenario("recreate: done", "done", "recreate", gap=True),
    Scenario("recreate: unhealthy", "reverted", "recreate", world=UNHEALTHY, gap=True),
    Scenario("recreate: aborted by a signal", "reverted", "recreate", asks={("step.done", 3): "signal"}, gap=True),
    # migrations
    Scenario("bluegreen: done, migration", "done", "bluegreen", MIGRATED),
    Scenario("bluegreen: backup fails", "reverted", "bluegreen", MIGRATED, world={"failing": {"bin/backup"}}),
    Scenario("contract: done", "done", "bluegreen", MIGRATED, past=("0.9", "1.0"), act=_contracted),
    Scenario(
        "contract: fails",
        "done",
        "bluegreen",
        MIGRATED,
        past=("0.9", "1.0"),
        world={"failing": {"bin/contract"}},
        act=_contracted,
    ),
    # commands of people
    Scenario(
        "rollback: warm", "done", "bluegreen", BAKED, past=("1.0", "1.1"), act=lambda p: _all(p, operations.rollback)
    ),
    Scenario(
        "rollback: warm, connections open",
        "done",
        "bluegreen",
        {**BAKED, **HANDED_OVER},
        past=("1.0", "1.1"),
        world=TALKATIVE,
        act=lambda p: _all(p, operations.rollback),
    ),
    Scenario("bluegreen: the former is paused", "done", "bluegreen", PAUSED),
    Scenario(
        "rollback: paused", "done", "bluegreen", PAUSED, past=("1.0", "1.1"), act=lambda p: _all(p, operations.rollback)
    ),
    Scenario(
        "rollback: cold", "done", "bluegreen", COLD, past=("1.0", "1.1"), act=lambda p: _all(p, operations.rollback)
    ),
    Scenario(
        "rollback: cold, unhealthy",
        "reverted",
        "bluegreen",
        COLD,
        past=("1.0", "1.1"),
        world={"broken": {"1.0"}},
        act=lambda p: _all(p, operations.rollback),
    ),
    Scenario(
        "rollback: recreated",
        "done",
        "recreate",
        past=("1.0", "1.1"),
        act=lambda p: _all(p, operations.rollback),
        gap=True,
    ),
    Scenario(
        "rollback: recreated, unhealthy",
        "reverted",
        "recreate",
        past=("1.0", "1.1"),
        world={"broken": {"1.0"}},
        act=lambda p: _all(p, operations.rollback),
        gap=True,
    ),
    Scenario("rollback: of a held one", "reverted", makes=0, before=_held, act=lambda p: _all(p, operations.rollback)),
    Scenario("abort: of a held one", "reverted", makes=0, before=_held, act=lambda p: _all(p, operations.stop)),
    Scenario("promote: of a held one", "done", makes=0, before=_held, act=lambda p: _all(p, operations.promote)),
    Scenario("resume: of a held one", "done", makes=0, before=_held, act=lambda p: _all(p, operations.resume)),
    Scenario(
        "resume: of a held one, worse now",
        "reverted",
        makes=0,
        before=_held,
        world={"worse": {"2.0"}, "worse_above": 1000},
        act=lambda p: _all(p, operations.resume),
    ),
    Scenario(
        "replace: a held one",
        "done",
        manifest=CANARY,
        before=_held,
        act=lambda p: p.deploy("3.0", "canary", manifest=CANARY, replace=True),
    ),
    Scenario("scale: more", "done", "bluegreen", BAKED, act=lambda p: _scaled(p, 4)),
    Scenario("scale: fewer", "done", "bluegreen", BAKED, act=lambda p: _scaled(p, 1)),
    Scenario("keep: an instance is lost", "done", "bluegreen", BAKED, before=_lost, act=_kept),
    Scenario("keep: warm is over", "done", "bluegreen", BAKED, past=("0.9", "1.0"), before=_warm_is_over, act=_kept),
    Scenario("down", "down", "bluegreen", BAKED, past=("0.9", "1.0"), act=_down, makes=0, gap=True),
]
