from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from deployer.core.events import Event
from deployer.views.live_page import render
from deployer.views.reduce import reduce_all
from deployer.views.state import ViewState
from tests.unit.views_recordings import NAMES, recording, same_as_golden

PAGES = [
    ("canary", 2.0, 80, False),
    ("canary", 22.0, 60, False),
    ("canary", 22.0, 80, False),
    ("canary", 22.0, 80, True),
    ("canary", 22.0, 120, False),
    ("canary", 999.0, 80, False),
    ("worse", 6.0, 80, False),
    ("worse", 999.0, 60, False),
    ("worse", 999.0, 80, False),
    ("worse", 999.0, 80, True),
    ("update-failed", 999.0, 80, False),
    ("paused", 999.0, 80, False),
    ("guarded", 20.0, 80, False),
    ("guarded", 20.0, 60, True),
]


def draw(state: ViewState, now: float, width: int, *, compact: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, highlight=False, _environ={})
    console.print(render(state, now, width, compact=compact))
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


def test_before_anything_is_known_no_clock_runs() -> None:
    assert draw(ViewState(), 1_790_000_000.0, 80).strip() == ""


@pytest.mark.parametrize(("name", "at", "width", "compact"), PAGES)
def test_page_is_the_golden_one(name: str, at: float, width: int, compact: bool) -> None:
    events = recording(name, at)
    now = min(events[0].at + at, events[-1].at)
    text = draw(reduce_all(events), now, width, compact=compact)
    same_as_golden(f"page-{name}-{at:g}-{width}{'-compact' if compact else ''}", text)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_is_wider_than_the_terminal_at_any_moment(name: str, width: int) -> None:
    events = recording(name)
    for count in range(0, len(events) + 1, 7):
        state = reduce_all(events[:count])
        now = events[count - 1].at if count else 0.0
        for compact in (False, True):
            page = draw(state, now, width, compact=compact)
            assert max((cell_len(line) for line in page.splitlines()), default=0) <= width


def test_compact_page_fits_a_terminal_of_24_lines() -> None:
    events = recording("canary", 22.0)
    assert len(draw(reduce_all(events), events[-1].at, 80, compact=True).splitlines()) < 24


def test_time_left_never_goes_below_nothing() -> None:
    events = recording("canary", 22.0)
    page = draw(reduce_all(events), events[-1].at + 1000, 80)
    assert "0 s left" in page
    assert "-" not in page.split("s left")[0].splitlines()[-1]


def test_hostile_text_cannot_steer_the_terminal_or_the_markup() -> None:
    evil = "\x1b]0;owned\x07\x1b[2J[bold red]x[/] \x9b31m\r\n\x00end"
    events = [
        Event("rollout.started", 1.0, "shop", 1, {"version": evil, "steps": [evil], "strategy": evil, "by": evil}),
        Event("step.began", 1.0, "shop", 1, {"phase": "forward", "n": 0, "step": "play", "text": evil}),
        Event("task", 1.0, "shop", 1, {"task": evil, "host": evil, "status": evil, "message": evil}),
        Event("step.failed", 1.0, "shop", 1, {"phase": "forward", "n": 0, "error": evil, "hint": evil, "log": [evil]}),
        Event("verdict", 1.0, "shop", 1, {"verdict": evil, "text": evil}),
        Event("note", 1.0, "shop", 1, {"text": evil}),
        Event("rollout.ended", 1.0, "shop", 1, {"outcome": "needs-attention", "text": evil}),
    ]
    page = draw(reduce_all(events), 2.0, 100)
    assert not {"\x1b", "\x07", "\x9b", "\x00", "\r"} & set(page)
    assert "[bold red]x[/]" in page
    assert "owned" not in page


@pytest.mark.parametrize(("stable", "candidate", "more"), [(10, 1, False), (10, 4, True), (0, 0, False), (0, 1, True)])
@pytest.mark.parametrize("spent", [0, 50])
def test_errors_are_red_once_they_are_bad_and_yellow_where_the_candidate_has_more(
    stable: int, candidate: int, more: bool, spent: int
) -> None:
    sides = {"stable": {"requests": 900, "errors": stable}, "candidate": {"requests": 100, "errors": candidate}}
    sides |= {"spent": spent, "budget": 50}  # type: ignore[dict-item]
    out = io.StringIO()
    console = Console(file=out, width=80, color_system="standard", force_terminal=True, _environ={})
    console.print(render(reduce_all([Event("sample", 1.0, "shop", 1, {"share_target": 1000, **sides})]), 1.0, 80))

    assert ("\x1b[1;31m" in out.getvalue()) == (spent == 50)
    assert ("\x1b[33m" in out.getvalue()) == (more and spent == 0)


def test_a_step_of_fixed_time_that_waits_says_for_what() -> None:
    watch = {"phase": "forward", "n": 0, "step": "watch", "text": "watch 10% for 8 s", "deadline": 80.0, "until": 9.0}
    events = [
        Event("rollout.started", 0.0, "shop", 1, {"steps": ["watch 10% for 8 s", "50% of the traffic"]}),
        Event("step.began", 1.0, "shop", 1, watch),
        Event("sample", 9.5, "shop", 1, {"share_target": 1000, "waits": "the candidate has 3 of 20"}),
    ]
    page = draw(reduce_all(events), 11.0, 80)

    assert "watch 10% for 8 s" in page
    assert " waiting\n" in page
    assert "the candidate has 3 of 20" in page
    assert "50% of the traffic · once that has come, within 70 s" in page
    assert "waiting" not in draw(reduce_all([*events, Event("sample", 9.7, "shop", 1, {})]), 9.7, 80)


def test_after_the_promotion_nobody_is_called_a_candidate_of_the_share() -> None:
    page = draw(reduce_all(recording("canary")), 0.0, 80)
    assert "all on r42 (2.0)" in page
    assert "% asked" not in page


def test_at_a_hold_the_page_says_what_a_person_may_do() -> None:
    page = draw(reduce_all(recording("paused")), 0.0, 80)
    assert "next     deploy promote  to go on, or  deploy abort  to roll back" in page


def test_the_failed_step_stands_with_its_reason_before_the_way_back() -> None:
    page = draw(reduce_all(recording("worse")), 0.0, 80)
    places = [page.index(part) for part in ("✗ watch", "the candidate is worse", "↩ rollback steps", "✓ drain")]
    assert places == sorted(places)
    assert "promote:" not in page  # steps that will not come any more are no news
