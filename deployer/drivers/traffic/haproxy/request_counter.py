"""What the lines of the request stream add up to; memory does not grow with them.

A line says in its first part what has few values, so that most lines are known after one look into a dictionary; only
roll, time and size differ from line to line. See `frontend.HTTP_LINE`.
"""

from __future__ import annotations

import re
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from deployer.core.errors import DriverFailed
from deployer.core.response_kinds import CUT, EMPTY, LEFT, of_size, of_status
from deployer.drivers.traffic.haproxy import live_value
from deployer.drivers.traffic.haproxy.addresses import FAILURE, Addresses, address_number, number_of
from deployer.drivers.traffic.haproxy.chain import LOST, SIDE
from deployer.drivers.traffic.haproxy.clients import ClientTracker
from deployer.drivers.traffic.haproxy.rules import GONE
from deployer.model import FULL, Arrived, Coins, Counts, Sample, latency_bucket

Which = Literal["stable", "candidate", "rest"]
_FACTS = 8  # words before what differs from line to line
_TAIL = 4  # roll, time, bytes of the headers, bytes of all
_STATUS_LINE = 20  # bytes of an answer that are neither headers nor body, more or less
_LONGEST = 16  # digits of a number; a line that was cut may run into the next one
_MOST_HEADS = 20_000  # a release may answer with any status; what is known of heads begins again then
_MOST_ENDED = 50
_KINDS = [of_size((1 << bits) - 1) for bits in range(64)]  # of a size by its bits: kinds are powers of four
_STATUS = re.compile(rb"-1|[0-9]{1,3}")  # -1: no answer
_DROPPED = re.compile(rb"(?<![0-9])([0-9]{1,18}) events? (?:was |were )?dropped")


@dataclass(frozen=True)
class Meaning:
    """What the first part of a line says."""

    which: Which
    failed: bool
    shielded: bool  # stable answered, the user did not see that the candidate had failed
    route: int | None
    rollout: int
    share: int
    baseline: int
    unit: float  # milliseconds in one unit of the time
    kind: int | None = None  # of a good answer, where it is not told by its size
    sized: bool = False
    answered: bool = True  # else the client left before
    twice: bool = False  # stable failed the same request: it says nothing against the candidate

    @property
    def p(self) -> float:
        """The probability of the candidate where each request is thrown."""
        return self.share / (self.share + self.baseline if self.baseline else FULL)


@dataclass
class Growing:
    """Counts, while they grow. Only good answers are timed: a fast 500 makes nothing faster."""

    requests: int = 0
    errors: int = 0
    latency: dict[int, int] = field(default_factory=dict)
    kinds: dict[int, int] = field(default_factory=dict)

    def add(self, meaning: Meaning, bucket: int | None, kind: int | None) -> None:
        """Count one answer, or one that a client did not wait for."""
        self.requests += meaning.answered
        if meaning.failed:
            self.errors += 1
        elif bucket is not None:
            self.latency[bucket] = self.latency.get(bucket, 0) + 1
        if kind is not None:
            self.kinds[kind] = self.kinds.get(kind, 0) + 1

    def merge(self, cell: Cell) -> None:
        """Count all answers of a cell."""
        self.requests += cell.requests if cell.meaning.answered else 0
        if cell.meaning.failed:
            self.errors += cell.requests
        for bucket, count in cell.latency.items():
            self.latency[bucket] = self.latency.get(bucket, 0) + count
        for kind, count in cell.kinds.items():
            self.kinds[kind] = self.kinds.get(kind, 0) + count

    def counts(self) -> Counts:
        """Return the numbers."""
        return Counts(self.requests, self.errors, _listed(self.latency), _listed(self.kinds))


def _listed(numbers: dict[int, int]) -> tuple[int, ...]:
    return tuple(numbers.get(place, 0) for place in range(max(numbers, default=-1) + 1))


