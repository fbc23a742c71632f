"""Who waits for a lock reads which process has it, and how that one is let go on."""

from __future__ import annotations

import signal
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DeadlinePassed
from deployer.core.filelock import FileLock
from deployer.core.lock_holders import holders
from deployer.drivers.traffic.haproxy.layout import Home
from tests.programs import program

HOLD = """
import sys
from pathlib import Path
from deployer.core.filelock import FileLock
assert FileLock(Path(sys.argv[1]), reads=bool(sys.argv[2:])).try_take()
print("held", flush=True)
sys.stdin.read()
"""


def holding(lock: Path, *reads: str) -> AbstractContextManager[subprocess.Popen[str]]:
    return program(HOLD, str(lock), *reads, says="held")


@pytest.mark.parametrize("reads", [(), ("reads",)], ids=["changes", "reads"])
def test_who_has_the_lock_of_a_proxy_is_named(state: Path, reads: tuple[str, ...]) -> None:
    home = Home(state, state / "haproxy.cfg")
    with home.locked(Deadline.after(SystemClock(), 5)):
        pass
    with holding(state / "lock", *reads) as process:
        who = f"lock is held by process {process.pid}"
        with (
            pytest.raises(DeadlinePassed, match=f"{who}: not within 0.1 s") as refused,
            home.locked(Deadline.after(SystemClock(), 0.1)),
        ):
            pytest.fail("two hold it")
        assert refused.value.hint == "wait for it to end"

        process.send_signal(signal.SIGSTOP)
        with (
            pytest.raises(DeadlinePassed, match=rf"{who} \(stopped\): not within 0.1 s") as refused,
            home.locked(Deadline.after(SystemClock(), 0.1)),
        ):
            pytest.fail("two hold it")
        assert refused.value.hint == "let it go on (kill -CONT) or end it (kill -9)"


def test_one_that_waits_or_only_reads_does_not_write(state: Path) -> None:
    lock = state / "lock"
    assert holders(lock) == ()
    written = FileLock(lock)
    assert written.try_take()
    written.let_go()
    assert holders(lock) == ()
    with holding(lock, "reads") as process:
        assert not FileLock(lock).try_take()
        assert holders(lock) == (f"process {process.pid}",)
        assert holders(lock, writing=True) == ()
