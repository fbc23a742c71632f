"""`deploy cost`: what ran when, from the journal; what the keeper saw of the load; what people get to see of it."""

from __future__ import annotations

import csv
import io
import json
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.app import operations, wiring
from deployer.app.cost import MOST_POINTS, cost
from deployer.app.keeper.load_watch import LOOK_SECONDS, LoadWatch, followed
from deployer.app.operations import adjust
from deployer.cli import main
from deployer.core.errors import Exit, Refused
from deployer.model import Load
from deployer.model.load import SLOT_SECONDS
from deployer.planning.steps import Promote, Remove, Start, Step
from deployer.planning.usage import InstanceSpan, SizingStep, Slept, Usage, running, usage
from deployer.store.loads import KEPT_SECONDS, SeenLoads
from deployer.views.cost import as_csv
from deployer.views.cost_data import CostsView, CostView, LoadPoint, ReleaseCost
from deployer.views.report.load_plot import figure
from tests.house import Scene

HOUR = 3600.0
Out = pytest.CaptureFixture[str]


def start(release: int, colour: str, instances: int, at: float) -> SizingStep:
    return SizingStep(Start(release=release, colour=colour, instances=instances, deadline=9), at, at + 1)  # type: ignore[arg-type]


def ended(step: Step, at: float) -> SizingStep:
    return SizingStep(step, at - 1, at)


def promoted(release: int, colour: str, at: float) -> SizingStep:
    return ended(Promote(release=release, colour=colour, deadline=9), at)  # type: ignore[arg-type]


def removed(colour: str, at: float, release: int = 0, keep: int = 0) -> SizingStep:
    return ended(Remove(colour=colour, release=release, keep=keep, deadline=9), at)  # type: ignore[arg-type]


# -- what ran


def test_a_start_counts_from_its_beginning_and_a_removal_to_its_end() -> None:
    steps = [
        start(1, "blue", 2, 100),
        promoted(1, "blue", 110),
        start(2, "green", 2, 200),
        promoted(2, "green", 250),
        removed("blue", 300, 1, keep=1),
        removed("blue", 400),
        start(2, "green", 5, 500),
        removed("green", 600, 2, keep=3),
    ]
    assert list(running(steps, [], 700)) == [
        InstanceSpan(1, 2, 100, 110, live=False),
        InstanceSpan(1, 2, 110, 200, live=True),
        InstanceSpan(1, 2, 200, 250, live=True),
        InstanceSpan(2, 2, 200, 250, live=False),
        InstanceSpan(1, 2, 250, 300, live=False),
        InstanceSpan(2, 2, 250, 300, live=True),
        InstanceSpan(1, 1, 300, 400, live=False),
        InstanceSpan(2, 2, 300, 400, live=True),
        InstanceSpan(2, 2, 400, 500, live=True),
        InstanceSpan(2, 5, 500, 600, live=True),
        InstanceSpan(2, 3, 600, 700, live=True),
    ]


def test_what_was_not_done_changes_nothing_and_what_was_taken_down_is_gone() -> None:
    steps = [
        start(1, "blue", 2, 100),
        promoted(1, "blue", 110),
        SizingStep(Remove(colour="blue", deadline=9), 150, 0.0),
        SizingStep(Promote(release=2, colour="green", deadline=9), 160, 0.0),
        removed("blue", 170, 7),
        start(1, "blue", 1, 180),
    ]
    assert {(each.instances, each.live) for each in running(steps, [], 200) if each.began >= 110} == {(2, True)}
    assert max(each.ended for each in running(steps, [190], 500)) == 190


def test_what_scaling_and_sleep_saved() -> None:
    ran = [
        InstanceSpan(1, 2, 0, 1000, live=True),
        InstanceSpan(2, 1, 500, 1500, live=False),
        InstanceSpan(2, 3, 1500, 2500, live=True),
    ]
    found = usage(ran, [Slept(300, 100), Slept(1600, 50), Slept(9000, 70)], {2: 4}, 200, 2000)
    assert found == {
        1: Usage(ran=2 * 800 - 100, slept=100),
        2: Usage(ran=1000 + 3 * 500 - 50, beside=1000, unscaled=500, slept=50),
    }


