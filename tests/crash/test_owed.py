"""Killed at every instant, before anything of it was sent: whoever comes next tells the ending of the rollout."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import pytest

from deployer.app import operations
from deployer.app.operations.notifications import Announcer
from deployer.core.errors import Refused
from tests import tiers
from tests.crash.stage import SERVICE, Moment, Stage, Watcher, fresh, on_paper, restored
from tests.memory import World

SECONDS = 600.0  # until the process has ended, of which each moment is copied
CHAT = "chat"
ENDED = ("done", "reverted")
MANIFEST: dict[str, Any] = {"notify": {"to": [{"name": CHAT, "apprise": "TOKEN"}]}}


class Recorder(Watcher):
    """Keeps every moment at which the process may die."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.moments: list[Moment] = []
        self.recording = True

    def instant(self, what: str) -> None:
        if self.recording:
            self.moments.append(self._stage.moment(len(self.moments), what))


def moments(fault: str) -> list[Moment]:
    """Deploy a second version, of which nothing is sent before its process ends; return every moment of it."""
    sends = threading.Event()
    world = World()
    world.broken |= {"2.0"} if fault else set()
    with fresh(world) as stage:
        with stage.process() as process:
            process.deploy("1.0", "bluegreen", manifest=MANIFEST)
        recorder = Recorder(stage)
        world.notifier.before = lambda _name: sends.wait(SECONDS)
        with stage.process(recorder) as process:
            process.deploy("2.0", "bluegreen", manifest=MANIFEST)
            recorder.recording = False
            sends.set()
    return recorder.moments


@pytest.mark.parametrize(("fault", "outcome"), [("", "done"), ("its health check fails", "reverted")])
def test_an_ending_is_told_wherever_its_process_was_killed(fault: str, outcome: str) -> None:
    stride = tiers.draws(1, 4)
    with on_paper():
        *all_but_last, last = moments(fault)
        every = [*all_but_last[tiers.SEED % stride :: stride], last]
        told = [ending_of(moment) for moment in every]

    lost = [(m.n, m.what, kinds) for m, kinds in zip(every, told, strict=True) if kinds and kinds[-1] not in ENDED]
    assert not lost
    assert sum(bool(kinds) for kinds in told) > 50 // stride
    assert told[-1] == [outcome], "the last of them was past its ending, which nobody had told"
    assert all(kinds.count(outcome) <= 1 for kinds in told), "one who was killed once is told once"


def test_an_ending_that_nobody_owes_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with a planted fault: nobody looks for what a dead process left."""
    monkeypatch.setattr(Announcer, "settle", lambda *_: None)
    with on_paper():
        *_, last = moments("its health check fails")
        assert ending_of(last) == []


def ending_of(moment: Moment) -> list[str]:
    """Let the next process come after a death; return what is told then of the rollout, if it had begun."""
    with restored(moment) as stage, stage.process() as process:
        with suppress(Refused):  # there was nothing left to do, or nothing begun
            operations.resume(process.house, SERVICE)
        process.house.announcer.close()
        return [n.kind for n in stage.world.notifier.to(CHAT) if n.rollout == 2]
