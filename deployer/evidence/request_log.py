"""Plain logs of requests, one a line, from whatever tool: read as a recording, so that a policy can judge them.

JSON lines or CSV with a header line, with the fields of `FIELDS` (docs/report.md). Each request counts as one coin of
its own, thrown with the share of its line: a log of sticky clients needs a column `client`, whose first answer at a
share is then the one that counts.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, groupby, pairwise
from pathlib import Path
from typing import Any

from deployer.core.errors import Refused
from deployer.core.response_kinds import of_status
from deployer.evidence.recording import Looked, Mark, RecordedDrive, RecordedStep
from deployer.model import FULL, Coins, Counts, Sample, latency_bucket

FIELDS = ("time", "side", "status", "error", "ms", "share", "client")
LOOK = 0.25  # seconds of requests that are looked at together, as a deploy does it
NEEDED = "each line needs time, side (stable or candidate), share (percent), status or error, and may have ms, client"


@dataclass(frozen=True)
class LoggedRequest:
    """One line: Unix seconds, the side, whether it was bad, its milliseconds (None: not timed), share in bp."""

    at: float
    candidate: bool
    error: bool
    ms: float | None
    share: int
    client: str = ""
    kind: int | None = None


@dataclass(frozen=True)
class RequestLog:
    """A log of requests on disk, given as marks of a recording; going through it may be done again."""

    path: Path

    @property
    def header(self) -> Mapping[str, Any]:
        """What is known of it: that its times are those of the world."""
        return {"service": self.path.stem, "monotonic": 0.0, "started_at": 0.0, "sticky": self.sticky, "routes": []}

    @property
    def sticky(self) -> bool:
        """Return whether the log names clients."""
        first = next(self._requests(), None)
        return first is not None and first.client != ""

    def __iter__(self) -> Iterator[Mark]:
        """Yield a Drive, and a Watching wherever the share changes, as if each were watched as long as needed."""
        shares = [share for share, _ in groupby(r.share for r in self._requests())]
        following = iter([after or FULL for _, after in pairwise(shares)] + [FULL])  # none follows one that ends at 0
        yield RecordedDrive(self.header)
        sides = _Sides(self.sticky)
        for share, requests in groupby(self._requests(), key=lambda r: r.share):
            yield from _watched(RecordedStep(share, next(following), 0.0), requests, sides)

    def _requests(self) -> Iterator[LoggedRequest]:
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as lines:
                for number, row in _rows(lines):
                    try:
                        yield _request(row)
                    except (KeyError, ValueError, TypeError, OverflowError) as error:
                        raise Refused(f"{self.path}:{number}: not a request: {_told(error)}", NEEDED) from None
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise Refused(f"{self.path} cannot be read: {error}", NEEDED) from None


def is_log(path: Path) -> bool:
    """Return whether a file is a log of requests rather than a recording, by its first line."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as lines:
            first = lines.readline(65536).strip()
    except OSError:
        return False  # whoever opens it next says why
    if first.startswith("{"):
        try:
            return "time" in json.loads(first)
        except (ValueError, RecursionError):
            return False
    return "time" in [name.strip() for name in first.split(",")]


class _Sides:
    """Finds the coins of a log: each request, or of each client its first answer at a share."""

    def __init__(self, sticky: bool) -> None:
        self._sticky = sticky
        self._highest: dict[str, int] = {}  # by client: the highest share at which it was seen
        self._on_candidate: set[str] = set()
        self._failed: set[str] = set()
        self._had: set[tuple[str, int]] = set()  # clients, and the kinds of responses that they had

    def sample(self, requests: list[LoggedRequest], share: int) -> Sample:
        """Count what was answered under one share."""
        both = _counts([r for r in requests if not r.candidate]), _counts([r for r in requests if r.candidate])
        if not self._sticky:
            coins = (Coins(share / FULL, *both),) if 0 < share < FULL else ()
            return Sample(*both, share, coins=coins)
        return Sample(*both, share, coins=self._first_answers(requests, share))

    def _first_answers(self, requests: list[LoggedRequest], share: int) -> tuple[Coins, ...]:
        tossed: dict[float, list[LoggedRequest]] = {}
        failed: list[tuple[float, bool]] = []
        had: tuple[list[int], list[int]] = [], []  # of stable, of the candidate
        for request in requests:
            before = self._highest.get(request.client, 0)
            p = (share - before) / (FULL - before) if before < FULL else 0.0
            if before < share and request.client not in self._on_candidate and 0 < p < 1:
                tossed.setdefault(p, []).append(request)
            if request.error and request.client not in self._failed:
                self._failed.add(request.client)
                failed.append((share / FULL, request.candidate))
            if request.kind is not None and (request.client, request.kind) not in self._had:
                self._had.add((request.client, request.kind))
                had[request.candidate].append(request.kind)
            self._highest[request.client] = max(before, share)
            if request.candidate:
                self._on_candidate.add(request.client)
        firsts = dict.fromkeys(tossed, (0, 0))
        for p, candidate in failed:
            stable_errors, candidate_errors = firsts.get(p, (0, 0))
            firsts[p] = (stable_errors + (not candidate), candidate_errors + candidate)
        if any(had):
            firsts.setdefault(share / FULL, (0, 0))
        kinds = _listed(had[0]), _listed(had[1])
        return tuple(
            _coins(p, tossed.get(p, []), firsts[p], kinds if p == share / FULL else ((), ()))
            for p in sorted(firsts)
            if 0 < p < 1
        )


