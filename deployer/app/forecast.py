"""What a plan will take: how much must be answered until a step can end with the proof, or by its time. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from deployer.judge.plan import IN_PRACTICE, answers_needed
from deployer.model import FULL
from deployer.planning.plan import Plan
from deployer.planning.steps import Watch, percent, span

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest

ERROR_RATE = 0.001  # assumed of a stable release that nobody has measured yet


def evidence(plan: Plan, manifest: Manifest) -> tuple[str, ...]:
    """Say how much evidence the plan's steps need that may end with a proof, and which traffic brings it in time.

    Where a client keeps its side it counts once in a step. Errors alone are reckoned with.
    """
    watches = [s for s in plan.forward if isinstance(s, Watch) and s.proves and s.share < FULL]
    if not watches:
        return ()
    unit = "clients" if manifest.traffic.sticky else "requests"
    needs = [(watch, _whole(needed(manifest, watch))) for watch in watches]
    each = ", ".join(f"{count:,} {unit} at {percent(watch.share)}" for watch, count in needs)
    return (
        f"a proof of no worse needs about {each} (assuming a 0.1% error rate)",
        *(_by_time(watches) if watches[0].early else _hurry(needs, unit)),
    )


def needed(manifest: Manifest, watch: Watch) -> int:
    """Give about how many requests of the service it takes until the watch can end."""
    beside = watch.against == "baseline"  # then only the two parts that are compared count, and they are equal
    part = FULL // 2 if beside else watch.share
    answers = IN_PRACTICE * answers_needed(manifest.judge, part, watch.following, ERROR_RATE)
    return round(answers * FULL / (2 * watch.share)) if beside else round(answers)


def _by_time(watches: list[Watch]) -> Iterator[str]:
    """Say what the steps take that end by their time, and the traffic below which one of them cannot end well."""
    watch = max(watches, key=lambda step: step.requests / (step.share * step.seconds))
    rate = watch.requests / (watch.share / FULL * watch.seconds)
    yield (
        f"without it a step ends after {span(watch.seconds)} if no regression was found; "
        f"with fewer than {rate:.2g} requests a second it is inconclusive: "
        f"at least {watch.requests:,} responses of the candidate are needed at {percent(watch.share)}"
    )


def _hurry(needs: list[tuple[Watch, int]], unit: str) -> Iterator[str]:
    watch, count = max(needs, key=lambda need: need[1] / need[0].deadline)
    rate = count / watch.deadline
    slow = f"with fewer than {rate:.2g} {unit} a second that is not over within {span(watch.deadline)}"
    yield f"{slow}: then give the steps a time (`for`), or allow more by `judge.errors.add`"


def _whole(count: int) -> int:
    """Round to two digits: it is an estimate."""
    digits = max(0, len(str(count)) - 2)
    return round(count, -digits)
