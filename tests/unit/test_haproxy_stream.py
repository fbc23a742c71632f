"""What a line of the request stream says about a release."""

from __future__ import annotations

import tracemalloc

import pytest

from deployer.core.response_kinds import FEATURES, LEFT
from deployer.drivers.traffic.haproxy.master import complaints
from deployer.drivers.traffic.haproxy.request_counter import RequestCounter, outcome
from deployer.model import Coins, Counts, Sample, latency_bucket


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
        ("400", "CD", False),  # the client did not wait for an answer: how long it waited is a time like others
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
        ("50\xe20", "--", None),  # damaged on its way
        ("5\t0", "--", None),
        ("", "--", None),
    ],
)
def test_who_is_to_blame(status: str, end: str, failed: bool | None) -> None:
    assert outcome(status.encode(), end.encode()) is failed


BLUE = b"blue,500,0,7,0,0,0,0"  # stable on blue, a share of 5%, rollout 7


def line(
    side: bytes = b"-",
    status: bytes = b"200",
    *,
    value: bytes = BLUE,
    how: bytes = b"-",
    route: bytes = b"-",
    end: bytes = b"--",
    retries: bytes = b"0",
    roll: bytes | int = b"-",
    us: bytes | int = 1500,
    service: bytes = b"shop",
    headers: bytes | int = b"-",
    size: int = 0,
) -> bytes:
    """One line as the proxy writes it."""
    words = (service, side, value, how, route, status, end, retries, roll, us, headers, size)
    return b" ".join(b"%d" % w if isinstance(w, int) else w for w in words)


def told(*lines: bytes) -> Sample:
    tally = RequestCounter("shop")
    tally.feed(lines)
    return tally.take(500)


def test_lines_are_counted_on_their_side() -> None:
    tally = RequestCounter("shop")
    tally.feed(
        [
            line(),
            line(b"green", us=3000),
            line(b"green", b"500"),
            line(b"blue", value=b"green,500,0,7,0,0,0,0", retries=b"+1"),  # after a promotion blue is the candidate
            line(b"green", b"500", how=b"forced"),
            line(b"green", b"500", how=b"preview"),
            line(value=b"-", status=b"404", end=b"LR"),
            line(b"green", b"500", service=b"shop2"),
            line(b"green", value=b"blue,500,0,7"),  # cut, or written by hand
            b"- - - - - 400 PR 0 - -",
            b"17 events dropped",
            b"17 events dropped",
            b"1 event was dropped",
            b"",
        ]
    )
    sample = tally.take(500)
    assert (sample.stable.requests, sample.stable.errors) == (1, 0)
    assert (sample.candidate.requests, sample.candidate.errors) == (3, 1)
    assert sample.share == 500
    assert sample.lost == 35
    median = sample.stable.quantile(0.5)
    assert median is not None
    assert 1.5 <= median < 1.53
    assert sum(sample.candidate.latency) == 2, "only good answers are timed"
    assert tally.take(0).candidate.requests == 0


def test_what_the_shield_saved_is_an_error_of_the_candidate_that_nobody_saw() -> None:
    sample = told(
        line(b"green", how=b"shield"),
        line(b"green", how=b"shield", retries=b"+1", us=90_000),
        line(b"green", b"503", how=b"shield", retries=b"+1"),  # stable could not help either
        line(b"green", b"-1", how=b"shield", retries=b"+1", end=b"CH"),  # the user left, but it had failed
        line(b"green", retries=b"1"),  # another instance of the candidate took it, as instances come and go
    )
    assert (sample.candidate.requests, sample.candidate.errors, sample.shielded) == (5, 3, 1)
    assert sum(sample.candidate.latency) == 2, "what stable answered says nothing about the candidate's speed"


