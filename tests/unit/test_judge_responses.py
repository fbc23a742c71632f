"""Responses that are no errors and still wrong: found worse with a sentence, within the margin or without it not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from deployer.judge import Verdict, Verdicts
from deployer.kinds import FEATURES, NUMBER, STATUSES, of_size
from deployer.manifest.sections import Judge
from deployer.model import Coins, Counts, Sample
from deployer.packing import packed, unpacked

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
        "status 404: 100 % of the candidate's responses (20 of 20), 0.56 % of stable's (1 of 180); limit 5.56 %"
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
    assert verdict.text.startswith("/checkout: status 404: 100 % of the candidate's responses")


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
