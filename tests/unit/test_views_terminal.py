"""The views in a real pseudo-terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

ROOT = Path(__file__).parents[2]
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
COLOUR = re.compile(r"\x1b\[[0-9;]*3\d[0-9;]*m")


class Terminal:
    """A player in a pseudo-terminal."""

    def __init__(self, *arguments: str, columns: int = 80, **env: str) -> None:
        base = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")}
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", "tests.unit.views_player", *arguments],
            cwd=str(ROOT),
            env={**base, "TERM": "xterm-256color", "PYTHONUTF8": "1", **env},
            dimensions=(40, columns),
            encoding="utf-8",
            timeout=120,
        )
        self.before = termios.tcgetattr(self.child.child_fd)

    def finish(self) -> str:
        """Wait for the end; return everything that was written after the last expectation."""
        self.child.expect(pexpect.EOF)
        self.child.wait()
        text = self.child.before
        assert isinstance(text, str)
        return text


@pytest.fixture
def opened() -> Iterator[Any]:
    terminals: list[Terminal] = []

    def start(*arguments: str, **options: Any) -> Terminal:
        terminals.append(Terminal(*arguments, **options))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.child.close(force=True)


def test_live_view_paints_and_leaves_the_terminal_as_it_was(opened: Any) -> None:
    terminal = opened("canary", "text", "60")
    terminal.child.expect_exact(HIDE)
    terminal.child.expect_exact("watch 10%")
    modes = termios.tcgetattr(terminal.child.child_fd)
    rest = terminal.finish()
    assert modes == terminal.before
    assert "done after 56 s" in rest
    end = rest[rest.rindex("done after 56 s") :]
    assert end.index(SHOW) < end.index("after the view")
    assert COLOUR.search(rest)
    assert terminal.child.exitstatus == 0


def test_ctrl_c_shows_the_cursor_again_and_exits_as_aborted(opened: Any) -> None:
    terminal = opened("paused", "text", "200", "forever")
    terminal.child.expect_exact("to roll back")
    terminal.child.sendintr()
    rest = terminal.finish()
    assert rest.rindex(SHOW) > rest.rfind(HIDE)
    assert "error:" in rest[rest.rindex(SHOW) :]
    assert terminal.child.exitstatus == 6


def test_no_color_takes_the_colours_and_nothing_else(opened: Any) -> None:
    terminal = opened("canary", "text", "200", NO_COLOR="1")
    text = terminal.finish()
    assert HIDE in text
    assert not COLOUR.search(text)


def test_narrowing_the_terminal_repaints_within_its_width(opened: Any) -> None:
    terminal = opened("paused", "text", "200", "forever", columns=120)
    terminal.child.expect_exact("to roll back")
    terminal.child.setwinsize(40, 60)
    for _ in range(3):  # a page of the old width may still be in progress
        terminal.child.expect_exact("‖ paused")
    terminal.child.sendintr()
    painted = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.finish().replace("^C", ""))
    assert max(len(line) for line in re.split(r"[\r\n]", painted)) <= 60


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}])
def test_a_terminal_that_cannot_be_painted_on_gets_plain_lines(opened: Any, env: dict[str, str]) -> None:
    text = opened("canary", "text", "400", **env).finish()
    assert HIDE not in text
    assert re.search(r"shop #17 ended: done after 56 s \(exit 0\)", text)
    if "PYTHONIOENCODING" in env:
        assert text.isascii()


def test_without_a_terminal_events_are_json_on_stdout_and_stderr_is_empty() -> None:
    command = [sys.executable, "-m", "tests.unit.views_player", "canary", "json", "400"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr == ""
    assert done.stdout.count('"event"') == len(done.stdout.splitlines()) - 1


def test_a_reader_that_leaves_does_not_end_the_rollout() -> None:
    command = f"{sys.executable} -m tests.unit.views_player canary json 100; echo exit $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"({command}) | head -1"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.count("\n") == 1
    assert done.stderr == "exit 0\n"
