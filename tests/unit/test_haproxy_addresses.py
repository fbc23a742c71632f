"""The part of an address in what failed: a few of them cannot decide, and a gateway is not silenced."""

from __future__ import annotations

from random import Random

import pytest

from deployer.drivers.traffic.haproxy.addresses import FAILURE, STRANGERS, SURE, Addresses
from deployer.drivers.traffic.haproxy.request_counter import RequestCounter
from deployer.model import Sample
from tests.unit.test_haproxy_stream import line

SHIELD = b"shield"


def asked(roll: int | str, address: int) -> bytes:
    return f"{roll},{address}".encode()


@pytest.mark.parametrize("gateways", [1, 2, 3, 10, 50])
def test_gateways_that_fail_as_often_as_they_ask_lose_nothing_that_matters(gateways: int) -> None:
    dice, addresses = Random(gateways), Addresses()
    kept = sum(
        addresses.answer(dice.randrange(gateways), FAILURE if dice.random() < 0.05 else None) for _ in range(40_000)
    )
    assert kept >= 40_000 * (1 - 0.05 * 0.1), "nine of ten failures count"


@pytest.mark.parametrize("attackers", [1, 10, 100])
def test_half_of_the_traffic_gives_three_failures_for_each_two_of_the_others(attackers: int) -> None:
    dice, addresses = Random(attackers), Addresses()
    theirs = others = 0
    for _ in range(20_000):
        fails = dice.random() < 0.01
        others += addresses.answer(1000 + dice.randrange(5000), FAILURE if fails else None) and fails
        theirs += addresses.answer(dice.randrange(attackers), FAILURE)
    assert others > 150
    assert theirs <= 3 * attackers + 1.7 * others


def test_what_is_left_out_is_said_and_counts_nowhere() -> None:
    tally = RequestCounter("shop")
    tally.feed([line(roll=asked("-", n)) for n in range(100)])
    tally.feed([line(b"green", b"500", roll=asked("-", 7)) for _ in range(20)])
    sample = tally.take(500)
    assert (sample.stable.requests, sample.candidate.requests, sample.candidate.errors) == (100, 1, 1)
    assert sample.few == 19
    assert (sample + sample).few == 2 * sample.few
    assert sum(c.candidate.requests for c in sample.coins) == 1


@pytest.mark.parametrize("digits", [8, 32])
def test_an_address_in_digits_is_bounded_as_a_number_is(digits: int) -> None:
    tally = RequestCounter("shop")
    tally.feed([line(roll=b"-,%0*X" % (digits, 0x0A000000 + n)) for n in range(100)])
    tally.feed([line(b"green", b"500", roll=b"-,%0*X" % (digits, 0x0B000000)) for _ in range(20)])
    sample = tally.take(500)
    assert (sample.candidate.errors, sample.few) == (1, 19), "also where two addresses have the same number"


def test_a_client_whose_first_answer_is_left_out_is_no_coin_later() -> None:
    """It knows its side by then."""
    tally = RequestCounter("shop")
    tally.feed([line(roll=asked(900_000 + n, n)) for n in range(100)])
    tally.feed([line(b"green", b"500", roll=asked(n, 7)) for n in range(20)])
    tally.feed([line(b"green", roll=asked(n, 7)) for n in range(20)])
    (coins,) = tally.take(500).coins
    assert coins.candidate.requests == 1


def later(*answers: bytes, users: int = 1000) -> Sample:
    """Return what is told when clients fail after their first answers; none of the addresses sends much."""
    tally = RequestCounter("shop")
    tally.feed([line(roll=asked(500_000 + n, n)) for n in range(users)])
    tally.feed([line(b"green", roll=asked(n, n)) for n in range(users)])
    tally.feed(answers)
    return tally.take(500)


def test_a_client_that_knows_its_side_cannot_fail_on_the_candidate_by_choice() -> None:
    failed = [line(b"green", b"500", roll=asked(n, n)) for n in range(STRANGERS)]
    twice = [line(b"green", b"500", roll=asked(n, n), how=SHIELD, retries=b"1") for n in range(STRANGERS)]
    for answers in (failed, twice):
        (coins,) = later(*answers).coins
        assert coins.first_errors == (0, 0)


def test_what_stable_could_answer_counts_at_once_and_what_many_addresses_saw_too() -> None:
    (coins,) = later(*[line(b"green", roll=asked(n, n), how=SHIELD, retries=b"1") for n in range(30)]).coins
    assert coins.first_errors == (0, 30)
    (coins,) = later(*[line(b"green", b"500", roll=asked(n, n)) for n in range(STRANGERS + 30)]).coins
    assert coins.first_errors == (0, 30)


def test_an_address_has_few_later_failures_on_stable_too_and_a_gateway_all_of_them() -> None:
    same = [line(b"-", b"500", roll=asked(500_000 + n, 7)) for n in range(30)]
    (coins,) = later(*same).coins
    assert coins.first_errors == (1, 0)
    tally = RequestCounter("shop")
    tally.feed([line(b"green", roll=asked(n, 7)) for n in range(SURE)])
    tally.feed([line(b"green", b"500", roll=asked(n, 7)) for n in range(SURE)])
    (coins,) = tally.take(500).coins
    assert coins.first_errors == (0, SURE)


def test_another_rollout_knows_no_addresses() -> None:
    tally = RequestCounter("shop")
    tally.feed([line(roll=asked("-", n)) for n in range(100)])
    tally.feed([line(b"green", b"500", roll=asked("-", 7)) for _ in range(20)])
    tally.take(500)
    tally.feed([line(b"green", b"500", value=b"blue,500,0,8,0,0,0,0", roll=asked("-", 7))])
    assert tally.take(500).candidate.errors == 1
