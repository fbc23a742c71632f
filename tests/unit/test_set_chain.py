"""A chain inside a set: no request has one release in one service and another one in the next, at any instant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from deployer.app.operations.dispatch import perform
from deployer.app.operations.set_rollback import rollback_set
from deployer.app.operations.sets import deploy_set, propose_set
from deployer.core.errors import DeployError, Exit, Refused
from deployer.core.events import Event
from deployer.model import FULL, Release
from deployer.planning.orders import Order
from deployer.planning.set_chain import chain_places
from tests import tiers
from tests.house import Scene, manifest
from tests.sets import SERVICES, SetWorld, Turns, by_turns, in_chain, wanted

INSIDE_OUT = ("mailer", "backend", "frontend")
WORKER = {"port": None, "health": {"running": "1s"}, "judge": {}, "strategy": {"canary": {"for": "1s"}}}
NO_BAKE = {"bluegreen": {"bake": "0s"}}
SMOKE = [{"get": "/"}]


CHAIN = {service: in_chain(service) for service in SERVICES}


class Chained(SetWorld):
    """A world in which a request goes from the frontend through the backend to the mailer."""

    def answers(self) -> set[tuple[str, ...]]:
        """What users can get at this instant: the releases of all services on the way of one request."""
        entry = self.live["frontend"]
        share = entry.share if not entry.lease or entry.lease > self.clock.now() else 0
        sides = {"candidate"} if share == FULL else {"candidate", "stable"} if share else {"stable"}
        return {tuple(self.version(service, side) for service in INSIDE_OUT) for side in sides}

    def version(self, service: str, side: str) -> str:
        """The version that a request with a side gets from a service."""
        live = self.live[service]
        given = live.share and (not live.lease or live.lease > self.clock.now())
        colour = live.candidate if side == "candidate" and given else live.stable
        there = (i for i in self.instances.values() if i.service == service and i.colour == colour)
        return self.versions[next(there).release]


class ChainScene(Scene):
    world: Chained

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Chained(clock=Turns()))
        self.seen: list[set[tuple[str, ...]]] = []

    def watch(self) -> None:
        """Note at every change of a proxy what users can get."""

        def tick(what: str) -> None:
            if what.startswith(("after set_traffic", "before set_traffic")):
                self.seen.append(self.world.answers())

        self.world.tick = tick

    def unmixed(self) -> bool:
        assert self.seen
        return all(len(set(answer)) == 1 for answers in self.seen for answer in answers)

    def moves(self) -> list[tuple[str, int]]:
        return [(e.service, e.data["share"]) for e in self.events if e.kind == "traffic.changed"]

    def release(self, version: str, strategy: str = "canary", **more: Any) -> Any:
        manifests = {s: {**CHAIN[s], **more.pop("also", {})} for s in SERVICES}
        return deploy_set(self.house, wanted(version, strategy=strategy, manifests=manifests, **more))


@pytest.fixture
def scene(state: Path) -> Iterator[ChainScene]:
    scene = ChainScene(state)
    with by_turns(scene.world), scene.house:
        assert scene.release("1.0").exit is Exit.DONE
        scene.events.clear()
        scene.watch()
        yield scene


@pytest.mark.parametrize("strategy", ["canary", "bluegreen"])
def test_no_answer_is_mixed_while_shares_change_and_all_are_promoted(scene: ChainScene, strategy: str) -> None:
    ending = scene.release("2.0", strategy)
    assert (ending.outcome, ending.exit) == ("done", Exit.DONE)
    assert scene.unmixed(), scene.seen
    assert {answer for answers in scene.seen for answer in answers} == {("1.0",) * 3, ("2.0",) * 3}
    moves = scene.moves()
    assert [service for service, _ in moves[:3]] == list(INSIDE_OUT), "from the innermost to the entry"
    assert moves[-3:] == [(service, 0) for service in INSIDE_OUT], "promoted in that order, too"
    assert ("frontend", FULL) in moves


def test_a_switch_without_a_bake_gives_the_candidates_all_users_before_the_promotions(scene: ChainScene) -> None:
    request = wanted("2.0", strategy="bluegreen", manifests={s: {**CHAIN[s], "strategy": NO_BAKE} for s in SERVICES})
    requests = tuple(replace(each, options={"bake": "0s"}) for each in request.requests)
    assert deploy_set(scene.house, replace(request, requests=requests)).outcome == "done"
    assert scene.unmixed(), scene.seen
    assert [move for move in scene.moves() if move[1]] == [(service, FULL) for service in INSIDE_OUT]


def test_no_answer_is_mixed_while_a_set_is_rolled_back(scene: ChainScene) -> None:
    assert scene.release("2.0").outcome == "done"
    scene.seen.clear()
    scene.events.clear()
    assert rollback_set(scene.house, "shop").outcome == "done"
    assert scene.unmixed(), scene.seen
    assert scene.world.answers() == {("1.0",) * 3}
    assert scene.moves() == [(s, share) for share in (FULL, 0) for s in INSIDE_OUT]


@pytest.mark.parametrize("why", ["abort", "worse"])
def test_the_entry_goes_back_first(scene: ChainScene, why: str) -> None:
    asked = list[str]()

    def sink(event: Event) -> None:
        heard(event)
        if event.kind == "traffic.changed" and event.service == "frontend" and event.data["share"] and not asked:
            asked.append(event.service)
            store = scene.house.store
            if why == "abort":
                store.requests.add(store.rollouts.get(event.rollout), "abort", "ann", "")
            else:
                scene.world.bad, scene.world.worse = "mailer", {"2.0"}

    heard, scene.house.sink = scene.house.sink, sink
    ending = scene.release("2.0")
    assert ending.outcome == "reverted"
    assert ending.exit is (Exit.ABORTED if why == "abort" else Exit.VERDICT)
    assert scene.unmixed(), scene.seen
    back = [service for service, share in scene.moves() if not share]
    assert back[0] == "frontend"
    ended = [e.service for e in scene.events if e.kind == "rollout.ended"]
    assert ended[0] == "frontend", "those behind wait until its candidate has ended its requests"
    assert not scene.world.open.get(("frontend", "green"))


def test_no_answer_is_mixed_where_all_was_killed_and_is_resumed_when_the_leases_are_over(scene: ChainScene) -> None:
    def leave(event: Event) -> None:
        heard(event)
        if event.kind == "traffic.changed" and event.service == "frontend" and event.data["share"] == 5000:
            scene.house.stop.asked.set()

    heard, scene.house.sink, scene.house.stop.detach = scene.house.sink, leave, True
    with pytest.raises(DeployError):
        scene.release("2.0")
    scene.house.sink = heard
    scene.house.stop.asked.clear()
    scene.world.clock.sleep(600)
    scene.seen.clear()
    scene.events.clear()
    assert perform(scene.house, Order("resume", "frontend")).outcome == "done"
    assert scene.unmixed(), scene.seen
    given = [service for service, share in scene.moves() if share == 5000]
    assert given[-1] == "frontend"
    assert set(given) == set(SERVICES)


def test_one_that_is_left_by_its_process_does_not_hold_the_others_for_long(scene: ChainScene) -> None:
    """The entry's promotion comes last: one behind it that needs attention is not waited for."""
    refused = list[str]()
    noting = scene.world.tick

    def refuse(what: str) -> None:
        noting(what)
        if what.startswith("before set_traffic") and "share=0" in what and "stable='green'" in what and not refused:
            refused.append(what)
            raise Refused("the disk of the proxy is full")

    scene.world.tick = refuse
    began = scene.world.clock.at
    ending = scene.release("2.0")
    assert (ending.outcome, ending.exit) == ("needs-attention", Exit.NEEDS_PERSON)
    assert scene.world.clock.at - began < 120
    live = {s: scene.house.store.services.get(s).stable for s in SERVICES}
    assert sorted(live.values()) == [1, 2, 2]
    assert live["mailer"] == 1, "the innermost is the first"
    assert perform(scene.house, Order("resume", "mailer")).outcome == "done"
    assert scene.world.answers() == {("2.0",) * 3}


