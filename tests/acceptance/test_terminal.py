"""A rollout at a terminal: Ctrl-C asks, a closed terminal ends nothing, `--replace` replaces what runs."""

from __future__ import annotations

import os
import pty
import select
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.users import users
from tests.live.shop import Shop

SLOW = ("canary", "--percent", "10", "--for", "60s", "--version", "2.0")
SECONDS = 30.0


class Terminal:
    """`deploy` with a terminal of its own; `deaf` as `nohup` makes it."""

    def __init__(self, shop: Shop, *arguments: str, deaf: bool = False) -> None:
        self.seen = b""
        self.pid, self._screen = pty.fork()
        if self.pid == 0:
            try:
                signal.signal(signal.SIGHUP, signal.SIG_IGN if deaf else signal.SIG_DFL)
                os.chdir(shop.folder)
                command = shop.command(*arguments)
                os.execve(command[0], command, {**os.environ, **shop.environ, "TERM": "xterm", "LINES": "40"})
            finally:
                os._exit(127)

    def until(self, words: str) -> None:
        """Read until these words were painted since the last call."""
        end = time.monotonic() + SECONDS
        while words.encode() not in self.seen:
            assert time.monotonic() < end, f"no {words!r} within {SECONDS:g} s: {self.seen[-2000:]!r}"
            if select.select([self._screen], [], [], 0.1)[0]:
                self.seen += os.read(self._screen, 65536)
        self.seen = b""

    def type(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def interrupt(self) -> None:
        self.type("\x03")

    def hang_up(self) -> None:
        """Close the terminal: the kernel sends SIGHUP to the process that leads its session."""
        os.close(self._screen)
        self._screen = -1

    def ended(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def exit(self) -> int:
        """Read to the end, and give the exit code."""
        end = time.monotonic() + SECONDS
        while not self.ended():
            assert time.monotonic() < end, f"no end within {SECONDS:g} s: {self.seen[-2000:]!r}"
            try:
                if self._screen != -1 and select.select([self._screen], [], [], 0.1)[0]:
                    self.seen += os.read(self._screen, 65536)
                    continue
            except OSError:  # nobody has the other end any more
                pass
            time.sleep(0.05)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)


@pytest.fixture
def slow(process_shop: Shop) -> Iterator[Callable[[], Terminal]]:
    """Start a rollout that takes its time, at a terminal, and wait until it gives users to the candidate."""
    process_shop.version("2.0")

    def start(*, deaf: bool = False) -> Terminal:
        terminal = Terminal(process_shop, *SLOW, deaf=deaf)
        process_shop.wait(lambda status: status["share"] == 1000, "the first share")
        return terminal

    with users(process_shop.url):
        yield start


@pytest.mark.long("a canary that is watched at a terminal", every_change=True)
def test_ctrl_c_asks_and_enter_goes_on(process_shop: Shop, slow: Callable[[], Terminal]) -> None:
    terminal = slow()
    terminal.interrupt()
    terminal.until("Enter to go on? ")
    terminal.type("\n")
    terminal.until("watch 10%")  # painted again
    assert process_shop.status()["share"] == 1000
    terminal.interrupt()
    terminal.until("Enter to go on? ")
    terminal.type("a\n")
    assert terminal.exit() == 6
    status = process_shop.status()
    assert (status["share"], status["rollout"]) == (0, None)


@pytest.mark.long("a canary that is watched at a terminal", every_change=("detach",))
@pytest.mark.parametrize("answer", ["d\n", "\x03"], ids=["detach", "asked twice"])
def test_what_is_detached_is_left_to_resume(process_shop: Shop, slow: Callable[[], Terminal], answer: str) -> None:
    terminal = slow()
    terminal.interrupt()
    terminal.until("Enter to go on? ")
    terminal.type(answer)
    assert terminal.exit() == 6
    status = process_shop.status()
    assert status["share"] == 1000
    assert status["lease"] > 0
    assert status["lock"] is None
    assert "`deploy resume` goes on" in status["next"]


@pytest.mark.long("a canary, and the deploy that replaces it", every_change=("told",))
@pytest.mark.parametrize("deaf", [False, True], ids=["told", "nohup"])
def test_a_closed_terminal_ends_nothing_and_replace_replaces_what_runs(
    process_shop: Shop, slow: Callable[..., Terminal], *, deaf: bool
) -> None:
    terminal = slow(deaf=deaf)
    terminal.hang_up()
    before = process_shop.status()["lease"]
    process_shop.wait(lambda status: status["lease"] > before, "its process renews the lease")
    assert not terminal.ended()

    process_shop.version("3.0")
    done = process_shop.deploy("bluegreen", "--bake", "0", "--version", "3.0", "--replace")
    assert "FAILED" not in done.stderr
    assert terminal.exit() == 6
    shown = process_shop.events("show", "2")[0]["rollout"]
    assert (shown["outcome"], shown["exit"]) == ("reverted", 6)
    assert process_shop.status()["stable_version"] == "3.0"


@pytest.mark.long("a canary that is held and aborted")
def test_an_abort_does_not_call_itself_a_failure(process_shop: Shop) -> None:
    process_shop.version("2.0")
    process_shop.deploy("canary", "--percent", "10", "--hold", "--version", "2.0")
    said = process_shop.deploy("abort", "-m", "not today").stderr
    assert "FAILED" not in said
    assert "resumed forward" not in said
    assert "rolling back" in said
