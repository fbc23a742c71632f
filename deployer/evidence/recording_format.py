"""Samples as compact plain data: what is empty is left out, and so are coins that are all of their side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple
from itertools import chain
from typing import Any

from deployer.core.response_kinds import NUMBER
from deployer.model import LATENCY_BOUNDS, Arrived, Coins, Counts, Sample, Waiting

MOST = 10**12  # requests in one look


def is_empty(sample: Sample) -> bool:
    """Return whether nothing had been answered."""
    sides = sample.stable.requests + sample.candidate.requests + sample.rest.requests
    return not (sides or sample.waiting or sample.lost or sample.shielded or sample.coins or sample.routes)


def packed(sample: Sample) -> dict[str, Any]:
    """Return a sample as plain data; `unpacked` makes the same sample of it."""
    data: dict[str, Any] = {
        "share": sample.share,
        "stable": _side(sample.stable),
        "candidate": _side(sample.candidate),
        "lost": sample.lost,
        "coins": [_coins(c, sample.stable, sample.candidate) for c in sample.coins],
        "routes": [[n, [_coins(c, Counts(), Counts()) for c in coins]] for n, coins in sample.routes],
        "rest": _side(sample.rest),
        "shielded": sample.shielded,
        "waiting": [sample.waiting.p, sample.waiting.stable, sample.waiting.candidate] if sample.waiting else [],
        "few": sample.few,
        "arrived": [*astuple(sample.arrived)] if sample.arrived.all else [],
    }
    return {key: value for key, value in data.items() if value or key == "share"}


def unpacked(data: Mapping[str, Any]) -> Sample:
    """Make a sample of what `packed` gave. Raises KeyError, TypeError or ValueError for anything else."""
    stable, candidate = _counts(data.get("stable", ())), _counts(data.get("candidate", ()))
    return Sample(
        stable,
        candidate,
        int(data["share"]),
        lost=int(data.get("lost", 0)),
        coins=tuple(_coins_of(c, stable, candidate) for c in data.get("coins", ())),
        routes=tuple(
            (int(n), tuple(_coins_of(c, Counts(), Counts()) for c in coins)) for n, coins in data.get("routes", ())
        ),
        rest=_counts(data.get("rest", ())),
        shielded=int(data.get("shielded", 0)),
        waiting=_waiting(data["waiting"]) if "waiting" in data else None,
        few=int(data.get("few", 0)),
        arrived=_arrived(data["arrived"]) if "arrived" in data else Arrived(),
    )


def _waiting(data: Any) -> Waiting:
    p, stable, candidate = data
    if not 0 < float(p) <= 1 or not 0 <= int(stable) < MOST or not 0 <= int(candidate) < MOST:
        raise ValueError(f"{data!r} requests cannot wait")
    return Waiting(float(p), int(stable), int(candidate))


def _arrived(data: Any) -> Arrived:
    stable, candidate, without = map(int, data)
    if not all(0 <= number < MOST for number in (stable, candidate, without)):
        raise ValueError(f"{data!r} requests cannot arrive")
    return Arrived(stable, candidate, without)


def _side(counts: Counts) -> list[Any]:
    """Return [requests, errors, [bucket, count, bucket, count, …], [kind, count, …]].

    Kinds are left out if there are none; a side that has no responses is empty.
    """
    if not counts.requests and not any(counts.latency):
        return []
    kinds = _flat(counts.kinds)
    return [counts.requests, counts.errors, _flat(counts.latency), *([kinds] if kinds else [])]


def _flat(numbers: tuple[int, ...]) -> list[int]:
    return list(chain.from_iterable((place, count) for place, count in enumerate(numbers) if count))


def _counts(data: Any) -> Counts:
    if not data:
        return Counts()
    requests, errors, latency, *kinds = data
    if not 0 <= int(errors) <= int(requests) < MOST:
        raise ValueError(f"{errors!r} errors of {requests!r} requests cannot be")
    if len(kinds) > 1:
        raise ValueError("more than four parts")
    of_kinds = _filled(kinds[0], NUMBER, "a kind") if kinds else ()
    return Counts(int(requests), int(errors), _filled(latency, len(LATENCY_BOUNDS), "a latency"), of_kinds)


def _filled(flat: Any, places: int, what: str) -> tuple[int, ...]:
    pairs = list(zip(flat[::2], flat[1::2], strict=True))
    if any(not 0 <= place < places for place, _ in pairs):
        raise ValueError(f"{what} beyond the last bucket")
    if any(not 0 <= int(count) < MOST for _, count in pairs):
        raise ValueError("a count that cannot be")
    numbers = [0] * (max((place for place, _ in pairs), default=-1) + 1)
    for place, count in pairs:
        numbers[place] = int(count)
    return tuple(numbers)


def _coins(coins: Coins, stable: Counts, candidate: Counts) -> dict[str, Any]:
    data: dict[str, Any] = {"p": coins.p}
    for name, mine, whole in (("stable", coins.stable, stable), ("candidate", coins.candidate, candidate)):
        if _side(mine) != _side(whole):
            data[name] = _side(mine)
    if any(coins.first_errors):
        data["first_errors"] = list(coins.first_errors)
    if any(coins.first_kinds):
        data["first_kinds"] = [_flat(kinds) for kinds in coins.first_kinds]
    return data


def _coins_of(data: Mapping[str, Any], stable: Counts, candidate: Counts) -> Coins:
    first, second = data.get("first_errors", (0, 0))
    of_stable, of_candidate = data.get("first_kinds", ((), ()))
    if not 0 < float(data["p"]) <= 1 or not 0 <= int(first) < MOST or not 0 <= int(second) < MOST:
        raise ValueError(f"a coin with probability {data['p']!r} and first errors {first!r}, {second!r} cannot be")
    return Coins(
        float(data["p"]),
        _counts(data["stable"]) if "stable" in data else stable,
        _counts(data["candidate"]) if "candidate" in data else candidate,
        (int(first), int(second)),
        (_filled(of_stable, NUMBER, "a kind"), _filled(of_candidate, NUMBER, "a kind")),
    )
