"""The parts of the supervisor that need no process: back-off and the log file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from deployer.supervisor import logfile
from deployer.supervisor.backoff import Backoff


def test_restarts_slow_down_to_five_seconds() -> None:
    backoff = Backoff()
    assert [round(backoff.after(0.0), 1) for _ in range(9)] == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_a_long_life_earns_an_immediate_restart() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.after(9.9)
    assert backoff.after(10.0) == 0.0
    assert backoff.after(0.0) == 0.1


def test_a_log_within_its_limit_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert not logfile.rotate(log, 10)
    log.write_text("0123456789")
    assert not logfile.rotate(log, 10)
    assert log.read_text() == "0123456789"


def test_a_writer_goes_on_in_the_same_file_after_the_rotation(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "log"
    fd = logfile.open_for_child(log)
    os.write(fd, b"one\ntwo\n")
    assert logfile.rotate(log, 4)
    os.write(fd, b"three\n")
    os.close(fd)
    assert log.read_text() == "three\n"
    assert log.with_name("log.1").read_text() == "one\ntwo\n"
    assert stat.S_IMODE(log.with_name("log.1").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("lines", "expected"),
    [(0, ()), (1, ("c",)), (2, ("b", "c")), (3, ("a", "b", "c")), (99, ("old", "a", "b", "c"))],
)
def test_the_tail_reaches_back_over_a_rotation(tmp_path: Path, lines: int, expected: tuple[str, ...]) -> None:
    (tmp_path / "log.1").write_text("old\na\n")
    (tmp_path / "log").write_text("b\nc\n")
    assert logfile.tail(tmp_path / "log", lines) == expected


def test_a_log_that_was_never_written_has_no_tail(tmp_path: Path) -> None:
    assert logfile.tail(tmp_path / "log", 5) == ()
