"""Death at every instant of a scenario: killed, then resumed, aborted, or asked again; once, and again on the way.

What must come of it is what came of it with nobody killed, and every promise holds at every instant on the way.
"""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from typing import Any

from deployer.app import operations
from deployer.core.errors import DeployError, Refused
from deployer.core.events import Event
from deployer.store import whoami
from tests.crash.calls import Call
from tests.crash.promises import Broken, Clocked, Promises
from tests.crash.scenarios import ADJUSTMENTS, Scenario
from tests.crash.stage import SERVICE, Moment, Process, Stage, Watcher, fresh, restored
from tests.memory import World

MUCH = 12  # of what is wrong is enough to see
PATIENCE = 65.0  # seconds that a step may take beyond its deadline: three calls that have none of their own, and a beat


class Eye(Watcher):
    """Checks the promises at every instant of a process, lets a person ask, and keeps copies where anything is new."""

    def __init__(self, stage: Stage, scenario: Scenario, *, keep: bool = False) -> None:
        self.stage, self.scenario, self.keep = stage, scenario, keep
        self.count = 0
        self.moments: list[Moment] = []
        self.promises = Promises(stage, gap=scenario.gap, lease=scenario.lease, alone=scenario.strategy == "recreate")
        self._clocked = Clocked(stage.world, PATIENCE)
        self._process: Process | None = None
        self._told: dict[str, int] = {}
        self._changed, self._at = True, 0.0
        self._kept: object = None

    def instant(self, what: str) -> None:
        self.count += 1
        self.promises.users()
        self.promises.places()
        if self._process is not None:
            self.promises.ends_by_itself(self._process)
        if self.keep and (self._changed or self.stage.world.clock.at > self._at + self.scenario.apart):
            self._keep(what)

    def _keep(self, what: str) -> None:
        """Copy what there is now, unless nothing has changed but what was told."""
        self._changed, self._at = False, self.stage.world.clock.at
        now = self.stage.signature()
        if now != self._kept:
            self._kept = now
            self.moments.append(self.stage.moment(self.count, what))

    def call(self, process: Process, call: Call, carry_out: Callable[[], Any]) -> Any:
        self._process = process
        self.promises.one_hand(process, call)
        self.promises.drained(call)
        self.promises.migrated(process, call)
        self.instant(f"before {call}")
        answer = self.answer(call, carry_out)
        self.promises.drains(call)
        self._changed = self._changed or call.changes
        self.instant(f"after {call}")
        return answer

    def answer(self, call: Call, carry_out: Callable[[], Any]) -> Any:
        return carry_out()

    def committed(self, process: Process) -> None:
        self._process, self._changed = process, True
        self.promises.journal(process)
        self.instant("after a write of the store")

    def told(self, process: Process, event: Event) -> None:
        self._clocked.told(event)
        self.promises.watched(process, event)
        self._told[event.kind] = self._told.get(event.kind, 0) + 1
        wish = self.scenario.asks.get((event.kind, self._told[event.kind]))
        if wish == "signal":
            process.house.stop.asked.set()
        elif wish and " " in wish:
            process.speak(*wish.split())
        elif wish:
            process.house.store.requests.add(process.house.store.rollouts.get(event.rollout), wish, whoami(), "")


