"""A gate that waits for people: who may, how many, until when, what comes of it, and what does not pass it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployer.app import operations, queries
from deployer.app.operations import RolloutResult
from deployer.app.operations.execution import locked, run_of
from deployer.app.status import status_of
from deployer.core.errors import Exit, Refused
from deployer.core.events import Event
from deployer.drivers.notices import Account, RolloutFacts
from deployer.planning.steps import Approve, percent
from deployer.views.plain import sentence
from deployer.views.reduce import reduce_all
from deployer.views.tables import render
from tests.house import REPOSITORY, Scene, manifest, request
from tests.memory import Crash, PaperPulse

BOTH: dict[str, Any] = {"by": ["anna", "ben"], "count": 2, "within": "30s"}
ONE: dict[str, Any] = {"by": ["anna", "ben"], "within": "30s"}
Speak = Callable[..., None]


@pytest.fixture
def scene(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr("deployer.engine.walk.LeaseRenewer", PaperPulse)
    monkeypatch.setattr("deployer.core.local_host.host_name", lambda: "build-3")
    monkeypatch.setenv("DEPLOYER_ACTOR", "zoe")
    scene = Scene(state)
    with scene.house:
        scene.deploy("1.0")
        scene.events.clear()
        yield scene


@pytest.fixture
def speak(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Speak:
    """Let somebody act in their own name, by a command of their own: `speak("anna", reason="fine")`."""
    told: list[Event] = []

    def spoken(name: str, act: Callable[..., Any] = operations.approve, **how: Any) -> None:
        with monkeypatch.context() as as_them:
            as_them.setenv("DEPLOYER_ACTOR", name)
            act(replace(scene.house, sink=told.append), "shop", **how)

    return spoken


def canary(approve: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Everybody's consent before all users get it."""
    options = {"steps": [10, 50], "for": "1s", "bake": "1s", **more}
    return {"strategy": {"canary": options}, "approve": approve}


def deploy(scene: Scene, approve: dict[str, Any], version: str = "2.0", **more: Any) -> RolloutResult:
    return scene.deploy(version, "canary", manifest=canary(approve, **more))


def when(scene: Scene, kind: str, *acts: Callable[[], None]) -> None:
    """Do one thing after the other as soon as events of the kind come while it waits for people."""
    left = list(acts)
    waiting = False

    def seen(event: Event) -> None:
        nonlocal waiting
        scene.events.append(event)
        waiting = waiting or event.kind == "approval.asked"
        if waiting and event.kind == kind and left:
            left.pop(0)()

    scene.house.sink = seen


def audit(scene: Scene) -> list[str]:
    records = [r for r in reversed(scene.house.store.audit_log.newest(100)) if r.action in ("approve", "promote")]
    return [f"{r.action} {r.result} by {r.by}{f': {r.reason}' if r.reason else ''}" for r in records if r.rollout > 1]


# -- who and how many


def test_it_waits_for_both_and_goes_on_by_itself(scene: Scene, speak: Speak) -> None:
    when(scene, "sample", lambda: speak("anna", reason="numbers are fine"), lambda: speak("ben"))
    ending = deploy(scene, BOTH)
    assert (ending.outcome, ending.exit) == ("done", Exit.DONE)
    given = scene.told("approval.given")
    assert [(e["by"], e["reason"]) for e in given] == [("anna@build-3", "numbers are fine"), ("ben@build-3", "")]
    assert [e["text"] for e in given] == [
        "approved by anna@build-3, 1 of 2: numbers are fine",
        "approved by ben@build-3, 2 of 2",
    ]
    stored = [e for e in scene.house.store.events.of(2) if e.kind == "approval.given"]
    assert [e.id for e in stored] == [e.id for e in scene.events if e.kind == "approval.given"], "told once"
    assert audit(scene) == [
        "approve given by anna@build-3: numbers are fine",
        "approve given by ben@build-3",
        "approve done by anna@build-3, ben@build-3",
        "promote done by deployer",
    ]
    assert not scene.house.store.audit_log.verify().broken


