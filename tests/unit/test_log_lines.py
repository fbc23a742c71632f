"""Counting lines of logs: of a stream, and of a file that grows and is rotated."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed
from deployer.drivers.metrics import SourceMetrics
from deployer.drivers.ports import MetricSide
from deployer.drivers.runtime.log_lines import count
from deployer.drivers.runtime.process.log_window import LogWindow
from deployer.manifest.models import Metric
from deployer.model import Instance
from deployer.supervisor import logfile
from tests.memory import FakeClock, MemoryRuntime, World

ERROR = re.compile("^ERROR")


def soon() -> Deadline:
    return Deadline.after(FakeClock(), 5)


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ((), 0),
        ((b"ERROR: a\nfine\nERROR: b\n",), 2),
        ((b"ERR", b"OR: a\nno ERROR\n", b"ERROR without an end"), 2),
        ((b"ERROR" + b"x" * 10_000_000 + b"\n" + b"\xff\xfe ERROR\n",), 1),
    ],
)
def test_lines_of_a_stream_are_counted_wherever_it_is_cut(parts: tuple[bytes, ...], found: int) -> None:
    assert count(parts, ERROR, soon()) == found


def test_a_stream_that_does_not_end_ends_with_the_deadline() -> None:
    clock = FakeClock()
    deadline = Deadline.after(clock, 5)

    def slow() -> object:
        while True:
            clock.sleep(1)
            yield b"ERROR\n"

    with pytest.raises(DeadlinePassed):
        count(slow(), ERROR, deadline)  # type: ignore[arg-type]


def test_a_file_is_counted_by_the_time_at_which_lines_were_seen(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("ERROR before\n")
    window = LogWindow.begin(log, fresh=False)
    assert window.count(log, ERROR, 60, 0) == 0
    with log.open("a") as file:
        file.write("ERROR one\nfine\nERROR tw")
    assert window.count(log, ERROR, 60, 10) == 1
    with log.open("a") as file:
        file.write("o\n")
    assert window.count(log, ERROR, 60, 20) == 2
    assert window.count(log, ERROR, 60, 75) == 1
    assert window.count(log, ERROR, 60, 80) == 0


def test_a_fresh_log_counts_from_its_beginning(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("ERROR at once\n")
    assert LogWindow.begin(log, fresh=True).count(log, ERROR, 60, 0) == 1
    assert LogWindow.begin(tmp_path / "none", fresh=True).count(tmp_path / "none", ERROR, 60, 0) == 0


def test_no_line_is_lost_when_the_log_is_rotated(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("fine\n" * 10)
    window = LogWindow.begin(log, fresh=True)
    window.count(log, ERROR, 60, 0)
    with log.open("a") as file:
        file.write("ERROR in the old one\n")
    assert logfile.rotate(log, limit=10)
    log.write_text("ERROR in the new one\n")
    assert window.count(log, ERROR, 60, 1) == 2


def test_a_metric_is_the_sum_over_the_instances_of_a_side(tmp_path: Path) -> None:
    world = World(words=("ERROR: a", "ERROR: b"))
    for index in (1, 2):
        name = f"queue-r2-{index}"
        world.instances[name] = Instance("queue", "green", 2, index, name, name, "", "running")
    source = SourceMetrics(tmp_path, MemoryRuntime(world))
    metric = Metric.model_validate({"name": "failed", "logs": "^ERROR", "max": 0})

    def value(release: int) -> float | None:
        return source.read(metric, MetricSide("candidate", "queue", "green", release, "2"), {}, soon())

    assert value(2) == 4.0
    assert value(3) is None
