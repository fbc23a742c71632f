"""The process of one run: `python -m deployer.server.run_process STATE RUN` carries its order out and keeps its file.

It ends with the exit code that the command would have. A signal leaves a rollout where it is, for `resume`.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from deployer.app.interface import App
from deployer.app.local import LocalApp, at
from deployer.core import files
from deployer.core.clock import SystemClock
from deployer.core.errors import DeployError, Exit, NeedsPerson
from deployer.core.events import Event, Sink
from deployer.core.secret import hide, hide_in
from deployer.emergency import TRIED, first, safe
from deployer.planning.orders import Order, RolloutResult, StopRequest
from deployer.server.runs import Run, file_of
from deployer.supervisor.proc import Process


def main(arguments: list[str]) -> int:
    """Carry a run out; return its exit code."""
    state, number = Path(arguments[0]), arguments[1]
    path = file_of(state, number)
    run = Run.from_json(path.read_text(encoding="utf-8"))
    me = Process.of(os.getpid())
    run = replace(run, pid=os.getpid(), started=me.started if me else 0)

    def write(changed: Run) -> None:
        files.replace(path, changed.to_json())

    write(run)
    ended = _carry_out(state, run, write)
    write(ended)
    return ended.exit or 0


def _carry_out(state: Path, run: Run, write: Callable[[Run], None]) -> Run:
    """Do the order under a house; return the run with its end, whatever that is."""
    known = [run]

    def begun(number: int) -> None:
        if known[0].rollout != number and not (run.order.set_name and known[0].rollout):
            known[0] = replace(known[0], rollout=number)
            write(known[0])

    plan: dict[str, Any] | None = None
    try:
        ending, plan = _do(state, run, begun)
        exit_code, outcome, text, hint = ending.exit, str(ending.outcome), ending.text, ""
    except DeployError as error:
        exit_code, outcome, text, hint = error.exit, "", error.message, error.hint
    except Exception as error:  # noqa: BLE001 - the last handler of this process: whatever was not foreseen is ours
        sys.stderr.write(hide(traceback.format_exc()))
        exit_code, outcome = Exit.INTERNAL, ""
        text, hint = f"internal error: {type(error).__name__}: {error}", "this is a bug; the log of the run has more"
    return replace(
        known[0],
        ended_at=SystemClock().now(),
        exit=int(exit_code),
        outcome=outcome,
        text=hide(text),
        hint=hide(hint),
        plan=hide_in(plan),
    )


def _do(state: Path, run: Run, begun: Callable[[int], None]) -> tuple[RolloutResult, dict[str, Any] | None]:
    """Do it; return how it ended, and the plan that was asked for."""
    order = run.order
    moved = _ahead(state, run)
    if moved.startswith(TRIED):
        # A rollback that took users off a candidate has done what it is for: the release before must not go, too.
        order = replace(order, action="abort")
    stop = StopRequest(detach=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.asked.set())

    begins = order.set_name and order.action in ("start", "rollback")  # what it replaces or ends has events before

    def seen(event: Event) -> None:
        if event.rollout and (not begins or event.kind == "rollout.started"):
            begun(event.rollout)

    try:
        with LocalApp(at(state)) as app:
            ending, plan = answered(app, order, seen, stop)
    except DeployError as error:
        if not moved:
            raise
        raise NeedsPerson(error.message, f"{safe(moved)}; see `deploy doctor`") from error
    if ending.rollout:
        begun(ending.rollout)
    return ending, plan


def answered(app: App, order: Order, sink: Sink, stop: StopRequest) -> tuple[RolloutResult, dict[str, Any] | None]:
    """Have an order carried out; return its ending, and the plan that was asked for."""
    if order.action != "plan":
        return app.carry_out(order, sink, stop), None
    if order.set_name:
        proposed = app.sets.plan(order)
        services = {each.plan.service: {"same": each.same, **each.plan.to_dict()} for each in proposed}
        text = f"a release of {', '.join(services)}"
        if all(each.same for each in proposed):
            text = f"{', '.join(services)}: what is asked for is live already, nothing to deploy"
        return RolloutResult.at_once(text), {"services": services}
    found = app.plan(order)
    text = f"{found.plan.strategy} of {found.plan.version}"
    if found.same:
        text = f"{found.plan.version} is live already: nothing to deploy"
    return RolloutResult.at_once(text), {"same": found.same, **found.plan.to_dict()}


def _ahead(state: Path, run: Run) -> str:
    """Move users before anything else, as the commands do."""
    order = run.order
    if order.action not in ("rollback", "abort") or order.to or order.again or order.force or order.set_name:
        return ""
    reason = [f"--message={order.reason}"] if order.reason else []
    return first([order.action, f"--service={order.service}", f"--state={state}", "--output=json", *reason])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