class Cell:
    """Answers that mean the same."""

    __slots__ = ("kind", "kinds", "latency", "meaning", "requests", "sized", "thrown", "timed", "unit")

    def __init__(self, meaning: Meaning) -> None:
        self.meaning = meaning
        self.unit = meaning.unit
        self.timed = not meaning.failed
        self.kind, self.sized = meaning.kind, meaning.sized
        self.requests = 0
        self.thrown = 0  # those of them that had a throw of their own: no client that keeps its side
        self.latency: dict[int, int] = {}
        self.kinds: dict[int, int] = {}


class Pair:
    """Coins of one probability, while they grow."""

    def __init__(self) -> None:
        self.stable, self.candidate = Growing(), Growing()
        self.first: dict[str, dict[int, int]] = {"stable": {}, "candidate": {}}  # by kind, FAILURE among them

    def of(self, which: Which) -> Growing:
        """Return the side."""
        return self.candidate if which == "candidate" else self.stable

    def coins(self, p: float) -> Coins:
        """Return the numbers."""
        stable, candidate = self.first["stable"], self.first["candidate"]
        errors = stable.pop(FAILURE, 0), candidate.pop(FAILURE, 0)
        return Coins(p, self.stable.counts(), self.candidate.counts(), errors, (_listed(stable), _listed(candidate)))


# By route (None for all of them) and probability
Throws = defaultdict[tuple[int | None, float], Pair]


