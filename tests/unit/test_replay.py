"""A recording is judged as the rollout was, look by look; other policies are judged on the same traffic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployer.core.errors import Refused
from deployer.evidence import recording, replay
from deployer.evidence.recording import Recorder
from deployer.evidence.replay import Policy
from deployer.judge import Verdicts
from deployer.manifest.models import Judge
from deployer.model import Coins, Counts, Sample
from tests.reported import Users, rollout

BAD = Users(3, bad=0.05, spared=0.5)


def recorded(state: Path, users: Users, **more: Any) -> tuple[Path, list[dict[str, object]]]:
    """Return the recording of a rollout and the verdicts that it told."""
    with rollout(state, users, **more) as (house, ending):
        told = [e.to_dict() for e in house.store.events.of(ending.rollout) if e.kind == "verdict"]
        return recording.file_of(house.store.folder, ending.rollout), told


def counts(requests: int, errors: int = 0) -> Counts:
    return Counts(requests, errors, (*(0,) * 300, requests - errors))


def sample(stable: Counts, candidate: Counts, share: int = 1000, **more: Any) -> Sample:
    return Sample(stable, candidate, share, coins=(Coins(share / 10000, stable, candidate),), **more)


def watched(path: Path, looks: list[Sample], *, share: int = 1000, seconds: float = 0.0, began: float = 100.0) -> Path:
    recorder = Recorder(path, {"service": "shop", "started_at": 1e9, "monotonic": began, "sticky": False})
    recorder.watch(share, 2500, began, seconds)
    for number, look in enumerate(looks, 1):
        recorder.sample(look, began + number / 4)
    recorder.close()
    return path


def judged(path: Path, **policy: object) -> replay.Judgement:
    source = replay.open_source(path)
    recorded = replay.recorded_policy(source)
    return replay.judge(source, replace(recorded, judge=Judge.model_validate(policy)) if policy else recorded)


@pytest.mark.parametrize("users", [Users(1), BAD, Users(2, slow=3.0)], ids=["good", "bad", "slow"])
def test_a_replay_comes_to_the_verdicts_of_the_rollout(state: Path, users: Users) -> None:
    path, told = recorded(state, users)
    stages = judged(path).stages

    assert [(s.verdict.kind, s.verdict.at_its_time()[0]) for s in stages] == [(e["verdict"], e["text"]) for e in told]
    assert [s.verdict.values["evidence"] for s in stages] == [e["evidence"] for e in told]


def test_a_bad_release_is_worse_and_what_users_saw_is_counted(state: Path) -> None:
    path, _ = recorded(state, BAD)
    found = judged(path)

    assert found.decision == "worse"
    assert found.deciding.outcome == "worse"
    assert 0 < found.deciding.shielded < found.deciding.candidate.errors


def test_another_policy_is_judged_on_the_same_traffic(state: Path) -> None:
    path, _ = recorded(state, BAD)

    assert judged(path, errors={"add": "50%"}).decision != "worse"


def test_a_release_that_is_shown_to_be_no_worse_passes_when_it_was_shown(tmp_path: Path) -> None:
    looks = [sample(counts(500), counts(500), 5000)] * 200
    path = watched(tmp_path / "r.jsonl", looks, share=5000)
    found = judged(path, latency=False, errors={"add": "1%"})
    stage = found.deciding

    assert (found.decision, stage.outcome, stage.proved) == ("passes", "passes", True)
    assert 0 < stage.after < 50 - 0.25
    assert stage.candidate.requests < 500 * 200, "what came after the outcome is not counted"


def test_a_watch_of_fixed_time_passes_at_its_end_with_enough_seen(tmp_path: Path) -> None:
    path = watched(tmp_path / "r.jsonl", [sample(counts(9), counts(1))] * 400, seconds=100.0)

    assert judged(path, latency=False).deciding.outcome == "passes"
    assert not judged(path, latency=False).deciding.proved
    assert judged(path, latency=False, requests=401).decision == "inconclusive"


def test_what_passes_has_passed_at_its_last_watch(tmp_path: Path) -> None:
    path = watched(tmp_path / "r.jsonl", [sample(counts(9), counts(1))] * 40, seconds=10.0)
    recorder = Recorder(path, {"service": "shop", "started_at": 1e9 + 20, "monotonic": 120.0, "sticky": False})
    recorder.watch(5000, 10000, 120.0, 10.0)
    for number in range(1, 41):
        recorder.sample(sample(counts(9), counts(9), 5000), 120.0 + number / 4)
    recorder.close()
    found = judged(path, latency=False)

    assert (found.decision, found.deciding.watching.share) == ("passes", 5000)


def test_each_drive_has_a_judge_of_its_own(tmp_path: Path) -> None:
    some = [sample(counts(90), counts(10, 1))] * 2
    path = watched(tmp_path / "r.jsonl", some)
    once = judged(path).deciding.verdict.values["evidence"]
    watched(path, some, began=500.0)
    first, second = judged(path).stages

    assert first.verdict.values["evidence"] == second.verdict.values["evidence"] == once


def test_times_are_those_of_the_world(tmp_path: Path) -> None:
    path = watched(tmp_path / "r.jsonl", [sample(counts(9), counts(1))])
    source = recording.read(path)
    looks = list(replay.looks(source, replay.recorded_policy(source)))

    assert [look.at for look in looks] == [1e9 + 0.25]
    assert looks[0].began == 1e9


def test_what_is_looked_at_between_two_watches_does_not_speak_for_the_first(tmp_path: Path) -> None:
    between = sample(counts(0), counts(50), 10000)
    path = watched(tmp_path / "r.jsonl", [*[sample(counts(90), counts(10))] * 8, between])

    assert "stable_requests" in judged(path).stages[0].verdict.values


def test_what_is_lost_or_cut_off_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "LARGEST", 900)
    found = judged(watched(tmp_path / "r.jsonl", [sample(counts(9), counts(1), lost=3)] * 50))

    assert found.cut
    assert found.lost > 0


def test_a_recording_without_a_watch_is_refused(tmp_path: Path) -> None:
    Recorder(tmp_path / "r.jsonl", {"service": "shop"}).close()

    with pytest.raises(Refused, match="no watch in it saw anything"):
        judged(tmp_path / "r.jsonl")


def test_the_replay_and_the_judge_agree_about_the_interface(tmp_path: Path) -> None:
    policy = Policy(Judge(), sticky=True, routes=("/checkout",))
    verdicts = Verdicts(policy.judge, sticky=policy.sticky, routes=policy.routes)
    verdicts.begin(1000, 2500)

    assert verdicts.observe(sample(counts(9), counts(1)), 1.0).kind == "inconclusive"
