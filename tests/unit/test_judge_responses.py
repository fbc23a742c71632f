"""Responses that are no errors and still wrong: found worse with a sentence, within the margin or without it not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from deployer.core.response_kinds import FEATURES, NUMBER, STATUSES, of_size
from deployer.evidence.recording_format import packed, unpacked
from deployer.judge import Verdict, Verdicts
from deployer.manifest.judge import Judge
from deployer.model import Coins, Counts, Sample, Waiting

NOT_FOUND = STATUSES.index("404")


def counts(requests: int, kinds: Mapping[int, int]) -> Counts:
    numbers = [0] * NUMBER
    for kind, number in kinds.items():
        numbers[kind] = number
    return Counts(requests, 0, (), tuple(numbers))


def sample(stable: Counts, candidate: Counts, *, on_route: bool = False) -> Sample:
    coins = (Coins(0.1, stable, candidate),)
    return Sample(stable, candidate, 1000, coins=coins, routes=((0, coins),) if on_route else ())


def judged(look: Sample, looks: int = 20, routes: tuple[str, ...] = (), **config: Any) -> Verdict:
    verdicts = Verdicts(Judge.model_validate({"latency": False, **config}), sticky=False, routes=routes)
    verdicts.begin(1000, 5000)
    verdict = verdicts.observe(look, 0.0)
    for n in range(1, looks):
        verdict = verdicts.observe(look, float(n))
    return verdict


GOOD = {of_size(5000): 179, NOT_FOUND: 1}
LOST = sample(counts(180, GOOD), counts(20, {NOT_FOUND: 20}))


def test_404_to_everything_is_worse_and_says_so() -> None:
    verdict = judged(LOST)
    assert verdict.kind == "worse"
    assert verdict.text == (
        "status 404: 100% of the candidate's responses (20 of 20), 0.56% of stable's (1 of 180); limit 5.56%"
    )
    first = verdict.values["responses"][0]
    assert (first["kind"], first["candidate"], first["stable"]) == ("status 404", 20, 1)
    assert first["limit"] == pytest.approx(1 / 180 + 0.05, abs=1e-5)


def test_it_is_left_out_when_the_manifest_says_so() -> None:
    verdict = judged(LOST, responses=False)
    assert verdict.kind != "worse"
    assert verdict.values["responses"] == []


def test_what_the_margin_covers_is_not_worse() -> None:
    slightly = sample(counts(1800, {NOT_FOUND: 20}), counts(200, {NOT_FOUND: 8}))
    assert judged(slightly, looks=60).kind != "worse"
    assert judged(slightly, looks=60, responses={"margin": "1.5x", "add": "1%"}).kind == "worse"


def test_somewhat_smaller_is_no_evidence_and_a_tiny_page_is() -> None:
    stable = counts(180, {of_size(40_000): 180})
    assert judged(sample(stable, counts(20, {of_size(5_000): 20}))).kind != "worse"
    tiny = judged(sample(stable, counts(20, {of_size(200): 20})))
    assert tiny.kind == "worse"
    assert tiny.text.startswith("body under ")


def test_more_good_responses_are_never_worse() -> None:
    stable = counts(180, {NOT_FOUND: 100, of_size(0): 80})
    assert judged(sample(stable, counts(20, {of_size(5000): 20}))).kind != "worse"


def test_a_route_is_judged_by_itself() -> None:
    verdict = judged(
        sample(counts(180, GOOD), counts(20, {NOT_FOUND: 20}), on_route=True), routes=("/checkout",), looks=3
    )
    assert verdict.kind == "worse"
    alone = Sample(Counts(5000), Counts(500), 1000, routes=((0, LOST.coins),))
    verdict = judged(alone, routes=("/checkout",))
    assert verdict.kind == "worse"
    assert verdict.text.startswith("/checkout: status 404: 100% of the candidate's responses")


def test_a_recording_keeps_the_mix() -> None:
    look = sample(counts(180, GOOD), counts(20, {NOT_FOUND: 20}), on_route=True)
    assert unpacked(packed(look)) == Sample(
        _trimmed(look.stable), _trimmed(look.candidate), 1000, coins=_coins(look), routes=((0, _coins(look)),)
    )


def _trimmed(side: Counts) -> Counts:
    last = max(place for place, number in enumerate(side.kinds) if number)
    return Counts(side.requests, side.errors, side.latency, side.kinds[: last + 1])


def _coins(look: Sample) -> tuple[Coins, ...]:
    return (Coins(0.1, _trimmed(look.stable), _trimmed(look.candidate)),)


@pytest.mark.parametrize("bad", [[-1, 1], [NUMBER, 1], [0, -5]])
def test_a_recording_with_kinds_that_cannot_be_is_refused(bad: list[int]) -> None:
    with pytest.raises(ValueError, match=r"kind|count"):
        unpacked({"share": 1000, "stable": [5, 0, [], bad]})


def test_the_stakes_of_all_features_are_one() -> None:
    assert sum(feature.weight for feature in FEATURES) == pytest.approx(1.0)


def waiting(verdicts: Verdicts, stable: int, candidate: int, seconds: int = 20, share: int = 1000) -> Verdict:
    verdicts.begin(share, 5000)
    look = Sample(Counts(180), Counts(20), share, coins=(Coins(share / 10000, Counts(180), Counts(20)),))
    for at in range(seconds):
        verdict = verdicts.observe(replace(look, waiting=Waiting(share / 10000, stable, candidate)), float(at))
    return verdict


def test_a_candidate_that_does_not_answer_is_worse_while_its_users_wait() -> None:
    verdict = waiting(Verdicts(Judge.model_validate({"latency": False}), sticky=False), stable=9, candidate=14)
    assert verdict.kind == "worse"
    assert verdict.text == "14 requests wait for the candidate and 9 for stable, at a share of 10%; limit 4"


@pytest.mark.parametrize(("stable", "candidate"), [(90, 10), (9, 3), (0, 3), (1000, 150)])
def test_what_chance_or_the_margin_explains_does_not_hold_a_step(stable: int, candidate: int) -> None:
    verdict = waiting(Verdicts(Judge.model_validate({"latency": False}), sticky=False), stable, candidate)
    assert verdict.enough


def test_more_than_the_margin_holds_the_step_and_is_forgotten_when_it_is_over() -> None:
    verdicts = Verdicts(Judge.model_validate({"latency": False}), sticky=True)
    held = waiting(verdicts, stable=9, candidate=14)
    assert (held.kind, held.enough) == ("inconclusive", False), "one sticky client may have many requests"
    assert verdicts.observe(Sample(Counts(10), Counts(10), 1000), 60.0).enough


def test_a_recording_keeps_what_waits() -> None:
    look = Sample(Counts(), Counts(), 1000, waiting=Waiting(0.1, 9, 14))
    assert unpacked(packed(look)) == look
    with pytest.raises(ValueError, match="wait"):
        unpacked({"share": 1000, "waiting": [0.1, -1, 2]})


def test_sticky_clients_count_once_for_each_kind() -> None:
    """What their first response was says nothing of a part of the page that is missing."""
    verdicts = Verdicts(Judge.model_validate({"latency": False}), sticky=True)
    verdicts.begin(1000, 5000)
    first = tuple(int(kind == NOT_FOUND) for kind in range(NOT_FOUND + 1))
    kind = ""
    for at in range(30):
        coins = (Coins(0.1, Counts(18), Counts(2), first_kinds=((), first)),)
        look = Sample(counts(180, GOOD), counts(20, {NOT_FOUND: 10}), 1000, coins=coins)
        assert unpacked(packed(look)).coins == coins
        kind = verdicts.observe(look, float(at)).kind
    assert kind == "worse"


def test_one_sticky_client_is_no_evidence_however_often_it_asks() -> None:
    verdicts = Verdicts(Judge.model_validate({"latency": False}), sticky=True)
    verdicts.begin(1000, 5000)
    look = Sample(counts(180, GOOD), counts(20, {NOT_FOUND: 10}), 1000, coins=(Coins(0.1, Counts(18), Counts(2)),))
    assert all(verdicts.observe(look, float(at)).kind != "worse" for at in range(30))