class RequestCounter:
    """Counts lines of one service, as one reader or several give them."""

    def __init__(self, service: str) -> None:
        self._service = service.encode()
        self._lock = threading.Lock()
        self._heads: dict[bytes, Cell | None] = {}  # None: of another service, or says nothing about a release
        self._cells: dict[Meaning, Cell] = {}
        self._throws: Throws = defaultdict(Pair)
        self._clients: dict[int | None, ClientTracker] = {}
        self._addresses: Addresses | None = None
        self._rollout = 0
        self._ended: set[bytes] = set()  # live values whose share was seen to be over
        self._lost = self._few = 0
        self._came: Counter[tuple[bytes, bytes]] = Counter()  # by first part, and whether a side came with it

    def feed(self, lines: Iterable[bytes]) -> None:
        """Count lines as the proxy wrote them."""
        with self._lock:
            heads = self._heads
            for line in lines:
                try:
                    head, roll, rest, headers, size = line.rsplit(b" ", _TAIL)
                except ValueError:
                    head = roll = b""  # no line of a request
                try:
                    cell = heads[head]
                except KeyError:
                    cell = self._meet(head, line)
                roll, _, address = roll.partition(b",")
                if b"," in address:  # of a chain
                    address, _, carried = address.partition(b",")
                    self._came[head, carried] += 1
                if cell is None:
                    continue
                kind = cell.kind
                if cell.sized and headers.isdigit() and size.isdigit() and len(size) < _LONGEST > len(headers):
                    body = int(size) - int(headers) - _STATUS_LINE
                    kind = _KINDS[body.bit_length() if body > 0 else 0]
                if not self._may_count(cell.meaning, address, kind):
                    self._few += cell.meaning.failed
                    self._client(cell.meaning, roll, address, None, None, counts=False)
                    continue
                if kind == CUT and not self._counts_later(cell.meaning, address, CUT):
                    kind = None  # the headers said which release answers, on the first response too
                cell.requests += 1
                bucket = None
                if cell.timed and rest.isdigit() and len(rest) < _LONGEST:
                    bucket = latency_bucket(int(rest) * cell.unit)
                    cell.latency[bucket] = cell.latency.get(bucket, 0) + 1
                if kind is not None:
                    cell.kinds[kind] = cell.kinds.get(kind, 0) + 1
                if roll == b"-":
                    cell.thrown += 1
                else:
                    self._client(cell.meaning, roll, address, bucket, kind)

    def miss(self, lines: int) -> None:
        """Count lines that are known to be missing."""
        with self._lock:
            self._lost += lines

    def take(self, share: int) -> Sample:
        """Return what was counted since the last call."""
        with self._lock:
            cells, throws, lost, few = list(self._cells.values()), self._throws, self._lost, self._few
            came, self._came = self._came, Counter()
            self._heads, self._cells, self._throws, self._lost, self._few = {}, {}, defaultdict(Pair), 0, 0
        arrived = sum((_arrived(self._service, *key).times(n) for key, n in came.items()), Arrived())
        return replace(_sample(cells, throws, share, lost), few=few, arrived=arrived)

    def _meet(self, head: bytes, line: bytes) -> Cell | None:
        """Read a first part that was not seen since the last look."""
        facts = head.split(b" ")
        if len(facts) != _FACTS:
            if dropped := _DROPPED.search(line):
                self._lost += int(dropped[1])
            return None
        if facts[0] == self._service and facts[3] == b"ended" and facts[2] not in self._ended:
            # From here on nobody gets the candidate by this value, so what stable answers was not left to chance.
            self._ended = {facts[2], *list(self._ended)[:_MOST_ENDED]}
            self._heads.clear()
        if len(self._heads) >= _MOST_HEADS:
            self._heads.clear()
        meaning = meant(facts, ended=facts[2] in self._ended) if facts[0] == self._service else None
        cell = None if meaning is None else self._cells.setdefault(meaning, Cell(meaning))
        self._heads[head] = cell
        return cell

    def _may_count(self, meaning: Meaning, address: bytes, kind: int | None) -> bool:
        """Return whether an answer may be evidence: a few addresses may not give most of the failures, or of a kind."""
        if meaning.rollout > self._rollout:  # clients and addresses of the next one have nothing to do with these
            self._rollout, self._addresses = meaning.rollout, None
            self._clients.clear()
        number = address_number(address)
        if number is None or not meaning.share or meaning.rollout < self._rollout:
            return True
        if self._addresses is None:
            self._addresses = Addresses()
        # To leave out what was cut short, on a side that was known by then, would be fewer good responses of that side.
        page = kind is None or kind > EMPTY or kind == CUT
        return self._addresses.answer(number, FAILURE if meaning.failed else None if page else kind)

    def _counts_later(self, meaning: Meaning, address: bytes, kind: int) -> bool:
        """Return whether a response counts whose client knew its side, and could have brought it about by choice.

        Not where stable failed the same request; where stable answered it, nobody can bring that about on an equal one.
        """
        if meaning.rollout < self._rollout or (meaning.which == "candidate" and meaning.twice):
            return False
        number = address_number(address)
        if meaning.which == "rest" or number is None or self._addresses is None:
            return True
        return self._addresses.later(number, kind, asked=meaning.which == "stable" or meaning.shielded)

    def _client(
        self,
        meaning: Meaning,
        text: bytes,
        address: bytes,
        bucket: int | None,
        kind: int | None,
        *,
        counts: bool = True,
    ) -> None:
        """See whether the answer of a client that keeps its side is news: once for all, once for its route."""
        roll = number_of(text)
        if roll is None or not meaning.share or meaning.rollout < self._rollout:
            return
        counts &= meaning.which != "rest"
        what = (FAILURE if meaning.failed else kind) if counts else None
        known: bool | None = None
        for route in (None,) if meaning.route is None else (None, meaning.route):
            if route not in self._clients:
                self._clients[route] = ClientTracker()
            clients = self._clients[route]
            p = clients.coin(roll, meaning.share, meaning.baseline)
            if p is not None and counts:
                self._throws[route, p].of(meaning.which).add(meaning, bucket, kind)
            if known is None:  # a client did not know its side before its first answer, whatever its route
                known = p is None
                if what is not None and what != CUT and known and not self._counts_later(meaning, address, what):
                    what = None
            if what is not None:
                p = clients.first_of_kind(roll, what, meaning.share, meaning.baseline)
                if p is not None:
                    first = self._throws[route, p].first[meaning.which]
                    first[what] = first.get(what, 0) + 1