def test_smoke_tests_come_when_all_candidates_are_there(scene: ChainScene) -> None:
    assert scene.release("2.0", also={"smoke": SMOKE}).outcome == "done"
    steps = [(e.service, e.data["step"]) for e in scene.events if e.kind == "step.done"]
    first = next(n for n, (_, step) in enumerate(steps) if step == "smoke")
    attached = {service for service, step in steps[:first] if step == "attach"}
    assert attached == set(SERVICES)
    assert all(step != "share" for _, step in steps[:first])


def test_requests_that_began_on_the_former_release_of_the_entry_are_waited_for(scene: ChainScene) -> None:
    scene.world.talkative = 1
    scene.world.open["frontend", "blue"] = 1
    assert scene.release("2.0").outcome == "done"
    notes = [e.data["text"] for e in scene.events if e.kind == "note" and e.service == "frontend"]
    assert any("still open on blue: not waited for any longer" in note for note in notes)
    waited = [e.data["seconds"] for e in scene.events if e.kind == "step.done" and "no request is" in e.data["text"]]
    assert len(waited) == 1
    assert 30 <= waited[0] < 32


def test_an_order_that_parts_a_chain_is_refused(scene: ChainScene) -> None:
    with pytest.raises(Refused, match="backend, frontend, mailer are in the chain shop"):
        scene.release("2.0", groups=(("backend", "mailer"), ("frontend",)))
    assert "rollout.started" not in scene.kinds()
    assert [r.number for r in scene.house.store.releases.of("backend")] == [1]


