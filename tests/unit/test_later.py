"""What is made when it is first needed is made once, whichever threads need it."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

from deployer.core import later
from deployer.transport.fanout import on_all
from tests.house import house
from tests.memory import World


def test_threads_that_ask_at_the_same_time_get_one(tmp_path: Path) -> None:
    meet, made = threading.Barrier(2), list[SimpleNamespace]()

    def make() -> SimpleNamespace:
        with suppress(threading.BrokenBarrierError):
            meet.wait(0.1)  # another thread gets here, too, where nothing keeps it out
        made.append(SimpleNamespace(name=len(made)))
        return made[-1]

    it = later.made(make)
    assert on_all({1: it, 2: it}, lambda each: each.name, 2).all() == {1: 0, 2: 0}
    assert len(made) == 1


def test_all_threads_have_one_announcer(tmp_path: Path) -> None:
    begin = threading.Barrier(4)

    def ask(_: int) -> int:
        begin.wait()
        return id(opened.announcer)

    with house(tmp_path, World()) as opened:
        found = on_all({n: n for n in range(4)}, ask, 4).all()
    assert len(set(found.values())) == 1
