"""What came of a load, from the accounts of its clients, the proxy and the journal. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from bench.elastic.loads import Planned
from deployer.evidence.scaling_replay import Came, RequestsAtOnce, ScalingOutcome, SimulatedService, oracle, run
from deployer.manifest.scale import ScaleSettings
from tests.load import Latency, Report, Request

ALLOWED = 0.05  # seconds that a request may take longer than an instance needs for it
UNSEEN = 0.3  # seconds, a little more than between two looks of the keeper
TARDY = 0.001  # of the requests may be sent more than ALLOWED too late: a tenth of those that may wait
START_SECONDS = 1.0  # of an instance, where none was started
Seen = tuple[float, int]  # a moment, and how many requests wait for an instance at it


@dataclass(frozen=True)
class Growth:
    """A change to more instances: when it was decided, its start command, and when they had requests."""

    decided: float
    started: float
    ended: float


@dataclass(frozen=True)
class Used:
    """What a way took for a load: instance-seconds, changes of size, and how many instances there were."""

    instance_seconds: float
    changes: int = 0
    least: int = 0
    most: int = 0
    growths: tuple[Growth, ...] = ()
    queue: tuple[Seen, ...] = ()


@dataclass(frozen=True)
class Figures:
    """A row of the table: one way under one load."""

    load: str
    way: str
    requests: int
    lost: int
    waited: int
    late: Latency  # by which requests took longer than an instance needs for them
    least: int
    most: int
    instance_seconds: float
    oracle_seconds: float
    changes: int
    reactions: tuple[float, ...] = ()
    load_average: float = 0.0
    behind: float = 0.0  # seconds by which the generator sent a request too late, at most
    tardy: float = 0.0  # the part of the requests that it sent more than ALLOWED too late

    @property
    def ratio(self) -> float:
        """How many times the instance-hours of the oracle it took."""
        return self.instance_seconds / self.oracle_seconds

    def record(self) -> dict[str, object]:
        """Return it as plain data for JSON."""
        return {**asdict(self), "ratio": self.ratio}


def reactions(queue: Iterable[Seen], growths: Sequence[Growth]) -> Iterator[float]:
    """Yield for each queue the seconds until the first start command for it; none for one that nothing was done about.

    A queue is there while somebody waits at each look.
    """
    for began, ended in _queues(queue):
        first = next((each for each in growths if began <= each.decided <= ended + UNSEEN), None)
        if first is not None:
            yield first.started - began


def _queues(looks: Iterable[Seen]) -> Iterator[tuple[float, float]]:
    began = last = 0.0
    for at, waiting in looks:
        if waiting:
            began, last = began or at, at
        elif began:
            yield began, last
            began = 0.0
    if began:
        yield began, last


def came(plan: Planned, sent: Iterable[Request], began: float) -> list[Came]:
    """Return the times at which requests really came, from the beginning of the load, and how long each takes."""
    return sorted((max(0.0, each.start - began), plan.came[int(each.client)][1]) for each in sent)


def behind(plan: Planned, sent: Iterable[Request], began: float) -> list[float]:
    """Return by how many seconds each request came later than planned: what is sent late is no open loop."""
    return [each.start - began - plan.came[int(each.client)][0] for each in sent]


def late(plan: Planned, sent: Iterable[Request]) -> list[float]:
    """Return by how many seconds each request that was answered took longer than an instance needs for it."""
    return [each.seconds - plan.came[int(each.client)][1] for each in sent if not each.error]


def start_seconds(growths: Sequence[Growth]) -> float:
    """Return how long it takes from a decision until new instances have requests."""
    return statistics.median(each.ended - each.decided for each in growths) if growths else START_SECONDS


def beside(
    requests: Sequence[Came], seconds: float, settings: ScaleSettings, start: float
) -> tuple[ScalingOutcome, ScalingOutcome]:
    """Return what the oracle takes for these requests, and what the policy does in virtual time."""
    open_at_once = RequestsAtOnce(0.0)
    for at, takes in requests:
        open_at_once.add(at, takes)
    open_at_once.finish(seconds)
    (policy,) = run(requests, [SimulatedService(settings, start, 0.0, settings.within(0))], seconds)
    return oracle(open_at_once.highest, settings, start), policy


def measured(
    plan: Planned, way: str, report: Report, began: float, used: Used, oracle_seconds: float, load_average: float
) -> Figures:
    """Put together what was measured of a way whose load began at a moment, Unix seconds."""
    longer, tardy = late(plan, report.requests), behind(plan, report.requests, began)
    return Figures(
        load=plan.name,
        way=way,
        requests=report.sent,
        lost=report.failed + len(plan.came) - report.sent,
        waited=sum(each > ALLOWED for each in longer),
        late=Latency.of(longer),
        least=used.least,
        most=used.most,
        instance_seconds=used.instance_seconds,
        oracle_seconds=oracle_seconds,
        changes=used.changes,
        reactions=tuple(reactions(used.queue, used.growths)),
        load_average=load_average,
        behind=max(tardy, default=0.0),
        tardy=sum(each > ALLOWED for each in tardy) / max(1, len(tardy)),
    )


def simulated(plan: Planned, policy: ScalingOutcome, oracle_seconds: float) -> Figures:
    """Put together what the policy did in virtual time."""
    return Figures(
        load=plan.name,
        way="simulated",
        requests=policy.requests,
        lost=policy.refused,
        waited=policy.waited,
        late=Latency(0.0, 0.0, policy.longest),
        least=policy.least,
        most=policy.most,
        instance_seconds=policy.instance_seconds,
        oracle_seconds=oracle_seconds,
        changes=policy.changes,
        reactions=(policy.reaction,),
    )


def text(rows: Sequence[Figures]) -> str:
    """Return the table for a terminal."""
    heads = ("waited", "p99 late", "instances", "to oracle", "changes", "reaction", "behind", "load avg")
    lines = [f"{'':8}{'':26}{'requests':>9}{'lost':>6}" + "".join(f"{head:>11}" for head in heads)]
    for row in rows:
        cells = (
            f"{row.waited / max(1, row.requests):.2%}",
            f"{row.late.p99 * 1000:.0f} ms" if row.late.p99 else "–",
            f"{row.least}-{row.most}",
            f"{row.ratio:.2f} x",
            str(row.changes),
            f"{max(row.reactions):.2f} s" if row.reactions else "–",
            f"{row.behind:.2f} s" if row.load_average else "–",
            f"{row.load_average:.1f}" if row.load_average else "–",
        )
        lines.append(f"{row.load:8}{row.way:26}{row.requests:9}{row.lost:6}" + "".join(f"{cell:>11}" for cell in cells))
    if late_ones := [row for row in rows if row.tardy > TARDY]:
        said = ", ".join(f"{row.load} ({row.way}): {row.tardy:.2%}" for row in late_ones)
        lines += [
            "",
            f"The generator sent more than {TARDY:.1%} of the requests over {ALLOWED:g} s too late, as the host is too"
            f" busy: {said}. These are no figures.",
        ]
    return "\n".join(lines)
