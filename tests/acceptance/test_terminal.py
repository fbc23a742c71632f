"""A rollout at a terminal: Ctrl-C asks, a closed terminal ends nothing, `--replace` replaces what runs."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from tests.acceptance.users import users
from tests.live.shop import Shop

SLOW = ("canary", "--percent", "10", "--for", "10m", "--version", "2.0")
SECONDS = 120.0


class Terminal:
    """`deploy` with a terminal of its own; `deaf` as `nohup` makes it.

    Its process is not forked by hand: of a process with threads, a fork may only call `exec` (fork(2)).
    """

    def __init__(self, shop: Shop, *arguments: str, deaf: bool = False) -> None:
        self.seen = b""
        self._screen, theirs = pty.openpty()
        hangup = f"--{'ignore' if deaf else 'default'}-signal=HUP"
        try:
            self.process = subprocess.Popen(
                ["setsid", "--ctty", "env", hangup, *shop.command(*arguments)],
                cwd=shop.folder,
                env={**os.environ, **shop.environ, "TERM": "xterm", "LINES": "40"},
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
            )
        finally:
            os.close(theirs)

    def read(self, seconds: float) -> None:
        """Read what is painted, for no longer than this: who paints waits for a terminal that nobody reads."""
        if self._screen == -1:
            time.sleep(seconds)
            return
        with suppress(OSError):  # nobody has the other end any more
            if select.select([self._screen], [], [], seconds)[0]:
                self.seen += os.read(self._screen, 65536)

    def until(self, words: str) -> None:
        """Read until these words were painted since the last call."""
        end = time.monotonic() + SECONDS
        while words.encode() not in self.seen:
            assert time.monotonic() < end, f"no {words!r} within {SECONDS:g} s: {self.seen[-2000:]!r}"
            self.read(0.1)
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
        return self.process.poll() is not None

    def exit(self) -> int:
        """Read to the end, and give the exit code."""
        end = time.monotonic() + SECONDS
        while not self.ended():
            assert time.monotonic() < end, f"no end within {SECONDS:g} s: {self.seen[-2000:]!r}"
            self.read(0.1)
        return self.process.returncode

    def close(self) -> None:
        """Kill what still runs."""
        self.process.kill()
        self.process.wait(SECONDS)
        if self._screen != -1:
            self.hang_up()


@pytest.fixture
def slow(process_shop: Shop) -> Iterator[Callable[[], Terminal]]:
    """Start a rollout that takes its time, at a terminal, and wait until it gives users to the candidate."""
    process_shop.version("2.0")

    def start(*, deaf: bool = False) -> Terminal:
        terminal = Terminal(process_shop, *SLOW, deaf=deaf)
        ends.callback(terminal.close)

        def shared(status: dict[str, Any]) -> bool:
            terminal.read(0.0)
            assert not terminal.ended(), terminal.seen[-2000:]
            return bool(status["share"] == 1000)

        try:
            process_shop.wait(shared, "the first share")
        except AssertionError as error:
            raise AssertionError(f"{error}: {terminal.seen[-2000:]!r}") from error
        return terminal

    with users(process_shop.url), ExitStack() as ends:
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
