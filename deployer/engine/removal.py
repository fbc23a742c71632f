"""Instances leave: drained, ended at once, and who is still waited for is told, as its work may take its time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import nullcontext, suppress

from deployer.core.background import BackgroundThread, every
from deployer.core.clock import Deadline
from deployer.core.errors import HostsUnreachable
from deployer.engine.run import Drive
from deployer.model import Instance
from deployer.planning.steps import Remove, named, span
from deployer.transport.fanout import on_all

AT_ONCE = 20  # calls to the runtime
SHORT_GRACE = 10.0  # seconds that an instance may take to end without a word about it
TELL_SECONDS = 5.0


def drain(run: Drive, step: Remove, names: Sequence[str], deadline: Deadline) -> int:
    """Take servers out of rotation and wait until no request is open on them; return how many are after the drain."""
    if not names:
        return 0
    patience = Deadline.after(run.clock, min(step.drain, deadline.left()))
    still_open = run.drivers.traffic.drain(run.service, step.colour, names, patience)
    if still_open:
        what = "1 request or connection is" if still_open == 1 else f"{still_open} requests or connections are"
        text = f"{what} open after {span(step.drain)} of drain; what is open ends with the instance"
        run.tell("note", text=text)
    return still_open


def remove_all(run: Drive, doomed: Sequence[Instance], n: int, deadline: Deadline, within: float | None = None) -> None:
    """Remove instances in step `n`, each `within` so many seconds, else as its release says.

    One whose host has fallen silent is left, and told once all others are gone.
    """
    ends = {i.name: (i, run.release(i.release).manifest.stop.grace if within is None else within) for i in doomed}
    longest = max((grace for _, grace in ends.values()), default=0.0)
    left, mutex = sorted(ends), threading.Lock()

    def tell() -> None:
        with mutex:
            if left:
                text = f"waiting for {named(tuple(left))} to end, up to {span(longest)} from the signal"
                run.tell_at_least("step.progress", n=n, text=text, done=len(ends) - len(left), of=len(ends))

    def remove(instance: Instance, grace: float) -> None:
        with suppress(HostsUnreachable):
            run.lookout.insist(lambda: run.drivers.runtime.remove(instance, grace, deadline))
        with mutex:
            left.remove(instance.name)

    slow = longest > SHORT_GRACE
    if slow:
        tell()
    with BackgroundThread("waiting", every(TELL_SECONDS, tell), patience=10) if slow else nullcontext():
        on_all(ends, lambda end: remove(*end), AT_ONCE).all()
