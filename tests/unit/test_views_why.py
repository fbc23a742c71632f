"""Why a rollout ended: the cause, the trips, who asked; the newest counts of each process."""

from __future__ import annotations

from typing import Any

from deployer.views.numbers import numbers
from deployer.views.why import why


def event(kind: str, at: float, **data: Any) -> dict[str, Any]:
    return {"event": kind, "at": at, "service": "shop", "rollout": 1, **data}


def test_the_turn_is_the_cause_and_keeps_the_log_of_the_step() -> None:
    found = why(
        [
            event("step.failed", 1, error="it exited", hint="read", log=["a\x1b[31m", "b"]),
            event("rollout.rolling_back", 2, error="it exited with code 3", hint="read its log"),
        ]
    )

    assert (found.cause, found.remedy, found.log) == ("it exited with code 3", "read its log", ("a", "b"))


def test_a_resume_forgets_why_it_was_held() -> None:
    found = why([event("rollout.paused", 1, text="inconclusive"), event("rollout.resumed", 2, by="ann@desk")])

    assert found.cause == ""
    assert found.asked == ((2.0, "resumed by ann@desk"),)


def test_without_trouble_the_last_comparison_speaks() -> None:
    found = why(
        [
            event("verdict", 1, verdict="no worse", text="0 of 30 failed", stable_requests=9),
            event("verdict", 2, verdict="inconclusive", text="nothing to compare with"),
        ]
    )

    assert found.cause == "proven no worse: 0 of 30 failed"


def test_what_was_not_shown_is_not_said_of_a_release_that_went_on() -> None:
    proofs = {"errors": {"answers_needed": 21_987}, "p50": {"answers_needed": 0}}
    sides = {"candidate_requests": 289, "candidate_errors": 1, "stable_requests": 682, "stable_errors": 0}
    seen = "no regression found: candidate 0.35% failed (1 of 289), stable 0% failed (0 of 682); "
    text = "not yet proven no worse"

    told = event("verdict", 1, verdict="inconclusive", text=text, enough=True, proofs=proofs, **sides)
    assert why([told]).cause == f"{seen}too little traffic to prove no worse (about 22,000 more responses needed)"
    proofs["p50"]["answers_needed"] = None  # type: ignore[assignment]
    assert why([told]).cause == f"{seen}too little traffic to prove no worse"


def test_each_process_has_its_newest_count_of_the_shield() -> None:
    found = why(
        [
            event("shield.used", 1, shielded=1, answered=10),
            event("shield.used", 2, shielded=4, answered=90),
            event("rollout.resumed", 3, by="ann"),
            event("shield.used", 4, shielded=2, answered=20),
            event("shield.used", 5, shielded=3, answered=30),
        ]
    )

    assert [trip.text.split(" did")[0] for trip in found.trips] == [
        "4 failed responses of the candidate (of 90 responses)",
        "3 failed responses of the candidate (of 30 responses)",
    ]


def test_every_trip_has_its_numbers() -> None:
    found = why(
        [
            event("budget.spent", 1, spent=51, limit=50),
            event("lease.over", 2, share=3000, seconds=41.2),
            event("metric", 3, name="queue", verdict="worse", text="12 > 10", dry_run=True),
            event("metric", 4, name="other", verdict="no worse", text="1 < 10"),
        ]
    )

    assert [trip.kind for trip in found.trips] == ["budget", "lease", "metric"]
    assert "51 of 50 failed responses" in found.trips[0].text
    assert "30% ran out by itself, 41 s before" in found.trips[1].text
    assert found.trips[2].text == "queue: 12 > 10 (dry run: it decided nothing)"


def test_who_asked_for_what_is_kept_and_other_notes_are_not() -> None:
    found = why(
        [
            event("rollout.started", 1, by="dana@ci"),
            event("note", 2, text="abort asked by ann@desk: television"),
            event("note", 3, text="the proxy was reloaded"),
        ]
    )

    assert [text for _, text in found.asked] == ["started by dana@ci", "abort asked by ann@desk: television"]


def test_numbers_stand_beside_their_limits_in_words() -> None:
    values = {
        "candidate_requests": 200,
        "candidate_errors": 4,
        "stable_requests": 1800,
        "stable_errors": 2,
        "limit": 0.005,
        "evidence": 12.0,
        "evidence_needed": 100.0,
        "error_ratio_low": 0.5,
        "error_ratio_high": 40.0,
        "proofs": {"errors": {"progress": 0.25, "answers_needed": 1234, "stable": 0.001, "limit": 0.002}},
        "step_requests": 200,
        "requests_needed": 20,
        "lost": 3,
        "weather": 1.5,
    }
    rows = {n.name: (n.value, n.limit) for n in numbers(values)}

    assert rows["failed responses of candidate"] == ("4 of 200 (2%)", "at most 0.5%")
    assert rows["candidate fails"][0] == "0.5 to 40 times as often as stable (95% sure)"
    assert rows["evidence that it is worse"] == ("12", "worse at 100 (at most 1 in 100 good ones)")
    assert rows["no worse in errors"] == ("25% proven, about 1,200 more responses needed", "below 0.2% (stable 0.1%)")
    assert rows["responses in this step"] == ("200", "at least 20")
    assert rows["responses that were not seen"] == ("3", "")
    assert rows["weather"] == ("1.5", "")