GROUPS = [(), (("backend", "frontend", "queue"), ("mailer",)), (("mailer", "queue"), ("backend", "frontend"))]


@pytest.mark.parametrize("groups", tiers.some(GROUPS, 1))
def test_services_that_are_in_no_chain_take_part(scene: ChainScene, groups: tuple[tuple[str, ...], ...]) -> None:
    scene.world.tick = lambda _what: None
    services = (*SERVICES, "queue")
    manifests = {**CHAIN, "mailer": {}, "queue": WORKER}
    assert deploy_set(scene.house, wanted("1.5", ("queue",), manifests=manifests)).outcome == "done"
    scene.events.clear()
    ending = deploy_set(scene.house, wanted("2.0", services, groups=groups, manifests=manifests))
    assert ending.outcome == "done", ending.text
    moves = [(service, share) for service, share in scene.moves() if share]
    assert moves.index(("backend", 1000)) < moves.index(("frontend", 1000))


def test_a_service_that_draws_for_itself_is_said_in_the_plan(scene: ChainScene) -> None:
    draws = {"traffic": {"chain": {"name": "shop", "callers": ["backend"]}}}
    request = wanted("2.0", manifests={**CHAIN, "mailer": draws})
    notes = {each.plan.service: each.plan.notes for each in propose_set(scene.house, request)}
    assert notes.pop("mailer")[0].startswith("a request without a side gets a side of this service's own")
    assert not any(notes.values())


def test_the_places_are_those_of_the_callers() -> None:
    def chain(callers: list[str]) -> dict[str, Any]:
        return {"chain": {"name": "shop", "callers": callers}}

    def places(callers: dict[str, list[str]]) -> dict[str, tuple[int, tuple[str, ...]]]:
        found = chain_places(
            cast("Release", _Release(service, manifest(service=service, traffic=chain(by))))
            for service, by in callers.items()
        )
        return {service: (place.depth, place.inner) for service, place in found.items()}

    both = {"a": [], "b": ["a"], "c": ["a", "b"], "other": ["z"]}
    assert places(both) == {"a": (0, ("b", "c")), "b": (1, ("c",)), "c": (2, ())}
    assert places({"a": [], "z": ["gone"]}) == {}, "an entry alone"
    assert places({"b": ["a"], "c": ["b"]}) == {}, "the entry is not in the set"
    ring = places({"a": [], "b": ["a", "c"], "c": ["b"]})
    assert ring["a"][0] == 0
    assert set(ring) == {"a", "b", "c"}


class _Release:
    """As much of a release as the places look at."""

    served = True

    def __init__(self, service: str, described: Any) -> None:
        self.service, self.manifest = service, described
