"""Killed anywhere: whoever starts, supervises or runs may die at any moment, and there is never a second program."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from deployer.supervisor import ProcessSpec, ensure_running, read_status, stop
from tests.waiting import within

START = (
    "import sys, pathlib; from deployer.supervisor import *; from deployer.core.clock import *;"
    "folder = pathlib.Path(sys.argv[1]); spec = ProcessSpec(('sleep', sys.argv[2]), '/', str(folder / 'log'),"
    " {'PATH': '/bin:/usr/bin'}); ensure_running(folder, spec, Deadline.after(SystemClock(), 60))"
)
# Dies as soon as the supervisor's process exists, before its first instruction.
DIE = (
    "import os, subprocess; subprocess.run = lambda *a, timeout, check, **k: (subprocess.Popen(*a, **k), os._exit(9));"
)
SECONDS = f"9{os.getpid()}"  # an argument that no other program on this host has


def processes(*arguments: str) -> list[int]:
    """Return all living processes with these arguments in a row, however they came to be."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if f"\0{chr(0).join(arguments)}\0" in "\0" + (place / "cmdline").read_text(errors="replace"):
                found.append(int(place.name))
    return found


def programs() -> list[int]:
    """Return all living programs of this test."""
    return processes("sleep", SECONDS)


def end(pid: int) -> None:
    """Kill, and wait until it is gone: for a moment a killed process still looks alive to whoever asks."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        assert select.select([watched], [], [], 60)[0], f"{pid} did not die"
    finally:
        os.close(watched)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "program"
    yield place
    stop(place, within())
    assert programs() == []


@pytest.mark.parametrize("seed", range(4))
def test_there_is_never_a_second_program(folder: Path, seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(8):
        starter = subprocess.Popen([sys.executable, "-c", START, str(folder), SECONDS], stderr=subprocess.DEVNULL)
        with suppress(subprocess.TimeoutExpired):
            starter.wait(dice.uniform(0.0, 0.25))
        starter.kill()
        starter.wait()
        status = read_status(folder)
        victims = [pid for pid in (status.supervisor_pid, status.pid) if pid] if status else []
        if victims:
            end(dice.choice(victims))
        assert len(programs()) <= 1

    spec = ProcessSpec(("sleep", SECONDS), "/", str(folder / "log"), {"PATH": "/bin:/usr/bin"})
    status = ensure_running(folder, spec, within())
    within().until(lambda: (s := read_status(folder)) is not None and s.state == "running", "running")
    status = read_status(folder)
    assert status is not None
    assert programs() == [status.pid]
    assert status.supervisor_pid


def test_a_stop_right_after_a_killed_start_leaves_nothing(folder: Path) -> None:
    for wait in (0.0, 0.05, 0.08, 0.1, 0.12, 0.15, 0.2):
        starter = subprocess.Popen([sys.executable, "-c", START, str(folder), SECONDS], stderr=subprocess.DEVNULL)
        with suppress(subprocess.TimeoutExpired):
            starter.wait(wait)
        starter.kill()
        starter.wait()
        stop(folder, within())
        assert programs() == []
        status = read_status(folder)
        assert status is None or not (status.pid or status.supervisor_pid)


def test_a_stop_waits_for_a_supervisor_that_has_not_begun(folder: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", DIE + START, str(folder), SECONDS], timeout=120)
    assert dead.returncode == 9
    assert read_status(folder) is None
    stop(folder, within())
    within().until(lambda: not processes("deployer.supervisor", str(folder)), "the end of the supervisor", every=0.01)
    assert programs() == []


def test_a_start_meets_a_supervisor_that_has_not_begun(folder: Path) -> None:
    subprocess.run([sys.executable, "-c", DIE + START, str(folder), SECONDS], timeout=120)
    spec = ProcessSpec(("sleep", SECONDS), "/", str(folder / "log"), {"PATH": "/bin:/usr/bin"})
    status = ensure_running(folder, spec, within())
    assert programs() == [status.pid]
    # The one of the two that comes too late ends by itself, a moment later.
    within().until(
        lambda: processes("deployer.supervisor", str(folder)) == [status.supervisor_pid], "there is one supervisor"
    )
