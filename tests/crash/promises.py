"""The promises that hold at every instant of every process, whatever fails, lies, hangs or is killed (DESIGN §1).

They are looked at from outside: the world as it is, and the tables of the store.
"""

from __future__ import annotations

from typing import Any

from deployer.core.events import Event
from deployer.core.filelock import is_held
from deployer.manifest.traffic import TrafficSettings
from deployer.model import PLACES, Live, Place, indices
from deployer.planning.plan import Plan
from deployer.planning.steps import Attach, Handover, Healthy, Pause, Promote, Remove, Share, Start, Step, Warm
from tests.crash.calls import Call
from tests.crash.stage import SECRET, SERVICE, Process, Stage
from tests.memory import World

SLACK = 1.5  # seconds by which a lease may be longer than the manifest says: it is a whole second


class Broken(BaseException):
    """A promise was broken; nothing under test catches it."""


class Promises:
    """What must be so now, for one service on one stage.

    `gap` says that the strategy leaves users without a release for a while; `lease` is the manifest's, 0 for none;
    `alone` says that no two releases may ever stand at once, which holds for any that says so itself.
    """

    def __init__(
        self, stage: Stage, *, gap: bool = False, lease: float = 30.0, most: int = 6, alone: bool = False
    ) -> None:
        self.stage, self.gap, self.lease, self.most, self.alone = stage, gap, lease, most, alone
        self._plans: dict[int, Plan] = {}
        self._done: set[tuple[int, str, int]] = set()
        self._until: dict[tuple[int, str, int], float] = {}  # when a watch ends, as it was written down first
        self._drained: set[str] = set()  # names of the servers of which the proxy said that nothing is on them any more
        self._settled = False  # users were on a release before

    @property
    def world(self) -> World:
        return self.stage.world

    # -- users

    def users(self) -> None:
        """Nobody is pointed at a place without a healthy instance, now or when the lease is over."""
        live = self.world.live.get(SERVICE)
        if live is None or self.gap:
            return
        up: dict[Place, bool] = {place: bool(self.world.up(SERVICE, place)) for place in PLACES}
        self._settled = self._settled or up[live.stable]
        share = self.world.flow(SERVICE).share(live)
        _unless(not share or up[live.candidate], f"{share} bp go to an empty {live.candidate}")
        _unless(not share or not live.baseline or up["baseline"], f"{live.baseline} bp go to an empty baseline")
        # Also while the candidate has everyone: the lease and the budget end in the proxy, whoever lives.
        _unless(up[live.stable] or not self._settled, f"nothing healthy is left in {live.stable}, which is stable")

    def ends_by_itself(self, process: Process) -> None:
        """A share outlives the engine by its lease and no longer; that of a paused rollout has a longer one."""
        live = self.world.live.get(SERVICE)
        if live is None or not live.share or not self.lease:
            return
        # A proxy knows no other clock. One that somebody sets back when nobody renews the lease is no fault of ours.
        clock = self.world.clock
        left = live.lease - (clock.now() - clock.ahead + self.world.clocks.setdefault(live, clock.ahead))
        allowed = TrafficSettings().paused if self._held(process, live) else self.lease
        _unless(left <= allowed + SLACK, f"the lease has {left:g} s left, {allowed:g} s are allowed")
        _unless(bool(live.lease), f"{live.share} bp without a lease")

    def watched(self, process: Process, event: Event) -> None:
        """A watch that passed has watched: the lease of the share that it watched has not run out.

        One that a person passes over, by a promotion, has not watched and need not.
        """
        live = self.world.live.get(SERVICE)
        if event.kind == "step.done" and event.data["step"] == "watch" and live is not None and live.lease:
            asked = "select 1 from control_requests where rollout = ? and kind in ('promote', 'force')"
            late = self.world.clock.now() - live.lease
            passed_over = _rows(process, asked, event.rollout)
            _unless(late < 0 or passed_over, f"watched at {live.share} bp, whose lease ran out {late:g} s ago")

    def _held(self, process: Process, live: Live) -> bool:
        rows = _rows(process, "select outcome from rollouts where number = ? and ended_at is null", live.rollout)
        return [row["outcome"] for row in rows] == ["paused"]

    # -- places

    def places(self) -> None:
        """No more instances than a rollout needs, no two at one address."""
        instances = self.world.instances.values()
        _unless(len(instances) <= self.most, f"{len(instances)} instances stand, {self.most} are the most")
        addresses = [i.address for i in instances]
        _unless(len(set(addresses)) == len(addresses), f"two instances share an address: {sorted(addresses)}")
        releases = sorted({i.release for i in instances})
        alone = self.alone or any('"alone":true' in found.record for found in self.world.carried.values())
        _unless(len(releases) < 2 or not alone, f"releases {releases} stand at once, and one of them must be alone")

    # -- instances

    def drains(self, call: Call) -> None:
        """Hear that the proxy was asked to drain servers, and answered."""
        if call.method == "drain":
            self._drained.update(call.arguments[2])

    def drained(self, call: Call) -> None:
        """An instance ends only when the proxy has nothing on it any more, or does not know it."""
        if str(call) == "runtime.remove":
            gone = call.arguments[0]
            known = gone.name in self.world.servers.get((SERVICE, gone.colour), {})
            _unless(not known or gone.name in self._drained, f"{gone.name} is ended before it is drained")

    # -- the database

    def migrated(self, process: Process, call: Call) -> None:
        """The database is expanded before anything of the release runs, contracted when nothing of another one does.

        What is run in an instance of its own is run once, however often it is killed.
        """
        if str(call) == "jobs.start":
            spec = call.arguments[0]
            when, number = spec.once.env["DEPLOYER_WHEN"], spec.release.number
            _unless(spec.name not in self.world.jobs.started, f"{spec.name} is started again")
        elif str(call) == "playbooks.command":
            when, number = call.arguments[3]["deployer_when"], call.arguments[0].number
        else:
            return
        standing = {i.release for i in self.world.instances.values()}
        if when == "expand":
            _unless(number not in standing, f"r{number} runs, and its database is expanded")
        if when == "contract":
            live, record = self.world.live.get(SERVICE), process.house.store.services.get(SERVICE)
            _unless(standing == {number}, f"contract of r{number} while {sorted(standing)} stand")
            _unless(live is not None and not live.warm, f"contract of r{number} while a rollback can go by one write")
            _unless(record.contracted == number, f"contract of r{number}, and the records do not say so")

    # -- one hand

    def one_hand(self, process: Process, call: Call) -> None:
        """Who changes something holds the lock."""
        if not call.changes:
            return
        tokens = [row["token"] for row in _rows(process, "select token from locks where service = ?", SERVICE)]
        _unless(tokens, f"{call} without a lock")
        _unless(tokens == [process.token], f"{call} by a process that was overtaken")

    def given_back(self) -> None:
        """Who is through holds the lock no more, though its process lives: a follower goes on to other things."""
        _unless(not is_held(self.stage.folder / "locks" / f"{SERVICE}.lock"), "left: lock")

    # -- the journal

    def adopt(self, process: Process) -> None:
        """Take what is recorded as done when a process begins for what was found to be so."""
        rows = _rows(process, "select rollout, phase, n, state, until from journal")
        keys = {(row["rollout"], row["phase"], row["n"]): row for row in rows}
        self._done.update(key for key, row in keys.items() if row["state"] == "done")
        self._until.update((key, row["until"]) for key, row in keys.items())

    def journal(self, process: Process) -> None:
        """What is recorded is so, and what belongs together is recorded together."""
        for row in _rows(process, "select * from rollouts where service = ? and ended_at is null", SERVICE):
            plan = self._plan(row["number"], row["plan"])
            entries = _rows(process, "select phase, n, state, until from journal where rollout = ?", row["number"])
            self._once(row["number"], entries, held=row["outcome"] == "paused")
            states = {(e["phase"], e["n"]): e["state"] for e in entries}
            self._done_is_so(process, row["number"], plan, states)
            committed = states.get(("forward", plan.commit)) == "done"
            failed = any(s == "failed" and p == "forward" and n <= plan.commit for (p, n), s in states.items())
            _unless(not failed or row["phase"] == "back", "a gate failed, and the rollout was not turned with it")
            _unless(not (committed and row["phase"] == "back"), "a promoted release is rolling back")
            stable = process.house.store.services.get(SERVICE).stable
            _unless(
                plan.adjusts or (stable == plan.release) == committed,
                "the commit point and the live release do not agree",
            )

    def _plan(self, number: int, text: str) -> Plan:
        if number not in self._plans:
            self._plans[number] = Plan.from_json(text)
        return self._plans[number]

    def _once(self, number: int, entries: list[Any], *, held: bool) -> None:
        """What is done is not done again, and a watch ends when it was to end, however often it is begun.

        So does a wait for people, unless its time was over and it is paused: who resumes it asks again.
        """
        for entry in entries:
            key = (number, entry["phase"], entry["n"])
            step = f"step {entry['n']} of {entry['phase']}"
            _unless(key not in self._done or entry["state"] == "done", f"{step} is done, and begun again")
            if not self._until.get(key) or (not entry["until"] and held):
                self._until[key] = entry["until"]
            until = self._until[key]
            _unless(entry["until"] == until, f"{step} was to end at {until:g}, now at {entry['until']:g}")

    def _done_is_so(self, process: Process, number: int, plan: Plan, states: dict[Any, str]) -> None:
        for (phase, n), state in states.items():
            key = (number, phase, n)
            if state == "done" and key not in self._done:
                steps = plan.forward if phase == "forward" else plan.back
                wrong = self.missing(process, steps[n])
                _unless(not wrong, f"recorded as done: {steps[n].explain()}; but {wrong}")
                before = [states.get((phase, earlier)) for earlier in range(n)]
                _unless(set(before) <= {"done"}, f"step {n} of {phase} is done before the ones before it: {before}")
                self._done.add(key)

    def missing(self, process: Process, step: Step) -> str:
        """Return what of a step is not so in the world, or nothing."""
        world, live = self.world, self.world.live.get(SERVICE)
        match step:
            case Start():
                wanted = {f"{SERVICE}-r{step.release}-{n}" for n in indices(step.colour, step.instances)}
                absent = sorted(wanted - {n for n, i in world.instances.items() if i.colour == step.colour})
                return f"{absent} do not stand" if absent else ""
            case Healthy():
                mine = [i for i in world.instances.values() if (i.colour, i.release) == (step.colour, step.release)]
                ill = [i.name for i in mine if world.versions[i.release] in world.broken]
                return "none stands" if not mine else f"{ill} are ill" if ill else ""
            case Attach():
                mine = [i for i in world.instances.values() if (i.colour, i.release) == (step.colour, step.release)]
                up = world.up(SERVICE, step.colour)
                absent = [i.name for i in mine if i.name not in up]
                return "nothing is there" if not mine else f"the proxy lacks {absent}" if absent else ""
            case Share():
                seen = (live.share, live.baseline) if live else None
                return "" if seen == (step.share, step.baseline) else f"the proxy has {live}"
            case Promote():
                right = live is not None and live.stable == step.colour and not live.share and not live.lease
                return "" if right else f"the proxy has {live}"
            case Remove():
                left = [
                    i.name
                    for i in world.instances.values()
                    if i.colour == step.colour and step.release in (0, i.release) and i.index > step.keep
                ]
                known = world.servers.get((SERVICE, step.colour), {})
                ghosts = [name for name in known if name not in world.instances]
                return f"{left} stand" if left else f"the proxy has {ghosts}" if ghosts else ""
            case Handover():
                used = live is not None and step.colour in live.used
                return "" if used or not world.open.get((SERVICE, step.colour)) else f"{world.open} are open"
            case Pause():
                there = sorted(world.servers.get((SERVICE, step.colour), {}))
                return f"the proxy has {there}" if there and live and live.stable != step.colour else ""
            case Warm():
                record = process.house.store.services.get(SERVICE)
                return "" if record.warm == step.release else f"the store keeps r{record.warm} warm"
        return ""

    # -- secrets

    def secrets(self, process: Process) -> None:
        """No secret is in what was told or written down."""
        for event in process.events:
            _unless(SECRET not in repr(event), f"a secret in {event}")
        for name, text in self.stage.texts():
            _unless(SECRET.encode() not in text, f"a secret in {name}")


class Clocked:
    """Each step ends by its deadline: from its beginning to its end no more than that passes, and a little."""

    def __init__(self, world: World, patience: float) -> None:
        self._world, self._patience = world, patience
        self._began: tuple[float, str, float] | None = None

    def told(self, event: Event) -> None:
        now = self._world.clock.monotonic()
        if event.kind == "step.began":
            self._began = (now, event.data["text"], event.data["deadline"])
        elif event.kind in ("step.done", "step.failed", "rollout.paused") and self._began is not None:
            began, text, deadline = self._began
            self._began = None
            _unless(
                now - began <= deadline + self._patience,
                f"{text}: {now - began:g} s, its deadline was {deadline:g} s",
            )


def _rows(process: Process, query: str, *values: Any) -> list[Any]:
    return list(process.house.store.database.rows(query, *values))


def _unless(fine: object, what: str) -> None:
    if not fine:
        raise Broken(what)