def test_where_each_request_is_thrown_each_is_a_coin() -> None:
    sample = told(
        *[line()] * 3,
        line(b"green", b"500"),
        *[line(value=b"blue,2500,0,7,9,1,0,0")] * 2,
        line(value=b"blue,0,0,7,9,1,0,0"),
    )
    assert [(c.p, c.stable.requests, c.candidate.requests, c.candidate.errors) for c in sample.coins] == [
        (0.05, 3, 1, 1),
        (0.25, 2, 0, 0),
    ]
    assert all(c.first_errors == (0, 0) for c in sample.coins)
    assert sample.stable.requests == 6


def test_where_all_get_the_candidate_there_is_no_coin() -> None:
    assert told(line(b"green", value=b"blue,10000,99,7,0,0,0,0")).coins == ()


def test_beside_a_baseline_only_its_instances_are_compared() -> None:
    value = b"blue,500,0,7,0,0,500,0"
    sample = told(line(b"green", value=value), *[line(b"baseline", b"500", value=value)] * 2, *[line(value=value)] * 9)
    assert (sample.candidate.requests, sample.stable.requests, sample.stable.errors, sample.rest.requests) == (
        1,
        2,
        2,
        9,
    )
    assert [(c.p, c.stable.requests, c.candidate.requests) for c in sample.coins] == [(0.5, 2, 1)]


def test_after_a_share_ended_by_itself_stable_wins_no_coins() -> None:
    tally = RequestCounter("shop")
    tally.feed([line(), line(b"green"), line(how=b"ended"), line(), line()])
    sample = tally.take(500)
    assert (sample.stable.requests, sample.candidate.requests) == (4, 1)
    assert [(c.stable.requests, c.candidate.requests) for c in sample.coins] == [(1, 1)]
    tally.feed([line(), line(value=b"blue,500,99,7,0,0,0,0")])  # the lease is renewed
    assert [c.stable.requests for c in tally.take(500).coins] == [1]


def test_a_client_that_keeps_its_side_is_one_coin_in_a_step() -> None:
    tally = RequestCounter("shop")
    tally.feed([line(b"green", roll=49_999), *[line(roll=50_000), line(roll=999_999, us=3000)] * 3])
    assert [(c.p, c.stable.requests, c.candidate.requests) for c in tally.take(500).coins] == [(0.05, 2, 1)]
    more = b"blue,2500,0,7,0,0,0,0"
    tally.feed(
        [
            line(b"green", value=more, roll=49_999),  # known to be the candidate's: no news
            line(b"green", value=more, roll=50_000),  # was stable's below 5%; got it with 20 of the 95% that were left
            line(value=more, roll=999_999),
            line(value=more, roll=888_888),  # never seen before
            line(value=more, roll=888_888),
        ]
    )
    sample = tally.take(2500)
    assert sample.stable.requests == 3
    assert [(c.p, c.stable.requests, c.candidate.requests) for c in sample.coins] == [(20 / 95, 1, 1), (0.25, 1, 0)]


def test_a_share_that_went_down_and_up_again_throws_nobody_twice() -> None:
    tally = RequestCounter("shop")
    for value in (b"blue,2500,0,7,0,0,0,0", b"blue,500,0,7,0,0,0,0", b"blue,2500,0,7,0,0,0,0"):
        tally.feed([line(value=value, roll=400_000)])
    assert [c.stable.requests for c in tally.take(2500).coins] == [1]


def test_a_client_fails_for_the_first_time_once_in_a_rollout() -> None:
    tally = RequestCounter("shop")
    tally.feed([line(b"green", roll=7), *[line(b"green", b"500", roll=7)] * 3, line(b"-", b"500", roll=700_000)])
    (coins,) = tally.take(500).coins
    assert coins.p == 0.05
    assert coins.first_errors == (1, 1)
    assert (coins.candidate.requests, coins.candidate.errors) == (1, 0), "its first answer was good"
    later = b"blue,2500,0,7,0,0,0,0"
    tally.feed([line(b"green", b"500", value=later, roll=7), line(b"green", b"500", value=later, roll=8)])
    assert [c.first_errors for c in tally.take(2500).coins] == [(0, 1)]
    tally.feed([line(b"green", b"500", value=b"blue,500,0,8,0,0,0,0", roll=7)])  # the next rollout
    assert [c.first_errors for c in tally.take(500).coins] == [(0, 1)]


