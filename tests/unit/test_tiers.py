"""What every change is tried with: marks that say why, stages that run beside each other, failures that are summed."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts import stages
from scripts.stages import Case, Run, Stages
from tests import ports, tiers

FILE = """\
import pytest

@pytest.mark.long("it waits")
def test_long(): pass

@pytest.mark.long("it waits", every_change=True)
def test_named(): pass

def test_brief(): pass

@pytest.mark.long("it waits", every_change=("b",))
@pytest.mark.parametrize("case", ["a", "b"])
def test_some(case): pass
"""


def tried(tmp_path: Path, tier: str, source: str = FILE) -> str:
    (tmp_path / "conftest.py").write_text(
        textwrap.dedent("""\
        from tests.tiers import choose

        def pytest_configure(config):
            config.addinivalue_line("markers", "long(why, every_change): takes long")

        def pytest_collection_modifyitems(config, items):
            choose(config, items)
        """)
    )
    (tmp_path / "test_some.py").write_text(source)
    report = f"--junit-xml={tmp_path / 'some.xml'}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", report, "--rootdir", tmp_path, tmp_path],
        env={"DEPLOYER_TEST_TIER": tier, "PYTHONPATH": str(stages.REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def names(tmp_path: Path) -> dict[str, bool]:
    return {case.name.rpartition("::")[2]: case.long for case in stages.cases(tmp_path / "some.xml")}


def test_a_change_is_tried_with_what_is_brief_and_with_what_is_named(tmp_path: Path) -> None:
    assert "2 deselected" in tried(tmp_path, "change")
    assert names(tmp_path) == {"test_named": True, "test_brief": False, "test_some[b]": True}
    tried(tmp_path, "full")
    assert names(tmp_path) == {
        "test_long": True,
        "test_named": True,
        "test_brief": False,
        "test_some[a]": True,
        "test_some[b]": True,
    }


CASED = """\
import pytest

@pytest.mark.long("it waits", every_change=("b",))
def test_some(case): pass
"""
ANEW = """\
import pytest
from cases import test_some

pytestmark = pytest.mark.long("it waits", every_change=True)

