"""What a person is asked at Ctrl-C, and what a second one means."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deployer.cli import interrupts
from deployer.cli.interrupts import HERE, Question, question_of
from deployer.cli.options import Common
from deployer.client.address import DeployServer
from deployer.core.events import Event
from deployer.planning.orders import Choice

SECONDS = 20.0


class Page:
    """A view that leaves the terminal to a question, and comes back when it may."""

    def __init__(self) -> None:
        self.leaves, self.may_come_back = threading.Event(), threading.Event()

    def __call__(self, event: Event) -> None: ...

    @contextmanager
    def aside(self) -> Iterator[None]:
        yield
        self.leaves.set()
        assert self.may_come_back.wait(SECONDS)


def test_a_question_that_was_answered_is_asked_again_and_one_that_waits_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answers = queue.Queue[str](), queue.Queue[Choice]()

    def ask(text: str, _over: int) -> Choice:
        asked.put(text)
        return answers.get(timeout=SECONDS)

    monkeypatch.setattr(interrupts, "_ask", ask)
    page, decided = Page(), queue.Queue[Choice]()
    with Question(page, decided.put, lambda: "go on?") as question:
        question.ask()
        assert asked.get(timeout=SECONDS) == "go on?"
        answers.put("stay")
        assert page.leaves.wait(SECONDS)
        question.ask()  # the page is not back yet
        assert asked.get(timeout=SECONDS) == "go on?"
        assert decided.empty(), "the first one was answered"
        question.ask()  # without an answer to the second one
        assert decided.get(timeout=SECONDS) == "detach"
        answers.put("stay")
        page.may_come_back.set()


def test_a_person_is_told_where_the_order_is() -> None:
    assert question_of(Common(), "shop", 3) == HERE
    there = Common(server=DeployServer.of("https://deploy.example.com", "--server"))
    asked = "is in progress at https://deploy.example.com: [d]etach and leave it there, [a]bort it, or Enter to stay? "
    assert question_of(there, "shop", 3) == f"rollout 3 of shop {asked}"
    assert question_of(there, "shop", 0) == f"the order for shop {asked}"
