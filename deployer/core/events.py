"""Events: what views, logs and pipelines see of a rollout. A public contract (docs/events.md).

An event is plain data: `kind`, Unix time, service, rollout number, and fields that belong to the kind:

    rollout.started   release, version, origin, strategy, by, steps: [sentence, …], plan
    rollout.resumed   phase, by
    step.began        phase, n, of, step (kind), text, deadline, until (Unix seconds)
    step.progress     n, text, and whatever the step knows (done, of)
    step.done         phase, n, step (kind), text, seconds
    step.failed       phase, n, step, error, hint, exit, log: [line, …]
    task              playbook, task, host, status (ok, changed, failed, skipped, unreachable), message,
                      output: [line, …] (of a command)
    traffic.changed   stable (colour), share (bp), lease, budget, baseline (bp), warm (release)
    sample            share_target, share_actual, stable: {…}, candidate: {…}, rest: {requests, errors, p50, p95, p99},
                      lost, shielded, arrived: {stable, candidate, without}, spent, budget, shown, more, unit, verdict,
                      text, enough, waits
    verdict           verdict (worse, no worse, inconclusive), text, watched: {…}, and the measured values beside their
                      limits
    metric            name, verdict (worse, no worse, inconclusive), text, candidate, stable, limit, dry_run
    budget.spent      spent, limit
    shield.used       shielded, answered
    side.lost         callers: [name, …], requests, candidate, without, share (bp), text
    lease.over        share (bp), seconds
    approval.asked    n, whose, by: [name, …], role, count, given: [who, …], share (bp), until,
                      expired (revert, hold), text
    approval.given    n, by, role, reason, text
    approval.refused  n, by, role, reason, text
    approval.expired  n, whose, given: [who, …], text
    rollout.rolling_back  error, hint, exit
    rollout.paused    share, text, exit, until (Unix seconds; 0 without a share)
    rollout.detached  text, hint, exit
    rollout.ended     outcome (done, reverted, paused, needs-attention), exit, text, seconds
    note              text
    job.started       job, run, release, version, text
    job.output        job, run, text
    job.ended         job, run, outcome, exit, text
    set.ended         set, name, outcome, exit, text, culprit, rollouts: {service: number, …}
    host.unreachable  host, text
    host.back         host, text
    proxy.lost        proxy, text
    proxy.back        proxy, text
    notify.failed     to, about, text
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# Events that come many times a second or only matter while somebody looks; they are shown, not stored.
PASSING = frozenset({"sample", "step.progress"})


@dataclass(frozen=True)
class Event:
    """One thing that happened in a rollout."""

    kind: str
    at: float
    service: str
    rollout: int
    data: dict[str, Any] = field(default_factory=dict)
    id: int = 0  # place in the store; 0 for passing events

    def to_dict(self) -> dict[str, Any]:
        """Return one flat object, as `--output json` prints it."""
        return {
            "event": self.kind,
            "at": round(self.at, 3),
            "service": self.service,
            "rollout": self.rollout,
            **self.data,
        }


Sink = Callable[[Event], None]
Tell = Callable[..., None]  # tell(kind, **data), bound to a rollout by the engine