def _coins(
    p: float,
    requests: list[LoggedRequest],
    first_errors: tuple[int, int],
    first_kinds: tuple[tuple[int, ...], tuple[int, ...]],
) -> Coins:
    stable, candidate = [r for r in requests if not r.candidate], [r for r in requests if r.candidate]
    return Coins(p, _counts(stable), _counts(candidate), first_errors, first_kinds)


def _watched(watching: RecordedStep, requests: Iterator[LoggedRequest], sides: _Sides) -> Iterator[Mark]:
    first = next(requests)
    yield replace(watching, at=first.at)
    yield from _looks(chain([first], requests), watching.share, sides)


def _looks(requests: Iterable[LoggedRequest], share: int, sides: _Sides) -> Iterator[Looked]:
    waiting: list[LoggedRequest] = []
    end = -math.inf
    for request in requests:
        if request.at >= end and waiting:
            yield Looked(sides.sample(waiting, share), end)
            waiting = []
        if not waiting:
            end = max(request.at + LOOK, end)  # the log may go back a little; looks must not
        waiting.append(request)
    if waiting:
        yield Looked(sides.sample(waiting, share), end)


def _counts(requests: list[LoggedRequest]) -> Counts:
    buckets = [latency_bucket(r.ms) for r in requests if r.ms is not None and not r.error]
    latency = [0] * (max(buckets, default=-1) + 1)
    for bucket in buckets:
        latency[bucket] += 1
    kinds = _listed([r.kind for r in requests if r.kind is not None])
    return Counts(len(requests), sum(r.error for r in requests), tuple(latency), kinds)


def _listed(kinds: list[int]) -> tuple[int, ...]:
    return tuple(map(kinds.count, range(max(kinds, default=-1) + 1)))


def _rows(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows with their line numbers; the first line tells JSON from CSV."""
    iterator = iter(lines)
    first = next(iterator, "")
    if not first.lstrip().startswith("{"):
        names = [name.strip() for name in next(csv.reader([first]), [])]
        rows = csv.DictReader(iterator, fieldnames=names, skipinitialspace=True)
        yield from ((rows.line_num + 1, {k: v for k, v in row.items() if v}) for row in rows)
        return
    for number, line in enumerate(chain([first], iterator), 1):
        if line.strip():
            yield number, _object(line)


def _object(line: str) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return {"": line}  # refused with its line number, as what lacks everything
    return data if isinstance(data, dict) else {"": line}


def _request(row: Mapping[str, Any]) -> LoggedRequest:
    side = str(row["side"]).strip()
    if side not in ("stable", "candidate"):
        raise ValueError(f"side is {side!r}; it must be stable or candidate")
    share = round(float(str(row["share"]).rstrip("% ")) * 100)
    if not 0 <= share <= FULL:
        raise ValueError(f"share is {row['share']}; it must be a percentage from 0 to 100")
    ms = float(row["ms"]) if row.get("ms") not in (None, "", "-") else None
    if ms is not None and not 0 <= ms < math.inf:
        raise ValueError(f"ms is {row['ms']}; it must be milliseconds")
    error, client = _is_error(row), str(row.get("client", ""))
    status = str(row.get("status", ""))
    kind = of_status(int(status)) if status.isdigit() and not error else None
    return LoggedRequest(_time(row["time"]), side == "candidate", error, ms, share, client, kind)


def _is_error(row: Mapping[str, Any]) -> bool:
    given = row.get("error")
    if given is None:
        status = int(row["status"])
        return status >= 500 or status < 100  # -1 and 0 stand for no answer in many tools
    if str(given).lower() in ("true", "1"):
        return True
    if str(given).lower() in ("false", "0"):
        return False
    raise ValueError(f"error is {given!r}; it must be true or false")


def _time(given: Any) -> float:
    try:
        at = float(given)
    except ValueError:
        at = datetime.fromisoformat(str(given)).timestamp()
    if not math.isfinite(at):
        raise ValueError(f"time is {given}")
    return at


def _told(error: Exception) -> str:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
