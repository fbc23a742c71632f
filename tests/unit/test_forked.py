"""Commands in forks of one process: what is asked arrives whole, and one deadline holds for all of the answer."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests import forked
from tests.waiting import within


def test_what_is_asked_is_read_until_it_is_whole() -> None:
    there, here = socket.socketpair()
    told = {"arguments": ["deploy"], "environ": {"LONG": "x" * 500_000}}

    def ask() -> None:
        with there:
            forked.ask(there, told, [0, 1, 2])
            there.recv(1)

    thread = threading.Thread(target=ask)
    thread.start()
    asked = forked.received(here)
    here.close()
    thread.join()
    assert asked is not None
    assert asked[0] == told
    for descriptor in asked[1]:
        os.close(descriptor)
    assert len(asked[1]) == 3


def test_who_was_killed_while_asking_asked_for_nothing() -> None:
    for said in (b"", (100).to_bytes(4, "little"), (100).to_bytes(4, "little") + b"{"):
        there, here = socket.socketpair()
        with there:
            there.sendall(said)
        assert forked.received(here) is None


def test_a_command_that_closes_its_streams_and_does_not_end_is_out_of_time(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forks = forked.Forks()
    with socket.socket(socket.AF_UNIX) as listening:
        path = state / "forks"
        listening.bind(str(path))
        listening.listen(1)
        listening.settimeout(10)
        monkeypatch.setattr(forks, "_door", lambda: path)
        over = threading.Event()

        def never_answer() -> None:
            connection, _ = listening.accept()
            with connection:
                asked = forked.received(connection)
                for descriptor in asked[1] if asked else ():
                    os.close(descriptor)
                over.wait(60)

        thread = threading.Thread(target=never_answer)
        thread.start()
        patience = within()
        with pytest.raises(subprocess.TimeoutExpired):
            forks.run(["deploy"], cwd=state, env={}, timeout=0.3)
        assert not patience.passed()
        over.set()
        thread.join()
