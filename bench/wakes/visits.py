"""What became of each visit, and what all of them come to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

from deployer.drivers.ports.sleeping import Wake
from tests.load import Latency

RESTARTS = 20.0  # seconds in which another waker listens, also on a busy host
DIES = 0.5  # seconds in which what was killed has closed its connections


@dataclass(frozen=True)
class Kill:
    """What was killed, and when; `whole`: nothing was left that would pass on what it had."""

    what: str
    at: float
    whole: bool = False


@dataclass(frozen=True)
class Try:
    """One request of a visit: when it was sent, when it was over, why it failed ("" for one that was answered)."""

    began: float
    ended: float
    failure: str = ""
    come_again: bool = False  # it was a 503 that says when to come again


@dataclass(frozen=True)
class Visit:
    """Somebody who came to a service that slept, again until he was answered; and the starts that he caused."""

    kind: str
    sleep: str
    tries: tuple[Try, ...]
    wakes: tuple[Wake, ...] = ()

    @property
    def answered(self) -> bool:
        """Return whether he was answered in the end."""
        return not self.tries[-1].failure

    @property
    def seconds(self) -> float:
        """How long he waited for that."""
        return self.tries[-1].ended - self.tries[0].began


@dataclass
class Account:
    """All visits of a run: how many wakes, and who was not answered at once."""

    visits: int = 0
    wakes: int = 0
    failed_starts: list[str] = field(default_factory=list)
    come_again: int = 0
    refused_for: float = 0.0  # the longest time until somebody was answered who was to come again
    cut: int = 0
    lost: list[str] = field(default_factory=list)


def account(visits: Iterable[Visit], kills: Sequence[Kill]) -> Account:
    """Count the visits; what a kill explains is not lost."""
    found = Account()
    for visit in visits:
        found.visits += 1
        found.wakes += sum(not wake.error for wake in visit.wakes)
        found.failed_starts += [f"{visit.kind}, {visit.sleep}: {w.error}" for w in visit.wakes if w.error]
        for each in visit.tries:
            if not each.failure:
                continue
            whole = [kill.at for kill in kills if kill.whole]
            if each.come_again and any(at <= each.ended and each.began <= at + RESTARTS for at in whole):
                found.come_again += 1
                found.refused_for = max(found.refused_for, visit.tries[-1].ended - each.began)
            elif not each.come_again and any(each.began - DIES <= at <= each.ended for at in whole):
                found.cut += 1
            else:
                found.lost.append(f"{visit.kind}, {visit.sleep}: {each.failure}{_near(each, kills)}")
        if not visit.answered:
            found.lost.append(f"{visit.kind}, {visit.sleep}: not answered after {visit.seconds:.0f} s")
    return found


def _near(failed: Try, kills: Sequence[Kill]) -> str:
    """Return what was killed last before a failure, and what it met."""
    last = max((kill for kill in kills if kill.at <= failed.ended), key=lambda kill: kill.at, default=None)
    if last is None:
        return ""
    return f" ({last.what} killed {last.at - failed.began:+.2f} s from its beginning, it took {_took(failed):.2f} s)"


def _took(made: Try) -> float:
    return made.ended - made.began


@dataclass(frozen=True)
class Parts:
    """The parts of the wakes of one kind, in seconds."""

    sleep: str
    kind: str
    wakes: int
    start: Latency
    health: Latency
    rest: Latency
    whole: Latency

    def record(self) -> dict[str, object]:
        """Return it as plain data for JSON."""
        return asdict(self)


def parts(visits: Sequence[Visit], kills: Sequence[Kill]) -> Iterator[Parts]:
    """Yield the parts of the wakes into which no kill fell, by sleep and kind."""
    for sleep, kind in dict.fromkeys((visit.sleep, visit.kind) for visit in visits):
        own = [v for v in visits if (v.sleep, v.kind) == (sleep, kind) and _undisturbed(v, kills)]
        wakes = [visit.wakes[0] for visit in own]
        yield Parts(
            sleep,
            kind,
            len(own),
            Latency.of(wake.start for wake in wakes),
            Latency.of(wake.health for wake in wakes),
            Latency.of(v.seconds - w.start - w.health for v, w in zip(own, wakes, strict=True)),
            Latency.of(visit.seconds for visit in own),
        )


def _undisturbed(visit: Visit, kills: Sequence[Kill]) -> bool:
    began, ended = visit.tries[0].began, visit.tries[-1].ended
    alone = len(visit.tries) == len(visit.wakes) == 1 and visit.answered and not visit.wakes[0].error
    return alone and not any(began - 1 <= kill.at <= ended for kill in kills)


def text(found: Account, rows: Sequence[Parts], kills: Sequence[Kill]) -> str:
    """Return what is printed."""
    lines = [f"{'':7}{'':11}{'wakes':>6}" + "".join(f"{n:>16}" for n in ("start", "health", "rest", "in all"))]
    for row in rows:
        cells = (f"{p.p50 * 1000:.0f} / {p.p99 * 1000:.0f}" for p in (row.start, row.health, row.rest, row.whole))
        lines.append(f"{row.sleep:7}{row.kind:11}{row.wakes:6}" + "".join(f"{cell:>16}" for cell in cells))
    killed = {what: sum(kill.what == what for kill in kills) for what in dict.fromkeys(kill.what for kill in kills)}
    refused = f"{found.come_again} times a 503 with Retry-After, for {found.refused_for:.0f} s at most"
    lines += [
        "median / 99th percentile in milliseconds, of wakes into which no kill fell",
        "",
        f"{found.wakes} wakes in {found.visits} visits; lost: {len(found.lost)}",
        f"killed: {', '.join(f'{what} {times} times' for what, times in killed.items()) or 'nothing'}",
        f"while nothing of a waker was left: {refused}; {found.cut} requests cut",
        *(f"LOST {each}" for each in found.lost),
        *(f"FAILED START {each}" for each in found.failed_starts),
    ]
    return "\n".join(lines)
