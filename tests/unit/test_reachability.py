"""What was heard of a host is believed for a moment, asked again in the background, and void after a change."""

from __future__ import annotations

import threading

import pytest

from deployer.core.clock import Deadline, SystemClock
from deployer.transport.reachability import AGAIN_SECONDS, STALE_SECONDS, LastHeard
from tests.memory import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def heard(clock: FakeClock) -> LastHeard[str]:
    return LastHeard("web1", clock)


def never() -> str:
    raise AssertionError("it was asked")


def test_nothing_is_known_of_a_host_that_was_not_asked(heard: LastHeard[str]) -> None:
    assert heard.known(never) is None
    assert heard.ask(lambda: "no route") == "no route"
    assert heard.known(never) == "no route"


def test_what_is_not_fresh_is_asked_once_in_the_background_and_stands_meanwhile(
    heard: LastHeard[str], clock: FakeClock
) -> None:
    asked, go = threading.Semaphore(0), threading.Event()

    def ask() -> str | None:
        asked.release()
        assert go.wait(20)
        return None

    heard.keep("no route")
    clock.at += AGAIN_SECONDS
    assert [heard.known(ask) for _ in range(3)] == ["no route"] * 3, "nobody waits for it"
    assert asked.acquire(timeout=20)
    go.set()
    Deadline.after(SystemClock(), 20).until(lambda: heard.known(never) is None, "it is known to answer again")
    assert not asked.acquire(blocking=False), "once for all who looked"


def test_what_is_stale_is_not_believed(heard: LastHeard[str], clock: FakeClock) -> None:
    heard.keep("no route")
    clock.at += STALE_SECONDS
    assert heard.known(never) is None


def test_an_answer_to_what_was_asked_before_a_change_is_void(heard: LastHeard[str]) -> None:
    def changed() -> str:
        heard.forget()
        return "as before"

    assert heard.ask(changed) is None
    assert heard.known(never) is None


def test_a_question_that_fails_does_not_keep_it_from_being_asked_again(
    heard: LastHeard[str], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, again = threading.Event(), threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _args: failed.set())
    heard.keep("no route")
    clock.at += AGAIN_SECONDS
    heard.known(never)
    assert failed.wait(20)

    def ask() -> str:
        again.set()
        return "still none"

    Deadline.after(SystemClock(), 20).until(lambda: bool(heard.known(ask)) and again.is_set(), "a question")
