"""Guests that have to go, and come back: frozen, removed, kept away, let in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from deployer.app import operations
from deployer.app.doctor.services import service as examined
from deployer.app.evictions import eviction
from deployer.app.guests import listing
from deployer.app.local import LocalApp
from deployer.app.operations import adjust
from deployer.app.operations.evict import admit, evict, evict_one, evicted
from deployer.app.operations.guests import guests
from deployer.app.status import status_of
from deployer.cli.guests import evict as command
from deployer.core.errors import Exit, HostsUnreachable, Refused
from deployer.planning.guest_steps import Evict, Freeze
from deployer.planning.plan import Plan
from deployer.store import DEPLOYER, whoami
from deployer.views import tables
from tests.house import Scene
from tests.memory import Crash

FILE = """
tenants:
  acme: {cpus: 1, memory: 512m, services: 2, evict: 5s}
  beta: {cpus: 1, memory: 256m}
"""


@pytest.fixture
def scene(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    file = tmp_path / "tenants.yml"
    file.write_text(FILE)
    monkeypatch.setenv("DEPLOYER_TENANTS", str(file))
    made = Scene(state)
    with made.house:
        made.deploy("1.0")
        guest(made, "blog", "acme")
        guest(made, "chat", "acme")
        guest(made, "wiki", "beta")
        yield made


def guest(scene: Scene, service: str, tenant: str, version: str = "1.0", **more: Any) -> Any:
    given = {"service": service, "image": f"{service}:1", "tenant": tenant}
    return scene.deploy(version, manifest=given, **more)


def running(scene: Scene, service: str) -> list[str]:
    return sorted(n for n, i in scene.world.instances.items() if i.service == service and i.state == "running")


def test_the_guests_of_a_tenant_are_frozen_then_removed_and_nobody_else(scene: Scene) -> None:
    ended = evict(scene.house, "acme", "we need it")
    assert [each.outcome for each in ended] == ["done", "done"]
    assert sorted(scene.world.frozen) == ["blog-r1-1", "blog-r1-2", "chat-r1-1", "chat-r1-2"]
    assert running(scene, "blog") == running(scene, "chat") == []
    assert running(scene, "wiki")
    assert running(scene, "shop")
    kinds = [type(step) for step in scene.house.store.rollouts.of("blog", 1, adjustments=True)[0].plan.forward]
    assert kinds == [Freeze, Evict]
    found = eviction(scene.house.store, "blog")
    assert found is not None
    assert (found.by, found.reason, found.by_person, found.until) == (whoami(), "we need it", True, 0.0)
    assert "by " in found.text
    assert {each.service for each in evicted(scene.house)} == {"blog", "chat"}
    assert scene.world.live["blog"].stable == "blue"


def test_each_instance_has_what_its_terms_say_and_nothing_if_it_is_to_go_now(scene: Scene) -> None:
    evict(scene.house, "acme", "soon")
    evict(scene.house, "beta", "now", now=True)

    def grace(service: str) -> float:
        plan = scene.house.store.rollouts.of(service, 1, adjustments=True)[0].plan
        (step,) = (each for each in plan.forward if isinstance(each, Evict))
        return step.grace

    assert (grace("blog"), grace("wiki")) == (5, 0)


def test_nothing_is_started_of_it_before_it_is_let_in(scene: Scene) -> None:
    evict(scene.house, "beta", "we need it")
    assert adjust.keep(scene.house, "wiki") is None
    assert adjust.keep(scene.house, "blog") is None
    for attempt in (
        lambda: guest(scene, "wiki", "beta", "2.0"),
        lambda: operations.rollback(scene.house, "wiki"),
        lambda: adjust.scale(scene.house, "wiki", 3, 0, ""),
        lambda: evict(scene.house, "beta", "again"),
    ):
        with pytest.raises(Refused):
            attempt()
    assert running(scene, "wiki") == []
    with pytest.raises(Refused, match=r"wiki is evicted, since .*: we need it"):
        guest(scene, "wiki", "beta", "2.0")

    (ended,) = admit(scene.house, "beta", "there is room")
    assert (ended.outcome, ended.exit) == ("done", Exit.DONE)
    assert running(scene, "wiki") == ["wiki-r1-1", "wiki-r1-2"]
    assert sorted(scene.world.up("wiki", scene.world.live["wiki"].stable)) == ["wiki-r1-1", "wiki-r1-2"]
    assert eviction(scene.house.store, "wiki") is None
    assert guest(scene, "wiki", "beta", "2.0").outcome == "done"


def test_a_guest_that_is_not_healthy_when_it_is_let_in_stays_away(scene: Scene) -> None:
    evict(scene.house, "beta", "we need it")
    scene.world.broken.add("1.0")
    (ended,) = admit(scene.house, "beta", "there is room")
    assert ended.exit == Exit.FAILED
    assert running(scene, "wiki") == []
    assert eviction(scene.house.store, "wiki") is not None


def test_it_stays_evicted_however_often_it_did_not_get_healthy(scene: Scene) -> None:
    evict(scene.house, "beta", "we need it")
    scene.world.broken.add("1.0")
    before = eviction(scene.house.store, "wiki")
    for _ in range(3):
        (ended,) = admit(scene.house, "beta", "there is room")
        assert ended.outcome == "reverted"
    assert before is not None
    assert eviction(scene.house.store, "wiki") == before


def test_whom_the_keeper_has_evicted_stays_away_when_a_person_says_so(scene: Scene) -> None:
    wiki = next(release for release in guests(scene.house) if release.service == "wiki")
    evict_one(scene.house, wiki, "its owner needs memory", DEPLOYER)
    (ended,) = evict(scene.house, "beta", "all weekend", seconds=3600)
    assert ended.outcome == "done"
    found = eviction(scene.house.store, "wiki")
    assert found is not None
    assert (found.by_person, found.reason) == (True, "all weekend")
    assert found.until > scene.house.clock.now()
    assert running(scene, "wiki") == []


def test_what_is_on_a_silent_host_is_not_taken_for_evicted(scene: Scene) -> None:
    scene.world.silent = {"": "no route to it"}
    with pytest.raises(HostsUnreachable, match="no route to it"):
        evict(scene.house, "beta", "we need it")
    assert eviction(scene.house.store, "wiki") is None


def test_what_was_on_a_silent_host_goes_when_that_is_back(scene: Scene) -> None:
    left = scene.world.instances["wiki-r1-2"]
    evict(scene.house, "beta", "we need it", seconds=3600)
    before = eviction(scene.house.store, "wiki")
    scene.world.instances[left.name] = left
    ended = adjust.keep(scene.house, "wiki")
    assert ended is not None
    assert ended.text == "something of r1 (1.0) runs, which was evicted: done"
    assert (running(scene, "wiki"), scene.world.frozen[-1]) == ([], left.name)
    assert eviction(scene.house.store, "wiki") == before
    assert adjust.keep(scene.house, "wiki") is None


def test_it_is_said_where_nothing_can_be_let_in(scene: Scene) -> None:
    evict(scene.house, "beta", "we need it")
    scene.world.silent = {"": "no route to it"}
    with pytest.raises(Refused, match="nothing of wiki can be started now"):
        admit(scene.house, "beta", "there is room")
    assert eviction(scene.house.store, "wiki") is not None


def test_what_cannot_be_frozen_goes_all_the_same(scene: Scene) -> None:
    scene.world.unfrozen = True
    (ended,) = evict(scene.house, "beta", "we need it")
    assert ended.outcome == "done"
    assert running(scene, "wiki") == []
    assert any("not frozen, and stopped all the same" in told["text"] for told in scene.told("note"))


def test_what_is_kept_warm_goes_too(scene: Scene) -> None:
    guest(scene, "wiki", "beta", "2.0")
    assert len(running(scene, "wiki")) == 4
    evict(scene.house, "beta", "all of it")
    assert running(scene, "wiki") == []
    assert scene.house.store.services.get("wiki").warm == 0


def test_a_canary_of_a_guest_is_rolled_back_first(scene: Scene) -> None:
    held = guest(scene, "wiki", "beta", "2.0", strategy="canary", options={"hold": True})
    assert held.outcome == "paused"
    evict(scene.house, "beta", "all of it")
    assert running(scene, "wiki") == []
    assert scene.house.store.rollouts.in_progress("wiki") is None
    admit(scene.house, "beta", "")
    assert running(scene, "wiki") == ["wiki-r1-1", "wiki-r1-2"]


@pytest.mark.parametrize("promoted", [False, True])
def test_what_the_process_of_a_deploy_left_that_died_keeps_no_guest(scene: Scene, promoted: bool) -> None:
    def die(what: str) -> None:
        if what.startswith("before remove wiki-r1" if promoted else "after set_traffic"):
            raise Crash(what)

    scene.world.tick = die
    with pytest.raises(Crash):
        scene.deploy("2.0", manifest={"service": "wiki", "image": "wiki:1", "tenant": "beta", "keep": {"warm": 0}})
    scene.house.store.locks.break_("wiki")
    scene.world.tick = lambda _what: None
    assert scene.house.store.services.get("wiki").stable == (2 if promoted else 1)
    assert evict(scene.house, "beta", "we need it")[0].outcome == "done"
    assert running(scene, "wiki") == []
    assert scene.house.store.rollouts.in_progress("wiki") is None


def test_it_is_said_where_there_is_nobody_to_evict_or_to_let_in(scene: Scene) -> None:
    with pytest.raises(Refused, match="no guest of gamma runs"):
        evict(scene.house, "gamma", "x")
    with pytest.raises(Refused, match="no guest is evicted"):
        admit(scene.house, "", "")


def test_the_audit_log_has_who_and_why(scene: Scene) -> None:
    evict(scene.house, "beta", "we need it")
    found = [(r.action, r.service, r.reason) for r in scene.house.store.audit_log.newest(5, "wiki")]
    assert ("evict", "wiki", "we need it") in found


def test_the_listing_has_what_runs_and_who_was_evicted(scene: Scene) -> None:
    evict(scene.house, "beta", "we need it")
    found = listing(scene.house)
    assert [(g.tenant, g.service, g.running, bool(g.evicted)) for g in found.guests] == [
        ("acme", "blog", 2, False),
        ("acme", "chat", 2, False),
        ("beta", "wiki", 0, True),
    ]
    assert {(u.tenant, u.memory) for u in found.use} == {("acme", 2 * 1024**2), ("beta", 2 * 1024**2)}


def test_the_status_says_whose_guest_it_is_and_that_it_was_evicted(scene: Scene) -> None:
    assert status_of(scene.house, "shop").tenant == ""
    evict(scene.house, "beta", "we need it")
    found = status_of(scene.house, "wiki")
    assert found.tenant == "beta"
    assert any("is evicted, since" in text and "we need it" in text for text in found.problems)
    assert not any("brings it back" in text for text in found.problems)
    assert "guest: of beta" in tables.render(found, scene.house.clock.now())


def test_the_doctor_proposes_no_deploy_of_what_was_evicted(scene: Scene) -> None:
    evict(scene.house, "beta", "we need it")
    found = {finding.text: finding for finding in examined(scene.house, "wiki")}
    assert not [text for text in found if "should be live" in text]
    (evicted_one,) = (finding for text, finding in found.items() if text.startswith("wiki is evicted, since"))
    assert (evicted_one.level, evicted_one.cure) == ("warn", None)
    assert "`deploy evict --end` lets it in" in evicted_one.remedy
    assert {finding.level for finding in found.values()} == {"warn"}


def test_the_command_names_each_service(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    app = LocalApp(lambda _sink, _stop: nullcontext(scene.house))
    monkeypatch.setattr("deployer.cli.guests.open_app", lambda _common: app)
    done = CliRunner().invoke(command, ["acme", "-m", "we need it"])
    assert (done.exit_code, done.stdout.splitlines()) == (0, ["blog: we need it: done", "chat: we need it: done"])


def test_a_plan_of_an_eviction_is_read_back(scene: Scene) -> None:
    evict(scene.house, "beta", "we need it", seconds=60)
    plan = scene.house.store.rollouts.of("wiki", 1, adjustments=True)[0].plan
    assert Plan.from_json(plan.to_json()) == plan
    found = eviction(scene.house.store, "wiki")
    assert found is not None
    assert found.until == pytest.approx(scene.house.clock.now() + 60, abs=60)
    assert all(step.explain() for step in (*plan.forward, *plan.back))