@dataclass(frozen=True)
class Picture:
    """What users, hosts and books look like when nobody does anything."""

    running: tuple[str, ...]
    servers: tuple[str, ...]
    live: str
    books: str
    standings: frozenset[str]
    outcome: str
    exit: int
    left: tuple[str, ...] = ()  # what should not be there

    @classmethod
    def of(cls, process: Process) -> Picture:
        world, store = process.world, process.house.store
        live, record = world.live.get(SERVICE), store.services.get(SERVICE)
        newest = next(iter(store.rollouts.of(SERVICE)), None)
        names = {r.number: r.version for r in store.releases.of(SERVICE)}
        standings = {f"{r.version} {r.status}" for r in store.releases.of(SERVICE) if r.status != "new"}
        running = sorted(f"{i.colour} {world.versions[i.release]}" for i in world.instances.values())
        servers = [
            f"{place} {world.versions[world.instances[name].release] if name in world.instances else name}"
            for (_, place), there in world.servers.items()
            for name in there
        ]
        held = {r["port"] for r in store.database.rows("select port from ports where freed_at is null")}
        used = {int(i.address.rpartition(":")[2]) for i in world.instances.values()}
        return cls(
            running=tuple(running),
            servers=tuple(sorted(servers)),
            live=f"{live.stable} {live.share} {live.baseline} {'leased' if live.lease else ''}" if live else "",
            books=f"{names.get(record.stable)} stable, {names.get(record.warm)} warm",
            standings=frozenset(standings),
            outcome=(newest.outcome or "open") if newest else "",
            exit=newest.exit if newest else 0,
            left=(*(f"port {p}" for p in sorted(held ^ used)), *sorted(world.jobs.runs)),
        )

    @property
    def open(self) -> bool:
        return self.outcome in ("open", "paused", "needs-attention")

    def within(self, right: tuple[Picture, ...], *, again: bool) -> bool:
        """Return whether this is one of the pictures; who asked again may have left one more failed release behind."""
        return any(self == (replace(p, standings=p.standings | self.standings) if again else p) for p in right)

    def of_stable(self) -> Picture:
        """The same without everything in the colour that has no users."""
        colour = self.live.partition(" ")[0]
        mine = (tuple(n for n in names if n.startswith(f"{colour} ")) for names in (self.running, self.servers))
        running, servers = mine
        return replace(self, running=running, servers=servers)

    def unlike(self, *others: Picture) -> str:
        """Return in what this one differs from each of the others."""
        return " or ".join(dict.fromkeys(self._unlike(other) for other in others))

    def _unlike(self, other: Picture) -> str:
        return "; ".join(
            f"{f.name} {getattr(self, f.name)}, not {getattr(other, f.name)}"
            for f in fields(self)
            if getattr(self, f.name) != getattr(other, f.name)
        )


@dataclass
class Found:
    """What was tried of a scenario, and what was wrong."""

    scenario: str
    instants: int = 0
    single: int = 0
    double: int = 0
    tried: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Facts:
    """What the store of a killed process says: its newest rollout, and whether a wish was recorded."""

    rollout: int
    outcome: str
    open: bool
    asked: int  # how many people have said something

    @classmethod
    def of(cls, moment: Moment) -> Facts:
        with closing(sqlite3.connect(":memory:")) as store:
            store.deserialize(moment.store)
            row = store.execute("select number, outcome, ended_at from rollouts order by number desc").fetchone()
            number = row[0] if row else 0
            asked = sum(
                store.execute(f"select count(*) from {said} where rollout = ?", (number,)).fetchone()[0]
                for said in ("control_requests", "approvals")
            )
        return cls(row[0], row[1], row[2] is None, asked) if row else cls(0, "", False, 0)


Recovery = Callable[[Process], Any]


@dataclass(frozen=True)
class Try:
    """What somebody does after a death, and what may come of it."""

    name: str
    act: Recovery
    right: tuple[Picture, ...]
    again: bool = False
    mended: bool = False  # the exit code tells of the trouble there was


def resume(process: Process) -> None:
    operations.resume(process.house, SERVICE)


def abort(process: Process) -> None:
    try:
        operations.stop(process.house, SERVICE)
    except Refused:  # past the commit point there is nothing to abort
        operations.resume(process.house, SERVICE)


def nothing(process: Process) -> None:
    """Only look."""


