from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from deployer.core.events import Event
from deployer.views.live import LiveView
from deployer.views.reduce import _HANDLERS, reduce, reduce_all
from deployer.views.state import VerdictView, ViewState
from tests.unit.views_recordings import NAMES, recording


def event(kind: str, at: float = 1.0, **data: Any) -> Event:
    return Event(kind, at, "shop", 1, data)


def sample(at: float, stable: int, candidate: int) -> Event:
    sides = {"stable": {"requests": stable}, "candidate": {"requests": candidate}}
    return event("sample", at, share_target=1000, share_actual=None, lost=0, **sides)


def test_state_cannot_be_changed_in_place() -> None:
    with pytest.raises(FrozenInstanceError):
        ViewState().service = "other"  # type: ignore[misc]


@pytest.mark.parametrize("name", NAMES)
def test_recordings_leave_no_step_without_words(name: str) -> None:
    state = reduce_all(recording(name))
    assert all(step.text for step in (*state.forward, *state.back))
    assert state.ending is not None


def test_what_the_judge_says_at_a_look_has_the_numbers_of_that_look() -> None:
    said = {"verdict": "inconclusive", "enough": True, "text": "candidate 0% errors (0 of 40)"}
    look = event("sample", 2.0, share_target=1000, candidate={"requests": 40}, stable={"requests": 360}, **said)
    state = reduce_all([event("step.began", n=0, step="watch", text="watch 10%"), look])
    assert (state.so_far, state.verdict) == (VerdictView("no regression found", "candidate 0% errors (0 of 40)"), None)
    assert reduce(state, event("step.began", 3.0, n=1, step="watch", text="watch 50%")).so_far is None


def test_steps_count_from_zero_and_show_where_the_rollout_is() -> None:
    state = reduce_all(recording("canary", 22.0))
    assert [step.state for step in state.forward] == ["done"] * 6 + ["running"] + ["waiting"] * 5
    assert state.running is not None
    assert state.running.text.startswith("watch 10%")
    assert state.waiting is not None
    assert state.waiting.text.startswith("50%")


def test_a_turned_rollout_has_its_failure_and_its_way_back() -> None:
    state = reduce_all(recording("worse"))
    assert [step.state for step in state.forward[:6]] == ["done"] * 4 + ["failed", "waiting"]
    assert [step.state for step in state.back] == ["done", "done"]
    assert state.failure is not None
    assert "TypeError: unsupported operand" in "\n".join(state.failure.log)
    assert state.ending is not None
    assert state.ending.exit == 3


def test_an_abort_stops_the_running_step_without_calling_it_failed() -> None:
    state = reduce_all(
        [
            event("rollout.started", steps=["a", "b"]),
            event("step.began", phase="forward", n=0, text="a"),
            event("rollout.rolling_back", error="aborted by dana", exit=6),
        ]
    )
    assert [step.state for step in state.forward] == ["stopped", "waiting"]


def test_a_resume_takes_up_where_the_history_ended() -> None:
    state = reduce_all([*recording("paused"), event("rollout.resumed", 1790000099.0, phase="forward", by="li@desk")])
    assert state.ending is None
    assert state.notes == ("resumed by li@desk",)


def test_a_view_that_joins_late_grows_the_steps_it_hears_of() -> None:
    state = reduce_all([event("step.began", phase="back", n=1, text="drain")])
    assert [step.text for step in state.back] == ["", "drain"]
    assert state.turned


def test_rate_is_measured_over_the_last_seconds_and_starts_anew_with_a_watch() -> None:
    state = reduce_all([sample(float(at), stable=at * 90, candidate=at * 10) for at in range(20)])
    assert [look.at for look in state.looks] == [14.0, 15.0, 16.0, 17.0, 18.0, 19.0]
    state = reduce(state, event("step.began", 20.0, phase="forward", n=0, step="watch", text="watch"))
    assert state.looks == ()


def test_counts_that_begin_again_do_not_give_a_negative_rate() -> None:
    state = reduce_all([sample(1.0, 900, 100), sample(2.0, 9, 1)])
    assert len(state.looks) == 1


def test_measurement_under_another_share_is_forgotten() -> None:
    state = reduce_all(recording("canary", 22.0))
    assert state.measured is not None
    assert reduce(state, event("traffic.changed", stable="blue", share=5000, lease=0)).measured is None


def test_unknown_kinds_change_nothing_but_the_time() -> None:
    state = reduce_all(recording("canary", 22.0))
    after = reduce(state, Event("weather", state.seen + 1, "shop", 17, {"rain": True}))
    assert after.seen == state.seen + 1
    assert (after.forward, after.share, after.looks) == (state.forward, state.share, state.looks)


def test_what_happens_before_the_rollout_is_kept() -> None:
    fetching = Event("step.progress", 1.0, "shop", 0, {"text": "fetching shop:2.0, 40 of 90 MB"})
    state = reduce_all([Event("note", 1.0, "shop", 0, {"text": "nothing to do"}), fetching])
    assert state.activity == "fetching shop:2.0, 40 of 90 MB"
    state = reduce(state, event("rollout.started", 2.0, steps=["a"]))
    assert (state.notes, state.activity) == (("nothing to do",), "")


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(
    ["phase", "n", "of", "text", "until", "seconds", "share", "share_target", "stable", "candidate", "log", "steps"]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(_HANDLERS)), st.dictionaries(FIELDS, JUNK)), max_size=5))
def test_no_event_whatever_it_holds_reaches_the_rollout_as_an_error(events: list[tuple[str, dict[str, Any]]]) -> None:
    console = Console(width=70, height=30, _environ={})
    view = LiveView(console, now=lambda: 5.0)
    for kind, data in events:
        view(event(kind, **data))
        with console.capture():
            console.print(view._frame)