@pytest.fixture
def case(): return "the only one"
"""


def test_a_test_that_another_module_uses_without_cases_has_the_mark_of_that_module(tmp_path: Path) -> None:
    (tmp_path / "cases.py").write_text(CASED)
    tried(tmp_path, "change", ANEW)
    assert names(tmp_path) == {"test_some": True}
    tried(tmp_path, "change", ANEW.replace(", every_change=True", ""))
    assert names(tmp_path) == {}


def test_a_mark_that_does_not_say_why_is_refused(tmp_path: Path) -> None:
    assert "a long test says why" in tried(tmp_path, "full", FILE.replace('("it waits")', ""))


def test_marks_are_compared_with_what_tests_took(capsys: pytest.CaptureFixture[str]) -> None:
    def told(seconds: float, *, long: bool, full: bool = True) -> str:
        stages.marks([Case("a.py::b", seconds, bad=False, skipped=False, long=long)], full=full)
        return capsys.readouterr().out

    assert told(stages.BRIEF, long=False) == ""
    assert told(100, long=True) == ""
    assert told(2 * stages.BRIEF, long=False) == "without the mark `long`: 10 s for a.py::b\n"
    assert told(1.0, long=True) == "marked `long` for nothing: 1.0 s for a.py::b\n"
    assert told(1.0, long=True, full=False) == ""
    assert stages.BRIEF == tiers.BRIEF


def test_the_report_names_tests_without_the_group_that_they_ran_in(tmp_path: Path) -> None:
    report = '<testsuites><testsuite><testcase classname="tests.a" name="{}"/></testsuite></testsuites>'
    for name, told in (("b@compose", "b"), ("b[x@y]@compose", "b[x@y]"), ("b[x@y]", "b[x@y]")):
        (tmp_path / "some.xml").write_text(report.format(name))
        assert [case.name for case in stages.cases(tmp_path / "some.xml")] == [f"tests/a.py::{told}"]


class Item:
    """A test with its marks."""

    def __init__(self, *marks: pytest.MarkDecorator) -> None:
        self._marks = {made.name: made.mark for made in marks}

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        return self._marks.get(name)

    def iter_markers(self, name: str) -> Iterator[pytest.Mark]:
        yield from (mark for mark in self._marks.values() if mark.name == name)


def test_what_takes_long_comes_first_and_groups_keep_their_order() -> None:
    long, group = pytest.mark.long("it waits"), pytest.mark.xdist_group("some")
    brief, slow, *grouped = Item(), Item(long), Item(group), Item(group, long), Item(group)
    items: Any = [brief, slow, *grouped]
    tiers.longest_first(items)
    assert items == [*grouped, slow, brief]


def test_failures_of_all_stages_are_summed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Stages(tmp_path, until=float("inf"), arguments=[], full=True)
    python = [sys.executable, "-c"]
    for lane, name, code in ((0, "one", "print('one is well')"), (0, "two", "raise SystemExit(3)"), (1, "three", "")):
        made.lanes[lane].append(Run(name, name, [*python, code]))
    report = '<testsuites><testsuite><testcase classname="tests.a" name="b"{}</testsuite></testsuites>'
    (tmp_path / "one.xml").write_text(report.format('><failure message="no"/></testcase>'))
    (tmp_path / "three.xml").write_text(report.format("/>"))

    runs = made.run()
    assert [(run.name, run.status) for run in runs] == [("one", 0), ("two", 3), ("three", 0)]
    assert stages.total(runs, tmp_path, full=True) == 1
    out, err = capsys.readouterr()
    assert "one is well" in out
    assert "failed: tests/a.py::b" in out
    assert "1 passed, 1 failed, 0 skipped" in out
    assert err.rstrip().endswith("failed: two")


def test_what_is_left_to_compute_runs_beside_the_rest_of_it_when_nothing_waits(tmp_path: Path) -> None:
    """Each of the two ends only when the other has begun."""
    made = Stages(tmp_path, until=time.monotonic() + 300, arguments=[], full=True)
    meet = "import os, sys, time\nopen(sys.argv[1], 'w')\nwhile not os.path.exists(sys.argv[2]): time.sleep(0.01)"
    files = [str(tmp_path / name) for name in ("a", "b")]
    for stage, *given in (("fuzz", *files), ("crash", *reversed(files))):
        made.lanes[0].append(Run(stage, stage, [sys.executable, "-c", meet, *given]))
    made.lanes[1].append(Run("live", "live", [sys.executable, "-c", ""]))
    assert [(run.name, run.status) for run in made.run()] == [("fuzz", 0), ("crash", 0), ("live", 0)]


def test_a_stage_that_has_no_time_left_has_failed(tmp_path: Path) -> None:
    made = Stages(tmp_path, until=0.0, arguments=[], full=True)
    made.lanes[0].append(Run("one", "one", [sys.executable, "-c", ""]))
    assert [run.failed for run in made.run()] == [True]


def test_what_was_not_selected_is_no_failure_where_something_selects() -> None:
    assert Run("live", "live", [], selected=True, status=stages.NO_TESTS).failed is False
    assert Run("live", "live", [], selected=False, status=stages.NO_TESTS).failed is True


def test_each_worker_of_each_lane_has_ports_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[range] = []
    for lane, workers in ((0, 2), (1, 3)):
        for worker in range(workers):
            monkeypatch.setenv("DEPLOYER_TEST_LANE", f"{lane} 2")
            monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", str(workers))
            monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{worker}")
            parts.append(ports.part(ports.OURS))
    assert sum(map(len, parts)) == len({port for part in parts for port in part})
    assert all(len(part) > 1000 for part in parts)


def test_some_cases_are_drawn_for_a_change_and_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = list(range(20))
    monkeypatch.setattr(tiers, "FULL", True)
    assert tiers.some(cases, 5) == cases
    monkeypatch.setattr(tiers, "FULL", False)
    drawn = tiers.some(cases, 5)
    assert len(drawn) == 5
    assert drawn == sorted(drawn) == tiers.some(cases, 5)


def test_draws() -> None:
    assert tiers.draws(7, 7) == 7
    assert list(tiers.seeds(3)) == [tiers.SEED * 10_000 + n for n in range(3)]


GROUP = """\
import pytest

@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("n", range(8))
def test_together(n): pass

@pytest.mark.parametrize("n", range(8))
def test_apart(n): pass
"""


@pytest.mark.long("three workers of a pytest of its own; the version that it tells of is pinned")
def test_the_tests_of_a_group_run_in_one_process(tmp_path: Path) -> None:
    """A group is a word at the end of a test's name; pytest 9.2 has names to which xdist 3.8 can add none."""
    (tmp_path / "test_group.py").write_text(GROUP)
    options = ("-p", "no:cacheprovider", "-v", "-n", "3", "--dist", "loadgroup")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "test_group.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    together = re.findall(r"^\[(gw\d)\].*test_together", done.stdout, re.MULTILINE)
    assert len(together) == 8
    assert len(set(together)) == 1