class Explorer:
    """Kills the command of one scenario wherever that makes a difference, until so `much` is found wrong."""

    def __init__(self, scenario: Scenario, much: int = MUCH) -> None:
        self.scenario, self.much, self.found = scenario, much, Found(scenario.name)
        with fresh(World()) as stage:
            self._run(stage, self._past)
            base = stage.moment(0, "the past")
            self._run(stage, scenario.before or nothing)
            _spoilt(stage.world, scenario)
            self._start = stage.moment(0, "the start")
        self._begin = Facts.of(self._start)
        with restored(self._start) as stage:
            eye = self._run(stage, scenario.command, keep=True, asking=True)
            self.wanted, self._end, self.moments = look(stage), stage.moment(eye.count, "the end"), eye.moments
            self.found.instants = eye.count
        if wrong := self._ended_otherwise():
            self.found.wrong.append(f"{scenario.name}: with nobody killed: {wrong}")
        self._resumed = self._end_of(self._end, resume) if self.wanted.open else self.wanted
        self._unasked = self._end_of(self._start, scenario.command) if scenario.asks else self.wanted
        self._not_begun = self._end_of(self._start, resume) if self._begin.open else self.wanted
        self._back = self._taken_back(base)

    def _ended_otherwise(self) -> str:
        """Return how what came of it is not what the scenario is about, or nothing."""
        ends = "done" if self.scenario.ends == "down" else self.scenario.ends
        if self.wanted.outcome != ends:
            return f"{self.wanted.outcome} with exit {self.wanted.exit}, not {ends}"
        return f"left: {', '.join(self.wanted.left)}" if self.wanted.left else ""

    def _taken_back(self, base: Moment) -> tuple[Picture, ...]:
        """See what an abort leaves: at the beginning of a rollout, when nothing was touched, and in its middle."""
        if self.scenario.ends == "down":
            return ()
        begun = [m for m in self.moments if self.scenario.makes and self._resumable(Facts.of(m))]
        held: list[Moment] = []
        if self.scenario.before:
            with restored(base) as stage:
                held = self._run(stage, self.scenario.before, keep=True).moments
            held = [replace(m, world=_spoilt(m.world, self.scenario)) for m in held if Facts.of(m).open]
        return tuple(self._end_of(some[n], abort) for some in (begun, held) if some for n in (0, len(some) // 2))

    # -- once, and twice

    def once(self, every: int = 1, stride: int = 1, seed: int = 0) -> Found:
        """Die once, at every instant; then resume, abort, and at every so many of them begin again with `--replace`.

        Where not everything is tried, it is resumed at every instant and aborted at every other. With a stride it dies
        at one instant of so many, drawn from each.
        """
        draw = random.Random(f"{seed} {self.scenario.name}")
        for moment in (draw.choice(self.moments[n : n + stride]) for n in range(0, len(self.moments), stride)):
            if self.enough:
                break
            self.found.single += 1
            for attempt in self._attempts(Facts.of(moment), self.found.single, every):
                self._try(moment, f"killed at {_at(moment)}", attempt)
        return self.found

    def twice(self, pairs: int | None, seed: int) -> Found:
        """Die again while it is resumed: at every instant of every resumption, or at so many drawn pairs of them."""
        draw = random.Random(f"{seed} {self.scenario.name}")
        firsts = [m for m in self.moments if self._resumable(Facts.of(m))]
        for first in firsts if pairs is None else draw.sample(firsts, min(len(firsts), max(1, pairs // 3))):
            if self.enough:
                break
            expected = self._resumption(Facts.of(first)).right
            with restored(first) as stage:
                seconds = self._run(stage, resume, keep=True).moments
            for second in seconds if pairs is None else draw.sample(seconds, min(len(seconds), 3)):
                self.found.double += 1
                attempt = self._resumption(Facts.of(second))
                attempt = replace(attempt, right=attempt.right + expected)
                self._try(second, f"killed at {_at(first)}, then at {_at(second)}", attempt)
        return self.found

    @property
    def enough(self) -> bool:
        """Return whether so much is wrong that it need not be looked for any longer."""
        return len(self.found.wrong) >= self.much

    # -- what is right

    def _resumable(self, facts: Facts) -> bool:
        return facts.open and facts.rollout == self._begin.rollout + self.scenario.makes

    def _resumption(self, facts: Facts) -> Try:
        """Resume what is open; what has not begun yet is asked for again. Tell what may come of it."""
        if self._resumable(facts):
            if facts.outcome == "paused" and self.scenario.ends == "paused":
                return Try("resumed", resume, (self._resumed,))
            lost = () if facts.asked >= len(self.scenario.asks) else (self._unasked,)
            not_begun = () if self.scenario.makes else (self._not_begun,)
            return Try("resumed", resume, (self.wanted, *lost, *not_begun))
        if facts.rollout == self._begin.rollout + self.scenario.makes and self.scenario.ends != "down":
            return Try("over", nothing, (self.wanted,))
        return Try("asked again", self.scenario.command, (self._unasked,), again=True)

    def _attempts(self, facts: Facts, number: int, every: int) -> Iterator[Try]:
        yield self._resumption(facts)
        if facts.open and (every == 1 or number % 2):
            yield Try("aborted", abort, (self.wanted, *self._back))
            if self.scenario.act is None and number % every == 0:
                # past its commit point it is ended forward, and then there is nothing to replace
                forward = (self.wanted,) if self.wanted.outcome == "done" else ()
                yield Try("replaced", self._replace, (self._unasked, *forward), again=True)

    def _replace(self, process: Process) -> None:
        self.scenario.deploy(process, "2.0", replace=True)

    def _is_left_over(self, then: Picture) -> bool:
        """Return whether a turn left a part of what had been warm: nobody returns to it, the next deploy clears it."""
        right = (*self._back, self.wanted) if self.scenario.what in ADJUSTMENTS else self._back
        if "None warm" not in then.books or not (right != self._back or then.outcome == "reverted") or not self._back:
            return False
        part = Counter(then.running) <= Counter(self._back[0].running)
        return part and then.of_stable() in [replace(p.of_stable(), exit=then.exit) for p in right]

    # -- trying

    def _past(self, process: Process) -> None:
        for version in self.scenario.past:
            self.scenario.deploy(process, version)

    def _run(self, stage: Stage, act: Recovery, *, keep: bool = False, asking: bool = False) -> Eye:
        eye = Eye(stage, self.scenario if asking else replace(self.scenario, asks={}), keep=keep)
        with stage.process(eye) as process:
            eye.promises.adopt(process)
            act(process)
            eye.promises.given_back()
            eye.promises.secrets(process)
        return eye

    def _end_of(self, moment: Moment, act: Recovery) -> Picture:
        with restored(moment) as stage:
            self._run(stage, act)
            return look(stage)

    def _try(self, moment: Moment, killed: str, attempt: Try) -> None:
        self.found.tried += 1
        where = f"{self.scenario.name}: {killed}, {attempt.name}"
        try:
            then = self._end_of(moment, attempt.act)
        except (Broken, DeployError) as trouble:
            self.found.wrong.append(f"{where}: {type(trouble).__name__}: {trouble}")
            return
        if wrong := self._wrong_with(then, attempt):
            self.found.wrong.append(f"{where}: {wrong}")

    def _wrong_with(self, then: Picture, attempt: Try) -> str:
        """Return what is wrong with what stands at the end, or nothing."""
        if _impossible(then):
            return f"outcome {then.outcome} with exit {then.exit}"
        right = tuple(replace(p, exit=then.exit) for p in attempt.right) if attempt.mended else attempt.right
        fits = self._is_left_over(then) or then.within(right, again=attempt.again)
        return "" if fits else then.unlike(*right)


def look(stage: Stage) -> Picture:
    """Look at a stage as somebody would who comes by."""
    with stage.process() as process:
        return Picture.of(process)


def _impossible(picture: Picture) -> bool:
    """Return whether outcome and exit code contradict each other (docs/exit-codes.md)."""
    reverted = picture.outcome == "reverted" and picture.exit not in (1, 3, 4, 6, 7)
    return reverted or (picture.outcome == "done" and picture.exit != 0)


def _spoilt(world: World, scenario: Scenario) -> World:
    for knob, value in scenario.world.items():
        setattr(world, knob, value)
    return world


def _at(moment: Moment) -> str:
    return f"{moment.n} ({moment.what})"
