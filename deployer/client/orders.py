"""Orders to a server, and rollouts there, followed to their end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from deployer.client.calls import exit_of
from deployer.client.client import Client, place_of
from deployer.client.sets import ClientSets
from deployer.client.stream import PATIENCE, EventStream
from deployer.core.clock import Deadline
from deployer.core.errors import Abandoned, Answered, Detached, NoServer, NoSetInProgress, OutOfSight, Refused
from deployer.core.events import Event, Sink
from deployer.planning.orders import UNFOLLOWED, Order, RolloutResult, StopRequest
from deployer.views.progress import RolloutState, RunAnswer, SetState

if TYPE_CHECKING:
    from deployer.model import Outcome

S = TypeVar("S", RolloutState, SetState)

LOOK_SECONDS = 0.25  # in which a signal is seen
RUN_SECONDS = 1.0  # between two looks at the run of an order
PLAN_SECONDS = 1800.0  # the server has ended it by then: to fetch an image has a deadline
STATE_SECONDS = 2.0  # between two looks at a rollout
LAST_SECONDS = 20.0  # in which the last events come, once something has ended
GRACE_SECONDS = 20.0  # in which somebody goes on with a rollout that nobody drives: a server that starts again does
RESTS = frozenset({"rollout.ended", "rollout.paused", "rollout.detached"})


def body_of(order: Order) -> dict[str, Any]:
    """Return what an order says to the server."""
    deploy = {
        "strategy": order.strategy,
        "version": order.version,
        "options": order.options,
        "fingerprint": order.fingerprint,
        **({"dirty": True} if order.dirty else {}),
    }
    if order.set_name:
        del deploy["version"]
        deploy["versions"] = order.versions
    match order.action:
        case "plan":
            return deploy
        case "start":
            why = {"reason": order.reason, "replace": order.replace, "override_freeze": order.override_freeze}
            return {**deploy, **why}
        case "rollback" if order.set_name:
            return {"reason": order.reason, "again": order.again}
        case "promote" if not order.set_name:
            return {"reason": order.reason, "force": order.force}
        case "approve":
            return {"reason": order.reason, "refuse": order.refuse, "rollout": order.number or None}
        case "rollback":
            again = {"again": True} if order.again else {}  # a server of before does not know it
            return {"reason": order.reason, "force": order.force, "to": order.to or None, **again}
        case "scale":
            return {"reason": order.reason, "instances": order.instances or None, "seconds": order.seconds or None}
        case "evict":
            return {"reason": order.reason, "now": order.now, "seconds": order.seconds or None}
        case "contract":
            return {"reason": order.reason, "drop": order.drop}
        case "run":
            return {"reason": order.reason, "job": order.job}
    return {"reason": order.reason}


class Orders:
    """Sends orders to a server and follows them, as an operation of this host would be."""

    def __init__(self, client: Client) -> None:
        self.client, self._sets = client, ClientSets(client)
        self._clock = client.calls.clock

    def give(self, order: Order) -> RunAnswer:
        """Send an order."""
        began = "releases" if order.set_name else "rollouts"
        place = place_of(order.service, order.set_name)
        return self.client.give(place, began if order.action == "start" else order.action, body_of(order))

    def plan(self, order: Order) -> RunAnswer:
        """Have a plan made; return its run. Raises the error with which that ended."""
        run, deadline = self.give(order), Deadline.after(self._clock, PLAN_SECONDS)
        while not run.ended:
            deadline.check(f"the plan of {order.about}", "look at the log of the server")
            self._clock.sleep(RUN_SECONDS / 4)
            run = self.client.run(run)
        _ending(run)
        return run

    def carry_out(self, order: Order, sink: Sink, stop: StopRequest) -> RolloutResult:
        """Send an order, show what happens, return its ending. Raise the error with which it ended.

        Once `stop` is asked for, the rollout is rolled back there, or with `detach` left to the server.
        """
        place = place_of(order.service, order.set_name)
        with EventStream(self.client.calls, f"{place}/events", None, order.service) as heard:
            if (early := heard.take(0)) is not None:  # an error, if there was one
                sink(early)
            run = self.give(order)
            try:
                run = _Given(self, run, heard, sink, stop).to_its_end()
            except KeyboardInterrupt:  # told to stop twice
                raise self.left(run) from None
            except (NoServer, Refused) as error:  # "nothing was changed" is not true any more
                raise OutOfSight(f"{error.message}; {_goes_on(run)}", error.hint) from None
            if run.outcome == "lost" and run.rollout:
                return self._taken_up(run, sink, heard.last, stop)
        ending = _ending(run)
        if order.action == "start" and not ending.rollout:  # as at home, where there is nothing to do
            sink(Event("note", self._clock.now(), order.service, 0, {"text": ending.text}))
        return replace(ending, rollout=0) if order.set_name else ending

    def _taken_up(self, run: RunAnswer, sink: Sink, after: int, stop: StopRequest) -> RolloutResult:
        """Follow a rollout whose process died, if somebody goes on with it."""
        try:
            if run.set_name:
                return self.follow_set(run.set_name, sink, stop, after)
            return self.follow(run.rollout, sink, after, stop)
        except Abandoned:
            return _ending(run)

    def follow(self, rollout: int, sink: Sink, after: int = 0, stop: StopRequest | None = None) -> RolloutResult:
        """Show the events of a rollout after an id, until it ends or rests; with `stop`, until that is asked for.

        Raises Abandoned when its process is gone any more, and OutOfSight when the server does not respond any more.
        """
        stop, path = stop or StopRequest(), f"/rollouts/{rollout}/events"
        begun = self.client.state(rollout)
        state = self._followed(path, begun, lambda: self.client.state(rollout, PATIENCE), sink, after, stop)
        if state is None:
            raise self.left(begun)
        return RolloutResult(_outcome(state.outcome), exit_of(state.exit), state.text, rollout)

    def follow_set(self, name: str, sink: Sink, stop: StopRequest, after: int | None = None) -> RolloutResult:
        """Show the events of the release of a set in progress, after an id or all, until it ends or rests.

        Raises Refused when none is in progress, else as `follow`.
        """
        begun = self._sets.state(name)
        if after is None and not begun.open:
            raise NoSetInProgress(name)
        after = begun.first_event - 1 if after is None else after
        path = f"/sets/{name}/events"
        state = self._followed(path, begun, lambda: self._sets.state(name, PATIENCE), sink, after, stop)
        if state is None:
            return UNFOLLOWED
        return RolloutResult(_outcome(state.outcome), exit_of(state.exit), state.text, 0)

    def _followed(
        self, path: str, begun: S, look: Callable[[], S], sink: Sink, after: int, stop: StopRequest
    ) -> S | None:
        """Show events until what was begun ends or rests; return its state then, None once `stop` is asked for."""
        try:
            return self._looked_after(path, begun, look, sink, after, stop)
        except NoServer as error:
            raise OutOfSight(f"{error.message}; {_goes_on(begun)}", error.hint) from None

    def _looked_after(
        self, path: str, state: S, look: Callable[[], S], sink: Sink, after: int, stop: StopRequest
    ) -> S | None:
        alone: Deadline | None = None
        with EventStream(self.client.calls, path, after, "" if isinstance(state, SetState) else state.service) as heard:
            next_look = Deadline.after(self._clock, STATE_SECONDS)
            while True:
                event = heard.take(LOOK_SECONDS)
                if event is not None:
                    sink(event)
                if stop.asked.is_set():
                    return None
                seen = heard.ended or heard.last >= state.last_event
                if seen and state.outcome:
                    return state
                if state.running:
                    alone = None
                elif seen:
                    alone = alone or Deadline.after(self._clock, GRACE_SECONDS)
                    if alone.passed():
                        raise Abandoned(min(state.rollouts.values()) if isinstance(state, SetState) else state.rollout)
                if next_look.passed() or (event is not None and event.kind in RESTS):
                    state = look()
                    next_look = Deadline.after(self._clock, STATE_SECONDS)

    def left(self, begun: RunAnswer | RolloutState) -> Detached:
        """Return the error that nobody follows it any more."""
        server = self.client.calls.server
        of_set = isinstance(begun, RunAnswer) and begun.set_name
        ask = f"deploy {server.option} release" if of_set else f"deploy {server.option}"
        return Detached(
            f"no longer following; {_goes_on(begun)} at {server.url}",
            f"`{ask} watch` follows it, `{ask} abort` rolls it back",
        )

    def history(self, rollout: int) -> tuple[Event, ...]:
        """Return the events of a rollout so far."""
        state, found = self.client.state(rollout), []
        deadline = Deadline.after(self._clock, LAST_SECONDS)
        with EventStream(self.client.calls, f"/rollouts/{rollout}/events", 0, state.service) as heard:
            while heard.last < state.last_event and not heard.ended and not deadline.passed():
                event = heard.take(LOOK_SECONDS)
                if event is not None and event.id:
                    found.append(event)
        return tuple(found)


class _Given:
    """One order that was given, followed to its end."""

    def __init__(self, orders: Orders, run: RunAnswer, heard: EventStream, sink: Sink, stop: StopRequest) -> None:
        self._orders, self._run, self._heard, self._sink, self._stop = orders, run, heard, sink, stop
        self._client, self._sets, self._taken_back = orders.client, ClientSets(orders.client), False
        self._aborting = False
        self._over = 0  # the rollout that ended last
        self._clock = orders.client.calls.clock
        self._patience = Deadline.after(self._clock, PATIENCE)

    def to_its_end(self) -> RunAnswer:
        """Show what happens until the run has ended, and the last of it."""
        next_look = Deadline.after(self._clock, LOOK_SECONDS)
        while not self._run.ended:
            event = self._heard.take(LOOK_SECONDS)
            if event is not None:
                self._show(event)
            if next_look.passed() or (event is not None and event.kind in RESTS):
                self._run = self._tried(lambda: self._client.run(self._run, patience=0.0)) or self._run
                next_look = Deadline.after(self._clock, RUN_SECONDS)
            if self._stop.asked.is_set():
                self._stopped()
        self._rest()
        return self._run

    def _tried(self, ask: Callable[[], RunAnswer]) -> RunAnswer | None:
        """Ask; None without an answer, as long as that may pass."""
        try:
            found = ask()
        except NoServer:
            if self._patience.passed():
                raise
            return None
        self._patience = Deadline.after(self._clock, PATIENCE)
        return found

    def _stopped(self) -> None:
        """Do what a signal asks for: leave the rollout to the server, or take it back there."""
        if not self._aborting:
            if not self._run.rollout:  # it may have begun one since the last look
                self._run = self._tried(lambda: self._client.run(self._run, patience=0.0)) or self._run
            if self._stop.detach:
                raise self._orders.left(self._run)
            self._aborting = True
        if self._run.rollout and not self._taken_back:
            try:
                asked = self._tried(self._abort)
            except Answered as error:  # it goes its way: the run tells to which end
                asked = self._run
                text = f"it cannot be rolled back: {error.message}"
                self._sink(Event("note", self._clock.now(), self._run.service, 0, {"text": text}))
            self._taken_back = asked is not None

    def _abort(self) -> RunAnswer:
        """Have what was begun aborted, and nothing that was begun since."""
        run, why = self._run, {"reason": "the client was stopped"}
        if not run.set_name:
            return self._client.give(place_of(run.service, ""), "abort", {**why, "rollout": run.rollout})
        state = self._sets.state(run.set_name, 0.0)
        if run.rollout not in state.rollouts.values():
            return run
        return self._client.give(place_of("", run.set_name), "abort", {**why, "set": state.set})

    def _rest(self) -> None:
        """Show the events that have not come yet."""
        run = self._run
        if not run.rollout:
            return
        state = self._sets.state(run.set_name, PATIENCE) if run.set_name else None
        last = (state or self._client.state(run.rollout, PATIENCE)).last_event
        deadline = Deadline.after(self._clock, LAST_SECONDS)
        while self._heard.last < last and not deadline.passed():
            event = self._heard.take(LOOK_SECONDS)
            if event is not None:
                self._show(event)

    def _show(self, event: Event) -> None:
        """Show an event, but no sample of a rollout that has ended: they come by another way, and may come late."""
        if event.kind == "rollout.ended":
            self._over = event.rollout
        if event.kind != "sample" or event.rollout != self._over:
            self._sink(event)


def _goes_on(begun: RunAnswer | RolloutState | SetState) -> str:
    if isinstance(begun, SetState):
        return f"set {begun.set} ({begun.name}) goes on"
    if isinstance(begun, RunAnswer) and begun.set_name:
        return f"the {'release of' if begun.rollout else 'order for'} {begun.set_name} goes on"
    if begun.rollout:
        return f"rollout {begun.rollout} of {begun.service} goes on"
    return f"the order for {begun.service} goes on"


def _ending(run: RunAnswer) -> RolloutResult:
    if run.outcome in ("", "lost"):
        raise Answered(run.text, run.hint, exit_of(run.exit))
    return RolloutResult(_outcome(run.outcome), exit_of(run.exit), run.text, run.rollout)


def _outcome(text: str) -> Outcome:
    return cast("Outcome", text)  # a word of a later version is only shown
