"""Watches, budget, lease, shield and baseline of a rollout, on drivers in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from deployer.app import operations
from deployer.app.live_numbers import LiveFollower
from deployer.app.operations import AppContext, RolloutResult
from deployer.app.operations.execution import run_of
from deployer.core.clock import Deadline
from deployer.core.errors import Abandoned, DeadlinePassed, Detached, Exit, LockLost, Refused
from deployer.core.events import Event
from deployer.engine.observation import LOOK_SECONDS
from deployer.evidence import live_sample
from deployer.evidence.recording import Looked, RecordedStep, file_of, read
from deployer.judge.verdicts import Verdict, Verdicts
from deployer.model import FULL, Live, Place, Server
from tests.house import REPOSITORY, Scene, request
from tests.memory import Crash, MemoryTraffic, PaperPulse
from tests.waiting import within

AT_TEN = {"percent": 10, "steps": [10], "bake": 0}
BUSY = 20_000.0  # requests a second: what is to be shown is shown within a few looks


@pytest.fixture
def scene(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr("deployer.engine.walk.LeaseRenewer", PaperPulse)
    scene = Scene(state)
    with scene.house:
        yield scene


@pytest.fixture
def live(scene: Scene) -> Scene:
    scene.deploy("1.0")
    scene.events.clear()
    return scene


def needed(**options: object) -> dict[str, object]:
    """A manifest whose canary asks for a proof, and is held without one."""
    return {"strategy": {"canary": options}, "judge": {"requests": 5, "proof": "required", "undecided": "hold"}}


# -- a quiet service: a step ends with the proof, or by its time if no regression was found

QUIET: dict[str, object] = {"strategy": {"canary": {}}, "judge": {}}  # what five lines say


def watched(scene: Scene) -> list[float]:
    """How long each step took at which both sides were compared."""
    return [s["seconds"] for s in scene.told("step.done") if s["text"].startswith("watch") and "proven" in s["text"]]


@pytest.fixture
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look every two seconds: half an hour on paper is over sooner."""
    monkeypatch.setattr("deployer.engine.observation.LOOK_SECONDS", 2.0)


@pytest.mark.usefixtures("seldom")
@pytest.mark.parametrize("sticky", [True, False])
def test_at_a_request_a_second_each_step_ends_by_its_time_and_says_what_could_not_be_seen(
    live: Scene, sticky: bool
) -> None:
    live.world.rate = 1.0
    ending = live.deploy("2.0", "canary", manifest={**QUIET, "traffic": {"sticky": sticky}})
    assert ending.outcome == "done"
    assert all(600 <= seconds < 602 for seconds in watched(live))
    first, *_, last, _bake = live.told("verdict")
    assert (first["verdict"], first["enough"]) == ("inconclusive", True)
    assert ": a rate of up to " in first["text"]
    assert first["text"].endswith(" would not have been seen")
    assert 0.05 < first["unseen"] < 0.15, "after about 30 responses"
    assert last["unseen"] < first["unseen"] / 5, "after about 480"


@pytest.mark.usefixtures("seldom")
@pytest.mark.parametrize("rate", [1 / 60, 0.0])
def test_at_a_request_a_minute_or_none_it_is_inconclusive_at_the_stated_time_and_rolled_back(
    live: Scene, rate: float
) -> None:
    live.world.rate = rate
    began = live.world.clock.now()
    ending = live.deploy("2.0", "canary", manifest=QUIET)
    assert (ending.outcome, ending.exit) == ("reverted", Exit.INCONCLUSIVE)
    assert "inconclusive: r2 at 5% within 10 min: the candidate has " in ending.text
    assert "of at least 20 responses" in ending.text
    assert live.live.share == 0
    assert live.world.clock.now() - began < 600 + 60
    assert "bluegreen" in live.told("step.failed")[0]["hint"]


def test_a_busy_service_does_not_wait_for_the_time_of_a_step(live: Scene) -> None:
    live.world.rate = BUSY
    assert live.deploy("2.0", "canary", manifest=QUIET).outcome == "done"
    assert [v["verdict"] for v in live.told("verdict")][:3] == ["no worse"] * 3
    assert all(10 <= seconds < 60 for seconds in watched(live))