def test_clients_beside_a_baseline() -> None:
    tally = RequestCounter("shop")
    first, second = b"blue,500,0,7,0,0,500,0", b"blue,1500,0,7,0,0,1500,0"
    rest = 500_000
    tally.feed(
        [
            line(b"green", value=first, roll=1),
            line(b"baseline", value=first, roll=99_999),
            line(value=first, roll=100_000),
            line(value=first, roll=rest),
        ]
    )
    sample = tally.take(500)
    assert [(c.p, c.stable.requests, c.candidate.requests) for c in sample.coins] == [(0.5, 1, 1)]
    assert sample.rest.requests == 2
    tally.feed(
        [
            line(b"green", value=second, roll=99_999),  # was the baseline's, below the first boundary: no news
            line(b"green", value=second, roll=100_000),  # from the rest: 500 of 2000 for the candidate
            line(b"baseline", value=second, roll=299_999),  # never seen before: half and half
            line(value=second, roll=rest),
        ]
    )
    assert [(c.p, c.stable.requests, c.candidate.requests) for c in tally.take(1500).coins] == [
        (0.25, 0, 1),
        (0.5, 1, 0),
    ]


def test_a_route_has_coins_of_its_own() -> None:
    sample = told(*[line(b"green", b"500", route=b"1")] * 2, line(b"green"), line(route=b"0"))
    (zero, one) = sample.routes
    assert (zero[0], [c.stable.requests for c in zero[1]]) == (0, [1])
    assert (one[0], [(c.candidate.requests, c.candidate.errors) for c in one[1]]) == (1, [(2, 2)])
    (coins,) = sample.coins
    assert (coins.candidate.requests, coins.candidate.errors, coins.stable.requests) == (3, 2, 1)


def test_a_client_is_new_to_each_route_once() -> None:
    lines = [line(b"green", b"500", route=b"0", roll=5), line(b"green", b"500", route=b"1", roll=5)] * 2
    sample = told(*lines)
    assert [c.first_errors for c in sample.coins] == [(0, 1)]
    assert [[c.first_errors for c in coins] for _, coins in sample.routes] == [[(0, 1)], [(0, 1)]]


def test_connections_are_timed_in_milliseconds() -> None:
    sample = told(line(status=b"tcp", us=12))
    assert sample.stable.latency[latency_bucket(12)] == 1


def test_two_proxies_tell_as_much_as_one() -> None:
    lines = [line(), line(b"green", b"500", us=9), line(route=b"0"), line(b"green", how=b"shield", retries=b"+1")] * 5
    assert told(*lines[:7]) + told(*lines[7:]) == told(*lines)
    assert told(b"3 events dropped") + told(b"4 events dropped") == Sample(Counts(), Counts(), 500, 7)


def test_a_line_of_nobody_knows_what_is_no_request() -> None:
    assert told(b"shop - blue,1 - - 200 -- 0 - 5", b"shop", b"\xff" * 30, b"a b c d e f g h i j k") == told()
    assert told().coins == tuple[Coins, ...]()


def test_a_damaged_word_is_not_taken_for_a_number() -> None:
    sample = told(
        line(b"green", roll=1_000_000, us=b"9" * 5000),
        line(b"green", roll=b"9" * 5000),
        line(how=b"shield", retries=b"+1"),  # no side: nobody was shielded
        line(b"green", b"20\xe20"),
    )
    assert (sample.candidate.requests, sample.candidate.errors, sample.stable.requests) == (2, 0, 1)
    assert (sample.shielded, sum(sample.candidate.latency)) == (0, 1)


