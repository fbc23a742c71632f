"""What every `App` promises (deployer/app/interface.py), tried on each one: locally, by HTTP, and by ssh."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from deployer.app.interface import App
from deployer.core.errors import DeployError, Detached, Exit
from deployer.core.events import Event
from deployer.planning.orders import Order, StopRequest
from tests.conformance.apps import AppBench
from tests.conftest import state_folder
from tests.live.afar import until
from tests.live.shop import Shop
from tests.services import require

pytestmark = pytest.mark.live

# Another App joins the suite with a line here: a function from the bench to one that is open.
WAYS: dict[str, Callable[[AppBench], AbstractContextManager[App]]] = {
    "local": AppBench.local,
    "http": AppBench.http,
    "ssh": AppBench.ssh,
}
PASSING = ("sample", "note", "step.progress")  # what is not recorded, or belongs to no rollout


@pytest.fixture(scope="module")
def bench() -> Iterator[AppBench]:
    require("haproxy")
    with state_folder(Path("/tmp")) as folder:
        shop = Shop(folder, "process", None)
        shop.program = "c"
        shop.manifest["judge"] = {"requests": 1, "undecided": "proceed"}
        try:
            shop.live("1.0")
            yield AppBench(shop)
        finally:
            shop.close()


# The tests of a way share a process, its server and its connection; what begins one is tried elsewhere.
@pytest.fixture(scope="module", params=[pytest.param(way, marks=pytest.mark.xdist_group(way)) for way in WAYS])
def app(request: pytest.FixtureRequest, bench: AppBench) -> Iterator[App]:
    with WAYS[request.param](bench) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _rest(bench: AppBench) -> Iterator[None]:
    yield
    bench.rest()


class Told:
    """A sink that can be asked, and that does something when a kind of event comes."""

    def __init__(self, kind: str = "", do: Callable[[], None] = lambda: None) -> None:
        self.events: list[Event] = []
        self._kind, self._do = kind, do

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if event.kind == self._kind:
            self._do()

    def kinds(self, rollout: int) -> list[str]:
        """Return the kinds of what is recorded of a rollout, in order."""
        return [event.kind for event in self.events if event.rollout == rollout and event.kind not in PASSING]


def deploy(bench: AppBench, version: str) -> Order:
    """Return the order for a deploy that takes no time."""
    return Order("start", manifest=str(bench.manifest), version=version, strategy="bluegreen", options={"bake": "0s"})


def trial(bench: AppBench, version: str, **more: Any) -> Order:
    """Return the order for a deploy that stays at a share until somebody does something."""
    options = {"percent": 10, "for": "60s", **more}
    return Order("start", manifest=str(bench.manifest), version=version, strategy="canary", options=options)


def plain(view: Any) -> Any:
    """Return a view as JSON has it, without the moment at which it was made."""
    data = json.loads(json.dumps(view.to_dict() if hasattr(view, "to_dict") else asdict(view), default=str))
    return {name: value for name, value in data.items() if name != "made_at"}


# -- queries


def test_every_query_gives_what_the_state_folder_gives(bench: AppBench, app: App) -> None:
    name = bench.shop.name
    with bench.local() as here:
        assert app.service() == here.service() == name
        assert app.services() == (name,)
        newest = app.newest(name)
        assert newest == here.newest(name)
        assert plain(app.status(name)) == plain(here.status(name))
        assert plain(app.history(name)) == plain(here.history(name))
        assert plain(app.history(name, 1)) == plain(here.history(name, 1))
        assert plain(app.releases(name)) == plain(here.releases(name))
        assert plain(app.jobs(name)) == plain(here.jobs(name))
        assert plain(app.show(newest)) == plain(here.show(newest))
        assert [event.to_dict() for event in app.events(newest)] == [event.to_dict() for event in here.events(newest)]
        assert plain(app.report(newest)) == plain(here.report(newest))
        assert plain(app.audit(5)) == plain(here.audit(5))
        assert plain(app.audit(2, name)) == plain(here.audit(2, name))
        assert [one.instance for one in app.logs(name, 5).instances] == [
            one.instance for one in here.logs(name, 5).instances
        ]


@pytest.mark.parametrize(
    "ask",
    [
        lambda app: app.status("nobody"),
        lambda app: app.history("nobody"),
        lambda app: app.newest("nobody"),
        lambda app: app.show(9999),
        lambda app: app.report(9999),
        lambda app: app.in_progress(app.service()),
        lambda app: app.carry_out(Order("pause"), lambda _event: None, StopRequest()),
        lambda app: app.jobs("nobody"),
        lambda app: app.logs(app.service(), 5, job="nightly"),
        lambda app: app.carry_out(Order("run", job="nightly"), lambda _event: None, StopRequest()),
        lambda app: app.carry_out(Order("evict", reason="why"), lambda _event: None, StopRequest()),
        lambda app: app.guests.evict("", "why", lambda _event: None),
        lambda app: app.guests.admit("acme", "", lambda _event: None),
    ],
    ids=[
        *("status", "history", "newest", "show", "report", "in_progress"),
        *("pause", "jobs", "logs", "run", "evict", "guests", "admit"),
    ],
)
def test_what_does_not_exist_is_refused(app: App, ask: Callable[[App], object]) -> None:
    with pytest.raises(DeployError) as caught:
        ask(app)
    assert caught.value.exit is Exit.REFUSED
    assert caught.value.message


# -- orders


def test_a_plan_changes_nothing(bench: AppBench, app: App) -> None:
    before = bench.shop.status()
    order = Order("plan", manifest=str(bench.manifest), version=bench.version())
    proposed = app.plan(order)
    assert (proposed.same, proposed.plan.service, proposed.plan.version) == (False, bench.shop.name, order.version)
    assert proposed.plan.forward
    live = app.plan(Order("plan", manifest=str(bench.manifest), version=before["stable_version"]))
    assert live.same
    assert bench.shop.status() == before


def test_a_deploy_is_told_to_its_end(bench: AppBench, app: App) -> None:
    told, order = Told(), deploy(bench, bench.version())
    ending = app.carry_out(order, told, StopRequest())
    assert (ending.outcome, ending.exit) == ("done", Exit.DONE)
    assert ending.rollout == app.newest(bench.shop.name)
    recorded = [event.kind for event in app.events(ending.rollout) if event.kind not in PASSING]
    assert told.kinds(ending.rollout) == recorded, "all of it, each once and in order"
    assert (recorded[0], recorded[-1]) == ("rollout.started", "rollout.ended")
    assert app.status(bench.shop.name).stable_version == order.version
    again = app.carry_out(order, told, StopRequest())
    assert (again.outcome, again.exit, again.rollout) == ("done", Exit.DONE, 0)
    assert "is live already" in again.text
    assert told.events[-1].data["text"] == again.text


def test_a_deploy_that_fails_has_the_exit_code_of_its_cause(bench: AppBench, app: App) -> None:
    before, told = app.status(bench.shop.name).stable_version, Told()
    bench.shop.write(health={"http": "/health", "interval": "100ms", "deadline": "1s"})
    try:
        ending = app.carry_out(deploy(bench, bench.version(HEALTH="0")), told, StopRequest())
    finally:
        bench.shop.write(health={"http": "/health", "interval": "200ms", "deadline": "10s"})
    assert (ending.outcome, ending.exit) == ("reverted", Exit.FAILED)
    assert told.kinds(ending.rollout)[-1] == "rollout.ended"
    assert app.status(bench.shop.name).stable_version == before


def test_a_manifest_that_is_refused_is_refused_everywhere(bench: AppBench, app: App) -> None:
    rollouts = app.history(bench.shop.name).rollouts
    with pytest.raises(DeployError) as caught:
        app.carry_out(deploy(bench, "missing"), Told(), StopRequest())
    assert caught.value.exit is Exit.REFUSED
    assert "missing" in caught.value.message
    assert app.history(bench.shop.name).rollouts == rollouts


def test_a_rollout_is_paused_approved_of_and_rolled_back(bench: AppBench, app: App) -> None:
    name, told = bench.shop.name, Told()
    held = app.carry_out(trial(bench, bench.version(), hold=True), told, StopRequest())
    assert (held.outcome, held.exit) == ("paused", Exit.DONE)
    assert app.in_progress(name) == held.rollout
    assert app.status(name).share == 1000
    ended = app.carry_out(Order("abort", reason="enough seen"), told, StopRequest())
    assert (ended.outcome, ended.exit, ended.rollout) == ("reverted", Exit.DONE, held.rollout)
    recorded = [event.kind for event in app.events(held.rollout) if event.kind not in PASSING]
    assert told.kinds(held.rollout) == recorded
    assert "enough seen" in ended.text


def test_a_rollout_of_another_process_is_followed(bench: AppBench, app: App) -> None:
    name = bench.shop.name
    long = ("canary", "--version", bench.version(), "--percent", "10", "--for", "60s", "--output", "json")
    with bench.shop.start(*long) as other:
        until(other, "traffic.changed")
        number, told = app.in_progress(name), Told()
        seen = app.events(number)
        with bench.shop.start("promote"):
            ending = app.follow(number, told, seen[-1].id)
        other.communicate(timeout=120)
    assert (ending.outcome, ending.exit, ending.rollout) == ("done", Exit.DONE, number)
    assert other.returncode == 0
    ids = [event.id for event in (*seen, *told.events) if event.id]
    assert ids == [event.id for event in app.events(number)], "nothing is missed, nothing comes twice"


def test_a_stop_rolls_the_rollout_back(bench: AppBench, app: App) -> None:
    before, stop = app.status(bench.shop.name).stable_version, StopRequest()
    told = Told("traffic.changed", stop.asked.set)
    ending = app.carry_out(trial(bench, bench.version()), told, stop)
    assert (ending.outcome, ending.exit) == ("reverted", Exit.ABORTED)
    assert told.kinds(ending.rollout)[-1] == "rollout.ended"
    assert app.status(bench.shop.name).stable_version == before


def test_a_stop_that_detaches_leaves_the_rollout(bench: AppBench, app: App) -> None:
    name, stop = bench.shop.name, StopRequest(detach=True)
    told = Told("traffic.changed", stop.asked.set)
    with pytest.raises(Detached):
        app.carry_out(trial(bench, bench.version()), told, stop)
    assert app.in_progress(name) == told.events[-1].rollout
    ending = app.carry_out(Order("abort"), Told(), StopRequest())
    assert (ending.outcome, ending.rollout) == ("reverted", told.events[-1].rollout)


def test_the_way_back(bench: AppBench, app: App) -> None:
    name = bench.shop.name
    version = app.status(name).stable_version
    app.carry_out(deploy(bench, bench.version()), Told(), StopRequest())
    ending = app.carry_out(Order("rollback", reason="slow", again=True), Told(), StopRequest())
    assert (ending.outcome, ending.exit) == ("done", Exit.DONE)
    assert app.status(name).stable_version == version
    assert "slow" in [record.reason for record in app.audit(3, name).records]


def test_a_contract_of_a_release_without_one_is_refused(bench: AppBench, app: App) -> None:
    with pytest.raises(DeployError, match=r"has no `migrate.contract`") as caught:
        app.carry_out(Order("contract", bench.shop.name, drop=True), Told(), StopRequest())
    assert caught.value.exit is Exit.REFUSED
    assert app.status(bench.shop.name).migration is None


def test_a_size_that_a_person_wants(bench: AppBench, app: App) -> None:
    name = bench.shop.name
    size = app.status(name).size
    assert size is not None
    asked = Order("scale", reason="sale", instances=size.replicas, seconds=3600.0)
    ending = app.carry_out(asked, Told(), StopRequest())
    assert (ending.outcome, ending.exit, ending.rollout) == ("done", Exit.DONE, 0)
    assert ending.text.endswith("already")
    said = app.status(name).size
    assert said is not None
    assert (said.replicas, said.reason, bool(said.by), bool(said.until)) == (size.replicas, "sale", True, True)
    app.carry_out(Order("scale"), Told(), StopRequest())
    said = app.status(name).size
    assert said is not None
    assert said.by == ""
