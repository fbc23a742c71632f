"""An answer of the database that is waited for: cut when it takes too long, and never after it has come."""

from __future__ import annotations

import threading
import time

import pytest

from deployer.store.postgres import answer_watch
from deployer.store.postgres.answer_watch import AnswerWatch
from tests.waiting import within


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_watch, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(answer_watch, "REST_SECONDS", 0.05)


def test_what_takes_too_long_is_cut_once() -> None:
    cut = threading.Semaphore(0)
    watch = AnswerWatch(cut.release)
    with watch.within(0.02):
        assert cut.acquire(timeout=20)
        assert not cut.acquire(timeout=0.1)
    watch.close()


def test_what_was_answered_is_not_cut() -> None:
    """Also where the time of the one before would be over during the next."""
    cut = list[float]()
    watch = AnswerWatch(lambda: cut.append(time.monotonic()))
    for _ in range(20):
        with watch.within(600):
            time.sleep(0.005)
    assert cut == []
    watch.close()


def test_its_thread_ends_without_statements_and_begins_with_the_next() -> None:
    cut = threading.Event()
    watch = AnswerWatch(cut.set)
    with watch.within(600):
        assert watch._thread is not None
    within().until(lambda: watch._thread is None, "the thread ends")
    with watch.within(0.02):
        assert cut.wait(20)
    watch.close()
    within().until(lambda: watch._thread is None, "the thread ends")