def test_a_bad_release_of_a_quiet_service_is_rolled_back_before_the_time_is_over(live: Scene) -> None:
    live.world.rate, live.world.worse = 1.0, {"2.0"}  # every second response fails
    began = live.world.clock.now()
    ending = live.deploy("2.0", "canary", manifest=QUIET)
    assert (ending.outcome, ending.exit) == ("reverted", Exit.VERDICT)
    assert live.world.clock.now() - began < 600


# -- as long as needed


def test_a_step_ends_when_it_is_shown_to_be_no_worse(live: Scene) -> None:
    live.world.rate = BUSY
    ending = live.deploy("2.0", "canary", manifest=needed())
    assert ending.outcome == "done"
    verdicts = [v["verdict"] for v in live.told("verdict")]
    assert verdicts[:3] == ["no worse"] * 3
    took = [s["seconds"] for s in live.told("step.done") if s["text"].startswith("watch")]
    assert all(10 <= t < 60 for t in took[:3]), "ten seconds at the least, and far from the deadline"


def test_what_is_not_shown_by_the_deadline_is_held_and_goes_on_when_resumed(live: Scene) -> None:
    live.world.rate = 20.0
    ending = live.deploy("2.0", "canary", manifest=needed(within="60s", steps=[10], bake="0s"))
    assert (ending.outcome, ending.exit) == ("paused", Exit.INCONCLUSIVE)
    assert ending.text.startswith("inconclusive: r2 at 10% within 1 min: ")
    assert live.live.share == 1000
    live.world.clock.sleep(3600)
    before = live.world.clock.now()
    again = operations.resume(live.house, "shop")
    assert (again.outcome, again.exit) == ("paused", Exit.INCONCLUSIVE)
    assert 60 <= live.world.clock.now() - before < 62, "the deadline is a fresh one"
    live.world.rate = BUSY
    assert operations.resume(live.house, "shop").outcome == "done"


def test_an_outage_of_both_sides_holds_the_share_and_takes_nothing_back(live: Scene) -> None:
    live.world.usual = 0.3
    manifest: dict[str, Any] = {"traffic": {"budget": False}}
    manifest["judge"] = {"undecided": "hold"}
    ending = live.deploy("2.0", "canary", manifest=manifest, options={**AT_TEN, "for": "5s"})
    assert (ending.outcome, ending.exit) == ("paused", Exit.INCONCLUSIVE)
    assert "failed a moment ago, whichever side gave them: above 10% no share grows" in ending.text
    assert live.live.share == 1000
    live.world.usual = 0.0
    assert operations.resume(live.house, "shop").outcome == "done"


def test_promote_waits_for_no_evidence(live: Scene) -> None:
    live.world.rate = 0.0
    live.deploy("2.0", "canary", manifest=needed(within="60s"))
    before = live.world.clock.now()
    assert operations.promote(live.house, "shop").outcome == "done"
    assert live.world.clock.now() - before < LOOK_SECONDS


def test_a_step_of_fixed_time_says_what_it_waits_for_when_its_time_is_over(live: Scene) -> None:
    live.world.rate = 8.0
    options = {"percent": 10, "steps": [10], "for": "20s", "bake": 0}
    ending = live.deploy("2.0", "canary", manifest={"judge": {"requests": 20}}, options=options)
    assert ending.outcome == "done"
    samples = live.told("sample")
    waits = [s["waits"] for s in samples if "waits" in s]
    assert waits[0].startswith("the candidate has ")
    assert waits[0].endswith(" of at least 20 responses")
    assert "waits" not in samples[-1]
    assert not any("shown" in s for s in samples), "it asks for no proof"


# -- the bake


def test_what_is_bad_only_with_everyone_on_it_takes_itself_back_before_the_promotion(live: Scene) -> None:
    live.world.worse, live.world.worse_above = {"2.0"}, 5000
    ending = live.deploy("2.0", "canary")
    assert (ending.outcome, ending.exit) == ("reverted", Exit.VERDICT)
    assert FULL in {before.share for before in live.world.history}
    assert live.live == Live("blue", 0, 0, 2)
    assert live.house.store.services.get("shop").stable == 1


def test_the_bake_has_a_lease(live: Scene) -> None:
    live.deploy("2.0", "canary", options={"bake": "5s"})
    full = next(moved for moved in live.told("traffic.changed") if moved["share"] == FULL)
    assert full["lease"] > 0


# -- one stream, one judge, one recording


