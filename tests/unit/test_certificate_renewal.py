"""When certificates are renewed and failed orders repeated: pure, so a year passes at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.planning.certificates import (
    DAY,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    CertificateFacts,
    OrderHistory,
    Suggestion,
    begun,
    failed,
    order_at,
    renewal_at,
    warning,
)

HOUR = 3600.0


def certificate(days: float, serial: int = 1, begins: float = 0.0) -> CertificateFacts:
    return CertificateFacts(("shop.example.com",), "CA", f"{serial:x}", begins, begins + days * DAY)


def year(days: float, works: Callable[[float], bool] = lambda _now: True) -> tuple[int, int, float]:
    """Look once an hour for a year; return renewals, failed orders, and the least that was left of a certificate."""
    facts, history = certificate(days), OrderHistory()
    now, renewals, failures, least = 0.0, 0, 0, facts.ends
    while now < 365 * DAY:
        least = min(least, facts.ends - now)
        if order_at(facts, history) <= now:
            history = begun(history, now)
            if works(now):
                renewals, history = renewals + 1, OrderHistory()
                facts = certificate(days, renewals + 2, now)
            else:
                failures, history = failures + 1, failed(history, "the authority is down", "")
        now += HOUR
    return renewals, failures, least


@pytest.mark.parametrize(("days", "renewals"), [(47, (11, 12)), (6, (86, 96)), (90, (5, 6))])
def test_a_year_of_certificates_none_of_which_ever_ends(days: float, renewals: tuple[int, int]) -> None:
    made, failures, least = year(days)
    assert renewals[0] <= made <= renewals[1]
    assert failures == 0
    assert least >= (days / 3 - 0.1) * DAY


@pytest.mark.parametrize("days", [47, 6])
def test_a_year_in_which_the_authority_is_down_every_second_day(days: float) -> None:
    made, failures, least = year(days, lambda now: int(now / DAY) % 2 == 0)
    assert made >= 365 / days
    assert least > days / 6 * DAY
    assert failures < 8 * made  # failed orders are counted, and their pauses grow


def test_a_third_of_the_life_is_left_and_not_everything_is_renewed_at_once() -> None:
    every = {renewal_at(certificate(90, serial)) / DAY for serial in range(200)}
    assert min(every) >= 57
    assert max(every) <= 60
    assert len(every) == 200


def test_the_authority_says_when() -> None:
    early = Suggestion(10 * DAY, 12 * DAY)
    assert 10 * DAY <= renewal_at(certificate(90), early) <= 12 * DAY
    assert renewal_at(certificate(90), Suggestion(0.0, DAY)) <= DAY  # it revokes: now
    late = renewal_at(certificate(90), Suggestion(200 * DAY, 201 * DAY))
    assert late == 82.5 * DAY  # never so late that nothing can go wrong any more


def test_a_failed_order_waits_longer_each_time_and_as_long_as_the_authority_says() -> None:
    history, pauses = OrderHistory(), []
    for _ in range(10):
        history = failed(begun(history, 1000.0), "no", "")
        pauses.append(order_at(None, history) - 1000.0)
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    assert order_at(None, failed(begun(OrderHistory(), 0.0), "slowly", "", wait_until=9 * DAY)) == 9 * DAY


def test_an_order_whose_process_was_killed_counts_as_failed() -> None:
    killed = begun(OrderHistory(), 1000.0)
    assert killed.failures == 1
    assert order_at(None, killed) == 1000.0 + FIRST_PAUSE


@pytest.mark.parametrize(("left", "days"), [(15.0, 0), (13.9, 14), (7.0, 14), (6.9, 7), (2.9, 3), (0.0, 3), (-5.0, 3)])
def test_warnings_at_14_7_and_3_days(left: float, days: int) -> None:
    facts = certificate(90)
    assert warning(facts, facts.ends - left * DAY) == days
    assert warning(facts, facts.ends - left * DAY, renewed=True) == 0
    assert warning(facts, facts.ends - left * DAY, renewed=True, overdue=True) == days


def test_a_short_certificate_warns_in_the_last_third_of_its_life() -> None:
    facts = certificate(6)
    assert warning(facts, 3.9 * DAY) == 0
    assert warning(facts, 4.1 * DAY) == 3


@given(
    days=st.floats(0.5, 400),
    start=st.floats(0, 400),
    length=st.floats(0, 30),
    serial=st.integers(1, 2**64),
)
def test_whatever_the_authority_suggests_a_renewal_comes_before_the_end(
    days: float, start: float, length: float, serial: int
) -> None:
    facts = certificate(days, serial)
    assert renewal_at(facts, Suggestion(start * DAY, (start + length) * DAY)) < facts.ends
    assert renewal_at(facts) < facts.ends