def test_the_same_person_counts_once_wherever_they_are(
    scene: Scene, speak: Speak, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []

    def again() -> None:
        monkeypatch.setattr("deployer.core.local_host.host_name", lambda: "laptop")
        with pytest.raises(Refused) as error:
            speak("Anna")
        refused.append(error.value.message)

    when(scene, "sample", lambda: speak("anna"), again)
    assert deploy(scene, BOTH).outcome == "reverted"
    assert refused == ["Anna has approved it already: the same person counts once"]
    assert len(scene.told("approval.given")) == 1


def test_who_is_not_asked_is_refused_and_so_is_who_started_it(scene: Scene, speak: Speak) -> None:
    refused: list[str] = []

    def by(name: str, role: str = "") -> Callable[[], None]:
        def act() -> None:
            with pytest.raises(Refused) as error:
                speak(name, role=role)
            refused.append(error.value.message)

        return act

    when(
        scene,
        "sample",
        by("carl"),
        by("carl", "viewer"),
        by("zoe"),
        by("zoe", "admin"),
        lambda: speak("dora", role="admin"),
    )
    assert deploy(scene, {"by": ["anna", "zoe"], "role": "operator", "within": "30s"}).outcome == "done"
    assert refused[:2] == ["rollout 2: carl is not asked: it needs the approval of anna, zoe or an operator"] * 2
    assert refused[2:] == ["rollout 2: zoe started it, and may not approve what they started"] * 2


def test_whoever_started_it_may_where_the_manifest_says_so(scene: Scene, speak: Speak) -> None:
    when(scene, "sample", lambda: speak("zoe"))
    assert deploy(scene, {"by": ["zoe"], "own": True}).outcome == "done"


def test_a_plan_that_nobody_could_approve_is_refused_before_anything_changes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOYER_ACTOR", "anna")
    before = scene.house.store.releases.next_number("shop")
    with pytest.raises(Refused, match="it needs the approval of anna and ben, and anna, who starts it, may not"):
        deploy(scene, BOTH)
    with pytest.raises(Refused, match="who starts it"):
        operations.propose(scene.house, request("2.0", "canary", REPOSITORY, manifest=canary(BOTH)))
    assert scene.house.store.releases.next_number("shop") == before
    assert scene.house.store.rollouts.in_progress("shop") is None


# -- how it ends


def test_a_refusal_takes_everybody_back(scene: Scene, speak: Speak) -> None:
    when(scene, "sample", lambda: speak("ben"), lambda: speak("anna", refuse=True, reason="not on a Friday"))
    ending = deploy(scene, BOTH)
    assert (ending.outcome, ending.exit) == ("reverted", Exit.ABORTED)
    assert ending.text == "r2 was rolled back: refused by anna@build-3: not on a Friday"
    assert audit(scene)[-1] == "approve refused by anna@build-3: not on a Friday"
    assert scene.live.share == 0


def test_who_changes_their_mind_is_heard(scene: Scene, speak: Speak) -> None:
    when(scene, "sample", lambda: speak("ben"), lambda: speak("ben", refuse=True, reason="I misread it"))
    assert deploy(scene, BOTH).text == "r2 was rolled back: refused by ben@build-3: I misread it"


def test_a_refusal_needs_a_reason(scene: Scene, speak: Speak) -> None:
    said: list[str] = []

    def act() -> None:
        with pytest.raises(Refused) as error:
            speak("anna", refuse=True)
        said.append(error.value.message)

    when(scene, "sample", act)
    deploy(scene, ONE)
    assert said == ["a refusal needs a reason"]


def test_without_them_it_goes_back_when_the_time_is_over(scene: Scene, speak: Speak) -> None:
    when(scene, "sample", lambda: speak("anna"))
    began = scene.world.clock.now()
    ending = deploy(scene, BOTH)
    assert (ending.outcome, ending.exit) == ("reverted", Exit.INCONCLUSIVE)
    assert ending.text.endswith("not approved within 30 s: it takes anna and ben, and anna@build-3 did")
    assert 30 <= scene.world.clock.now() - began < 40
    (expired,) = scene.told("approval.expired")
    assert expired["given"] == ["anna@build-3"]


def test_or_is_held_and_a_resume_asks_anew_for_as_long_again(scene: Scene, speak: Speak) -> None:
    when(scene, "sample", lambda: speak("anna"))
    ending = deploy(scene, {**BOTH, "expired": "hold"})
    assert (ending.outcome, ending.exit) == ("paused", Exit.INCONCLUSIVE)
    assert (scene.live.share, scene.live.lease) == (5000, int(scene.world.clock.now() + 86400))
    with pytest.raises(Refused, match="rollout 2 of shop is not waiting for approval"):
        speak("ben")
    scene.world.clock.sleep(60)
    before = scene.world.clock.now()
    when(scene, "sample", lambda: speak("ben"))
    assert operations.resume(scene.house, "shop").outcome == "paused", "who approved then was asked then"
    assert 30 <= scene.world.clock.now() - before < 40
    when(scene, "sample", lambda: speak("ben"), lambda: speak("anna"))
    assert operations.resume(scene.house, "shop").outcome == "done"


def test_users_are_not_left_to_a_worse_release_while_people_think(scene: Scene) -> None:
    def worse() -> None:
        scene.world.worse = {"2.0"}

    when(scene, "sample", worse)
    ending = deploy(scene, ONE)
    assert (ending.outcome, ending.exit) == ("reverted", Exit.VERDICT)
    assert ending.text.startswith("r2 was rolled back: r2 is worse: ")


def test_it_is_aborted_paused_and_resumed_as_ever(scene: Scene, speak: Speak) -> None:
    store = scene.house.store
    when(scene, "sample", lambda: store.requests.add(store.rollouts.get(2), "pause", "zoe@build-3", "lunch"))
    assert deploy(scene, BOTH).outcome == "paused"
    speak("anna")
    when(scene, "sample", lambda: store.requests.add(store.rollouts.get(2), "pause", "zoe@build-3", "cake"))
    assert operations.resume(scene.house, "shop").outcome == "paused", "a resume approves nothing"
    assert scene.told("approval.asked")[-1]["given"] == ["anna@build-3"]
    speak("ben")
    assert operations.resume(scene.house, "shop").outcome == "done"


# -- deaths


def test_what_was_said_survives_the_process_and_so_does_the_end_of_the_wait(scene: Scene, speak: Speak) -> None:
    def die() -> None:
        raise Crash("killed")

    when(scene, "sample", lambda: speak("anna"), die)
    with pytest.raises(Crash):
        deploy(scene, BOTH)
    (asked,) = scene.told("approval.asked")
    assert scene.house.store.locks.read("shop") is None
    scene.world.clock.sleep(5)
    rollout = scene.house.store.rollouts.get(2)
    gate = operations.gate_of(scene.house.store, rollout, scene.world.clock.now())
    assert gate is not None
    assert (gate.given, gate.until) == (("anna@build-3",), asked["until"])
    speak("ben")
    assert operations.resume(scene.house, "shop").outcome == "done"
    assert scene.told("approval.asked")[-1]["until"] == asked["until"]


def test_a_wait_that_is_over_when_somebody_resumes_is_over(scene: Scene) -> None:
    def die() -> None:
        raise Crash("killed")

    when(scene, "sample", die)
    with pytest.raises(Crash):
        deploy(scene, BOTH)
    scene.world.clock.sleep(40)
    scene.house.sink = scene.events.append
    assert operations.resume(scene.house, "shop").exit == Exit.INCONCLUSIVE


def test_a_refusal_of_what_nobody_drives_takes_it_back_at_once(scene: Scene, speak: Speak) -> None:
    def die() -> None:
        raise Crash("killed")

    when(scene, "sample", die)
    with pytest.raises(Crash):
        deploy(scene, BOTH)
    scene.house.sink = scene.events.append
    speak("ben", refuse=True, reason="no")
    rollout = scene.house.store.rollouts.get(2)
    assert (rollout.outcome, rollout.exit) == ("reverted", Exit.ABORTED)


# -- what does not pass it


def test_a_promotion_does_not_pass_it_but_by_force_and_on_record(scene: Scene, speak: Speak) -> None:
    refused: list[str] = []

    def try_it() -> None:
        for how in ({}, {"reason": "now"}, {"force": True}):
            with pytest.raises(Refused) as error:
                operations.promote(scene.house, "shop", **how)
            refused.append(error.value.message)

    def force() -> None:
        store = scene.house.store
        store.requests.add(
            store.rollouts.get(2),
            "force",
            "carl@build-3",
            "the shop burns",
            detail="without the approval of anna and ben",
        )

    when(scene, "sample", try_it, force)
    assert deploy(scene, BOTH).outcome == "done"
    assert refused == ["rollout 2 of shop needs the approval of anna and ben: a promotion does not replace it"] * 3
    assert audit(scene) == [
        "promote asked by carl@build-3: the shop burns",
        "approve forced by carl@build-3",
        "promote done by carl@build-3",
    ]
    assert "promotion without approval asked by carl@build-3: the shop burns" in [e["text"] for e in scene.told("note")]


def test_a_wish_to_promote_that_was_left_before_does_not_pass_it_either(scene: Scene) -> None:
    store = scene.house.store
    when(scene, "sample", lambda: store.requests.add(store.rollouts.get(2), "promote", "zoe@build-3", ""))
    assert deploy(scene, ONE).exit == Exit.INCONCLUSIVE


def test_force_of_a_rollout_that_nobody_drives(scene: Scene) -> None:
    assert deploy(scene, {**BOTH, "expired": "hold"}).outcome == "paused"
    ending = operations.promote(scene.house, "shop", "the shop burns", force=True)
    assert ending.outcome == "done"
    assert "promote begun by zoe@build-3: the shop burns" in audit(scene)


def test_a_forced_promotion_stays_forced_for_whoever_resumes(scene: Scene) -> None:
    assert deploy(scene, {**BOTH, "expired": "hold"}).outcome == "paused"
    store, rollout = scene.house.store, scene.house.store.rollouts.get(2)
    with locked(scene.house, "shop", "test") as lock:  # heard, and died before the gate
        store.requests.add(rollout, "force", "carl@build-3", "now", lock)
        store.requests.take(lock, run_of(scene.house, lock, rollout).store.requests.next(2))  # type: ignore[arg-type]
    assert operations.resume(scene.house, "shop").outcome == "done"


def test_a_rollback_to_what_never_got_through_waits_for_it_too(scene: Scene, speak: Speak) -> None:
    assert deploy(scene, ONE).exit == Exit.INCONCLUSIVE
    scene.events.clear()
    back = operations.rollback(scene.house, "shop", to=2, force=True)
    assert (back.outcome, back.exit) == ("reverted", Exit.INCONCLUSIVE)
    assert scene.told("approval.asked")[0]["share"] == 0
    when(scene, "approval.asked", lambda: speak("anna"))
    assert operations.rollback(scene.house, "shop", to=2, force=True).outcome == "done"
    assert operations.rollback(scene.house, "shop", to=1, force=True).outcome == "done", "it was good before"


# -- where it runs in plans


@pytest.mark.parametrize("strategy", ["canary", "bluegreen", "rolling", "recreate"])
def test_it_comes_before_all_users_and_before_stable_is_touched(scene: Scene, strategy: str) -> None:
    plan = operations.propose(
        scene.house, request("2.0", strategy, REPOSITORY, manifest={"approve": ONE, "replicas": 2})
    ).plan
    at = next(n for n, step in enumerate(plan.forward) if isinstance(step, Approve))
    before, after = plan.forward[:at], plan.forward[at + 1 : plan.commit + 1]
    assert not any(getattr(step, "share", 0) == 10000 for step in before)
    assert not any(step.kind == "remove" and getattr(step, "colour", "") == "blue" for step in before)
    decisive = after[0]
    assert decisive.kind in ("promote", "remove") or getattr(decisive, "share", 0) == 10000
    shares = [getattr(step, "share", 0) for step in before if step.kind == "share"]
    gate = plan.forward[at]
    assert isinstance(gate, Approve)
    assert gate.share == (shares[-1] if shares else 0)


def test_a_first_deploy_waits_too_before_any_user(scene: Scene, state: Path, speak: Speak) -> None:
    first = Scene(state / "other")
    with first.house:
        first.house.sink = lambda event: _end(first, event)
        ending = first.deploy("1.0", manifest={"approve": {**ONE, "within": "10s"}})
    assert ending.exit == Exit.INCONCLUSIVE
    assert first.told("approval.asked")[0]["share"] == 0


def _end(scene: Scene, event: Event) -> None:
    scene.events.append(event)


def test_a_step_of_a_canary_has_its_own(scene: Scene, speak: Speak) -> None:
    steps = [{"share": 10, "approve": {"by": ["anna"], "within": "30s"}}, 50]
    when(scene, "sample", lambda: speak("anna"))
    options = {"steps": steps, "for": "1s", "bake": "1s"}
    ending = scene.deploy("2.0", "canary", manifest={"strategy": {"canary": options}})
    assert ending.outcome == "done"
    assert [a["share"] for a in scene.told("approval.asked")] == [1000]


@pytest.mark.parametrize(
    ("approve", "said"),
    [
        ({}, "approve.by: it could never be approved"),
        ({"by": ["anna"], "count": 2}, "approve.count: 2 must approve, and only 1 may"),
        ({"by": ["anna", "Anna"]}, "named twice"),
        ({"by": ["an na"]}, "must be the name of a token or an account"),
    ],
)
def test_what_could_never_be_approved_is_refused(approve: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match="approve") as error:
        manifest(approve=approve)
    assert said.rpartition(": ")[2] in str(error.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"by": ("anna",), "count": 1}, "anna"),
        ({"by": ("anna", "ben"), "count": 1}, "anna or ben"),
        ({"by": ("anna", "ben"), "count": 2}, "anna and ben"),
        ({"by": ("anna", "ben", "carl"), "count": 2}, "2 of anna, ben and carl"),
        ({"by": ("anna",), "role": "admin", "count": 1}, "anna or an admin"),
        ({"by": ("anna", "ben"), "role": "admin", "count": 2}, "2 of anna, ben and admins"),
        ({"role": "operator", "count": 1}, "an operator"),
        ({"role": "operator", "count": 2}, "2 operators"),
    ],
)
def test_whose_it_is_in_words(given: dict[str, Any], said: str) -> None:
    step = Approve(share=2500, deadline=14400.0, **given)
    assert step.whose() == said
    assert step.explain() == f"wait at {percent(2500)} for the approval of {said}, 4 h at most; then it is rolled back"


