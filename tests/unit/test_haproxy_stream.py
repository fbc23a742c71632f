"""What a line of the request stream says about a release."""

from __future__ import annotations

import pytest

from deployer.drivers.traffic.haproxy.master import complaints
from deployer.drivers.traffic.haproxy.stream import Tally, outcome


@pytest.mark.parametrize(
    ("status", "end", "failed"),
    [
        ("200", "--", False),
        ("404", "--", False),
        ("500", "--", True),
        ("503", "SC", True),  # no server was reached
        ("502", "SH", True),  # the server closed before it answered
        ("502", "PH", True),  # its answer was no HTTP
        ("504", "sH", True),  # it took too long
        ("200", "SD", True),  # it closed in the middle of its answer
        ("101", "SD", False),  # a WebSocket that the server closed
        ("101", "--", False),
        ("200", "CD", False),  # the client had an answer, and left
        ("500", "CD", True),
        ("400", "CH", None),  # the client left before
        ("-1", "CC", None),
        ("408", "cR", None),
        ("400", "PR", None),
        ("308", "LR", None),  # the proxy's own redirect
        ("tcp", "--", False),
        ("tcp", "CD", False),
        ("tcp", "SC", True),
        ("tcp", "sC", True),
        ("tcp", "CC", None),
    ],
)
def test_who_is_to_blame(status: str, end: str, failed: bool | None) -> None:
    assert outcome(status.encode(), end.encode()) is failed


def test_lines_are_counted_on_their_side() -> None:
    tally = Tally("shop")
    tally.feed(
        [
            b"shop blue blue 500 split 200 -- 0 1500",
            b"shop green blue 500 split 200 -- 0 3000",
            b"shop green blue 500 split 500 -- 0 10",
            b"shop blue green 500 split 200 -- +1 1500",  # after a promotion blue is the candidate
            b"shop green blue 500 forced 500 -- 0 10",
            b"shop green blue 500 preview 500 -- 0 10",
            b"shop - - - - 404 LR 0 0",
            b"shop2 green blue 500 split 500 -- 0 10",
            b"- - - - - 400 PR 0 -",
            b"17 events dropped",
            b"1 event was dropped",
            b"",
        ]
    )
    sample = tally.take(500)
    assert (sample.stable.requests, sample.stable.errors) == (1, 0)
    assert (sample.candidate.requests, sample.candidate.errors) == (3, 1)
    assert sample.share == 500
    assert sample.lost == 18
    median = sample.stable.quantile(0.5)
    assert median is not None
    assert 1.5 <= median < 1.6
    assert sum(sample.candidate.latency) == 2, "only good answers are timed"
    assert tally.take(0).candidate.requests == 0


def test_memory_does_not_grow() -> None:
    tally = Tally("shop")
    for us in (1, 999_999_999, 250):
        tally.feed([b"shop blue blue 500 split 200 -- 0 %d" % us] * 1000)
    sample = tally.take(0)
    assert sample.stable.requests == 3000
    assert sum(sample.stable.latency) == 3000


def test_complaints_are_what_haproxy_says_is_wrong() -> None:
    said = (
        "[NOTICE]   (17) : haproxy version is 3.0.11\n"
        "[ALERT]    (17) : config : parsing [haproxy.cfg:9] : unknown keyword 'x' in 'frontend' section\n"
        "[ALERT]    (17) : config : Error(s) found in configuration file : haproxy.cfg\n"
        "[ALERT]    (17) : config : Fatal errors found in configuration.\n"
    )
    assert complaints(said) == ("config : parsing [haproxy.cfg:9] : unknown keyword 'x' in 'frontend' section",)