def test_memory_does_not_grow() -> None:
    tally = RequestCounter("shop")
    tally.feed([line(roll=n, us=n) for n in range(0, 1_000_000, 97)])
    tracemalloc.start()
    for _ in range(2):
        tally.feed(line(b"green", roll=n, us=n, status=b"%d" % (200 + n % 700)) for n in range(0, 1_000_000, 97))
        tally.take(500)
    assert tracemalloc.get_traced_memory()[0] < 200_000
    tracemalloc.stop()


def test_complaints_are_what_haproxy_says_is_wrong() -> None:
    said = (
        "[NOTICE]   (17) : haproxy version is 3.0.11\n"
        "[ALERT]    (17) : config : parsing [haproxy.cfg:9] : unknown keyword 'x' in 'frontend' section\n"
        "[ALERT]    (17) : config : Error(s) found in configuration file : haproxy.cfg\n"
        "[ALERT]    (17) : config : Fatal errors found in configuration.\n"
    )
    assert complaints(said) == ("config : parsing [haproxy.cfg:9] : unknown keyword 'x' in 'frontend' section",)


@pytest.mark.parametrize(
    ("status", "end", "size", "kind"),
    [
        (b"404", b"--", 300, "status 404"),
        (b"418", b"--", 300, "status 4xx"),
        (b"302", b"--", 300, "status 302"),
        (b"300", b"--", 300, "status 3xx"),
        (b"200", b"--", 121, "empty body"),  # 100 bytes of headers, and the first line
        (b"204", b"--", 127, "empty body"),
        (b"200", b"CD", 5000, "cut short by the client"),
    ],
)
def test_a_good_answer_is_counted_by_what_it_is(status: bytes, end: bytes, size: int, kind: str) -> None:
    sample = told(line(b"green", status, end=end, headers=100, size=size), line(headers=100, size=5120))
    features = {f.name for f in FEATURES if f.counts((), sample.candidate.kinds)[1]}
    assert kind in features
    assert features <= {kind, "body under 64 B", "body under 256 B", "body under 1 KiB", *SMALL}
    assert [f.name for f in FEATURES if f.counts((), sample.stable.kinds)[1]] == [
        "body under 16 KiB",
        "body under 64 KiB",
    ]


SMALL = ("body under 4 KiB", "body under 16 KiB", "body under 64 KiB")


@pytest.mark.parametrize(
    ("status", "end"), [(b"304", b"--"), (b"101", b"CD"), (b"500", b"--"), (b"500", b"CD"), (b"200", b"SD")]
)
def test_what_says_nothing_of_the_mix(status: bytes, end: bytes) -> None:
    assert told(line(b"green", status, end=end, headers=100, size=121)).candidate.kinds == ()


@pytest.mark.parametrize("end", [b"CH", b"cH", b"CQ", b"CC"])
def test_a_client_that_left_before_a_response_is_counted_apart(end: bytes) -> None:
    sample = told(line(b"green", b"-1", end=end, us=b"-"))
    assert (sample.candidate.requests, sample.candidate.errors, sample.candidate.kinds[LEFT]) == (0, 0, 1)
    assert sample.coins[0].candidate == sample.candidate


def test_a_client_that_keeps_its_side_counts_once_for_each_kind() -> None:
    lines = [line(b"green", b"404", roll=7), line(b"green", b"404", roll=7), line(b"green", b"302", roll=7)]
    (coins,) = told(line(b"green", roll=7), *lines, *[line(status=b"404", roll=700_000)] * 3).coins
    first = {f.name: f.counts(*coins.first_kinds) for f in FEATURES if any(f.counts(*coins.first_kinds))}
    assert first == {"status 404": (1, 1), "status 302": (0, 1)}
    assert coins.stable.requests == coins.candidate.requests == 1


def test_no_share_no_size() -> None:
    assert told(line(value=b"blue,0,0,7,0,0,0", size=5000)).stable.kinds == ()
