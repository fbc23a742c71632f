"""Numbers for Prometheus: read by its own parser, held against what happened, and cheap to ask for."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deployer import __version__
from deployer.app import operations, status
from deployer.app.operations import AppContext
from deployer.app.operations.execution import locked
from deployer.app.status import status_of
from deployer.core.errors import StoreFailed
from deployer.core.events import Event
from deployer.drivers.certificates import keys
from deployer.evidence import live_sample
from deployer.server import observer
from deployer.server.jobs import JobRunner
from deployer.server.metrics import VERDICTS
from deployer.server.observer import Observer, ServiceObservation
from deployer.store.rare_records import RolloutTimes
from deployer.store.rollouts import Rollouts
from deployer.views.data import StatusView
from tests.api import Api
from tests.house import REPOSITORY, request
from tests.memory import FakeClock

LIVE = ("deployer_share_ratio", "deployer_share_target_ratio", "deployer_budget_answers", "deployer_lease_left_seconds")


@pytest.fixture
def api(state: Path) -> Iterator[Api]:
    made = Api(state)
    yield made
    made.close()


def text(api: Api) -> str:
    return api.metrics.exposition()[0].decode()


def values(api: Api) -> dict[str, float]:
    """Return the value of each sample, by its name and the values of its labels."""
    api.scene.world.clock.sleep(observer.EVERY)  # what was read before is old
    return {
        ":".join((sample.name, *(value for _, value in sorted(sample.labels.items())))): sample.value
        for family in text_string_to_metric_families(text(api))
        for sample in family.samples
    }


def hold(api: Api, **more: Any) -> int:
    """Leave a canary at 10%."""
    api.scene.deploy("1.0", **more)
    ending = operations.deploy(
        api.scene.house, request("2.0", "canary", REPOSITORY, options={"percent": 10, "hold": True})
    )
    assert ending.outcome == "paused"
    return ending.rollout


def test_names_and_labels_are_as_prometheus_asks_and_bounded(api: Api) -> None:
    hold(api)
    allowed = {"service", "strategy", "outcome", "exit", "part", "state", "verdict", "version", "loop"}
    for family in text_string_to_metric_families(text(api)):
        assert family.name.startswith("deployer_")
        assert family.documentation.endswith(".")
        counters = ("_rollouts", "_rollout_seconds", "_api_answers", "_loop_bugs")
        assert (family.type == "counter") == family.name.endswith(counters)
        for sample in family.samples:
            assert family.name.startswith("deployer_api_") or sample.labels.keys() <= allowed, sample


def test_internal_errors_of_what_the_server_does_by_itself_are_counted(api: Api) -> None:
    api.desk.loops = (JobRunner(api.desk),)
    api.desk.loops[0].bugs = 3
    assert values(api)["deployer_loop_bugs_total:jobs"] == 3


def test_rollouts_by_outcome_and_what_they_worked_and_waited(api: Api) -> None:
    number = hold(api)
    assert values(api)["deployer_build_info:" + __version__] == 1
    api.scene.world.clock.sleep(100)
    operations.promote(api.scene.house, "shop", "looks good")
    rollout = api.scene.house.store.rollouts.get(number)
    assert rollout.ended_at is not None
    found = values(api)
    assert found["deployer_rollouts_total:0:done:shop:bluegreen"] == 1
    assert found["deployer_rollouts_total:0:done:shop:canary"] == 1
    worked = found["deployer_rollout_seconds_total:0:done:working:shop:canary"]
    waited = found["deployer_rollout_seconds_total:0:done:waiting:shop:canary"]
    assert worked + waited == pytest.approx(rollout.ended_at - rollout.started_at)
    assert waited >= 100, "a person took that long"
    steps = {("forward", n): step.kind for n, step in enumerate(rollout.plan.forward)}
    journal = api.scene.house.store.journal.of(number)
    busy = [e for e in journal if steps[e.phase, e.n] not in ("watch", "approve") and e.ended_at]
    assert worked == pytest.approx(sum((e.ended_at or 0) - e.began_at for e in busy))
    assert values(api) == found, "each is counted once"


def test_a_rollout_under_way(api: Api) -> None:
    number = hold(api)
    state, clock = api.scene.house.store.folder, api.scene.world.clock
    file = live_sample.file_of(state, number)
    live_sample.Latest(file, clock).keep({"share_actual": 987, "spent": 1})
    found = values(api)
    status: StatusView = status_of(api.scene.house, "shop")
    safety = status.safety
    assert safety is not None
    assert status.share == safety.share == 1000
    assert found["deployer_rollout_open:shop:paused"] == 1
    assert found["deployer_share_ratio:shop"] == found["deployer_share_target_ratio:shop"] == 0.1
    assert found["deployer_share_actual_ratio:shop"] == 0.0987
    assert found["deployer_budget_answers:shop"] == safety.budget > 0
    assert found["deployer_budget_left_answers:shop"] == safety.budget - safety.spent
    assert found["deployer_live_readable:shop"] == 1
    assert found["deployer_live_age_seconds:shop"] == 0
    said = api.scene.house.store.events.last_verdict(number)
    assert [word for word in VERDICTS if found[f"deployer_verdict:shop:{word}"]] == ([said] if said else [])

    operations.stop(api.scene.house, "shop", "enough")
    ended = values(api)
    assert not [key for key in ended if key.startswith((*LIVE, "deployer_verdict", "deployer_rollout_open"))]


def test_a_verdict_is_one_word_of_three(api: Api) -> None:
    number = hold(api)
    store = api.scene.house.store
    for word in VERDICTS:
        with locked(api.scene.house, "shop", "test") as lock:
            store.events.add(lock, Event("verdict", api.scene.world.clock.now(), "shop", number, {"verdict": word}))
        found = values(api)
        assert {w: found[f"deployer_verdict:shop:{w}"] for w in VERDICTS} == {w: float(w == word) for w in VERDICTS}
    assert store.events.last_verdict(number + 1) == ""


def test_a_lease_is_over_and_a_budget_spent(api: Api) -> None:
    number = hold(api)
    world = api.scene.world
    live = replace(world.live["shop"], lease=int(world.clock.now()) + 30)
    world.live["shop"] = live
    found = values(api)  # after EVERY seconds
    assert found["deployer_lease_left_seconds:shop"] == pytest.approx(live.lease - world.clock.now())
    world.clock.sleep(60)
    found = values(api)
    assert (found["deployer_lease_left_seconds:shop"], found["deployer_share_ratio:shop"]) == (0, 0)
    assert found["deployer_share_target_ratio:shop"] == 0.1

    world.live["shop"] = replace(live, lease=0)
    world.flow("shop").spent[number] = live.budget + 3
    found = values(api)
    assert (found["deployer_budget_left_answers:shop"], found["deployer_share_ratio:shop"]) == (0, 0)


def test_who_has_the_lock(api: Api) -> None:
    api.scene.deploy("1.0")
    assert "deployer_lock_held_seconds:shop" not in values(api)
    with locked(api.scene.house, "shop", "test"):
        api.scene.world.clock.sleep(3)
        found = values(api)
        assert found["deployer_lock_held_seconds:shop"] == 3 + observer.EVERY
        assert 0 <= found["deployer_lock_silent_seconds:shop"] <= 3 + observer.EVERY
    assert "deployer_lock_held_seconds:shop" not in values(api)


def test_a_proxy_that_does_not_answer_is_no_share(api: Api) -> None:
    hold(api)
    clock = api.scene.world.clock
    api.scene.world.silent_until = clock.now() + 60
    found = values(api)
    assert found["deployer_live_readable:shop"] == 0
    assert not [key for key in found if key.startswith(LIVE)], "nothing is known, and nothing is said"
    clock.sleep(60)
    assert values(api)["deployer_share_ratio:shop"] == 0.1


def test_who_asks_every_second_costs_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(api)
    looks: list[str] = []
    read_status = status.status_of

    def counted(house: AppContext, service: str) -> StatusView:
        looks.append(service)
        return read_status(house, service)

    monkeypatch.setattr(status, "status_of", counted)
    times: list[int] = []
    read = Rollouts.times

    def timed(rollouts: Rollouts, after: int = 0, besides: Collection[int] = ()) -> tuple[RolloutTimes, ...]:
        times.append(after)
        return read(rollouts, after, besides)

    monkeypatch.setattr(Rollouts, "times", timed)
    first = text(api)
    for _ in range(100):
        assert text(api) == first
    assert (len(looks), len(times)) == (1, 1)
    for _ in range(100):
        api.scene.world.clock.sleep(1)
        text(api)
    assert len(looks) <= 1 + 100 / observer.EVERY
    assert len(times) <= 101


def test_a_slow_machine_keeps_nobody_waiting_and_is_asked_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, go, looked = FakeClock(), threading.Event(), threading.Semaphore(0)

    def look() -> tuple[ServiceObservation, ...]:
        assert go.wait(20)
        clock.sleep(7)
        looked.release()
        return (ServiceObservation("shop", clock.monotonic(), read=True),)

    monkeypatch.setattr(observer, "PATIENCE", 0.01)
    seeing = Observer(look, clock)
    assert seeing.newest() == (), "nothing is known yet"
    assert seeing.newest() == (), "one reading at a time"
    monkeypatch.setattr(observer, "PATIENCE", 20)
    go.set()
    (seen,) = seeing.newest()
    clock.sleep(69)
    assert seeing.newest() == (seen,), "a tenth of the time at most"
    clock.sleep(1)
    assert seeing.newest() != (seen,)
    assert [looked.acquire(timeout=0) for _ in range(3)] == [True, True, False]


def test_what_looking_raises_is_raised_to_who_asks() -> None:
    def look() -> tuple[ServiceObservation, ...]:
        raise StoreFailed("the store is gone")

    with pytest.raises(StoreFailed, match="gone"):
        Observer(look, FakeClock()).newest()


def test_a_certificate_that_cannot_be_read_hides_no_other(api: Api, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.pem" for name in ("one", "two", "three")]
    for file in files:
        file.write_text(keys.placeholder(f"{file.stem}.example.com", api.scene.world.clock.now()))
    traffic = {"domains": ["shop.example.com"], "tls": {"certificates": [str(file) for file in files]}}
    api.scene.deploy("1.0", manifest={"traffic": traffic})
    files[0].write_text("it was cut off")
    files[1].unlink()
    files[1].mkdir()
    ends = {name for name in values(api) if name.startswith("deployer_certificate_end_seconds")}
    assert ends == {"deployer_certificate_end_seconds:three.example.com:shop"}


# -- what is written of them


def everything(api: Api) -> dict[str, set[str]]:
    """Return the labels of every metric by its name, from a rollout in progress and others that ended."""
    number = hold(api, manifest={"traffic": {"domains": ["shop.example.com"], "tls": "auto"}})
    made = keys.placeholder("shop.example.com", api.scene.world.clock.now())
    cut = made.index("-----BEGIN CERTIFICATE")
    api.scene.house.certificates.keep("shop.example.com", made[cut:], made[:cut])
    world = api.scene.world
    world.live["shop"] = replace(world.live["shop"], lease=int(world.clock.now()) + 3600)
    live_sample.Latest(live_sample.file_of(api.scene.house.store.folder, number), world.clock).keep(
        {"share_actual": 987}
    )
    api.desk.answered["GET", "/services", 200] = 1
    api.desk.loops = (JobRunner(api.desk),)
    with locked(api.scene.house, "shop", "test"):
        families = list(text_string_to_metric_families(text(api)))
    assert all(family.samples for family in families), [family.name for family in families if not family.samples]
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def queries_of(dashboard: Any) -> list[str]:
    """Return every query of a dashboard."""
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def dashboard() -> Any:
    return json.loads((REPOSITORY / "examples/grafana/deployer.json").read_text())


def test_the_page_has_every_metric_with_its_labels(api: Api) -> None:
    page = (REPOSITORY / "docs/server.md").read_text()
    told: dict[str, set[str]] = {}
    before: set[str] = set()
    for names, labels in re.findall(r"^\| (`deployer_[^|]*) \| ([^|]*) ?\| [^|]+ \|$", page, re.MULTILINE):
        given = set(re.findall("`([a-z]+)`", labels.partition("no `service`")[0]))
        given |= (before if "the same" in labels else set()) | (set() if "no `service`" in labels else {"service"})
        told |= dict.fromkeys(re.findall("`(deployer_[a-z_]+)`", names), given)
        before = given
    assert told == everything(api)


def test_every_query_of_the_dashboard_names_what_there_is(api: Api) -> None:
    known = everything(api)
    found = queries_of(dashboard())
    assert len(found) > 15
    for query in found:
        names = re.findall(r"deployer_\w+", query)
        assert names, query
        assert set(names) <= known.keys(), query
        for name, matchers in re.findall(r"(deployer_\w+)\{([^}]*)\}", query):
            assert set(re.findall(r"(\w+)=", matchers)) <= known[name], query
        for labels in re.findall(r"(?:by|on|group_left) \(([^)]*)\)", query):
            assert set(re.findall(r"\w+", labels)) <= {"instance"}.union(*(known[name] for name in names)), query
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            labels = set().union(*(known[name] for name in re.findall(r"deployer_\w+", target["expr"]))) | {"instance"}
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels, target
    variables = {one["name"]: one for one in dashboard()["templating"]["list"]}
    name, label = re.findall(r"\w+", variables["service"]["query"]["query"])[1:]
    assert label in known[name]


def test_the_panels_of_the_dashboard_stand_side_by_side() -> None:
    panels = dashboard()["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)