def meant(facts: list[bytes], *, ended: bool = False) -> Meaning | None:
    """Read the first part of a line; None where it says nothing about a release."""
    _, side, value, how, route, status, end, retries = facts
    if value == b"-" or how in (b"forced", b"preview"):
        return None
    failed = outcome(status, end)
    # The shield repeats a request for no other reason than that the candidate failed it.
    repeated = how == b"shield" and side not in (b"-", b"baseline") and retries.lstrip(b"+") != b"0"
    rescued = repeated or how == GONE.encode()
    left = failed is None and not rescued and _left(status, end)
    if failed is None and not rescued and not left:
        return None
    try:
        live = live_value.decode("a line", value.decode(errors="replace"))
    except DriverFailed:
        return None  # of somebody who wrote into our map; `Traffic.read` says so
    bad = rescued or bool(failed)
    code = int(status) if status.isdigit() and not bad else 0
    cut = code >= 200 and end[:1] in b"Cc" and end[1:2] == b"D"
    return Meaning(
        _which(side, live.baseline),
        failed=bad,
        shielded=rescued and failed is False,
        route=int(route) if route.isdigit() else None,
        rollout=live.rollout,
        share=0 if ended else live.share,
        baseline=live.baseline,
        unit=1.0 if status == b"tcp" else 0.001,
        kind=LEFT if left else CUT if cut else of_status(code),
        sized=200 <= code < 300 and not cut,
        answered=not left,
        twice=repeated and bool(failed),
    )


def _arrived(service: bytes, head: bytes, carried: bytes) -> Arrived:
    """Return how a request came to a service; nothing of one that chose its side, and did not have to bring any."""
    facts = head.split(b" ")
    if len(facts) != _FACTS or facts[0] != service:
        return Arrived()
    if carried == LOST.encode():
        return Arrived(without=1)
    if carried != SIDE.encode() or facts[3] in (b"forced", b"preview"):
        return Arrived()
    return Arrived(stable=1) if facts[1] in (b"-", b"baseline") else Arrived(candidate=1)


def outcome(status: bytes, end: bytes) -> bool | None:
    """Return whether the release failed the request; None for one that says nothing about it.

    `end` is HAProxy's termination state: who ended it (C and c the client, S and s the server, L the proxy itself,
    - nobody) and when (R request, Q queue, C connect, H headers, D data).
    """
    who, when = end[:1], end[1:2]
    if who == b"L" or when == b"R":
        return None  # a redirect or a refusal by the proxy: no instance was asked
    if status == b"tcp":
        return None if who in b"Cc" and when != b"D" else when == b"C"
    if not _STATUS.fullmatch(status):
        return None  # a line that was cut
    code = int(status)
    if who in b"Cc" and when != b"D":
        return None  # the client left before there was an answer
    cut = who in b"Ss" and when == b"D" and code != 101
    return code >= 500 or code < 100 or cut


def _left(status: bytes, end: bytes) -> bool:
    """Return whether a client left while it waited: in the queue, for a connection, for the headers."""
    return status != b"tcp" and end[:1] in (b"C", b"c") and end[1:2] in (b"Q", b"C", b"H")


def _which(side: bytes, baseline: int) -> Which:
    if side == b"baseline":
        return "stable"
    if side != b"-":
        return "candidate"
    return "rest" if baseline else "stable"


def _sample(cells: list[Cell], throws: Throws, share: int, lost: int) -> Sample:
    sides: dict[Which, Growing] = {"stable": Growing(), "candidate": Growing(), "rest": Growing()}
    for cell in cells:
        meaning = cell.meaning
        sides[meaning.which].merge(cell)
        # All or nothing: a service that becomes sticky may have answers of both kinds, for a moment.
        if cell.thrown == cell.requests and meaning.which != "rest" and 0 < meaning.p < 1:
            for route in (None,) if meaning.route is None else (None, meaning.route):
                throws[route, meaning.p].of(meaning.which).merge(cell)
    routes = sorted({route for route, _ in throws if route is not None})
    return Sample(
        sides["stable"].counts(),
        sides["candidate"].counts(),
        share,
        lost,
        tuple(_coins(throws, None)),
        tuple((route, tuple(_coins(throws, route))) for route in routes),
        sides["rest"].counts(),
        sum(cell.requests for cell in cells if cell.meaning.shielded),
    )


def _coins(throws: Throws, route: int | None) -> Iterator[Coins]:
    for (of, p), pair in sorted(throws.items(), key=lambda item: item[0][1]):
        if of == route:
            yield pair.coins(p)
