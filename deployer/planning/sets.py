"""Where the rollouts of a set meet: the gates in the plans of its members. Pure.

Each plan gets a gate before every step that gives its release more users, and one before its promotion. A gate is
passed when every other member has come to one that is as far. How far is a number that grows along every plan, so that
one of those who wait can always go on: by the group in `order` first, then by the share that comes next, then by the
place in a chain (`set_chain`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeVar

from deployer.core.amounts import percent
from deployer.model import FULL
from deployer.planning.meeting import DECISION, Meet
from deployer.planning.plan import ROLLBACK, Plan
from deployer.planning.set_chain import (
    ChainPlace,
    back_in_order,
    ended_before,
    promoted_before,
    refuse_parted,
    with_full_share,
)
from deployer.planning.steps import Attach, Observe, Promote, Remove, Share, Smoke, Start, Step

SLACK_SECONDS = 60.0
ATTACHED = 0  # of a candidate that its proxy knows, in any group: before its smoke tests through a chain
FIRST = 1  # of a candidate that gets no share, in its group: it works as soon as it runs
GROUP = 2 * FULL  # between one group and the next
WORST = ("needs-attention", "", "paused", "reverted", "done")  # the first that a member has is that of the set
LAST = DECISION - 1  # before a pause of the service: when all others have only to be promoted


Word = TypeVar("Word", bound=str)


def worst(outcomes: Iterable[Word]) -> Word:
    """Return the outcome of a set, by those of its members; "" is one that is in progress."""
    return min(outcomes, key=WORST.index)


def with_meetings(
    plans: Mapping[str, Plan],
    groups: Sequence[Sequence[str]] = (),
    places: Mapping[str, ChainPlace] = MappingProxyType({}),
) -> dict[str, Plan]:
    """Return the plans of a set, by service, with their gates; a service that no group names is in the first.

    `places` are those of a chain. One plan alone meets nobody, and stays as it is. Raise Refused where `order` and a
    chain contradict each other.
    """
    if len(plans) < 2:
        return dict(plans)
    refuse_parted(places, groups)
    plans = {s: with_full_share(plan, places[s]) if s in places else plan for s, plan in plans.items()}
    seconds = SLACK_SECONDS + sum(step.deadline for plan in plans.values() for step in plan.forward[: plan.commit])
    back = SLACK_SECONDS + max(sum(step.deadline for step in plan.back) for plan in plans.values())
    rank = {service: n for n, group in enumerate(groups) for service in group}
    deepest = max((place.depth for place in places.values()), default=0)
    made = {}
    for service, plan in plans.items():
        others = tuple(sorted(plans.keys() - {service}))
        weaver = _Weaver(plan, rank.get(service, 0), others, seconds, places.get(service), deepest)
        woven = replace(plan, forward=tuple(weaver.forward()))
        made[service] = back_in_order(places[service], woven, back) if service in places else woven
    return made


@dataclass
class _Weaver:
    """Puts gates into the plan of one service. A share has as many places as the deepest chain: inner ones first."""

    plan: Plan
    group: int
    others: tuple[str, ...]
    seconds: float
    place: ChainPlace | None
    deepest: int
    share: int = 0
    instances: str = ""
    furthest: int = -1

    def forward(self) -> Iterator[Step]:
        """Return the steps with their gates."""
        for n, step in enumerate(self.plan.forward):
            if isinstance(step, Promote) and self.place:
                yield from ended_before(self.place, self.plan)
            yield from self._gate(*self._point(n, step))
            if isinstance(step, Promote) and self.place:
                yield from promoted_before(self.place)
            opens = isinstance(step, Share) and step.share > self.share == 0
            self.share = step.share if isinstance(step, Share) else self.share
            self.instances = step.what if isinstance(step, Observe) else self.instances
            yield step
            if opens and self._depth:
                yield from self._gate(self._at(self.share, self.deepest), "its candidate is compared")

    def _gate(self, at: int, then: str) -> Iterator[Step]:
        """Return a gate, unless the plan has been as far before."""
        if at > self.furthest:
            self.furthest = at
            gate = Meet(at=at, others=self.others, then=then, deadline=self.seconds)
            judged = self.plan.strategy != ROLLBACK  # what was live before is not
            yield replace(gate, share=self.share if judged else 0, instances=self.instances)

    @property
    def _depth(self) -> int:
        return self.place.depth if self.place else 0

    def _at(self, share: int, rank: int = 0) -> int:
        return (self.group * GROUP + share) * (self.deepest + 1) + rank

    def _point(self, n: int, step: Step) -> tuple[int, str]:
        """Return how far the plan is before one of its steps, and what that step does; -1 where it may go on alone."""
        if isinstance(step, Promote):
            return DECISION, "the promotion"
        if n > self.plan.commit:
            return -1, ""
        if isinstance(step, Smoke) and self.place:
            return ATTACHED, "its smoke tests, through the candidates of all services of the chain"
        if isinstance(step, Share) and step.share > self.share:
            rank = 0 if self.share else self.deepest - self._depth
            return self._at(step.share, rank), f"{percent(step.share)} of the traffic"
        if isinstance(step, Remove) and step.outage:
            return LAST, "the former release is stopped"
        served = any(isinstance(other, Attach) for other in self.plan.forward)
        if isinstance(step, Start) and step.release == self.plan.release and not served:
            return self._at(FIRST), f"r{step.release} is started"
        return -1, ""
