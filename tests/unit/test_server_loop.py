"""What the server looks at again and again: whatever goes wrong with a look, the next one comes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest

from deployer.core.errors import StoreFailed
from deployer.server.log import ServerLog
from deployer.server.loop import Loop

SECONDS = 30.0
FAILED = ("shop.failed", "the shop cannot be looked at")


class Looking(Loop):
    """Does one thing with each look; the last one again and again."""

    def __init__(self, *todo: Callable[[], None], lines: bool = False, every: float = 0.001) -> None:
        super().__init__(ServerLog(lines=lines), "shop", FAILED, every, SECONDS, wait=self._pass)
        self._todo, self._last = list(todo), 0
        self.pauses: list[float] = []
        self.through = threading.Event()

    def _pass(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self._thread.over.wait(0.001)

    def look(self) -> None:
        if len(self._todo) == 1:
            self._last += 1
            if self._last == 2:  # it has paused after the first one
                self.through.set()
        (self._todo.pop(0) if len(self._todo) > 1 else self._todo[0])()

    def run(self) -> None:
        """Look until all is done, and end."""
        self.start()
        assert self.through.wait(SECONDS), "nothing looks any more"
        self.stop()
        assert not alive(self)


def alive(loop: Loop) -> bool:
    return loop.name in {thread.name for thread in threading.enumerate()}


def fine() -> None:
    pass


def unreadable() -> None:
    raise StoreFailed("the disk is full", "free some space")


def bug() -> None:
    raise KeyError("Europe/Berlin")


def test_a_bug_ends_one_look_and_not_the_looking(capsys: pytest.CaptureFixture[str]) -> None:
    Looking(bug, bug, fine).run()
    said = capsys.readouterr().err
    assert said.count("the shop cannot be looked at: internal error: KeyError: 'Europe/Berlin'") == 1
    assert 'raise KeyError("Europe/Berlin")' in said, "with its trace"


def test_the_pause_grows_with_each_bug_and_is_the_usual_one_again_after_a_look_that_worked() -> None:
    loop = Looking(fine, *[bug] * 9, fine, bug, unreadable, fine, every=5.0)
    loop.run()
    grown = [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0, 600.0, 600.0]
    assert loop.pauses[:14] == [5.0, *grown, 5.0, 10.0, 5.0, 5.0]
    assert loop.bugs == 10, "counted, for the metrics"


def test_the_pause_after_a_bug_is_never_shorter_than_the_usual_one() -> None:
    loop = Looking(bug, fine, every=3600.0)
    loop.run()
    assert loop.pauses[:2] == [3600.0, 3600.0]


def test_its_end_is_not_held_up_by_a_pause() -> None:
    class Waiting(Loop):
        looked = threading.Event()

        def look(self) -> None:
            self.looked.set()

    loop = Waiting(ServerLog(), "shop", FAILED, 3600.0, SECONDS)
    loop.start()
    assert loop.looked.wait(SECONDS)
    loop.stop()
    assert not alive(loop)


def test_what_is_wrong_is_said_once_until_it_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    Looking(unreadable, unreadable, bug, unreadable, fine, unreadable, fine).run()
    said = capsys.readouterr().err
    assert said.count("the shop cannot be looked at: the disk is full\n  → free some space\n") == 3
    assert said.count("internal error") == 1


def test_a_line_of_json_has_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    Looking(unreadable, fine, lines=True).run()
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["text"]) == (FAILED[0], f"{FAILED[1]}: the disk is full\n  → free some space")


def test_a_sentence_about_something_is_said_again_when_it_is_forgotten(capsys: pytest.CaptureFixture[str]) -> None:
    loop = Looking(fine)
    for about in ("a", "b", "a"):
        loop.say(about, "seen", f"{about} is there")
    loop.forget("a")
    loop.say("a", "seen", "a is there")
    assert capsys.readouterr().err.splitlines() == ["a is there", "b is there", "a is there"]


def test_a_loop_that_was_never_started_ends() -> None:
    loop = Looking(fine)
    loop.stop()
    assert loop.stopping
