"""Where the rollouts of a set meet: the gates in the plans of its members. Pure.

Each plan gets a gate before every step that gives its release more users, and one before its promotion. A gate is
passed when every other member has come to one that is as far. How far is a number that grows along every plan, so that
one of those who wait can always go on: by the group in `order` first, then by the share that comes next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from deployer.core.amounts import percent
from deployer.model import FULL
from deployer.planning.meeting import DECISION, Meet
from deployer.planning.plan import Plan
from deployer.planning.steps import Attach, Observe, Promote, Remove, Share, Start, Step

SLACK_SECONDS = 60.0
FIRST = 1  # of a candidate that gets no share, in its group: it works as soon as it runs
GROUP = 2 * FULL  # between one group and the next
WORST = ("needs-attention", "", "paused", "reverted", "done")  # the first that a member has is that of the set
LAST = DECISION - 1  # before a pause of the service: when all others have only to be promoted


Word = TypeVar("Word", bound=str)


def worst(outcomes: Iterable[Word]) -> Word:
    """Return the outcome of a set, by those of its members; "" is one that is in progress."""
    return min(outcomes, key=WORST.index)


def with_meetings(plans: Mapping[str, Plan], groups: Sequence[Sequence[str]] = ()) -> dict[str, Plan]:
    """Return the plans of a set, by service, with their gates; a service that no group names is in the first.

    One plan alone meets nobody, and stays as it is.
    """
    if len(plans) < 2:
        return dict(plans)
    seconds = SLACK_SECONDS + sum(step.deadline for plan in plans.values() for step in plan.forward[: plan.commit])
    rank = {service: n for n, group in enumerate(groups) for service in group}
    made = {}
    for service, plan in plans.items():
        others = tuple(sorted(plans.keys() - {service}))
        made[service] = replace(plan, forward=tuple(_woven(plan, rank.get(service, 0), others, seconds)))
    return made


def _woven(plan: Plan, group: int, others: tuple[str, ...], seconds: float) -> Iterator[Step]:
    share, instances, furthest = 0, "", -1
    for n, step in enumerate(plan.forward):
        at, then = _point(plan, n, step, share)
        if at >= 0:
            at = at if at >= LAST else group * GROUP + at
            if at > furthest:
                furthest = at
                yield Meet(at=at, others=others, then=then, share=share, instances=instances, deadline=seconds)
        share = step.share if isinstance(step, Share) else share
        instances = step.what if isinstance(step, Observe) else instances
        yield step


def _point(plan: Plan, n: int, step: Step, share: int) -> tuple[int, str]:
    """Return how far a plan is before one of its steps, and what that step does; -1 where it may go on alone."""
    if isinstance(step, Promote):
        return DECISION, "the promotion"
    if n > plan.commit:
        return -1, ""
    if isinstance(step, Share) and step.share > share:
        return step.share, f"{percent(step.share)} of the traffic"
    if isinstance(step, Remove) and step.outage:
        return LAST, "the former release is stopped"
    served = any(isinstance(other, Attach) for other in plan.forward)
    if isinstance(step, Start) and step.release == plan.release and not served:
        return FIRST, f"r{step.release} is started"
    return -1, ""
