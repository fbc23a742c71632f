"""Histories that nobody thought of: releases good and bad, commands in any order, faults, deaths, clocks that are set.

    python -m tests.crash.histories [--runs N] [--seed S]

At every instant of every process the promises hold; a command ends with an outcome or with an error that says what is
the case. At the end of each history everything is well again, and then the rollout that is open has an end, and the
next release comes out as if nothing had been.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from deployer.app import operations
from deployer.core.errors import DeployError
from deployer.core.events import Event
from deployer.planning.steps import Remove
from deployer.store import person_of, whoami
from tests.crash.calls import KINDS, Call, Fault, kinds
from tests.crash.explore import PATIENCE, Picture
from tests.crash.promises import Broken, Clocked, Promises
from tests.crash.stage import SERVICE, Moment, Process, Stage, Watcher, fresh, on_paper, restored
from tests.memory import Crash, World

MOST = 9  # instances: blue, green and a baseline of three
STEPS = 12  # of a history
CALLS, INSTANTS = 60, 250  # into a command at which something comes, at the latest


@dataclass(frozen=True)
class Trouble:
    """What befalls a process: a fault of a driver at a call, and its death at an instant; 0 for never."""

    fault: str = ""
    call: int = 0
    death: int = 0


class Witness(Watcher):
    """Checks the promises at every instant of a process, disturbs it, and takes a copy of all when it dies."""

    def __init__(self, stage: Stage, trouble: Trouble, *, gap: bool) -> None:
        self._stage, self._trouble = stage, trouble
        self._promises = Promises(stage, gap=gap, most=MOST)
        self._clocked = Clocked(stage.world, PATIENCE)
        self._instants = self._calls = 0
        self._process: Process | None = None
        self.disturbed = False
        self.left: Moment | None = None  # by the death of the process

    def begin(self, process: Process) -> None:
        self._promises.adopt(process)
        self._process = process

    def end(self, process: Process) -> None:
        self._promises.given_back()
        self._promises.secrets(process)

    def instant(self, what: str) -> None:
        self._instants += 1
        self._promises.users()
        self._promises.places()
        if self._process is not None:
            self._promises.ends_by_itself(self._process)
        if self._instants == self._trouble.death:
            self.left = self._stage.moment(self._instants, what)
            raise Crash(what)

    def call(self, process: Process, call: Call, carry_out: Callable[[], Any]) -> Any:
        self._promises.one_hand(process, call)
        self._promises.drained(call)
        self.instant(f"before {call}")
        self._calls += 1
        answer = self._answer(call, carry_out)
        self._promises.drains(call)
        self.instant(f"after {call}")
        return answer

    def _answer(self, call: Call, carry_out: Callable[[], Any]) -> Any:
        if self._calls != self._trouble.call or self._trouble.fault not in kinds(call):
            return carry_out()
        self.disturbed = True
        return Fault(self._trouble.fault, self._calls).commit(call, carry_out, self._stage.world.clock)

    def committed(self, process: Process) -> None:
        self._promises.journal(process)
        self.instant("after a write of the store")

    def told(self, process: Process, event: Event) -> None:
        self._clocked.told(event)
        self._promises.watched(process, event)


TROUBLES = st.builds(
    Trouble,
    fault=st.sampled_from(("", "", *KINDS)),
    call=st.integers(1, CALLS),
    death=st.one_of(st.just(0), st.integers(1, INSTANTS)),
)
MANIFESTS = st.fixed_dictionaries(
    {
        "replicas": st.integers(1, 3),
        "judge": st.fixed_dictionaries(
            {"requests": st.sampled_from((0, 5)), "undecided": st.sampled_from(("hold", "revert", "proceed"))}
        ),
        "keep": st.fixed_dictionaries({"warm": st.sampled_from(("0s", "1h")), "releases": st.integers(2, 4)}),
        "traffic": st.fixed_dictionaries({"budget": st.sampled_from((2, 50, False)), "sticky": st.booleans()}),
        "update": st.sampled_from(((), ("migrate.yml",))),
    }
)
APPROVED = {"share": 10, "approve": {"by": [person_of(whoami())], "own": True, "within": "3s", "expired": "hold"}}


def _possible(options: Any) -> bool:
    return options["baseline"] == "stable" or 100 not in options["steps"]


OPTIONS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "canary": st.fixed_dictionaries(
        {
            "steps": st.sampled_from(([10], [10, 50], [50, 100], [APPROVED, 50])),
            "for": st.sampled_from(("1s", "3s")),
            "bake": st.sampled_from(("0s", "1s")),
            "hold": st.booleans(),
            "baseline": st.sampled_from(("stable", "fresh")),
        }
    ).filter(_possible),
    "bluegreen": st.fixed_dictionaries({"bake": st.sampled_from(("0s", "1s"))}),
    "rolling": st.fixed_dictionaries({"batch": st.integers(1, 2), "for": st.sampled_from(("0s", "1s"))}),
    "recreate": st.just({}),
}
DEPLOYS = st.sampled_from(sorted(OPTIONS)).flatmap(lambda name: st.tuples(st.just(name), OPTIONS[name]))
COMMANDS: dict[str, Callable[..., Any]] = {
    "resume": operations.resume,
    "abort": operations.stop,
    "approve": operations.approve,
    "promote": operations.promote,
    "rollback": operations.rollback,
    "down": operations.down,
}


class Histories(RuleBasedStateMachine):
    """One service, from its first deploy to the last."""

    seen: ClassVar[Counter[str]] = Counter()  # of all histories of this process

    def __init__(self) -> None:
        super().__init__()
        self.seen["histories"] += 1
        self._closing = ExitStack()
        self._closing.enter_context(on_paper())
        self._stage = self._closing.enter_context(fresh(World()))
        self._number = 0

    @property
    def world(self) -> World:
        return self._stage.world

    @initialize()
    def first(self) -> None:
        self._deploy("bluegreen", {}, {}, Trouble())

    # -- what people do

    @rule(wanted=DEPLOYS, manifest=MANIFESTS, ill=st.sampled_from(("", "", "worse", "broken")), trouble=TROUBLES)
    def deploy(self, wanted: tuple[str, dict[str, Any]], manifest: dict[str, Any], ill: str, trouble: Trouble) -> None:
        if ill:
            getattr(self.world, ill).add(f"{self._number + 1}.0")
        self._deploy(*wanted, manifest, trouble)

    @rule(wanted=DEPLOYS, manifest=MANIFESTS, trouble=TROUBLES)
    def replace(self, wanted: tuple[str, dict[str, Any]], manifest: dict[str, Any], trouble: Trouble) -> None:
        self._deploy(*wanted, manifest, trouble, replace=True)

    @rule(name=st.sampled_from(sorted(COMMANDS)), trouble=TROUBLES)
    def command(self, name: str, trouble: Trouble) -> None:
        self._run(name, lambda process: COMMANDS[name](process.house, SERVICE), trouble)

    # -- what happens

    @rule(seconds=st.sampled_from((1.0, 31.0, 4000.0)))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.sleep(seconds)

    @rule(seconds=st.sampled_from((-4000.0, -40.0, 40.0, 4000.0)))
    def the_clock_is_set(self, seconds: float) -> None:
        self.world.clock.ahead += seconds

    @rule(seconds=st.sampled_from((2.0, 20.0)))
    def the_proxy_is_silent(self, seconds: float) -> None:
        self.world.silent_until = self.world.clock.now() + seconds

    @rule(which=st.integers(0, 8))
    def an_instance_ends(self, which: int) -> None:
        """One that leaves another one behind: what the last one takes with it, no deployer can keep."""
        places: Counter[str] = Counter(i.colour for i in self.world.instances.values() if self.world.well(i))
        names = [n for n, i in sorted(self.world.instances.items()) if places[i.colour] > 1 and self.world.well(i)]
        if names:
            self.world.end(names[which % len(names)])

    # -- the end

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self._ends_well()
        finally:
            self._closing.close()

    def _ends_well(self) -> None:
        self.world.worse, self.world.broken, self.world.silent_until = set(), set(), 0.0
        for attempt in ("resume", "abort", "resume"):
            if self._look().open:
                self._run(attempt, lambda process, name=attempt: COMMANDS[name](process.house, SERVICE), Trouble())  # type: ignore[misc]
        assert not self._look().open, f"it has no end: {self._look()}"
        with self._stage.process() as process:
            stable = process.house.store.services.get(SERVICE).stable
            alone = stable and process.house.store.releases.get(SERVICE, stable).alone
        way, options = ("recreate", {}) if alone else ("bluegreen", {"bake": "1s"})
        outcome = self._deploy(way, options, {"replicas": 2}, Trouble())
        then = self._look()
        live = self.world.live[SERVICE]
        up = {self.world.versions[self.world.instances[n].release] for n in self.world.up(SERVICE, live.stable)}
        assert (outcome, up, live.share) == ("done", {f"{self._number}.0"}, 0), f"the next release: {then}"
        assert not then.left, f"left: {then.left}"

    # -- a command

    def _deploy(
        self,
        strategy: str,
        options: dict[str, Any],
        manifest: dict[str, Any],
        trouble: Trouble,
        **more: Any,
    ) -> str:
        self._number += 1
        version = f"{self._number}.0"

        def act(process: Process) -> Any:
            return process.deploy(version, strategy, manifest=manifest, options=options, **more)

        return self._run(strategy, act, trouble)

    def _run(self, name: str, act: Callable[[Process], Any], trouble: Trouble) -> str:
        """Run one process; return its outcome, or the name of its error."""
        witness, outcome = Witness(self._stage, trouble, gap=self._gap(name)), ""
        try:
            with self._stage.process(witness) as process:
                witness.begin(process)
                ending = act(process)
                outcome = str(getattr(ending, "outcome", "done"))
                witness.end(process)
        except Crash:
            outcome = "killed"
        except Broken as broken:
            raise AssertionError(f"{name}: {broken}") from broken  # what hypothesis makes shorter is an Exception
        except DeployError as error:
            outcome = type(error).__name__
        self.seen["commands"] += 1
        self.seen["disturbed"] += witness.disturbed
        self.seen[f"ended {outcome}"] += 1
        if witness.left is not None:
            self._stage = self._closing.enter_context(restored(witness.left))
        elif outcome in ("done", "reverted") and not witness.disturbed:
            assert not self._look().left, f"{name} left {self._look().left}"
        return outcome

    def _gap(self, name: str) -> bool:
        """Return whether users may be without a release for a while: they are, with some strategies."""
        if name in ("recreate", "down"):
            return True
        with self._stage.process() as process:
            rollout = process.house.store.rollouts.in_progress(SERVICE)
            alone = any(release.alone for release in process.house.store.releases.of(SERVICE))
        if rollout is None:
            return alone and name == "rollback"
        return not rollout.origin or any(isinstance(s, Remove) and s.outage for s in rollout.plan.forward)

    def _look(self) -> Picture:
        with self._stage.process() as process:
            return Picture.of(process)


def run(histories: int, begin: int) -> Counter[str]:
    """Live through so many histories; raises what is wrong with one, made as short as it can be."""
    Histories.seen.clear()
    chosen = settings(
        max_examples=histories,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        print_blob=True,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(begin)(Histories), settings=chosen)
    return Histories.seen.copy()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="histories (2000)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    seen = run(given.runs, given.seed)
    print(f"{seen['histories']:,} histories, {seen['commands']:,} commands, {seen['disturbed']:,} of them disturbed")
    print(", ".join(f"{name} {count:,}" for name, count in sorted(seen.items()) if name.startswith("ended ")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
