"""What runs the rollouts of a set is killed at drawn instants, or two commands come at once: all of it ends one way."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deployer.app.operations.dispatch import perform
from deployer.core.errors import Abandoned, Locked, Refused
from deployer.planning.orders import Order
from tests import tiers
from tests.crash.calls import Call
from tests.crash.stage import Moment, Process, Stage, Watcher, restored
from tests.sets import SERVICES, SetWorld, Turns, by_turns, in_chain, release, versions_live

TRIED = tiers.draws(40, 2)  # of the instants at which all is killed
KINDS: Mapping[str, Mapping[str, Any]] = {
    "each by itself": {},
    "a chain": {service: in_chain(service) for service in SERVICES},
}


class Copies(Watcher):
    """Counts the instants at which something has changed, and keeps copies of what a SIGKILL at some would leave."""

    def __init__(self, stage: Stage, wanted: Collection[int] = ()) -> None:
        self.stage, self.wanted, self.count, self.moments = stage, wanted, 0, list[Moment]()

    def committed(self, process: Process) -> None:
        self._changed("after a write of the store")

    def call(self, process: Process, call: Call, carry_out: Callable[[], Any]) -> Any:
        answer = carry_out()
        if call.changes:
            self._changed(f"after {call}")
        return answer

    def _changed(self, what: str) -> None:
        self.count += 1
        if self.count in self.wanted:
            self.moments.append(self.stage.moment(self.count, what))


@dataclass(frozen=True)
class End:
    """What a set came to: what is live of each service, in the records and at the proxy, and what still runs."""

    live: tuple[str, ...]
    open: tuple[str, ...]
    shares: tuple[int, ...]
    decided: str

    @classmethod
    def of(cls, process: Process) -> End:
        store, world = process.house.store, process.world
        groups = store.sets.of("shop")
        return cls(
            tuple(versions_live(process.house).values()),
            tuple(s for s in SERVICES if store.rollouts.in_progress(s)),
            tuple(world.live[s].share for s in SERVICES),
            groups[0].decided if len(groups) > 1 else "not begun",
        )


def after(moment: Moment, action: Any) -> End:
    """Restore what a kill left, have one command given for one service, and see what came of all of them."""
    with restored(moment) as stage, by_turns(stage.world), stage.process() as process:
        rollouts = [r for s in SERVICES if (r := process.house.store.rollouts.in_progress(s))]
        if rollouts:
            try:
                perform(process.house, Order(action, rollouts[0].service))
            except Refused:  # it was decided that all go forward: there is nothing to abort
                perform(process.house, Order("resume", rollouts[0].service))
        return End.of(process)


def before_2_0(folder: Path, bad: str, manifests: Mapping[str, Any]) -> Moment:
    """Return the state in which 2.0 is to be released, and fails in one service."""
    stage = Stage(folder, world := SetWorld(clock=Turns()))
    with by_turns(world), stage.process() as process:
        release(process.house, "1.0", manifests=manifests)
    world.bad, world.worse = bad, {"2.0"} if bad else set()
    return stage.moment()


def watched(base: Moment, manifests: Mapping[str, Any], wanted: Collection[int] = ()) -> tuple[End, Copies]:
    """Release 2.0, seen by somebody who keeps copies; return what comes of it with nobody killed."""
    with restored(base) as stage, by_turns(stage.world), stage.process(copies := Copies(stage, wanted)) as process:
        release(process.house, "2.0", manifests=manifests)
        return End.of(process), copies


@pytest.mark.parametrize("bad", ["", "mailer"])
@pytest.mark.parametrize("action", ["resume", "abort"])
@pytest.mark.parametrize("kind", tiers.some(["each by itself", "a chain"], 1))
def test_killed_at_any_instant_all_end_the_same(state: Path, bad: str, action: str, kind: str) -> None:
    manifests = KINDS[kind]
    base = before_2_0(state, bad, manifests)
    whole, first = watched(base, manifests)
    assert whole.live == ((("1.0" if bad else "2.0"),) * 3)
    wanted = random.Random(tiers.SEED or 18).sample(range(1, first.count + 1), TRIED)
    _, copies = watched(base, manifests, wanted)
    assert len(copies.moments) == TRIED, "the same instants come again"
    for moment in copies.moments:
        end = after(moment, action)
        where = f"killed {moment.what}, the {moment.n}th instant, then {action}: {end}"
        _all_the_same(end, where)
        assert action == "abort" or end.decided == "not begun" or end.live == whole.live, where


def _all_the_same(end: End, where: str) -> None:
    assert end.open == (), where
    assert end.shares == (0, 0, 0), where
    assert len(set(end.live)) == 1, where
    assert end.live[0] == ("2.0" if end.decided == "forward" else "1.0"), where


# -- two commands at the same time


def both(base: Moment, actions: tuple[Any, Any], late: float) -> tuple[End, list[str]]:
    """Have two commands given, for two services of the set, the second one somewhat later; return what came of it."""
    with restored(base) as stage, by_turns(stage.world), stage.process() as process:
        clock, said = stage.world.clock, list[str]()

        def command(n: int) -> None:
            clock.sleep(late * n)
            try:
                perform(process.house, Order(actions[n], SERVICES[2 * n], "because"))
            except (Locked, Refused, Abandoned) as error:  # overtaken by the other one
                said.append(f"{actions[n]}: {error.message}")

        assert isinstance(clock, Turns)
        clock.on_all({"first": 0, "second": 1}, command, 2).all()
        if any(process.house.store.rollouts.in_progress(s) for s in SERVICES):
            left = next(s for s in SERVICES if process.house.store.rollouts.in_progress(s))
            perform(process.house, Order("resume", left, "to its end"))
        return End.of(process), said


PAIRS = [pair for pair in itertools.product(("resume", "abort", "promote"), repeat=2) if pair[0] <= pair[1]]


@pytest.mark.parametrize("actions", tiers.some(PAIRS, 1), ids=" and ".join)
@pytest.mark.parametrize("kind", tiers.some(["each by itself", "a chain"], 1))
def test_two_commands_at_the_same_time_leave_all_the_same(state: Path, actions: tuple[str, str], kind: str) -> None:
    """After a kill, people at two terminals say what is to be done, each for one of the services."""
    manifests = KINDS[kind]
    base = before_2_0(state, "", manifests)
    _, first = watched(base, manifests)
    drawn = random.Random(tiers.SEED or 18)
    wanted = sorted(drawn.sample(range(first.count // 3, first.count * 2 // 3), tiers.draws(8, 1)))
    _, copies = watched(base, manifests, wanted)
    for moment in copies.moments:
        late = drawn.choice((0.0, 0.05, 0.3, 2.0, 15.0))
        end, said = both(moment, actions, late)
        _all_the_same(
            end, f"killed {moment.what}, the {moment.n}th instant, then {actions}, {late} s apart: {end} {said}"
        )
