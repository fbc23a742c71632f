"""How many instances a load needs: the two rules, and what no load brings about."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.manifest.scale import ScaleSettings
from deployer.model import Load
from deployer.planning.scaling import GAP_SECONDS, MARGIN, LoadHistory, WantedSize

SHOP = ScaleSettings(min=1, max=8, concurrency=10, hold=60)
EVERY = 0.25


def busy(count: int, waiting: int = 0, total: int = 0) -> Load:
    """So many requests, some of which wait."""
    return Load(count, count - waiting, waiting, total)


class Watched:
    """A history to which looks are added, one each quarter of a second."""

    def __init__(self, scale: ScaleSettings = SHOP) -> None:
        self.history = LoadHistory(scale)
        self.now = 1000.0

    def see(self, load: Load, seconds: float = EVERY) -> None:
        """See the same load for so long."""
        for _ in range(round(seconds / EVERY)):
            self.now += EVERY
            self.history.add(self.now, load)

    def wanted(self, size: int) -> tuple[int, str]:
        found = self.history.wanted(size)
        return found.instances, found.why


def test_nothing_is_wanted_before_anything_is_known() -> None:
    assert Watched().history.wanted(3) == WantedSize(3, "nothing is known of the load yet")


def test_a_size_out_of_bounds_is_put_right() -> None:
    assert Watched().wanted(0) == (1, "`scale` has 1 to 8 instances")
    assert Watched().wanted(9) == (8, "`scale` has 1 to 8 instances")


def test_more_at_once_when_the_load_and_a_margin_need_them() -> None:
    shop = Watched()
    shop.see(busy(6), 2.0)  # 6 + 1.5 roots: 9.7
    assert shop.wanted(1) == (1, "6.0 requests at once")
    shop.see(busy(18), 2.25)  # 18 + 1.5 roots: 24.4
    assert shop.wanted(2) == (3, "18 requests at once")
    assert shop.wanted(1) == (3, "18 requests at once")
    shop.see(busy(900), 2.25)
    assert shop.wanted(3)[0] == 8, "never more than the most"


def test_more_at_once_when_requests_wait_but_not_for_one_that_waits_a_moment() -> None:
    shop = Watched(ScaleSettings(max=8, concurrency=100))
    shop.see(busy(20), 2.0)
    shop.see(busy(21, waiting=1))
    assert shop.wanted(1)[0] == 1
    shop.see(busy(21, waiting=1), 0.5)
    assert shop.wanted(1) == (2, "1 request waits for an instance")


def test_those_that_wait_do_not_count_as_if_all_were_open_at_once() -> None:
    shop = Watched(ScaleSettings(max=100, concurrency=10))
    done = 0
    for look in range(9):  # 200 a second come, and one instance answers 100
        done += 25
        shop.see(busy(10 + look * 25, waiting=look * 25, total=done + 10 + look * 25))
    # 200 a second, and a part of the 200 that wait, of 0.1 s each
    assert shop.wanted(1)[0] == 3


def test_requests_that_never_end_need_a_place_each() -> None:
    shop = Watched(ScaleSettings(max=100, concurrency=10))
    shop.see(busy(95, waiting=85, total=95), 1.0)
    assert shop.wanted(1)[0] >= 10


def test_fewer_one_at_a_time_and_only_after_a_while() -> None:
    shop = Watched()
    shop.see(busy(6), 59.75)
    assert shop.wanted(4)[0] == 4
    shop.see(busy(6), 0.5)
    assert shop.wanted(4) == (3, "at most 6.0 requests at once for 60 s")
    assert shop.wanted(3)[0] == 2
    assert shop.wanted(2)[0] == 2, "a margin for chance"
    shop.see(busy(0), 62.5)
    assert shop.wanted(2)[0] == 1
    assert shop.wanted(1)[0] == 1


def test_a_peak_within_the_time_keeps_what_it_needed() -> None:
    shop = Watched()
    shop.see(busy(35), 60.0)
    shop.see(busy(2), 58.0)
    assert shop.wanted(5)[0] == 5
    shop.see(busy(2), 8.0)
    assert shop.wanted(5)[0] == 4


def test_what_was_not_looked_at_is_not_known() -> None:
    shop = Watched()
    shop.see(busy(1), 60.25)
    assert shop.wanted(3)[0] == 2
    shop.now += GAP_SECONDS
    shop.see(busy(1))
    assert shop.wanted(3)[0] == 3


loads = st.builds(
    lambda running, waiting, total: Load(running + waiting, running, waiting, total),
    st.integers(0, 3000),
    st.integers(0, 3000),
    st.integers(0, 10**6),
)


@settings(max_examples=60)
@given(st.lists(loads, max_size=60), st.integers(0, 40), st.integers(1, 8), st.integers(0, 30), st.integers(1, 500))
def test_whatever_comes(seen: Iterable[Load], size: int, least: int, more: int, concurrency: int) -> None:
    scale = ScaleSettings(min=least, max=least + more, concurrency=concurrency, hold=1)
    shop = Watched(scale)
    for load in seen:
        shop.see(load)
        wanted, why = shop.wanted(size)
        assert scale.min <= wanted <= scale.max
        assert why
        possible = scale.within(size)
        assert wanted >= possible - 1, "one at a time"
        if wanted < possible:
            assert not load.waiting, "what is needed is not stopped"
            assert load.busy <= possible * concurrency
        size = wanted


@given(st.lists(st.integers(0, 9), min_size=8, max_size=300))
def test_a_load_that_changes_within_the_margin_changes_nothing(opens: list[int]) -> None:
    shop = Watched(ScaleSettings(max=8, concurrency=10, hold=1))
    least = (10 - MARGIN * 10**0.5) // 1
    for open_now in opens:
        shop.see(busy(int(min(open_now, least))))
        assert shop.wanted(1)[0] == 1
