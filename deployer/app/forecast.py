"""How a plan will go with the present traffic: which steps end with a proof, by their time, or not at all. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from deployer.core.amounts import rate as written
from deployer.judge.plan import IN_PRACTICE, answers_needed
from deployer.manifest.quiet import SURELY, minutes_at_half
from deployer.model import FULL, MeasuredTraffic
from deployer.planning.plan import Plan
from deployer.planning.steps import Watch, percent, span

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest

ERROR_RATE = 0.001  # assumed of a stable release that nobody has measured yet
LEAST_SECONDS, LEAST_REQUESTS = 60.0, 20  # a shorter count of fewer requests says little


def evidence(plan: Plan, manifest: Manifest, traffic: MeasuredTraffic | None = None) -> tuple[str, ...]:
    """Return how the steps will end with the measured traffic, and how much they take to be proven.

    Where a client keeps its side it counts once in a step. Errors alone are reckoned with.
    """
    steps = [s for s in plan.forward if isinstance(s, Watch) and s.share < FULL and (s.proves or s.requests)]
    if not steps:
        return ()
    known = traffic if traffic and _says_something(traffic) else None
    lines = [f"{_measured(known)}: {_outcome(steps, manifest, known)}"] if known else []
    proofs = [s for s in steps if s.proves]
    if proofs:
        unit = "clients" if manifest.traffic.counts_clients else "requests"
        needs = [(watch, _whole(needed(manifest, watch))) for watch in proofs]
        each = ", ".join(f"{count:,} {unit} at {percent(watch.share)}" for watch, count in needs)
        lines.append(f"a proof of no worse needs about {each} (assuming a 0.1% error rate)")
        if not known:
            lines += _by_time(proofs) if proofs[0].early else _hurry(needs, unit)
    return tuple(lines)


def first_line(plan: Plan, manifest: Manifest, traffic: MeasuredTraffic | None) -> str:
    """Return what a rollout is expected to do, before it does anything; nothing where nothing is compared."""
    lines = evidence(plan, manifest, traffic)
    if not lines:
        return ""
    known = traffic is not None and _says_something(traffic)
    return lines[0] if known else f"the traffic is not known yet; {lines[-1]}"


def needed(manifest: Manifest, watch: Watch) -> int:
    """Return about how many requests of the service it takes until the watch can end with a proof."""
    beside = watch.against == "baseline"  # then only the two parts that are compared count, and they are equal
    part = FULL // 2 if beside else watch.share
    answers = IN_PRACTICE * answers_needed(manifest.judge, part, watch.following, ERROR_RATE)
    return round(answers * FULL / (2 * watch.share)) if beside else round(answers)


def _says_something(traffic: MeasuredTraffic) -> bool:
    return traffic.seconds >= LEAST_SECONDS or traffic.rate * traffic.seconds >= LEAST_REQUESTS


def _measured(traffic: MeasuredTraffic) -> str:
    over = span(_coarse(traffic.seconds))
    if not traffic.rate:
        return f"no request came in the last {over}"
    now = f", {traffic.now:g} in the last second" if traffic.seconds >= LEAST_SECONDS and traffic.now >= 1 else ""
    return f"{written(traffic.rate)} on average over the last {over}{now}"


def _outcome(steps: Sequence[Watch], manifest: Manifest, traffic: MeasuredTraffic) -> str:
    """Return how the steps end, or which of them cannot be decided and what to do instead."""
    for step in steps:
        seconds = step.seconds if step.early else step.deadline
        got = traffic.rate * seconds * step.share / FULL
        proven = step.proves and needed(manifest, step) <= traffic.rate * seconds
        if not proven and (got < step.requests or not step.seconds):
            return f"this cannot be decided: {_lacks(step, manifest, got)} → {_instead(step, traffic)}"
    least = min(traffic.rate * s.seconds * s.share / FULL / max(s.requests, 1) for s in steps)
    chance = "" if least >= SURELY or not all(s.seconds for s in steps) else ", if traffic does not fall"
    times = [_ends_after(step, manifest, traffic) for step in steps]
    each = ", ".join(f"{percent(s.share)} {_about(s, t)}" for s, t in zip(steps, times, strict=True))
    return f"about {span(_coarse(math.fsum(times)))} of comparing{chance}: {each}"


def _lacks(step: Watch, manifest: Manifest, got: float) -> str:
    if not step.seconds:
        return f"a proof at {percent(step.share)} needs about {_whole(needed(manifest, step)):,} requests"
    within = span(step.seconds if step.early else step.deadline)
    return f"at {percent(step.share)} about {got:.2g} of at least {step.requests:,} responses in {within}"


def _instead(step: Watch, traffic: MeasuredTraffic) -> str:
    """Return what can be decided with this traffic."""
    if not step.seconds:
        return "leave out `judge.proof: required`, or `deploy bluegreen`"
    if minutes := minutes_at_half(traffic.rate, step.requests):
        return f"`deploy canary --percent 50 --within {minutes}m`, or `deploy bluegreen`"
    return "`deploy bluegreen`, with smoke tests; `deploy judge` compares recorded traffic"


def _ends_after(step: Watch, manifest: Manifest, traffic: MeasuredTraffic) -> float:
    """Return after how many seconds a step ends: with its proof, or by its time."""
    if not step.proves:
        enough = step.requests * FULL / (traffic.rate * step.share) if traffic.rate else 0.0
        return max(step.seconds, enough)
    proof = max(step.least, needed(manifest, step) / traffic.rate)
    return min(proof, step.seconds) if step.seconds else proof


def _about(step: Watch, seconds: float) -> str:
    proven = step.proves and (not step.seconds or seconds < step.seconds)
    return f"{span(_coarse(seconds))} (proven)" if proven else f"{span(_coarse(seconds))} (by time)"


def _coarse(seconds: float) -> float:
    """Round a time to what an estimate deserves: seconds, minutes, hours or days."""
    for least, unit in ((2 * 86400, 86400), (2 * 3600, 3600), (120, 60)):
        if seconds >= least:
            return round(seconds / unit) * unit
    return max(1, round(seconds))


def _by_time(watches: list[Watch]) -> Iterator[str]:
    """Yield what the steps take that end by their time, and the traffic below which one of them cannot end well."""
    watch = max(watches, key=lambda step: step.requests / (step.share * step.seconds))
    rate = watch.requests / (watch.share / FULL * watch.seconds)
    yield (
        f"without a proof a step ends after {span(watch.seconds)} if no regression was found; "
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
