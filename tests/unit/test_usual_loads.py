"""The size is there before the load that is usual at this hour: by the keeper's own records, with a real store."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from deployer.app.keeper.load_watch import followed
from deployer.app.operations import adjust
from deployer.app.usual_loads import UsualLoads
from deployer.model.load import SLOT_SECONDS
from deployer.store.loads import SeenLoads
from tests.unit.test_load_watch import Loaded, shown

WEEK = 7 * 86_400.0
NINE = datetime(2023, 11, 20, 9, tzinfo=UTC).timestamp()  # the first Monday of the scene


def monday(loaded: Loaded, requests: float, week: int, watched: float = SLOT_SECONDS) -> None:
    """Have the store know the hour from nine on a former Monday."""
    for slot in range(12):
        at = NINE - week * WEEK + slot * SLOT_SECONDS
        seen = SeenLoads(at, watched, 0, watched, 10 * watched, requests * watched, round(requests * 2))
        loaded.scene.house.store.loads.add("shop", seen)


def begin(loaded: Loaded, at: float) -> None:
    """Begin to look at a moment."""
    loaded.scene.world.clock.at = at
    loaded.watch = loaded.watched()


def test_instances_are_there_before_what_is_usual_comes(state: Path) -> None:
    loaded = Loaded(state)
    for week, requests in enumerate((18, 400, 17, 0), 1):  # a sale, and an outage
        monday(loaded, requests, week)
    begin(loaded, NINE - SLOT_SECONDS - 10)
    assert loaded.look(2, 9) == []
    assert loaded.look(2, 2) == ["r1 (1.0) has 1 instance, 3 are wanted: done"]
    assert loaded.scene.world.clock.now() < NINE - 200
    assert shown(loaded)[:3] == [
        "size: 3 instances of 1 to 4, as the load needs: usual are 17 requests at once on Mondays at 09:00 UTC",
        "load: 2 requests at once; at most 10 for each instance",
        "usual: 17 requests at once on Mondays at 09:00 UTC, so at least 3 instances",
    ]
    assert loaded.look(2, 280) == [], "what is usual is kept, also while it does not come"
    assert loaded.look(17, 60) == [], "nobody waits for a start"
    assert loaded.look(34, 4) == ["r1 (1.0) has 3 instances, 4 are wanted: done"], "and more come for more"


def test_when_it_is_usual_no_more_the_size_follows_the_load(state: Path) -> None:
    loaded = Loaded(state)
    monday(loaded, 17, 1)
    monday(loaded, 17, 2)
    begin(loaded, NINE + 3500)
    assert len(loaded.look(2, 2)) == 1
    assert loaded.look(2, 90) == []
    assert loaded.look(2, 15) == [
        "r1 (1.0) has 3 instances, 2 are wanted: done",
        "r1 (1.0) has 2 instances, 1 is wanted: done",
    ]
    assert not any(line.startswith("usual") for line in shown(loaded))


@pytest.mark.parametrize("watched", [SLOT_SECONDS / 3, 0.0], ids=["a part", "nothing"])
def test_weeks_that_were_not_watched_say_nothing(state: Path, watched: float) -> None:
    loaded = Loaded(state)
    monday(loaded, 17, 1)
    monday(loaded, 17, 2, watched)
    begin(loaded, NINE)
    assert loaded.look(2, 5) == []
    monday(loaded, 17, 3)
    begin(loaded, NINE + 10)
    assert len(loaded.look(2, 5)) == 1, "the third week is known, too"


def test_it_can_be_switched_off(state: Path) -> None:
    loaded = Loaded(state, predict=False)
    monday(loaded, 17, 1)
    monday(loaded, 17, 2)
    begin(loaded, NINE)
    assert loaded.look(2, 5) == []


def test_it_has_a_timezone(state: Path) -> None:
    loaded = Loaded(state, timezone="Europe/Berlin")
    monday(loaded, 17, 1)
    monday(loaded, 17, 2)
    begin(loaded, NINE)
    assert len(loaded.look(2, 5)) == 1
    assert shown(loaded)[2] == "usual: 17 requests at once on Mondays at 10:00 Europe/Berlin, so at least 3 instances"


def test_the_store_is_asked_once_in_five_minutes(loaded_queries: Loaded) -> None:
    house = loaded_queries.scene.house
    release = followed(house, "shop")
    assert release is not None
    asked, of = list[float](), house.store.loads.of

    class Counting:
        def of(self, service: str, since: float, until: float) -> tuple[SeenLoads, ...]:
            asked.append(since)
            return of(service, since, until)

    usual = UsualLoads(Counting(), release)  # type: ignore[arg-type]
    for second in range(0, 600, 5):
        assert usual.at(NINE + second) is not None
    assert len(asked) == 2 * len(set(asked[:8])) == 16, "two slots of four weeks, twice"


@pytest.fixture
def loaded_queries(state: Path) -> Loaded:
    loaded = Loaded(state)
    monday(loaded, 17, 1)
    monday(loaded, 17, 2)
    return loaded


def test_a_service_to_which_nobody_comes_goes_to_sleep_whatever_is_usual(state: Path) -> None:
    loaded = Loaded(state, min=0, idle="5m")
    monday(loaded, 17, 1)
    monday(loaded, 17, 2)
    begin(loaded, NINE)
    assert loaded.look(2, 2) == ["r1 (1.0) has 1 instance, 3 are wanted: done"]
    assert loaded.look(0, 298) == []
    assert [text.partition(":")[0] for text in loaded.look(0, 70)] == [
        "r1 (1.0) has 3 instances, 2 are wanted",
        "r1 (1.0) has 2 instances, 1 is wanted",
        "nobody came for 5 min",
    ]
    assert loaded.look(0, 300) == [], "and it is not woken"


def test_the_end_of_a_word_leaves_what_is_usual(state: Path) -> None:
    loaded = Loaded(state)
    monday(loaded, 17, 1)
    monday(loaded, 17, 2)
    begin(loaded, NINE)
    adjust.scale(loaded.scene.house, "shop", 4, 0.0, "sale")
    adjust.scale(loaded.scene.house, "shop", 0, 0.0, "")
    assert loaded.up() == [f"shop-r1-{n}" for n in (1, 2, 3)]
