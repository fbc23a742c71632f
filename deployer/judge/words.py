"""The sentences of a verdict."""

from __future__ import annotations

from collections.abc import Sequence

from deployer.core.response_kinds import Feature
from deployer.judge.margin import Margin
from deployer.judge.totals import Totals
from deployer.judge.unseen import Unseen
from deployer.model import Counts, Waiting

TOO_MANY = 10_000_000  # answers: beyond that a number promises more than is known


def percent(fraction: float) -> str:
    """Write a rate: `18.2%`."""
    value = 100 * fraction
    return f"{value:.3g}%" if value >= 1 else f"{value:.2g}%"


def time(ms: float) -> str:
    """Write an answer time: `410 ms`, `2.5 s`."""
    return f"{ms / 1000:.3g} s" if ms >= 1000 else f"{ms:.3g} ms"


def listed(names: Sequence[str]) -> str:
    """Write names as people do: `errors, p50 and p99`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def answered(side: str, counts: Counts, what: str = "") -> str:
    """Return how often a side failed: `candidate 18.2% errors (20 of 110)`."""
    if not counts.requests:
        return f"{side} has no responses"
    rate = percent(counts.errors / counts.requests)
    return f"{side} {rate}{what} ({counts.errors:,} of {counts.requests:,})"


def both(seen: Totals) -> str:
    """Return how often both sides failed."""
    return f"{answered('candidate', seen.candidate, ' errors')}, {answered('stable', seen.stable)}"


def both_failed(failed: tuple[int, int]) -> str:
    """Return how many clients of both sides saw an error."""
    stable, candidate = failed
    return f"{candidate:,} client{'s' * (candidate != 1)} of the candidate saw an error, {stable:,} of stable"


def few(failed: int) -> str:
    """Return what is left out of the evidence."""
    return f"{failed:,} more failed response{'s' * (failed != 1)} left out: a few addresses gave most of the failures"


def unseen(unseen: Unseen) -> str:
    """Return what may have gone unnoticed: `0 of 40 failed: a failure rate of up to 7.2% would not have been seen`."""
    what = "clients saw a failure" if unseen.clients else "responses failed"
    rate = f"{100 * unseen.rate:.2g}%" if unseen.rate < 1 else "100%"
    return f"{unseen.failed:,} of {unseen.of:,} {what}: a rate of up to {rate} would not have been seen"


def trouble(counts: Counts, limit: float) -> str:
    """Return how much of the whole service failed."""
    failed = f"{percent(counts.errors / counts.requests)} of all responses ({counts.errors:,} of {counts.requests:,})"
    return f"{failed} failed a moment ago, whichever side gave them: above {percent(limit)} no share grows"


def both_times(seen: Totals, names: Sequence[str]) -> str:
    """Return the quantile in which the candidate is worst beside stable; nothing while a side has no times."""
    worst, ratio = "", 0.0
    for name in names:
        q = float(name[1:]) / 100
        stable, candidate = seen.stable.quantile(q), seen.candidate.quantile(q)
        if stable and candidate and candidate / stable > ratio:
            ratio = candidate / stable
            worst = f"candidate {name} {time(candidate)}, stable {time(stable)}"
    return worst


def mix(seen: Totals, feature: Feature, margin: Margin, *, first: bool = False) -> str:
    """Return how many of both sides' responses have a feature: `status 404: 100% of the candidate's responses, …`."""
    having = seen.having(feature)
    good = seen.stable.requests - seen.stable.errors
    stable = having.stable / good if good else 0.0
    candidate = percent(having.candidate / having.answers) if having.answers else "none"
    whose = f"stable's {feature.beside}".rstrip()
    responses = "first responses to clients" if first else "responses"
    return (
        f"{feature.name}: {candidate} of the candidate's {responses} ({having.candidate:,} of {having.answers:,}),"
        f" {percent(stable)} of {whose} ({having.stable:,} of {good:,})"
        f"; limit {percent(min(1.0, margin.of(stable)))}"
    )


def waiting(waiting: Waiting, allowed: float) -> str:
    """Return how many requests wait for both sides."""
    return (
        f"{waiting.candidate:,} requests wait for the candidate and {waiting.stable:,} for stable, at a share of"
        f" {percent(waiting.p)}; limit {allowed:.3g}"
    )


def of_errors(margin: Margin) -> str:
    """Write a margin of errors: `1.5x or +0.1%`."""
    return f"{margin.ratio:.3g}x or +{percent(margin.add)}"


def of_times(margin: Margin) -> str:
    """Write a margin of latency: `1.25x or +5 ms`."""
    return f"{margin.ratio:.3g}x or +{time(margin.add)}"


def unit(*, sticky: bool) -> str:
    """Name what a proof counts."""
    return "clients" if sticky else "responses"


def still_needed(answers: int, *, sticky: bool) -> str:
    """Return how much more must be seen."""
    whose = unit(sticky=sticky)
    if answers > TOO_MANY:
        return f": over {TOO_MANY:,} more {whose} needed, so rather a wider margin"
    scale = 10 ** max(0, len(str(answers)) - 2)  # two digits: it is an estimate
    return f": about {max(1, round(answers / scale)) * scale:,} more {whose} needed"
