"""The reader of the proxy's lines finds the same coins as the model of it that the simulations use."""

from __future__ import annotations

from random import Random

import pytest

from bench.traffic.reader import Answer, Reader
from bench.traffic.sticky import looks
from bench.traffic.world import Clients, World, ramp, steady
from deployer.drivers.traffic.haproxy import live_value
from deployer.drivers.traffic.haproxy.request_counter import RequestCounter
from deployer.model import FULL, PER_OCTAVE, Live

# New clients come and old ones go; a few ask much, some fail again and again; the share grows to everybody.
WORLD = World(
    "read",
    rps=300,
    seconds=60,
    steps=ramp(200, 500, 2500, 5000, FULL, seconds=60),
    weather=steady(0.02),
    clients=Clients(number=3000, bad=0.05, stay=20),
)


def line(answer: Answer, share: int) -> bytes:
    """Write the line of an answer as the proxy does: see `frontend.HTTP_LINE`."""
    side = "green" if answer.roll < share * 100 else "-"
    value = live_value.encode(Live("blue", share, lease=0, rollout=7))
    middle = 1.0 if answer.bucket is None else 2 ** ((answer.bucket - 0.5) / PER_OCTAVE)  # of the bucket, in ms
    status = 500 if answer.bucket is None else 200
    return f"shop {side} {value} split - {status} -- 0 {answer.roll} {round(1000 * middle)} - 0".encode()


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_answers_are_the_same_coins(seed: int) -> None:
    model, tally = Reader(), RequestCounter("shop")
    coins = 0
    for look in looks(WORLD, Random(seed)):
        for answer in look.answers:
            model.read(answer, look.share)
        tally.feed(line(answer, look.share) for answer in look.answers)
        expected, seen = model.take(look.share), tally.take(look.share)
        assert seen == expected, f"{look.at:g} s"
        coins += sum(c.stable.requests + c.candidate.requests for c in seen.coins)
    assert coins > 4000
