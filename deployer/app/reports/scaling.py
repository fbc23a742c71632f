"""What policies of scaling would have done with a recording, as a view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deployer.core.amounts import span
from deployer.evidence.recorded_requests import RecordedRequests
from deployer.evidence.replay import ReplaySource
from deployer.evidence.scaling_replay import RequestsAtOnce, ScalingOutcome, SimulatedService, oracle, oracle_sizes, run
from deployer.views.scaling_data import ScalingReplayView, ScalingRunView
from deployer.views.text import percentage, plural

if TYPE_CHECKING:
    from deployer.manifest.scale import ScaleSettings

HOUR = 3600.0
ORACLE, FIXED = "its oracle", "fixed size"


def replayed(
    source: ReplaySource, policies: Mapping[str, ScaleSettings], start: float, fixed: int = 0
) -> ScalingReplayView:
    """Run policies, their oracles and a fixed size (0: the `max` of the first policy) over a recording.

    An instance takes `start` seconds until it has a request. Raise Refused for a recording without requests.
    """
    requests = RecordedRequests(source)
    began = requests.began()
    seen = RequestsAtOnce(began)
    for at, takes in requests:
        seen.add(at, takes)
    seen.finish(requests.ended)
    first = next(iter(policies.values()))
    fixed = fixed or first.max
    services = [
        SimulatedService(each, start, began, each.within(oracle_sizes(seen.highest, each, start)[0]))
        for each in policies.values()
    ]
    services.append(SimulatedService(first, start, began, fixed, fixed=True))
    *found, of_fixed = run(requests, services, requests.ended)
    knowing = [oracle(seen.highest, each, start) for each in policies.values()]
    runs = []
    for (name, policy), outcome, best in zip(policies.items(), found, knowing, strict=True):
        runs += [_run(name, outcome, best, policy), _run(ORACLE, best, best, policy)]
    runs.append(_run(FIXED, of_fixed, knowing[0], None))
    return ScalingReplayView(
        file=str(source.path),
        service=str(source.header.get("service", "")),
        seconds=requests.ended - began,
        requests=requests.requests,
        at_once=max(seen.highest, default=0),
        start=start,
        runs=tuple(runs),
        notes=tuple(_notes(requests, requests.ended - began, policies, found, knowing, start)),
    )


def _run(name: str, outcome: ScalingOutcome, best: ScalingOutcome, policy: ScaleSettings | None) -> ScalingRunView:
    return ScalingRunView(
        name=name,
        hours=outcome.instance_seconds / HOUR,
        ratio=outcome.instance_seconds / best.instance_seconds if best.instance_seconds else None,
        requests=outcome.requests,
        waited=outcome.waited,
        refused=outcome.refused,
        longest=outcome.longest,
        changed=outcome.changes,
        least=outcome.least,
        most=outcome.most,
        asleep=outcome.asleep_seconds,
        policy=_written(policy) if policy else {},
    )


def _written(policy: ScaleSettings) -> dict[str, Any]:
    return policy.model_dump(mode="json", by_alias=True)


def _notes(
    requests: RecordedRequests,
    seconds: float,
    policies: Mapping[str, ScaleSettings],
    found: Sequence[ScalingOutcome],
    knowing: Sequence[ScalingOutcome],
    start: float,
) -> Iterator[str]:
    yield f"an instance takes {span(start)} until it has a request (--start)"
    if any(policy.predict for policy in policies.values()):
        yield "a recording has no former weeks: nothing is predicted (`predict`)"
    for (name, policy), outcome, best in zip(policies.items(), found, knowing, strict=True):
        if best.most > policy.max:
            yield f"{name}: nobody would wait with {best.most} instances, and `max` is {policy.max}"
        if outcome.asleep_seconds:
            yield f"{name}: asleep for {percentage(outcome.asleep_seconds / seconds)} of it"
        if outcome.refused:
            waits = f"{name}: {plural(outcome.refused, 'request')} waited for {span(policy.wait)}"
            yield f"{waits} (`wait`), and got a 503"
    if requests.untimed:
        yield f"{plural(requests.untimed, 'response')} without a time are taken to be like the others"
    if requests.lost:
        yield f"{plural(requests.lost, 'request')} were not seen by the recorder"
    if requests.skipped > 0:
        yield f"{span(round(requests.skipped))} in between were not recorded, and are left out"
    if requests.cut:
        yield "the recording had reached its largest size and ends early"
