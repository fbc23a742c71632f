"""What the watches of a rollout tell afterwards, and what the candidate has cost."""

from __future__ import annotations

from typing import Any

import pytest

from deployer.core.events import Event
from deployer.views.watches import Bill, bill, budget, watches, with_shares


def verdict(share: int, errors: int, *, shielded: int = 0, spent: int = 0, limit: int = 50) -> dict[str, Any]:
    candidate = {"requests": 100, "errors": errors, "p50": 12.0, "p95": 30.0, "p99": 48.0}
    watched = {"seconds": 8.0, "share_target": share, "candidate": candidate, "shielded": shielded}
    told = {"event": "verdict", "at": 108.0, "verdict": "no worse", "text": "fine", "evidence": 0.2}
    return {**told, "watched": {**watched, "spent": spent, "budget": limit}}


def test_a_watch_has_its_time_its_sides_and_its_values() -> None:
    (watch,) = watches([{"event": "note"}, verdict(1000, 3)])

    assert (watch.share, watch.at, watch.seconds, watch.verdict) == (1000, 100.0, 8.0, "no worse")
    assert (watch.candidate.errors, watch.candidate.p95, watch.stable.requests) == (3, 30.0, 0)
    assert watch.values == {"evidence": 0.2}


def test_verdicts_of_before_told_no_counts() -> None:
    assert watches([{"event": "verdict", "at": 1.0, "verdict": "worse", "text": "x"}]) == ()


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([], None),
        ([{"event": "traffic.changed", "share": 1000, "budget": 50}], None),
        ([verdict(1000, 3, shielded=2)], Bill(1, 50, 2)),
        ([verdict(1000, 3, spent=3), verdict(5000, 4, spent=7)], Bill(7, 50, 0)),
        ([verdict(1000, 3, spent=3), verdict(5000, 4, spent=9)], Bill(9, 50, 0)),  # the stream has lost two
        ([verdict(1000, 3, spent=1)], Bill(3, 50, 0)),  # the count was read before the last answers
        ([{"event": "budget.spent", "spent": 52, "limit": 50}], Bill(52, 50, 0)),
        ([verdict(1000, 3, spent=3, limit=0)], Bill(3, 0, 0)),
    ],
)
def test_neither_what_the_proxy_counted_nor_what_was_seen_is_forgotten(
    events: list[dict[str, Any]], told: Bill | None
) -> None:
    assert bill(events) == told


def test_the_limit_is_the_highest_that_was_written() -> None:
    events = [{"event": "traffic.changed", "budget": 50}, verdict(1000, 0, limit=61), {"event": "traffic.changed"}]

    assert budget(events) == 61


def test_a_promoted_candidate_has_everybody() -> None:
    told = [
        Event("step.began", 1.0, "shop", 1, {"step": "share"}),
        Event("traffic.changed", 1.0, "shop", 1, {"share": 1000}),
        Event("step.began", 2.0, "shop", 1, {"step": "promote"}),
        Event("traffic.changed", 2.0, "shop", 1, {"share": 0}),
        Event("note", 3.0, "shop", 1, {}),
    ]

    assert [share for _, share in with_shares(told)] == [0, 1000, 1000, 10000, 10000]


def test_a_candidate_that_was_taken_back_has_nobody() -> None:
    told = [
        Event("traffic.changed", 1.0, "shop", 1, {"share": 1000}),
        Event("step.began", 2.0, "shop", 1, {"step": "share"}),
        Event("traffic.changed", 2.0, "shop", 1, {"share": 0}),
    ]

    assert [share for _, share in with_shares(told)] == [1000, 1000, 0]
