"""The step at which the rollouts of a set meet."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.planning.steps import Step, named

DECISION = 1 << 40  # how far a plan is before its promotion, whatever came before it


@dataclass(frozen=True, kw_only=True)
class Meet(Step):
    """Gate: the `others` of the set have come `at` least as far; the last one decides that all go forward.

    `share` is what the candidate has meanwhile, in basis points, or `instances` of one that gets no requests; it is
    watched. `then` is what follows, in words.
    """

    at: int
    others: tuple[str, ...]
    then: str
    share: int = 0
    instances: str = ""

    @property
    def decides(self) -> bool:
        """Whether all of the set go forward from here on."""
        return self.at == DECISION

    def explain(self) -> str:
        """Say in one sentence what will be so afterwards."""
        who = f"wait for {named(self.others)}"
        return f"{who}; then all of the set are promoted" if self.decides else f"{who}, before {self.then}"