@given(
    st.lists(st.tuples(st.sampled_from(("blue", "green")), st.integers(0, 5), st.integers(1, 50)), max_size=20),
    st.integers(0, 500),
    st.integers(1, 500),
)
def test_parts_of_the_time_add_up(steps: list[tuple[str, int, int]], middle: int, rest: int) -> None:
    at, done = 0, []
    for colour, instances, after in steps:
        at += after
        done.append(start(1, colour, instances, at) if instances else removed(colour, at))
        done.append(promoted(1, colour, at))
    ran = list(running(done, [], 2000))
    end = middle + rest
    whole, first, last = (usage(ran, [], {}, a, b) for a, b in ((0, end), (0, middle), (middle, end)))
    parts = [each.ran for part in (first, last) for each in part.values()]
    assert sum(each.ran for each in whole.values()) == pytest.approx(sum(parts))


# -- what is recorded


@pytest.fixture
def scaled(state: Path) -> Scene:
    """Return a service whose size follows its load, live for an hour."""
    scene = Scene(state)
    scene.deploy("1.0", manifest={"replicas": 1, "scale": {"min": 1, "max": 4, "concurrency": 10, "hold": "60s"}})
    return scene


def watch(scene: Scene, requests: int, seconds: float, *, asleep: bool = False) -> None:
    """Have a keeper look for so long while there are so many requests."""
    release = followed(scene.house, "shop")
    assert release is not None
    looks = LoadWatch(scene.house, release)
    scene.world.open["shop", scene.live.stable] = requests
    for _ in range(round(seconds / LOOK_SECONDS)):
        scene.world.clock.sleep(LOOK_SECONDS)
        if asleep:
            looks._tally.add(0, Load())
        else:
            looks.look()
    looks.close()


def seen(scene: Scene) -> tuple[SeenLoads, ...]:
    return scene.house.store.loads.of("shop", 0, 1e12)


def test_the_load_is_recorded_every_five_minutes(scaled: Scene) -> None:
    watch(scaled, 5, 2 * SLOT_SECONDS)
    rows = seen(scaled)
    assert len(rows) in (2, 3), "by how the time falls into them"
    assert all(row.at % SLOT_SECONDS == 0 for row in rows)
    assert sum(row.seconds for row in rows) == pytest.approx(2 * SLOT_SECONDS, abs=1)
    assert sum(row.busy for row in rows) == pytest.approx(5 * 2 * SLOT_SECONDS, rel=0.01)
    assert {row.peak for row in rows} == {5}
    assert sum(row.room for row in rows) == 10 * sum(row.instances for row in rows)
    watch(scaled, 5, 10)
    assert sum(row.seconds for row in seen(scaled)) == pytest.approx(2 * SLOT_SECONDS + 10, abs=2), "added to a row"


def test_what_is_old_is_forgotten(scaled: Scene) -> None:
    loads = scaled.house.store.loads
    loads.add("shop", SeenLoads(300, 10))
    loads.add("shop", SeenLoads(300 + KEPT_SECONDS, 10))
    assert len(seen(scaled)) == 2
    loads.add("shop", SeenLoads(600 + KEPT_SECONDS, 10))
    assert [row.at for row in seen(scaled)] == [300 + KEPT_SECONDS, 600 + KEPT_SECONDS]


# -- what it comes to


def test_hours_by_release_with_twins_and_what_was_saved(scaled: Scene) -> None:
    clock, house = scaled.world.clock, scaled.house
    began = clock.now()
    clock.sleep(HOUR)
    adjust.scale(house, "shop", 3, 0.0, "sale")
    clock.sleep(HOUR)
    adjust.scale(house, "shop", 0, 0.0, "")
    clock.sleep(HOUR)
    view = cost(house, "shop", began, clock.now() + 9e9)
    (one,) = view.releases
    assert (one.release, one.version) == (1, "1.0")
    assert one.hours == pytest.approx(1 + 3 + 1, rel=0.01)
    assert one.scaling == pytest.approx(3 + 1 + 3, rel=0.01)
    assert view.until == clock.now()

    scaled.deploy("2.0", manifest={"keep": {"warm": "30m"}})
    clock.sleep(HOUR)
    two, one = cost(house, "shop", began, clock.now()).releases
    assert two.release == 2
    assert one.beside >= 0.99, "what is kept warm runs until it is removed"
    assert cost(house, "shop", began, clock.now()).total.hours == pytest.approx(one.hours + two.hours)
    operations.down(house, "shop", "the end")
    clock.sleep(HOUR)
    later = cost(house, "shop", clock.now() - HOUR / 2, clock.now())
    assert later.releases == ()


