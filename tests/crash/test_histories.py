"""Random histories of one service; `python -m tests.crash.histories --runs 2000` lives through more of them."""

from __future__ import annotations

from tests.crash.histories import run
from tests.crash.work import CHOSEN

HISTORIES = 40


def test_whatever_was_done_the_rollout_has_an_end_and_the_next_release_comes_out() -> None:
    seen = run(HISTORIES, CHOSEN)
    assert seen["histories"] >= HISTORIES
    assert seen["ended killed"] > 10
    assert seen["disturbed"] > 10
    assert {name for name in seen if name.startswith("ended ")} >= {"ended done", "ended reverted", "ended paused"}
