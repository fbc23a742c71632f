"""How many requests at once an instance answers well, learned from simulated instances whose knee is known."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.model import InstanceLoad
from deployer.planning.concurrency import (
    DOWN,
    ENOUGH,
    FIRST_PAUSE,
    IN_A_ROW,
    MOST,
    UP,
    WINDOW_SECONDS,
    ConcurrencyLearner,
    InstanceWindows,
    LearnedConcurrency,
)
from tests.load_model import KneeService, Told, learned, requests

TAKES = 0.1  # seconds


def told(
    service: KneeService,
    rate: Callable[[float], float],
    most: float,
    seconds: float,
    slow: Callable[[float], float] = lambda _at: 1.0,
) -> Told:
    """Return what is learned while requests come at a rate; at a moment each takes so many times as long."""
    came = ((at, takes * slow(at)) for at, takes in requests(rate, most, seconds, 1, TAKES))
    return learned(service, came, seconds)


def test_too_many_at_once_are_made_fewer_until_little_waits_inside() -> None:
    seen = told(KneeService(3, 4, 16), lambda _at: 100, 100, 500)
    numbers = [number for _, number in seen.numbers]
    assert numbers[:4] == [16, 12, 9, 7]
    assert set(numbers[4:]) <= {5, 6}
    assert seen.why.startswith("a full instance ends ")
    assert " on a light one" in seen.why


def test_a_number_that_is_right_stays() -> None:
    seen = told(KneeService(2, 12, 12), lambda at: 170 + 60 * math.sin(at / 40), 230, 600)
    assert {number for _, number in seen.numbers} <= {12, 13, 14}, seen


def test_one_that_holds_back_is_raised_by_small_steps() -> None:
    seen = told(KneeService(2, 30, 16), lambda at: 260 + 240 * math.sin(at / 40), 500, 600)
    numbers = [number for _, number in seen.numbers]
    assert numbers == sorted(numbers)
    assert 24 <= numbers[-1] <= 38, numbers
    assert "on a full instance, " in seen.why


def test_of_two_proxies_each_gives_an_instance_its_part_of_what_it_answers_well() -> None:
    seen = told(KneeService(3, 8, 16, (0.5, 0.5)), lambda _at: 180, 180, 700)
    numbers = [number for _, number in seen.numbers]
    assert numbers[:4] == [16, 12, 9, 7]
    assert numbers[4:], seen
    assert set(numbers[4:]) <= {4, 5, 6}


def test_of_two_proxies_of_which_one_gets_all_that_one_gives_all_that_it_answers_well() -> None:
    seen = told(KneeService(3, 6, 4, (1.0, 0.0)), lambda at: 85 + 75 * math.sin(at / 40), 160, 600)
    numbers = [number for _, number in seen.numbers]
    assert numbers == sorted(numbers)
    assert 5 <= numbers[-1] <= 7, seen


def test_what_another_proxy_had_counted_when_it_came_is_no_rate() -> None:
    windows, seen = InstanceWindows(), []
    for look in range(400):
        load = InstanceLoad(4, 10 * look)
        if look >= 200:
            load += InstanceLoad(0, 1_000_000)
        seen += [window.ended / window.seconds for window in windows.add(look / 4, {"shop-r1-1": load}).values()]
    assert len(seen) > 10
    assert set(seen) == {40.0}


def test_what_is_slow_for_a_moment_lowers_nothing() -> None:
    def slow(at: float) -> float:
        return 6.0 if 200 <= at < 290 else 1.0

    seen = told(KneeService(1, 100, 16), lambda _at: 70, 70, 500, slow)
    assert all(number >= 16 for _, number in seen.numbers), seen
    both = told(KneeService(3, 100, 16), lambda _at: 220, 220, 400, slow)
    numbers = [number for _, number in both.numbers]
    assert numbers == sorted(numbers)


def test_nothing_is_learned_from_a_time_with_errors() -> None:
    service = KneeService(3, 4, 16)
    came = requests(lambda _at: 100, 100, 400, 1, TAKES)

    def fail(at: float) -> None:
        if at % 4 == 0:
            service.failed = [failed + 5 for failed in service.failed]

    assert learned(service, came, 400, fail).numbers == ((0.0, 16),)


def long(takes: float, at_once: int) -> float:
    """Return in how many windows enough requests end, in seconds; with one more, as one may have begun before."""
    return WINDOW_SECONDS * (1 + max(2, math.ceil(1.05 * ENOUGH * takes / at_once / WINDOW_SECONDS)))


class Compared:
    """A learner for which each comparison is made by hand: seconds that a request takes when light, and when full."""

    def __init__(self, number: int) -> None:
        self.learner = ConcurrencyLearner(number)
        self.at = 0.0
        self.running: Mapping[str, int] = {"light": 0, "full": 0}
        self.ended = {"light": 0.0, "full": 0.0}
        self.look({"light": 0, "full": 0}, {"light": 0.0, "full": 0.0}, 30)

    def look(self, running: Mapping[str, int], rate: Mapping[str, float], seconds: float) -> None:
        """See so many requests at once for so long, of which so many end in a second."""
        for name, before in self.running.items():
            self.ended[name] += max(0, before - running[name])
        self.running = running
        for _ in range(round(seconds / 0.25)):
            self.at += 0.25
            self.ended = {name: ended + rate[name] * 0.25 for name, ended in self.ended.items()}
            begun = {name: round(ended) + running[name] for name, ended in self.ended.items()}
            self.learner.add(self.at, {name: InstanceLoad(running[name], total) for name, total in begun.items()})

    def compare(self, light: float, full: float, times: int = IN_A_ROW) -> LearnedConcurrency | None:
        """Look for so long that both are compared so many times; return what is learned by the end."""
        number = self.learner.requests
        few = number // 4
        for _ in range(times):
            # One after the other, as on an instance alone
            self.look({"light": few, "full": 0}, {"light": few / light, "full": 0.0}, long(light, few))
            self.look({"light": 0, "full": number}, {"light": 0.0, "full": number / full}, long(full, number))
        return self.learner.learned()

    def follow(self) -> int:
        found = self.learner.learned()
        assert found is not None
        self.learner.follow(self.at, found.requests)
        return found.requests


def test_it_takes_several_comparisons_that_say_the_same() -> None:
    shop = Compared(16)
    assert shop.compare(0.1, 0.4, IN_A_ROW - 1) is None
    assert shop.compare(0.1, 0.12, 1) is None, "neither: it begins anew"
    assert shop.compare(0.1, 0.4, IN_A_ROW - 1) is None
    found = shop.compare(0.1, 0.4, 1)
    assert found is not None
    assert found.requests == 12
    assert re.fullmatch(r"a full instance ends 40 requests a second that take 1\d\d ms on a light one", found.why)


def test_it_goes_on_after_a_time_without_looks() -> None:
    shop = Compared(16)
    assert shop.compare(0.1, 0.1, IN_A_ROW // 2) is None, "not enough"
    shop.learner.skip()
    shop.at += 3600
    found = shop.compare(0.1, 0.1, IN_A_ROW - 1)
    assert found is not None
    assert found.requests == 18
    assert re.fullmatch(r"1\d\d ms on a full instance, 1\d\d ms on a light one", found.why)


def test_what_was_too_many_is_tried_again_after_a_pause_that_grows() -> None:
    shop = Compared(16)
    for higher, kept in ((18, 17), (19, 18)):
        shop.compare(0.1, 0.1)
        assert shop.follow() == higher
        shop.compare(0.1, 0.15)
        assert shop.follow() == 14
        while shop.compare(0.1, 0.1):
            shop.follow()
        assert shop.learner.requests == kept
        shop.at += FIRST_PAUSE
    assert shop.compare(0.1, 0.1) is None, "the second pause is twice as long"
    shop.at += FIRST_PAUSE
    assert shop.compare(0.1, 0.1) is not None


Looks = list[tuple[float, list[tuple[int, int, int]]]]
look = st.tuples(
    st.sampled_from([0.1, 0.25, 0.25, 0.25, 1.0, 30.0]),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 60), st.integers(0, 2)), min_size=1, max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.lists(look, max_size=300))
def test_whatever_is_seen_it_stays_within_its_bounds_and_moves_slowly(number: int, looks: Looks) -> None:
    learner, at, total = ConcurrencyLearner(number), 0.0, [0, 0, 0]
    changed = -math.inf
    for seconds, instances in looks:
        at += seconds
        loads = {}
        for n, (running, more, failed) in enumerate(instances):
            total[n] += more
            loads[f"shop-r1-{n}"] = InstanceLoad(running, total[n], failed)
        learner.add(at, loads)
        if (found := learner.learned()) is None:
            continue
        now = learner.requests
        assert 1 <= found.requests <= MOST
        assert found.requests != now
        assert found.requests <= now + max(1, now * UP + 1)
        assert found.requests >= min(now - 1, now * (1 - DOWN) - 1)
        assert at - changed >= 10 * (IN_A_ROW - 1)
        learner.follow(at, found.requests)
        changed = at
