"""Samples as compact plain data: what is empty is left out, and so are coins that are all of their side."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from deployer.model import LATENCY_BOUNDS, Coins, Counts, Sample

MOST = 10**12  # requests in one look


def is_empty(sample: Sample) -> bool:
    """Tell whether nothing had been answered."""
    sides = sample.stable.requests + sample.candidate.requests + sample.rest.requests
    return not (sides or sample.lost or sample.shielded or sample.coins or sample.routes)


def packed(sample: Sample) -> dict[str, Any]:
    """Give a sample as plain data; `unpacked` makes the same sample of it."""
    data: dict[str, Any] = {
        "share": sample.share,
        "stable": _side(sample.stable),
        "candidate": _side(sample.candidate),
        "lost": sample.lost,
        "coins": [_coins(c, sample.stable, sample.candidate) for c in sample.coins],
        "routes": [[n, [_coins(c, Counts(), Counts()) for c in coins]] for n, coins in sample.routes],
        "rest": _side(sample.rest),
        "shielded": sample.shielded,
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
    )


def _side(counts: Counts) -> list[Any]:
    """Give [requests, errors, [bucket, count, bucket, count, …]]; nothing for a side that answered nothing."""
    if not counts.requests and not any(counts.latency):
        return []
    filled = ((bucket, count) for bucket, count in enumerate(counts.latency) if count)
    return [counts.requests, counts.errors, list(chain.from_iterable(filled))]


def _counts(data: Any) -> Counts:
    if not data:
        return Counts()
    requests, errors, flat = data
    if not 0 <= int(errors) <= int(requests) < MOST:
        raise ValueError(f"{errors!r} errors of {requests!r} requests cannot be")
    pairs = list(zip(flat[::2], flat[1::2], strict=True))
    if any(not 0 <= bucket < len(LATENCY_BOUNDS) for bucket, _ in pairs):
        raise ValueError("a latency beyond the last bucket")
    if any(not 0 <= int(count) < MOST for _, count in pairs):
        raise ValueError("a count that cannot be")
    latency = [0] * (max((bucket for bucket, _ in pairs), default=-1) + 1)
    for bucket, count in pairs:
        latency[bucket] = int(count)
    return Counts(int(requests), int(errors), tuple(latency))


def _coins(coins: Coins, stable: Counts, candidate: Counts) -> dict[str, Any]:
    data: dict[str, Any] = {"p": coins.p}
    for name, mine, whole in (("stable", coins.stable, stable), ("candidate", coins.candidate, candidate)):
        if _side(mine) != _side(whole):
            data[name] = _side(mine)
    if any(coins.first_errors):
        data["first_errors"] = list(coins.first_errors)
    return data


def _coins_of(data: Mapping[str, Any], stable: Counts, candidate: Counts) -> Coins:
    first, second = data.get("first_errors", (0, 0))
    if not 0 < float(data["p"]) <= 1 or not 0 <= int(first) < MOST or not 0 <= int(second) < MOST:
        raise ValueError(f"a coin with probability {data['p']!r} and first errors {first!r}, {second!r} cannot be")
    return Coins(
        float(data["p"]),
        _counts(data["stable"]) if "stable" in data else stable,
        _counts(data["candidate"]) if "candidate" in data else candidate,
        (int(first), int(second)),
    )
