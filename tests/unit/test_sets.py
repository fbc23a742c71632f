"""Several services as one release: gates, one decision, one ending."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployer.app import operations
from deployer.app import sets as asked
from deployer.app.operations import AppContext, RolloutResult
from deployer.app.operations.control import stop
from deployer.app.operations.dispatch import perform
from deployer.app.operations.execution import locked
from deployer.app.operations.set_rollback import rollback_set
from deployer.app.operations.sets import deploy_set, in_progress, together
from deployer.core.errors import DeployError, Exit, ImageGone, Locked, LockLost, ManifestRefused, Refused
from deployer.core.events import Event
from deployer.engine import Drive
from deployer.planning.orders import Action, Order
from deployer.store.sets import ReleaseSet
from deployer.views.tables import render
from tests.house import Scene
from tests.memory import MemoryRuntime
from tests.sets import SERVICES, SetWorld, Turns, by_turns, release, versions_live, wanted

ALL_BACK = "; frontend, mailer were rolled back with it"


class SetScene(Scene):
    """A scene with all services live at 1.0."""

    world: SetWorld

    def versions_live(self) -> dict[str, str]:
        return versions_live(self.house)

    def shares(self) -> set[int]:
        return {self.world.live[service].share for service in SERVICES}

    def others(self, service: str) -> dict[str, str]:
        """What is live of the services but one."""
        return {name: version for name, version in self.versions_live().items() if name != service}


def every_event(house: AppContext) -> list[Event]:
    """Return all that is recorded of the rollouts of all services."""
    rollouts = [rollout.number for service in SERVICES for rollout in house.store.rollouts.of(service, 50)]
    return [event for number in rollouts for event in house.store.events.of(number)]


def all_at(version: str) -> dict[str, str]:
    return dict.fromkeys(SERVICES, version)


@pytest.fixture
def scene(state: Path) -> Iterator[SetScene]:
    world = SetWorld(clock=Turns())
    scene = SetScene(state, world)
    with by_turns(world), scene.house:
        assert release(scene.house, "1.0").exit is Exit.DONE
        scene.events.clear()
        yield scene


def on_event(scene: SetScene, kind: str, service: str, act: Callable[[Event], Any], nth: int = 1) -> None:
    """Have something done when the n-th event of a kind comes of a service."""
    heard, seen = scene.house.sink, [0]

    def sink(event: Event) -> None:
        heard(event)
        if (event.kind, event.service) == (kind, service):
            seen[0] += 1
            if seen[0] == nth:
                act(event)

    scene.house.sink = sink


# -- the file

MANIFEST = "service: {name}\nimage: {name}:1.0\nport: 8080\n"


def files(folder: Path, text: str, **manifests: str) -> Order:
    """Write a release file and manifests; return the order to release them."""
    (folder / "release.yml").write_text(text)
    for name in ("backend", "frontend"):
        (folder / name).mkdir()
        (folder / name / "deploy.yml").write_text(manifests.get(name, MANIFEST.format(name=name)))
    return Order("start", set_name="shop", manifest=str(folder))


BOTH = "release: shop\nservices: {backend: backend, frontend: frontend/deploy.yml}\n"


def test_a_file_names_manifests_as_they_are_and_one_strategy_for_all(tmp_path: Path) -> None:
    text = f"{BOTH}strategy: {{canary: {{steps: [7]}}}}\norder: [backend, [frontend]]\n"
    own = f"{MANIFEST.format(name='backend')}strategy: {{canary: {{bake: 3s}}}}\n"
    order = replace(files(tmp_path, text, backend=own), versions={"": "2.0", "frontend": "3.0"}, options={"for": "9s"})
    found = asked.request_of(order, {})
    assert (found.name, found.strategy, found.groups) == ("shop", "canary", (("backend",), ("frontend",)))
    assert [(r.loaded.manifest.service, r.version) for r in found.requests] == [("backend", "2.0"), ("frontend", "3.0")]
    for request in found.requests:
        assert request.loaded.manifest.strategy_options("canary") == {"steps": [7], "for": "9s"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{BOTH}strategi: canary\n", "release.yml:3: strategi: is not a key of a manifest → did you mean `strategy`?"),
        (
            f"{BOTH}order: [[backend], [frontend, backend]]\n",
            "backend would come before itself: it is order[0][0], too",
        ),
        (f"{BOTH}order: [[backend]]\n", "release.yml:3: order: frontend is in no group → name every service"),
        (
            f"{BOTH}order: [[backend, front], [frontend]]\n",
            "front is not one of the services → these are: backend, front",
        ),
        ("release: shop\nservices: {backend: backend}\n", "release.yml:2: services: needs at least 2"),
        (
            "release: shop\nservices: {backend: backend, web: frontend}\n",
            "frontend is the manifest of frontend, not of web",
        ),
        ("release: shop\nservices: {backend: backend, frontend: ${WEB}}\n", 'write "${NAME}"'),
        ("release: shop\nservices: {backend: backend, frontend: gone}\n", "frontend: gone: is not there"),
    ],
)
def test_what_is_wrong_with_it_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ManifestRefused) as refused:
        asked.request_of(files(tmp_path, text), {})
    assert said in str(refused.value)


def test_problems_of_all_manifests_are_said_at_once(tmp_path: Path) -> None:
    wrong = {"backend": "service: backend\n", "frontend": f"{MANIFEST.format(name='frontend')}colour: red\n"}
    with pytest.raises(ManifestRefused) as refused:
        asked.request_of(files(tmp_path, BOTH, **wrong), {})
    assert "shop was refused, 2 problems" in str(refused.value)
    assert "backend: deploy.yml:1: image: is missing" in str(refused.value)
    assert "frontend: deploy.yml:4: colour: is not a key" in str(refused.value)


def test_a_version_of_a_service_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="shop has no service mailer"):
        asked.request_of(replace(files(tmp_path, BOTH), versions={"mailer": "2.0"}), {})


# -- how it ends


def test_all_are_promoted_at_the_same_shares(scene: SetScene) -> None:
    ending = release(scene.house, "2.0")
    assert (ending.outcome, ending.exit) == ("done", Exit.DONE)
    assert ending.text == "set 2 (shop) is live: backend r2 (2.0), frontend r2 (2.0), mailer r2 (2.0)"
    assert scene.versions_live() == all_at("2.0")
    (told,) = scene.told("set.ended")
    assert (told["text"], told["outcome"], told["set"]) == (ending.text, "done", 2)
    assert scene.events[-1].kind == "set.ended"
    moves = [(e.service, e.data["share"]) for e in scene.events if e.kind == "traffic.changed"]
    shares = [share for _, share in moves]
    assert shares == [*sorted(shares[:9]), 0, 0, 0], "nobody gets a share before all had the one before"


def test_one_that_is_worse_takes_all_back_and_is_named(scene: SetScene) -> None:
    scene.world.bad, scene.world.worse = "backend", {"2.0"}
    ending = release(scene.house, "2.0")
    assert (ending.outcome, ending.exit) == ("reverted", Exit.VERDICT)
    assert ending.text.startswith("set 2 (shop) was rolled back: backend: r2 is worse: ")
    assert ending.text.endswith(ALL_BACK)
    assert scene.versions_live() == all_at("1.0")
    assert scene.shares() == {0}
    said = [e["error"] for e in scene.told("rollout.rolling_back") if "in the same set (2, shop)" in e["error"]]
    assert len(said) == 2
    assert all(text.startswith("backend, in the same set (2, shop), was rolled back: r2 is worse") for text in said)


def test_failures_of_another_candidate_are_told_beside_the_cause(scene: SetScene) -> None:
    """A frontend fails where its backend does: which of the two crosses its limit first says little."""
    scene.world.bad, scene.world.also, scene.world.worse = "backend", "frontend", {"2.0"}
    ending = release(scene.house, "2.0")
    assert ending.exit is Exit.VERDICT
    culprit = scene.house.store.sets.of("shop")[0].culprit
    (other,) = {"backend", "frontend"} - {culprit}
    assert re.search(rf"rolled back with it \(their candidates failed, too: {other} \d+ of \d+\)$", ending.text)


def test_one_that_is_never_healthy_takes_all_back_before_any_user_is_moved(scene: SetScene) -> None:
    scene.world.unfit = {"mailer"}
    ending = release(scene.house, "2.0")
    assert (ending.outcome, ending.exit) == ("reverted", Exit.FAILED)
    assert "mailer: mailer-r2-1 is not healthy after 4 s" in ending.text
    assert not any(e["share"] for e in scene.told("traffic.changed"))


def test_the_last_group_gets_users_when_the_first_has_all_of_them(scene: SetScene) -> None:
    assert release(scene.house, "2.0", groups=(("backend", "mailer"), ("frontend",))).outcome == "done"
    moves = [(e.service, e.data["share"]) for e in scene.events if e.kind == "traffic.changed" and e.data["share"]]
    first = next(n for n, (service, _) in enumerate(moves) if service == "frontend")
    assert {service for service, _ in moves[first:]} == {"frontend"}
    assert sorted(moves[:first])[-1] == ("mailer", 10_000)
    promoted = [e.service for e in scene.events if e.kind == "step.done" and e.data["step"] == "promote"]
    assert len(promoted) == 3


def test_what_is_live_already_is_left_and_named_in_the_set(scene: SetScene) -> None:
    manifests = {"mailer": {"version": "1.0"}}
    ending = release(scene.house, "2.0", manifests=manifests)
    assert ending.text == "set 2 (shop) is live: backend r2 (2.0), frontend r2 (2.0), mailer r1 (1.0)"
    assert release(scene.house, "2.0", manifests=manifests).text == "all of shop is live already: nothing to do"
    assert scene.house.store.sets.of("shop")[0].number == 2


def test_workers_and_new_services_take_part(scene: SetScene) -> None:
    worker = {"port": None, "health": {"running": "1s"}, "judge": {}, "strategy": {"canary": {"for": "1s"}}}
    request = replace(wanted("2.0"), requests=wanted("2.0").requests[:2])
    more = wanted("1.0", ("queue",), manifests={"queue": worker}).requests
    both = replace(request, requests=(*request.requests, *more))
    assert deploy_set(scene.house, both).outcome == "done"
    assert scene.house.store.services.get("queue").stable == 1


# -- what nothing starts with


def test_nothing_starts_where_one_of_them_is_in_the_hands_of_another(scene: SetScene) -> None:
    held = scene.house.store.locks.take("frontend", "canary of 3.0, in the set other")
    with pytest.raises(Locked, match=r"canary of 3.0, in the set other"):
        release(scene.house, "2.0")
    scene.house.store.locks.release(held)
    assert scene.house.store.locks.read("backend") is None, "its lock was given back"
    assert scene.versions_live() == all_at("1.0")
    assert "rollout.started" not in scene.kinds()


def test_a_service_that_another_set_has_is_refused_with_that_set(scene: SetScene) -> None:
    on_event(scene, "traffic.changed", "backend", lambda _: scene.house.stop.asked.set())
    scene.house.stop.detach = True
    with pytest.raises(DeployError):
        release(scene.house, "2.0")
    scene.house.stop.asked.clear()
    with pytest.raises(Locked, match=r"rollout \d of mailer .* of set 2 \(shop\)\) is in progress"):
        deploy_set(scene.house, replace(wanted("3.0", ("mailer", "other")), name="mails"))
    assert scene.house.store.releases.of("other") == ()


def test_nothing_starts_where_one_of_them_cannot_be_deployed(scene: SetScene) -> None:
    frozen = {"freeze": ["00:00-12:00", "12:00-00:00"]}
    request = wanted("2.0", manifests={"mailer": frozen, "frontend": frozen})
    with pytest.raises(Refused, match="shop cannot be released") as refused:
        deploy_set(scene.house, request)
    assert refused.value.message.count("is frozen until") == 2, "all that is wrong is said at once"
    assert "rollout.started" not in scene.kinds()


def test_nothing_starts_where_one_image_is_missing(scene: SetScene, monkeypatch: pytest.MonkeyPatch) -> None:
    real = MemoryRuntime.resolve

    def resolve(self: MemoryRuntime, manifest: Any, *given: Any) -> Any:
        if manifest.service == "mailer":
            raise ImageGone("the image of mailer is not there")
        return real(self, manifest, *given)

    monkeypatch.setattr(MemoryRuntime, "resolve", resolve)
    with pytest.raises(ImageGone):
        release(scene.house, "2.0")
    assert "rollout.started" not in scene.kinds()
    assert scene.house.store.rollouts.in_progress("backend") is None


# -- what people ask of one is asked of all


def ask(scene: SetScene, action: Any, service: str) -> RolloutResult:
    return perform(scene.house, Order(action, service, "because"))


def held_at_first_share(scene: SetScene) -> None:
    """Release 2.0, and have a person pause one of them."""
    store = scene.house.store
    on_event(
        scene,
        "traffic.changed",
        "backend",
        lambda e: store.requests.add(store.rollouts.get(e.rollout), "pause", "ann", ""),
    )
    began = scene.world.clock.at
    ending = release(scene.house, "2.0")
    assert (ending.outcome, ending.exit) == ("paused", Exit.DONE)
    assert scene.world.clock.at - began < 60, "the others do not wait for the end of the time for their gate"
    assert {store.rollouts.in_progress(s).outcome for s in SERVICES} == {"paused"}  # type: ignore[union-attr]


def test_one_that_is_paused_holds_all_and_one_resume_goes_on_with_all(scene: SetScene) -> None:
    held_at_first_share(scene)
    view = asked.status(scene.house, "shop")
    assert (view.outcome, {m.share for m in view.members}) == ("paused", {1000})
    assert "resume" in render(view, 0.0)
    assert ask(scene, "resume", "mailer").outcome == "done"
    assert scene.versions_live() == all_at("2.0")


def test_an_abort_of_one_is_one_of_all(scene: SetScene) -> None:
    held_at_first_share(scene)
    ending = ask(scene, "abort", "frontend")
    assert (ending.outcome, ending.exit) == ("reverted", Exit.DONE)
    assert "aborted by" in ending.text
    assert scene.versions_live() == all_at("1.0")
    assert scene.shares() == {0}


def once_asked(monkeypatch: pytest.MonkeyPatch, act: Callable[[str], Any]) -> None:
    """Have something done to one service when it is known of which ones something is asked, and before it is."""
    seen = list[ReleaseSet]()

    def looked_at(house: AppContext, group: ReleaseSet) -> tuple[str, ...]:
        services = in_progress(house, group)
        seen.append(group)
        if len(seen) == 2:  # the first look says whether there is anything to ask
            act(services[0])
        return services

    monkeypatch.setattr("deployer.app.operations.sets.in_progress", looked_at)


def test_what_is_asked_of_a_set_is_asked_of_the_others_where_one_ends_meanwhile(
    scene: SetScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_at_first_share(scene)
    once_asked(monkeypatch, lambda service: stop(scene.house, service))
    ending = asked.carry_out(scene.house, Order("abort", set_name="shop"), {}, None)
    assert (ending.outcome, ending.exit) == ("reverted", Exit.DONE)
    assert not any(scene.house.store.rollouts.in_progress(service) for service in SERVICES)


@pytest.mark.parametrize("action", ["abort", "pause", "promote", "resume"])
def test_what_is_asked_of_a_set_is_not_done_to_what_has_taken_the_place_of_one_of_its_rollouts(
    scene: SetScene, monkeypatch: pytest.MonkeyPatch, action: Action
) -> None:
    held_at_first_share(scene)
    replaced = list[int]()

    def replace_it(service: str) -> None:
        stop(scene.house, service)
        alone = {"service": service, "image": f"{service}:1.0"}
        replaced.append(scene.deploy("3.0", "canary", manifest=alone, options={"hold": True}).rollout)

    once_asked(monkeypatch, replace_it)
    with suppress(DeployError):
        asked.carry_out(scene.house, Order(action, set_name="shop"), {}, None)
    (number,) = replaced
    other = scene.house.store.rollouts.get(number)
    assert (other.open, other.outcome, other.phase) == (True, "paused", "forward")
    asked_of_it = [r for r in scene.house.store.audit_log.newest(99, other.service) if r.rollout == number]
    assert {record.action for record in asked_of_it} == {"start", "hold"}


@pytest.mark.parametrize("runs", [True, False])
def test_a_deploy_replaces_no_rollout_of_a_set_with_services_that_it_is_not_for(scene: SetScene, runs: bool) -> None:
    held_at_first_share(scene)
    alone = {"service": "mailer", "image": "mailer:1.0"}

    def replaced(*allowed: str) -> RolloutResult:
        return scene.deploy("3.0", "bluegreen", manifest=alone, replace=True, allowed=allowed)

    said = r"mailer is released together with backend, frontend, in set 2 \(shop\), which the token is not for"
    with locked(scene.house, "mailer", "canary") if runs else nullcontext(), pytest.raises(Refused, match=said):
        replaced("mailer")
    assert scene.house.store.sets.of("shop", 1)[0].decided == ""
    assert replaced(*SERVICES).outcome == "done"


def test_what_turns_all_of_a_set_is_refused_to_who_may_not_act_on_all(scene: SetScene) -> None:
    held_at_first_share(scene)
    for order in (
        Order("abort", "mailer", allowed=["mailer"]),
        Order("rollback", "mailer", allowed=["mailer"]),
        Order("approve", "mailer", "no", refuse=True, allowed=["mailer"]),
    ):
        with pytest.raises(Refused, match="which the token is not for"):
            perform(scene.house, order)
    assert perform(scene.house, Order("abort", "mailer", allowed=list(SERVICES))).outcome == "reverted"


def test_a_promotion_of_one_is_one_of_all(scene: SetScene) -> None:
    held_at_first_share(scene)
    assert ask(scene, "promote", "backend").outcome == "done"
    assert scene.versions_live() == all_at("2.0")


def test_a_promotion_is_refused_before_anybody_is_asked_where_one_waits_for_people(scene: SetScene) -> None:
    store, refused = scene.house.store, list[Refused]()

    def promote(_: Event) -> None:
        with pytest.raises(Refused, match=r"rollout \d+ of mailer needs the approval of anna") as error:
            ask(scene, "promote", "backend")
        refused.append(error.value)
        assert not any(store.requests.next(store.rollouts.in_progress(s).number) for s in SERVICES)  # type: ignore[union-attr]
        view = asked.status(scene.house, "shop")
        assert view.next == "`deploy approve --service mailer` approves it, `deploy release abort` rolls all of it back"
        store.requests.add(store.rollouts.in_progress("backend"), "abort", "ann", "")  # type: ignore[arg-type]

    on_event(scene, "approval.asked", "mailer", promote)
    consent = {"approve": {"by": ["anna"], "own": True}}
    assert release(scene.house, "2.0", manifests={"mailer": consent}).outcome == "reverted"
    assert len(refused) == 1
    by_force = 'deploy promote --service mailer --force -m "why"'
    assert re.findall("`(.+?)`", refused[0].hint) == ["deploy approve --service mailer", by_force]


def test_an_emergency_at_the_proxy_of_one_takes_all_back(scene: SetScene) -> None:
    def cut(_: Event) -> None:
        scene.world.live["mailer"] = replace(scene.world.live["mailer"], share=0, lease=0)

    on_event(scene, "traffic.changed", "mailer", cut, 2)
    ending = release(scene.house, "2.0")
    assert (ending.outcome, ending.exit) == ("reverted", Exit.ABORTED)
    assert "mailer: aborted: users were taken off the candidate at the proxy" in ending.text
    assert scene.shares() == {0}


def refusing_one_promotion() -> Callable[[str], None]:
    """Return what the proxy does before each change: it refuses the first promotion."""

    def refuse(what: str) -> None:
        if "share=0" in what and "stable='green'" in what and not failed:
            failed.append(what)
            raise Refused("the disk of the proxy is full")

    failed: list[str] = []
    return refuse


def test_after_the_decision_nobody_turns_back(scene: SetScene) -> None:
    """A proxy that refuses the promotion of one: it needs attention, and its `resume` promotes it, too."""

    scene.world.tick = refusing_one_promotion()
    ending = release(scene.house, "2.0")
    assert (ending.outcome, ending.exit) == ("needs-attention", Exit.NEEDS_PERSON)
    assert "the set of r2 is promoted, and r2 is not yet: the disk of the proxy is full" in ending.text
    assert sorted(scene.versions_live().values()) == ["1.0", "2.0", "2.0"]
    (late,) = [s for s, version in scene.versions_live().items() if version == "1.0"]
    with pytest.raises(Refused, match="is promoted already"):
        ask(scene, "abort", late)
    assert ask(scene, "resume", late).outcome == "done"
    assert scene.versions_live() == all_at("2.0")


def left_after_the_decision(scene: SetScene) -> None:
    """Release 2.0, and have its process end when it was decided that all are promoted, before any is."""

    def leave(what: str) -> None:
        if "share=0" in what and "stable='green'" in what and what.startswith("before set_traffic"):
            raise LockLost("shop", "somebody else")

    scene.world.tick = leave
    with pytest.raises(DeployError):
        release(scene.house, "2.0")
    scene.world.tick = lambda _what: None
    assert scene.house.store.sets.of("shop")[0].decided == "forward"
    assert scene.versions_live() == all_at("1.0")


@pytest.mark.parametrize("ends", ["exited", "gone"])
def test_what_has_ended_since_the_decision_is_started_again_and_promoted(scene: SetScene, ends: str) -> None:
    left_after_the_decision(scene)
    for name in [i.name for i in scene.world.instances.values() if i.service == "mailer" and i.colour == "green"]:
        scene.world.end(name)
        if ends == "gone":
            del scene.world.instances[name]
    scene.world.clock.sleep(600)
    view = asked.status(scene.house, "shop")
    assert view.next == "all of it is promoted, as decided: `deploy release resume` does the rest"
    scene.events.clear()
    assert ask(scene, "resume", "backend").outcome == "done"
    assert scene.versions_live() == all_at("2.0")
    assert len(scene.world.up("mailer", "green")) == 2
    (note,) = [e["text"] for e in scene.told("note") if "started again" in e["text"]]
    assert note == "r2 (2.0) does not run as a whole any more: it is started again, then promoted"
    assert scene.kinds().count("set.ended") == 1


def test_an_abort_that_comes_with_the_decision_is_refused_with_what_to_do(
    scene: SetScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is decided by another process between the look of the one who aborts and its turn."""
    left_after_the_decision(scene)
    monkeypatch.setattr("deployer.app.operations.control.committed", lambda *_: False)
    with pytest.raises(Refused, match=r"r2 is not rolled back: set 2 \(shop\) goes forward") as refused:
        ask(scene, "abort", "mailer")
    assert "`deploy release resume` promotes all of it" in refused.value.hint
    monkeypatch.undo()
    assert ask(scene, "resume", "mailer").outcome == "done"


