"""The candidate of a member that is promoted in any case: it is started again where it does not run any more."""

from __future__ import annotations

from deployer.core.clock import Deadline
from deployer.engine.perform import Doing, perform
from deployer.engine.run import Drive
from deployer.planning.recipes import prove, start
from deployer.planning.steps import Smoke, Start
from deployer.store import JournalEntry


def stand_again(run: Drive, n: int, entry: JournalEntry) -> None:
    """Have a candidate run as a whole, checked and known to the proxy, before step `n` promotes it.

    While no process ran its rollout, its instances may have ended. Raise StepFailed where it does not come up.
    """
    if _stands(run):
        return
    release = run.candidate
    run.tell("note", text=f"{release.name} does not run as a whole any more: it is started again, then promoted")
    for step in (*start(release, run.colour, silent=run.lookout.silent), *prove(release, run.colour)):
        if not isinstance(step, Smoke):  # passed before any user
            perform(run, step, Doing(n, entry, Deadline.after(run.clock, step.deadline)))


def _stands(run: Drive) -> bool:
    """Return whether what the rollout has started runs and is up; of what it found running (a rollback), some."""
    release, place = run.candidate, run.colour
    running = {i.name for i in run.instances(place, release.number) if i.state == "running"}
    up = {server.name for server, is_up in run.drivers.traffic.servers(run.service, place) if is_up}
    there = running & up if release.served else running
    started = any(isinstance(step, Start) and step.release == release.number for step in run.rollout.plan.forward)
    return len(there) >= (release.size(place) if started and not run.lookout.silent else 1)