def test_a_drive_has_one_stream_for_all_its_watches(live: Scene) -> None:
    opened: list[str] = []
    original = live.world.flow("shop").streams
    live.world.tick = lambda _what: opened.extend(f"{id(s)}" for s in original)
    live.deploy("2.0", "canary")
    assert len(set(opened)) == 1
    assert original == [], "and it is closed at the end"


def test_the_first_answers_under_a_share_are_seen(live: Scene) -> None:
    def linger(what: str) -> None:
        if what.startswith("after set_traffic") and "share=1000" in what:
            live.world.tick = lambda _what: None
            live.world.clock.sleep(5)

    live.world.tick = linger
    live.deploy("2.0", "canary", options={**AT_TEN, "for": "2s"})

    assert live.told("sample")[0]["candidate"]["requests"] == pytest.approx(50, abs=2)  # ten a second


def test_a_recording_gives_the_same_verdicts_again(live: Scene) -> None:
    live.world.worse, live.world.worse_above, live.world.rate = {"2.0"}, 1000, 200.0
    live.deploy("2.0", "canary", options={"steps": [10, 50]})
    manifest = live.house.store.releases.get("shop", 2).manifest
    verdicts = Verdicts(manifest.judge, sticky=manifest.traffic.sticky, routes=manifest.traffic.routes)
    seen: list[Verdict] = []
    for mark in read(file_of(live.house.store.folder, 2)):
        if isinstance(mark, RecordedStep):
            verdicts.begin(mark.share, mark.following)
        elif isinstance(mark, Looked):
            seen.append(verdicts.observe(mark.sample, mark.at))
    told = live.told("verdict")
    assert [t["verdict"] for t in told][-1] == "worse"
    assert seen[-1].kind == "worse"
    again = iter(v.text for v in seen)
    assert all(t["text"].partition("; 0 of ")[0] in again for t in told), "one after the other, each is come to again"


def test_a_recording_that_cannot_be_written_is_a_note(live: Scene) -> None:
    (live.house.store.folder / "recordings").write_text("not a folder")
    assert live.deploy("2.0", "canary").outcome == "done"
    notes = [n["text"] for n in live.told("note")]
    assert len([n for n in notes if n.startswith("the recording of this rollout ends here")]) == 1


# -- whoever watches from another process


def test_others_see_the_samples_of_the_process_that_drives(live: Scene) -> None:
    seen: list[dict[str, Any]] = []

    def look(what: str) -> None:
        if what.startswith("after set_traffic") and "share=500," in what and live.told("sample"):
            now = live_sample.read(live_sample.file_of(live.house.store.folder, 2))
            assert now is not None
            seen.append(now)

    live.world.tick = look
    live.deploy("2.0", "canary", manifest=needed(steps=[5]))
    samples = live.told("sample")
    assert len(seen) > 2
    for one in seen:
        at = one.pop("at")
        assert live.world.clock.now() > at
        assert one in samples
    assert any(one["shown"] for one in seen), "how far the proof is, too"
    assert live_sample.read(live_sample.file_of(live.house.store.folder, 2)) is None, "nothing is left"


def test_a_look_that_cannot_be_kept_for_others_is_a_note(live: Scene) -> None:
    live_sample.file_of(live.house.store.folder, 2).mkdir(parents=True)
    assert live.deploy("2.0", "canary").outcome == "done"
    notes = [n["text"] for n in live.told("note")]
    assert len([n for n in notes if n.startswith("`deploy watch` has no live numbers of this rollout: ")]) == 1


def test_a_follower_sends_each_sample_once(live: Scene) -> None:
    file = live_sample.file_of(live.house.store.folder, 7)
    kept = live_sample.Latest(file, live.world.clock)
    kept.keep({"share_target": 1000})
    with LiveFollower(live.house, "shop", 7):
        until(lambda: live.told("sample"))
        live.world.clock.sleep(live_sample.EVERY / 2)
        kept.keep({"share_target": 1500})  # too soon: not written
        live.world.clock.sleep(live_sample.EVERY)
        kept.keep({"share_target": 2500})
        until(lambda: len(live.told("sample")) > 1)
        file.write_text("{")
        until(lambda: live.told("note"))
    assert live.told("sample") == [{"share_target": 1000}, {"share_target": 2500}]
    assert live.told("note")[0]["text"].startswith("no live numbers: ")


def until(seen: Callable[[], object]) -> None:
    within().until(lambda: bool(seen()), "it is seen")


# -- what is kept of a watch, whatever ends it