# -- what is seen


def test_status_and_views_say_for_whom_it_waits(scene: Scene, speak: Speak) -> None:
    seen: list[str] = []

    def look() -> None:
        status = status_of(scene.house, "shop")
        assert status.approval is not None
        seen.append(render(status, scene.world.clock.now()))
        seen.append(reduce_all(scene.events).running.progress)  # type: ignore[union-attr]

    when(scene, "sample", lambda: speak("anna"), look, lambda: speak("ben"))
    assert deploy(scene, BOTH).outcome == "done"
    status, progress = seen
    (waits,) = [line for line in status.splitlines() if line.startswith("waits for the approval of anna and ben: ")]
    assert waits.endswith(" left, then it is rolled back; given by anna@build-3")
    assert "next: `deploy approve` lets it go on, `deploy approve --refuse` and `deploy abort` take it back" in status
    assert progress == "1 of 2 approved: anna@build-3"
    (asked,) = [e for e in scene.events if e.kind == "approval.asked"]
    assert sentence(asked).startswith("approval: r2 waits for the approval of anna and ben: `deploy approve`, until ")
    view = queries.show(scene.house, 2)
    assert [e["event"] for e in view.events if e["event"].startswith("approval")] == [
        "approval.asked",
        "approval.given",
        "approval.given",
    ]


def test_people_elsewhere_are_told_whose_approval_it_takes_and_until_when(scene: Scene, speak: Speak) -> None:
    account = Account(RolloutFacts(2, "2.0", "canary", "zoe@build-3", "", 1_700_000_000.0), "")
    when(scene, "sample", lambda: speak("anna"), lambda: speak("ben"))
    assert deploy(scene, BOTH).outcome == "done"
    notices = [notice for event in scene.events if (notice := account.see(event))]
    (asked,) = [notice for notice in notices if notice.kind == "approval"]
    until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(scene.told("approval.asked")[0]["until"]))
    assert asked.title == "shop 2.0: waits for approval"
    assert asked.text == f"r2 waits for the approval of anna and ben: `deploy approve`, until {until}"
    assert asked.share == 5000
    assert (
        "approval"
        in manifest(notify={"to": [{"name": "chat", "apprise": "CHAT"}]}, secrets=["CHAT"]).notify.to[0].events
    )