def test_users_taken_back_at_the_proxy_before_the_decision_was_seen_are_promoted(
    scene: SetScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_after_the_decision(scene)
    scene.world.live["mailer"] = replace(scene.world.live["mailer"], share=0, lease=0)
    real, looked = Drive.bound.fget, set[str]()  # type: ignore[attr-defined]

    def bound(run: Drive) -> bool:
        """The decision comes right after the first look of each."""
        first = run.service not in looked
        looked.add(run.service)
        return not first and bool(real(run))

    monkeypatch.setattr(Drive, "bound", property(bound))
    assert ask(scene, "resume", "mailer").outcome == "done"
    assert scene.versions_live() == all_at("2.0")
    assert any(n["text"] == "not rolled back, as set 2 (shop) goes forward" for n in scene.told("note"))


@pytest.mark.parametrize(("kind", "ends"), [("abort", ("reverted", "1.0")), ("pause", ("paused", "1.0"))])
def test_what_is_asked_before_the_decision_comes_before_it(scene: SetScene, kind: str, ends: tuple[str, str]) -> None:
    """The last one to come to the last gate was asked something else since its last look."""
    heard, store, seen = scene.house.sink, scene.house.store, list[str]()

    def sink(event: Event) -> None:
        heard(event)
        if event.kind == "step.began" and "then all of the set" in event.data["text"]:
            seen.append(event.service)
            if len(seen) == len(SERVICES):
                store.requests.add(store.rollouts.get(event.rollout), kind, "ann", "")

    scene.house.sink = sink
    ending = release(scene.house, "2.0")
    assert (ending.outcome, scene.versions_live()) == (ends[0], all_at(ends[1]))


def test_one_that_is_paused_goes_back_when_another_is_worse(scene: SetScene) -> None:
    """A pause of one at its share, and a verdict on another before it has seen that."""
    store = scene.house.store

    def pause_and_fail(event: Event) -> None:
        store.requests.add(store.rollouts.get(event.rollout), "pause", "ann", "")
        scene.world.bad, scene.world.worse = "mailer", {"2.0"}

    on_event(scene, "traffic.changed", "backend", pause_and_fail)
    ending = release(scene.house, "2.0")
    assert scene.kinds().count("rollout.paused") == 1, "it was paused by then"
    assert (ending.outcome, ending.exit) == ("reverted", Exit.VERDICT)
    assert scene.shares() == {0}
    assert scene.versions_live() == all_at("1.0")
    assert not any(store.rollouts.in_progress(service) for service in SERVICES)


def test_what_needs_a_person_is_said_whatever_the_others_came_to(scene: SetScene) -> None:
    group = scene.house.store.sets.of("shop")[0]
    ends = {service: RolloutResult("done", Exit.DONE, "live", n) for n, service in enumerate(SERVICES)}
    ends["mailer"] = RolloutResult("done", Exit.NEEDS_PERSON, "a proxy has its former config", 3)
    ending = together(scene.house, group, SERVICES, lambda service: ends[service])
    assert (ending.outcome, ending.exit) == ("done", Exit.NEEDS_PERSON)
    assert ending.text.endswith("; mailer: a proxy has its former config")


def test_what_has_ended_meanwhile_is_told_as_it_ended(scene: SetScene) -> None:
    group = scene.house.store.sets.of("shop")[0]
    text = "set 1 (shop) is live: backend r1 (1.0), frontend r1 (1.0), mailer r1 (1.0)"
    assert together(scene.house, group, (), lambda service: stop(scene.house, service)).text == text
    assert together(scene.house, group, SERVICES, lambda service: stop(scene.house, service)).text == text


# -- rollback


def beside(scene: SetScene, begun: str, work: Callable[[], RolloutResult]) -> tuple[RolloutResult, RolloutResult]:
    """Have some work done, and the set rolled back by another command once an event of a kind has come of it."""

    def second() -> RolloutResult:
        while begun not in scene.kinds():
            scene.world.clock.sleep(0.1)
        return rollback_set(scene.house, "shop")

    scene.events.clear()
    assert isinstance(scene.world.clock, Turns)
    ends = scene.world.clock.on_all({"first": work, "second": second}, lambda work: work(), 2).all()
    return ends["first"], ends["second"]


def test_a_second_rollback_follows_the_first(scene: SetScene) -> None:
    release(scene.house, "2.0")
    first, second = beside(scene, "rollout.started", lambda: rollback_set(scene.house, "shop"))
    assert first == second
    (written,) = [e for e in every_event(scene.house) if e.kind == "set.ended" and e.data["set"] == 3]
    assert written.data["text"] == first.text, "it is written once, not by each who looks"
    assert first.text.startswith("set 3 (shop) is live: backend r1")
    assert scene.versions_live() == all_at("1.0")
    assert len(scene.house.store.sets.of("shop")) == 3
    assert any(", a rollback by " in e["text"] for e in scene.told("note"))


def test_a_rollback_of_a_dead_process_is_brought_to_its_end(scene: SetScene) -> None:
    release(scene.house, "2.0")
    on_event(scene, "step.done", "backend", lambda _: scene.house.stop.asked.set())
    scene.house.stop.detach = True
    with pytest.raises(DeployError):
        rollback_set(scene.house, "shop")
    scene.house.stop.asked.clear()
    assert rollback_set(scene.house, "shop").outcome == "done"
    assert scene.versions_live() == all_at("1.0")


def test_a_rollback_while_all_are_being_tidied_up_comes_after_that(scene: SetScene) -> None:
    first, second = beside(scene, "rollout.ended", lambda: release(scene.house, "2.0"))
    assert (first.outcome, second.outcome) == ("done", "done")
    assert second.text.startswith("set 3 (shop) is live: backend r1")
    assert scene.versions_live() == all_at("1.0")


def test_a_rollback_promotes_first_what_was_decided_to_be(scene: SetScene) -> None:
    scene.world.tick = refusing_one_promotion()
    assert release(scene.house, "2.0").outcome == "needs-attention"
    assert rollback_set(scene.house, "shop").text.startswith("set 3 (shop) is live: backend r1")
    assert scene.versions_live() == all_at("1.0")


def test_a_rollback_takes_all_back_to_what_they_had(scene: SetScene) -> None:
    release(scene.house, "2.0", manifests={"mailer": {"version": "1.0"}})
    ending = rollback_set(scene.house, "shop")
    assert (ending.outcome, ending.text.partition(":")[0]) == ("done", "set 3 (shop) is live")
    assert scene.versions_live() == all_at("1.0")
    assert [s.strategy for s in scene.house.store.sets.of("shop")] == ["rollback", "canary", "canary"]
    assert "was a rollback" in rollback_set(scene.house, "shop").text
    with pytest.raises(Refused, match="there is nothing before set 1"):
        rollback_set(scene.house, "shop", again=True)


def test_one_rolled_back_alone_is_warned_of_and_keeps_the_set_from_going_back(scene: SetScene) -> None:
    release(scene.house, "2.0")
    operations.rollback(scene.house, "backend")
    notes = [e["text"] for e in scene.told("note")]
    assert any("r2 came with set 2 (shop): backend is rolled back alone, and frontend, mailer not" in n for n in notes)
    assert scene.others("backend") == {"frontend": "2.0", "mailer": "2.0"}
    with pytest.raises(Refused, match=r"set 2 \(shop\) is not live as a whole: backend has r1, not r2"):
        rollback_set(scene.house, "shop")


def test_the_history_has_every_set(scene: SetScene) -> None:
    scene.world.bad, scene.world.worse = "backend", {"2.0"}
    release(scene.house, "2.0")
    view = asked.history(scene.house, "shop", 10)
    assert [(s.number, s.outcome, s.live) for s in view.sets] == [(2, "reverted", False), (1, "done", True)]
    text = render(view, 0.0)
    assert "rolled back" in text
    assert "mailer r1 (1.0)" in text