def test_each_watch_tells_at_its_end_what_was_answered_in_it(live: Scene) -> None:
    live.deploy("2.0", "canary")
    told = [v["watched"] for v in live.told("verdict")]
    samples = live.told("sample")
    assert [w["share_target"] for w in told] == [500, 2500, 5000, FULL]
    for watched in told:
        last = [s for s in samples if s["share_target"] == watched["share_target"]][-1]
        last = {name: value for name, value in last.items() if name not in ("verdict", "text", "enough")}
        assert {**watched, "seconds": 0} == {**last, "seconds": 0}
        assert watched["candidate"]["p50"] <= watched["candidate"]["p95"] <= watched["candidate"]["p99"]


def test_what_spent_the_budget_is_in_the_record(live: Scene) -> None:
    live.world.worse = {"2.0"}
    ending = live.deploy("2.0", "canary", manifest=TIGHT, options=AT_TEN)
    spent = live.told("budget.spent")[0]["spent"]
    watched = live.told("verdict")[-1]["watched"]
    recorded = [m.sample for m in read(file_of(live.house.store.folder, ending.rollout)) if isinstance(m, Looked)]
    assert "is spent" in ending.text
    assert watched["candidate"]["errors"] == spent == watched["spent"] > 0
    assert sum(s.candidate.errors for s in recorded) == watched["candidate"]["errors"]


def test_an_abort_keeps_what_was_answered_until_then(live: Scene) -> None:
    renewals = iter(range(9))

    def ask(what: str) -> None:
        if "share=2500" in what and what.startswith("after set_traffic") and next(renewals) == 2:
            live.house.store.requests.add(live.house.store.rollouts.of("shop")[0], "abort", "ann", "")

    live.world.tick = ask
    ending = live.deploy("2.0", "canary")
    assert ending.exit == Exit.ABORTED
    watched = live.told("verdict")[-1]["watched"]
    assert watched["share_target"] == 2500
    assert watched["candidate"]["requests"] == pytest.approx(25 * watched["seconds"], rel=0.1)


def test_whoever_was_overtaken_tells_nothing_more(live: Scene) -> None:
    def overtake(what: str) -> None:
        if "share=2500" in what and what.startswith("after set_traffic"):
            live.house.store.locks.break_("shop")

    live.world.tick = overtake
    with pytest.raises(LockLost):
        live.deploy("2.0", "canary")
    assert [v["watched"]["share_target"] for v in live.told("verdict")] == [500]


