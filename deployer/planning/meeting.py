"""The step at which the rollouts of a set meet."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.planning.steps import Step, named, span

DECISION = 1 << 40  # how far a plan is before its promotion, whatever came before it
SETTLED = DECISION + 1  # of a gate after the decision: it keeps an order, and never fails


@dataclass(frozen=True, kw_only=True)
class Meet(Step):
    """Gate: the `others` of the set have come `at` least as far; the last one decides that all go forward.

    `share` is what the candidate has meanwhile, in basis points, or `instances` of one that gets no requests; it is
    watched. `then` is what follows, in words.

    Two forms are for a chain (`set_chain`). One that is `SETTLED` waits until the others are promoted, or are rolled
    back, as `then` says. One with a colour to be `empty` waits until no request is in progress there. Both go on at
    their deadline.
    """

    at: int
    others: tuple[str, ...]
    then: str
    share: int = 0
    instances: str = ""
    empty: str = ""

    @property
    def decides(self) -> bool:
        """Whether all of the set go forward from here on."""
        return self.at == DECISION

    def explain(self) -> str:
        """Return in one sentence what will be so afterwards."""
        if self.empty:
            return f"wait until no request is in progress on {self.empty}, {span(self.deadline)} at most"
        if self.at == SETTLED:
            return f"wait until {named(self.others)} {'is' if len(self.others) == 1 else 'are'} {self.then}"
        who = f"wait for {named(self.others)}"
        return f"{who}; then all of the set are promoted" if self.decides else f"{who}, before {self.then}"
