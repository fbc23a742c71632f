"""Lines of strangers who know their side, through the counter to the judge: what they choose then is no evidence."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from deployer.drivers.traffic.haproxy.addresses import STRANGERS
from deployer.drivers.traffic.haproxy.request_counter import RequestCounter
from deployer.drivers.traffic.haproxy.rules import ROLLS
from deployer.judge.verdicts import Verdict, Verdicts
from deployer.manifest.judge import Judge
from deployer.model import FULL
from tests.unit.test_haproxy_stream import line

SHARE = 500
Answer = tuple[bytes, bytes, int]  # status, who ended it, bytes
PAGE: Answer = (b"200", b"--", 5000)
CHOICES: dict[str, Answer] = {
    "asks for what is not there": (b"404", b"--", 5000),
    "asks for what is elsewhere": (b"302", b"--", 0),
    "asks for what is empty": (b"200", b"--", 0),
    "leaves while it is answered": (b"200", b"CD", 300),
    "leaves before it is answered": (b"400", b"CH", 0),
}


def said(roll: int, address: int, answer: Answer, *, sticky: bool = True) -> bytes:
    """One line; the side is the roll's."""
    status, end, size = answer
    side = b"green" if roll * FULL < SHARE * ROLLS else b"-"
    who = f"{roll if sticky else '-'},{address}".encode()
    return line(side, status, end=end, roll=who, headers=200, size=size + 220)


def users(dice: Random, seconds: int, candidate: Answer = PAGE, *, sticky: bool) -> Iterator[list[bytes]]:
    """Yield the lines of each second: new clients at addresses of their own, with now and then a 404."""
    for _ in range(seconds):
        lines = []
        for _ in range(20):
            roll = dice.randrange(ROLLS)
            answer = candidate if roll * FULL < SHARE * ROLLS else PAGE
            rare = (b"404", b"--", 5000) if dice.random() < 0.005 else answer
            lines.append(said(roll, dice.randrange(ROLLS), rare, sticky=sticky))
        yield lines


def attacker(dice: Random, addresses: list[int], choice: Answer, *, sticky: bool) -> Iterator[bytes]:
    """Yield the lines of clients that learn their side, and do something else on the candidate only."""
    while True:
        roll, address = dice.randrange(ROLLS), dice.choice(addresses)
        candidate = roll * FULL < SHARE * ROLLS
        if sticky:
            yield said(roll, address, PAGE)
        if candidate or not sticky:
            yield said(roll, address, choice if candidate else PAGE, sticky=sticky)


def judged(seconds: Iterator[list[bytes]], strangers: Iterator[bytes] | None = None, *, sticky: bool) -> Verdict:
    counter, verdicts = RequestCounter("shop"), Verdicts(Judge(), sticky=sticky)
    verdicts.begin(SHARE, FULL)
    for at, lines in enumerate(seconds):
        counter.feed(lines)
        if strangers:
            counter.feed(next(strangers) for _ in range(20))
        verdict = verdicts.observe(counter.take(SHARE), float(at))
        if verdict.kind == "worse":
            break
    return verdict


@pytest.mark.parametrize("addresses", [1, STRANGERS])
@pytest.mark.parametrize("choice", CHOICES)
def test_sticky_clients_cannot_blame_the_candidate_once_they_know_their_side(choice: str, addresses: int) -> None:
    dice = Random(addresses)
    theirs = attacker(dice, dice.sample(range(ROLLS), addresses), CHOICES[choice], sticky=True)
    verdict = judged(users(dice, 180, sticky=True), theirs, sticky=True)
    assert verdict.kind != "worse", verdict.text


@pytest.mark.parametrize("addresses", [1, STRANGERS])
def test_a_response_is_cut_short_by_choice_where_each_request_is_thrown_too(addresses: int) -> None:
    """Its headers say which release answered."""
    dice = Random(addresses)
    theirs = attacker(dice, dice.sample(range(ROLLS), addresses), CHOICES["leaves while it is answered"], sticky=False)
    verdict = judged(users(dice, 180, sticky=False), theirs, sticky=False)
    assert verdict.kind != "worse", verdict.text


@pytest.mark.parametrize("sticky", [True, False])
@pytest.mark.parametrize(
    "answer",
    [(b"404", b"--", 5000), (b"200", b"--", 0), (b"302", b"--", 0)],
    ids=["404 to everything", "an empty 200", "a redirect to itself"],
)
def test_what_all_users_get_at_first_is_found(answer: Answer, *, sticky: bool) -> None:
    verdict = judged(users(Random(1), 120, answer, sticky=sticky), sticky=sticky)
    assert verdict.kind == "worse", verdict.text


def test_what_is_cut_short_by_choice_is_still_a_response() -> None:
    """Without them the candidate would have fewer good responses, and so a larger part of failed ones."""
    counter = RequestCounter("shop")
    counter.feed(said(n, n, PAGE, sticky=False) for n in range(100_000, 100_100))
    counter.feed(said(1, 7, CHOICES["leaves while it is answered"], sticky=False) for _ in range(50))
    assert counter.take(SHARE).candidate.requests == 50