def test_what_is_idle_and_asleep(scaled: Scene) -> None:
    clock = scaled.world.clock
    began = clock.now()
    watch(scaled, 2, 600)
    watch(scaled, 0, 300, asleep=True)
    view = cost(scaled.house, "shop", began - SLOT_SECONDS, clock.now())
    assert view.idle == pytest.approx(0.8, abs=0.01)
    (one,) = view.releases
    assert one.sleep == pytest.approx(300 / HOUR, abs=0.01)
    assert one.hours == pytest.approx((clock.now() - began - 300) / HOUR, abs=0.02)
    assert sum(point.asleep * point.seconds for point in view.load) == pytest.approx(300, abs=2)


def test_a_plot_has_no_more_points_than_it_can_show(scaled: Scene) -> None:
    clock = scaled.world.clock
    for number in range(1500):
        at = clock.now() // SLOT_SECONDS * SLOT_SECONDS + number * SLOT_SECONDS
        scaled.house.store.loads.add("shop", SeenLoads(at, 300, 0, 600, 6000, 900, 7))
    clock.sleep(1500 * 300)
    view = cost(scaled.house, "shop", clock.now() - 1500 * 300, clock.now())
    assert 100 < len(view.load) <= MOST_POINTS + 1
    assert {(round(p.instances, 3), round(p.room, 3), p.peak) for p in view.load} == {(2.0, 20.0, 7)}
    assert view.idle == pytest.approx(0.85)


def test_a_time_that_has_not_begun_and_a_service_that_is_none_are_refused(scaled: Scene) -> None:
    now = scaled.world.clock.now()
    with pytest.raises(Refused, match="has not begun"):
        cost(scaled.house, "shop", now + 5, now + 9)
    with pytest.raises(Refused, match="never deployed"):
        cost(scaled.house, "blog", 0, now)


# -- the command and the plot


@pytest.fixture
def at_home(scaled: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Hand the scene to the command; its time is November 2023."""
    monkeypatch.setattr(wiring, "open_house", lambda *_: nullcontext(scaled.house))
    scaled.world.clock.sleep(2 * HOUR)
    return scaled


def test_a_month_is_printed_in_three_ways(at_home: Scene, capsys: Out) -> None:
    assert main(["cost", "--month", "2023-11"]) == 0
    text = capsys.readouterr().out
    assert "r1 (1.0)   2.00" in text
    assert max(map(len, text.splitlines())) <= 80
    assert main(["cost", "--month", "2023-11", "--service", "shop", "--output", "json"]) == 0
    (shop,) = json.loads(capsys.readouterr().out)["services"]
    assert shop["releases"][0]["scaling"] == pytest.approx(6.0, rel=0.01)
    assert main(["cost", "--month", "2023-11", "--csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["service"], row["release"], row["version"], row["idle"]) == ("shop", "1", "1.0", "")
    assert float(row["saved by scaling"]) == pytest.approx(6.0, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--month", "2023-13"], "must be a month such as 2026-11"),
        (["--month", "2999-01"], "must be a month"),
        (["--month", "2099-01"], "has not begun yet"),
        (["--month", "2023-11", "--since", "3d"], "exclude each other"),
        (["--since", "soon"], "a duration"),
    ],
)
def test_what_is_no_time_is_refused(at_home: Scene, arguments: list[str], told: str, capsys: Out) -> None:
    assert main(["cost", *arguments]) == Exit.REFUSED
    assert told in capsys.readouterr().err


def test_no_cell_is_a_formula() -> None:
    view = CostView("shop", 0, 1, (ReleaseCost(1, "=cmd()", 1.0),))
    assert "'=cmd()" in as_csv(CostsView(0, 1, (view,)))


def test_the_plot_shows_size_load_and_sleep_and_leaves_out_what_nobody_saw() -> None:
    load = (LoadPoint(0, 300, 2, 20, 8, 9), LoadPoint(300, 300, 0, 0, 0, 0, 1.0), LoadPoint(9000, 300, 3, 30, 25, 30))
    drawn = figure(CostView("shop", 0, 20_000, (ReleaseCost(1, "1", 2.5, 0.5, 4.0, 1.0),), 0.6, 900, load))
    assert drawn is not None
    assert drawn.plot.series[0].values == [2, 0, 0, None, 3, 3, None]
    assert drawn.plot.series[1].values[0] == 0.8
    assert "asleep" in drawn.plot.hints[1][1]
    assert "2.5 instance-hours, 0.5 of them beside the live release" in drawn.caption
    assert str(drawn.render()).count("<svg") == 2
    assert figure(CostView("shop", 0, 1)) is None
