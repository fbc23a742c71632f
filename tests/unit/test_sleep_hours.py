"""Times in which a service that sleeps is awake whoever comes: when they are, and what the keeper makes of them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pytest

from deployer.app.operations import adjust
from deployer.app.status import status_of
from deployer.manifest.models import Manifest
from deployer.manifest.scale import AwakeHours
from tests.unit.test_sleep import SCALE, Sleepy

BERLIN = "Europe/Berlin"


def hours(begins: str, ends: str, timezone: str = BERLIN) -> AwakeHours:
    return AwakeHours.model_validate({"from": begins, "to": ends, "timezone": timezone})


def at(text: str, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(BERLIN), fold=fold).timestamp()


SHOP = hours("0 8 * * mon-fri", "0 18 * * mon-fri")


@pytest.mark.parametrize(
    ("now", "within", "changes"),
    [
        ("2026-11-27 07:59:59", False, "2026-11-27 08:00"),
        ("2026-11-27 08:00:00", True, "2026-11-27 18:00"),  # a Friday
        ("2026-11-27 17:59:59", True, "2026-11-27 18:00"),
        ("2026-11-27 18:00:00", False, "2026-11-30 08:00"),
        ("2026-11-28 12:00:00", False, "2026-11-30 08:00"),
        ("2026-03-27 18:00:00", False, "2026-03-30 08:00"),  # the clocks change in between
        ("2026-10-23 18:00:00", False, "2026-10-26 08:00"),
    ],
)
def test_a_shop_is_awake_on_weekdays_from_8_to_18_by_the_clock_on_its_wall(
    now: str, within: bool, changes: str
) -> None:
    assert SHOP.change(at(now)) == (within, at(changes))


@pytest.mark.parametrize(
    ("day", "awake"),
    [("2026-03-28", 3.0), ("2026-03-29", 2.0), ("2026-10-24", 3.0), ("2026-10-25", 4.0)],
    ids=["before spring", "spring", "before autumn", "autumn"],
)
def test_a_night_in_which_the_clocks_change_is_shorter_or_longer(day: str, awake: float) -> None:
    """They are set at 2:00 in spring, and at 3:00 in autumn."""
    night = hours("30 1 * * *", "30 4 * * *")
    begin = night.change(at(f"{day} 00:30"))[1]
    within, end = night.change(begin)
    assert (within, (end - begin) / 3600) == (True, awake)


def test_a_time_that_the_clocks_skip_or_show_twice_is_there_once() -> None:
    night = hours("30 2 * * *", "30 3 * * *")
    assert night.change(at("2026-03-29 01:59")) == (False, at("2026-03-29 03:00")), "at the end of the gap"
    assert night.change(at("2026-03-29 03:00")) == (True, at("2026-03-29 03:30"))
    assert night.change(at("2026-10-25 01:59")) == (False, at("2026-10-25 02:30"))
    assert night.change(at("2026-10-25 02:30", fold=1)) == (True, at("2026-10-25 03:30")), "it goes on"


def test_only_what_sleeps_has_hours_and_they_do_not_end_when_they_begin() -> None:
    base = {"service": "shop", "image": "a", "port": 1}
    week = {"from": "0 8 * * mon-fri", "to": "0 18 * * mon-fri"}
    given = Manifest.model_validate({**base, "scale": {**SCALE, "hours": week}})
    assert Manifest.model_validate(given.record()) == given
    with pytest.raises(ValueError, match=r"hours: with `min: 1` it never sleeps"):
        Manifest.model_validate({**base, "scale": {**SCALE, "min": 1, "hours": week}})
    with pytest.raises(ValueError, match=r"to: they end when they begin"):
        Manifest.model_validate({**base, "scale": {**SCALE, "hours": {**week, "to": week["from"]}}})


class Open(Sleepy):
    """One that is awake from half past ten in the evening to eleven; it is 22:13:20."""

    scale: ClassVar[dict[str, Any]] = {**SCALE, "hours": {"from": "30 22 * * *", "to": "0 23 * * *"}}

    def next(self) -> tuple[str, float]:
        keeper = status_of(self.house, "shop").keeper
        assert keeper is not None
        return keeper.next, keeper.next_at - self.world.clock.now()


def test_the_keeper_wakes_it_when_they_begin_and_lets_it_sleep_when_they_end(state: Path) -> None:
    shop = Open(state)
    assert any("it sleeps while nobody comes until" in note for note in shop.house.store.rollouts.get(1).plan.notes)
    assert shop.pass_by(11) == ["nobody came for 10 s: done"]
    text, left = shop.next()
    assert text == "it is woken (`scale.hours`)"
    assert adjust.keep(shop.house, "shop") is None, "not before"
    shop.world.clock.sleep(left)
    woken = adjust.keep(shop.house, "shop")
    assert woken is not None
    assert woken.outcome == "done"
    assert shop.states() == {"shop-r1-1": "running"}
    (note,) = shop.house.store.rollouts.of("shop", adjustments=True)[0].plan.notes
    assert note.startswith("r1 (1.0) sleeps, and is to be awake until ")
    assert shop.pass_by(60) == []
    text, left = shop.next()
    assert text == "it may sleep from then on (`scale.hours`)"
    shop.world.clock.sleep(left)
    assert shop.pass_by(11) == ["nobody came for 10 s: done"]
    assert shop.states() == {"shop-r1-1": "exited"}


def test_what_is_awake_when_they_begin_stays_so(state: Path) -> None:
    shop = Open(state)
    text, left = shop.next()
    assert text == "it does not sleep from then on (`scale.hours`)"
    for _ in range(round(left / 5)):
        shop.pass_by(5, requests=1)
    assert shop.pass_by(60) == []