def test_whoever_is_overtaken_while_it_looks_records_nothing_of_it(
    live: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, left, ask = count(1), list[bytes](), MemoryTraffic.servers

    def servers(traffic: MemoryTraffic, service: str, colour: Place) -> tuple[tuple[Server, bool], ...]:
        there = file_of(live.house.store.folder, 2)
        if "sample" in live.kinds() and next(looks) == 3:
            left.append(there.read_bytes())
            live.house.store.locks.break_("shop")
        return ask(traffic, service, colour)

    monkeypatch.setattr(MemoryTraffic, "servers", servers)
    with pytest.raises(LockLost):
        live.deploy("2.0", "canary")
    assert left == [file_of(live.house.store.folder, 2).read_bytes()]


# -- budget


TIGHT = {"traffic": {"budget": 1}, "judge": {"requests": 5, "alpha": 1e-9}}


def test_a_spent_budget_is_the_end(live: Scene) -> None:
    live.world.worse = {"2.0"}
    ending = live.deploy("2.0", "canary", manifest=TIGHT, options=AT_TEN)
    assert (ending.outcome, ending.exit) == ("reverted", Exit.VERDICT)
    assert live.told("budget.spent") == [{"spent": 1, "limit": 1}]
    failed = live.told("step.failed")[0]["error"]
    assert failed.startswith("the budget of 1 failed responses is spent: users saw 1 of r2")
    assert live.world.flow("shop").spent[2] == 1


def test_the_budget_follows_what_the_margin_allows(live: Scene) -> None:
    live.world.usual, live.world.rate = 0.02, 500.0
    manifest = {"traffic": {"budget": 10}, "judge": {"requests": 5, "errors": {"margin": 2}}}
    ending = live.deploy("2.0", "canary", manifest=manifest, options={"for": "60s"})
    assert ending.outcome == "done", "users saw many more than ten: two in a hundred is usual here"
    assert live.world.flow("shop").spent[2] > 100
    limits = [before.budget for before in live.world.history if before.rollout == 2 and before.share]
    assert limits == sorted(limits)
    assert limits[0] == 10
    assert live.live.budget == 0, "the promotion ends it"


def test_a_budget_spent_while_nobody_looked_is_found_when_it_is_resumed(live: Scene) -> None:
    live.deploy("2.0", "canary", manifest={"traffic": {"budget": 20}}, options={"percent": 10, "hold": True})
    granted = live.live.budget
    assert granted >= 20
    live.world.worse = {"2.0"}
    live.world.clock.sleep(600)
    ending = operations.resume(live.house, "shop")
    assert (ending.outcome, ending.exit) == ("reverted", Exit.VERDICT)
    assert granted <= live.world.flow("shop").spent[2] <= granted + 2, "the proxy held it there without us"
    assert live.told("budget.spent") == [{"spent": live.world.flow("shop").spent[2], "limit": granted}]


@pytest.mark.parametrize("leave", [operations.stop, operations.promote])
def test_a_budget_spent_while_nobody_looked_is_told_whatever_a_person_decides(
    live: Scene, leave: Callable[[AppContext, str], RolloutResult]
) -> None:
    live.deploy("2.0", "canary", manifest={"traffic": {"budget": 20}}, options={"percent": 10, "hold": True})
    granted = live.live.budget
    live.world.worse = {"2.0"}
    live.world.clock.sleep(600)
    assert leave(live.house, "shop").exit == Exit.DONE
    (spent,) = live.told("budget.spent")
    assert (spent["limit"], spent["spent"]) == (granted, live.world.flow("shop").spent[2])


def test_a_resumed_rollout_keeps_the_limit_that_it_had_come_to(live: Scene) -> None:
    live.world.usual, live.world.rate = 0.02, 500.0
    manifest = {"traffic": {"budget": 10}, "judge": {"requests": 5, "errors": {"margin": 2}}}

    def pause(_what: str) -> None:
        if live.live.budget > 20 and live.world.flow("shop").spent[2] > 10:
            live.house.stop.asked.set()

    live.world.tick, live.house.stop.detach = pause, True
    with pytest.raises(Detached):
        live.deploy("2.0", "canary", manifest=manifest, options={"percent": 10, "for": "30s"})
    assert live.live.budget > 20
    live.world.tick = lambda _what: None
    live.house.stop.asked.clear()
    assert live.world.flow("shop").spent[2] > 10
    assert operations.resume(live.house, "shop").outcome == "done"


def test_without_a_budget_nothing_is_limited(live: Scene) -> None:
    live.deploy("2.0", "canary", manifest={"traffic": {"budget": False}})
    assert {before.budget for before in live.world.history} == {0}


# -- lease and shield


@pytest.mark.parametrize("lease", ["1s", "2s", "4s", "30s"])
def test_users_are_back_within_the_lease_and_not_before_it_can_be_renewed(live: Scene, lease: str) -> None:
    live.world.clock.at += 0.3
    live.deploy("2.0", "canary", manifest={"traffic": {"lease": lease}})
    seconds = float(lease.removesuffix("s"))
    given = [moved for moved in live.events if moved.kind == "traffic.changed" and moved.data["share"]]
    for moved in given:
        left = moved.data["lease"] - moved.at
        assert max(1.0, seconds - 1) <= left <= max(2.0, seconds)
    assert given


def test_without_a_lease_no_share_runs_out(live: Scene) -> None:
    live.deploy("2.0", "canary", manifest={"traffic": {"lease": 0}})
    assert {before.lease for before in live.world.history} == {0}


@pytest.mark.parametrize("take_up", [operations.resume, operations.promote, operations.stop])
def test_a_lease_that_ran_out_is_told_when_it_is_taken_up(
    live: Scene, take_up: Callable[[AppContext, str], RolloutResult]
) -> None:
    def die(what: str) -> None:
        if "share=2500" in what and what.startswith("after set_traffic"):
            raise Crash(what)

    live.world.tick = die
    with pytest.raises(Crash):
        live.deploy("2.0", "canary")
    live.house.store.locks.break_("shop")
    live.world.tick = lambda _what: None
    live.world.clock.sleep(100)
    assert take_up(live.house, "shop").exit == Exit.DONE
    (over,) = live.told("lease.over")
    assert over["share"] == 2500
    assert 68 <= over["seconds"] <= 70


def paused(live: Scene, rate: float = 100.0) -> None:
    live.world.rate = rate
    ending = live.deploy("2.0", "canary", options={**AT_TEN, "hold": True}, manifest={"traffic": {"paused": "2h"}})
    assert ending.outcome == "paused"


def test_a_paused_rollout_keeps_its_share_until_its_own_end_and_no_longer(live: Scene) -> None:
    paused(live)
    end = live.told("rollout.paused")[0]["until"]
    assert end == live.live.lease == int(live.world.clock.now() + 7200)
    live.world.clock.sleep(7190)
    assert at_work(live) == 1000
    live.world.clock.sleep(11)
    assert at_work(live) == 0, "nobody lives, and users are on stable again"


def at_work(live: Scene) -> int:
    """The share that the proxy gives now."""
    flow = live.world.flow("shop")
    flow.at = live.world.clock.monotonic()
    return flow.share(live.live)


def test_a_pulse_does_not_change_the_end_of_a_paused_share(live: Scene) -> None:
    paused(live)
    end = live.live.lease
    run = run_of(live.house, live.house.store.locks.take("shop", "test"), live.house.store.rollouts.get(2))
    run.traffic.keep_share()
    live.world.clock.sleep(60)
    run.traffic.renew_lease()
    assert live.live.lease == end


@pytest.mark.parametrize("take_up", [operations.resume, operations.promote, operations.stop])
def test_a_paused_share_that_ran_out_is_told_when_it_is_taken_up(
    live: Scene, take_up: Callable[[AppContext, str], RolloutResult]
) -> None:
    paused(live)
    live.world.clock.sleep(7200 + 600)
    assert take_up(live.house, "shop").exit == Exit.DONE
    (over,) = live.told("lease.over")
    assert (over["share"], round(over["seconds"])) == (1000, 600)


def test_who_did_not_respond_and_goes_on_is_followed_again(live: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    paused(live)
    live.house.store.locks.take("shop", "the process that was stopped")
    back = RolloutResult("reverted", Exit.ABORTED, "r2 was rolled back", 2)
    heard: list[Exception | RolloutResult] = [Abandoned(2), back]

    def follow(*_: Any, **__: Any) -> RolloutResult:
        found = heard.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr("deployer.app.operations.control.follow", follow)
    assert operations.stop(live.house, "shop") == replace(back, exit=Exit.DONE)
    assert heard == []


def test_a_shield_is_told_once_and_counted_at_the_end(live: Scene) -> None:
    live.world.worse, live.world.shield = {"2.0"}, 1.0
    ending = live.deploy("2.0", "canary", manifest=TIGHT, options=AT_TEN)
    assert (ending.outcome, ending.exit) == ("reverted", Exit.VERDICT)
    assert "is worse" in ending.text, "users saw nothing, and the judge saw it all"
    assert live.told("budget.spent") == []
    first, last = live.told("shield.used")
    assert 0 < first["shielded"] < last["shielded"] <= last["answered"]
    assert live.told("sample")[-1]["shielded"] == last["shielded"]


# -- a world that does not respond


def test_a_proxy_that_restarts_is_waited_for(live: Scene) -> None:
    shares = iter(("share=500,", "share=2500,", "share=10000,"))
    expected = next(shares)

    def restart(what: str) -> None:
        nonlocal expected
        if what.startswith("after set_traffic") and expected in what:
            expected = next(shares, "no further")
            _silence(live, 5.0)

    live.world.tick = restart
    assert live.deploy("2.0", "canary").outcome == "done"
    assert len([n for n in live.told("note") if n["text"].startswith("cannot look")]) == 3


def test_a_lock_of_the_proxy_that_another_service_holds_is_waited_for(
    live: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, held = MemoryTraffic.spent, [False]

    def spent(self: MemoryTraffic, service: str) -> int:
        if held[0]:
            held[0] = False
            self.world.clock.sleep(10)
            raise DeadlinePassed("proxy/lock is held by another command: not within 10 s")
        return asked(self, service)

    monkeypatch.setattr(MemoryTraffic, "spent", spent)
    _at_the_eighth_look(live, lambda: held.__setitem__(0, True))
    assert live.deploy("2.0", "canary").outcome == "done"
    assert not held[0]
    assert [n["text"] for n in live.told("note") if "lock is held" in n["text"]] != []


def test_a_proxy_that_stays_away_ends_the_rollout(live: Scene) -> None:
    live.world.tick = lambda what: _silence(live, 20.0) if "share=500" in what else None
    ending = live.deploy("2.0", "canary", manifest={"traffic": {"budget": False}})
    assert (ending.outcome, ending.exit) == ("needs-attention", Exit.NEEDS_PERSON)


def _down(scene: Scene, seconds: float, *places: Place) -> None:
    """From the eighth look on the proxy finds no instance of these places up, until so much later."""
    told, looks, until = scene.house.sink, count(1), math.inf

    def sink(event: Event) -> None:
        nonlocal until
        told(event)
        if event.kind == "sample" and next(looks) == 8:
            scene.world.ill, until = set(places), scene.world.clock.now() + seconds
        elif scene.world.clock.now() >= until:
            scene.world.ill = set()

    scene.house.sink = sink


def test_a_candidate_that_is_found_down_once_is_looked_at_again(live: Scene) -> None:
    _down(live, 0.9, "green")
    assert live.deploy("2.0", "canary").outcome == "done"
    assert live.told("step.failed") == []


def test_a_candidate_that_stays_down_is_taken_back(live: Scene) -> None:
    _down(live, 2.0, "green")
    ending = live.deploy("2.0", "canary")
    assert (ending.outcome, ending.exit) == ("reverted", Exit.FAILED)
    assert ending.text == "r2 was rolled back: the proxy finds no instance of r2 (green) up"


def test_both_sides_down_is_waited_for_and_held_against_nobody(live: Scene) -> None:
    _down(live, 8.0, "green", "blue")
    assert live.deploy("2.0", "canary").outcome == "done"
    _forecast, note = live.told("note")
    assert note["text"] == "cannot look, trying again for 10 s: the proxy finds no instance up on either side of shop"


def test_both_sides_that_stay_down_end_the_rollout(live: Scene) -> None:
    _down(live, 20.0, "green", "blue")
    ending = live.deploy("2.0", "canary")
    assert (ending.outcome, ending.exit) == ("reverted", Exit.FAILED)
    assert "on either side" in ending.text


def _silence(scene: Scene, seconds: float) -> None:
    scene.world.silent_until = scene.world.clock.now() + seconds


# -- a wall clock that is set


@pytest.mark.parametrize("seconds", [-86_400.0, -3600.0, -40.0, 40.0, 3600.0])
def test_a_wall_clock_that_is_set_neither_cuts_a_watch_short_nor_draws_it_out(live: Scene, seconds: float) -> None:
    _at_the_eighth_look(live, lambda: setattr(live.world.clock, "ahead", seconds))
    assert live.deploy("2.0", "canary").outcome == "done"
    assert 10.0 <= _first_watch(live) <= 10.5


def test_a_resumed_watch_takes_no_longer_than_its_step_says_whatever_the_clock_says(live: Scene) -> None:
    def crash() -> None:
        raise Crash

    _at_the_eighth_look(live, crash)
    with pytest.raises(Crash):
        live.deploy("2.0", "canary")
    live.world.clock.ahead = -86_400.0
    live.events.clear()
    assert operations.resume(live.house, "shop").outcome == "done"
    assert 10.0 <= _first_watch(live) <= 10.5


def _at_the_eighth_look(scene: Scene, act: Callable[[], None]) -> None:
    told, looks = scene.house.sink, count(1)

    def sink(event: Event) -> None:
        told(event)
        if event.kind == "sample" and next(looks) == 8:
            act()

    scene.house.sink = sink


def _first_watch(scene: Scene) -> float:
    return next(float(s["seconds"]) for s in scene.told("step.done") if s["text"].startswith("watch"))


# -- an instance that has ended


def test_rolling_never_takes_the_last_instance_that_runs_beside_one_that_has_ended(live: Scene) -> None:
    live.world.end("shop-r1-1")
    live.world.tick = lambda _what: live.world.check()
    ending = live.deploy("2.0", "rolling")
    assert (ending.outcome, ending.exit) == ("reverted", Exit.FAILED)
    assert "blue has users: what serves them is not removed" in ending.text
    assert set(live.world.up("shop", "blue")) == {"shop-r1-1", "shop-r1-2"}


@pytest.mark.parametrize("now", ["exited", "running"])
def test_the_way_back_takes_instances_that_ended_once_as_they_are(live: Scene, now: Any) -> None:
    """Those of stable, whose runtime may have started them again: they are no reason to get stuck."""

    def end(what: str) -> None:
        if what == "after ensure shop-r1-2":  # the way back refills
            live.world.end("shop-r1-2")
            there = live.world.instances["shop-r1-2"]
            live.world.instances["shop-r1-2"] = replace(there, state=now, restarts=1)
            live.world.tick = lambda _what: None

    live.world.worse, live.world.tick = {"2.0"}, end
    ending = live.deploy("2.0", "rolling", manifest={"judge": {"requests": 5}})
    assert (ending.outcome, ending.exit) == ("reverted", Exit.VERDICT), ending.text
    assert set(live.world.up("shop", "blue")) == {"shop-r1-1", "shop-r1-2"}


# -- a fresh baseline

FRESH = {"baseline": "fresh", "steps": [10, 50]}


def test_a_fresh_baseline_stands_as_long_as_it_is_compared_with(live: Scene) -> None:
    started: list[str] = []
    live.world.tick = lambda what: started.append(what) if what.startswith("after ensure shop-r1") else None
    ending = live.deploy("2.0", "canary", options=FRESH)
    assert ending.outcome == "done"
    assert sorted(s for s in started if s.startswith("after ensure")) == [
        "after ensure shop-r1-101",
        "after ensure shop-r1-102",
    ]
    moved = [(m["share"], m["baseline"]) for m in live.told("traffic.changed")]
    assert moved == [(1000, 1000), (5000, 5000), (FULL, 0), (0, 0)]
    sample = [s for s in live.told("sample") if s["share_target"] == 1000][-1]
    assert sample["share_actual"] == pytest.approx(1000, abs=20)
    assert sample["verdict"] in ("inconclusive", "no worse")
    assert f"of {sample['candidate']['requests']:,})" in sample["text"], "the numbers of the same look"
    assert sample["rest"]["requests"] > sample["stable"]["requests"]
    assert live.versions("baseline") == []
    assert live.versions("blue") == ["1.0", "1.0"], "the warm ones stay"


def test_a_worse_release_takes_the_baseline_with_it(live: Scene) -> None:
    live.world.worse = {"2.0"}
    ending = live.deploy("2.0", "canary", options=FRESH)
    assert (ending.outcome, ending.exit) == ("reverted", Exit.VERDICT)
    assert sorted(live.world.instances) == ["shop-r1-1", "shop-r1-2"]
    assert live.live == Live("blue", 0, 0, 2)


def test_a_baseline_that_dies_is_nothing_to_compare_with(live: Scene) -> None:
    def kill(what: str) -> None:
        if "baseline=1000" in what and what.startswith("after set_traffic"):
            live.world.end("shop-r1-101")

    live.world.tick = kill
    ending = live.deploy("2.0", "canary", options=FRESH)
    assert (ending.outcome, ending.exit) == ("reverted", Exit.FAILED)
    assert "shop-r1-101 exited" in ending.text


@pytest.mark.parametrize("strategy", ["canary", "bluegreen", "rolling", "recreate"])
def test_a_baseline_that_was_left_over_is_cleared_by_the_next_deploy(live: Scene, strategy: str) -> None:
    left(live)
    assert live.deploy("2.0", strategy).outcome == "done"
    assert live.versions("baseline") == []


def test_down_takes_a_baseline_too(live: Scene) -> None:
    left(live)
    operations.down(live.house, "shop")
    assert live.world.instances == {}
    assert not any(live.world.servers.values())


def left(scene: Scene) -> None:
    """Leave a baseline as a rollout does whose store was lost."""
    lock = scene.house.store.locks.take("shop", "test")
    run = run_of(scene.house, lock, scene.house.store.rollouts.of("shop")[0])
    spec = run.spec(scene.house.store.releases.get("shop", 1), "baseline", 101)
    run.drivers.runtime.ensure(spec, Deadline.after(scene.world.clock, 5))
    scene.house.store.locks.release(lock)
    assert scene.versions("baseline") == ["1.0"]


# -- options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"baseline": "fresh", "steps": [10, 60]}, r"no share above 50%, not 60%"),
        ({"percent": 100, "hold": True}, "nothing left to hold for"),
        ({"within": "1s"}, "within"),
        ({"baseline": "cold"}, "must be stable or fresh"),
    ],
)
def test_options_that_cannot_be(live: Scene, options: dict[str, object], said: str) -> None:
    with pytest.raises(Refused, match=said):
        operations.propose(live.house, request("2.0", "canary", REPOSITORY, options=options))
