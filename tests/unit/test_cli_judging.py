"""`deploy judge`, `record`, `report` and `show` as they are typed: what they print, write and exit with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest

from deployer.app import operations, wiring
from deployer.app.operations import AppContext
from deployer.cli import main
from deployer.core.clock import SystemClock
from deployer.core.errors import Exit
from deployer.evidence import recording
from tests.house import house, request
from tests.memory import World
from tests.reported import REPOSITORY, Users, rollout

Out = pytest.CaptureFixture[str]


@pytest.fixture
def bad(state: Path) -> Path:
    """Return a state folder in which rollout 2 was rolled back by its verdict."""
    with rollout(state, Users(5, bad=0.04, spared=0.5)) as (_, ending):
        assert ending.exit == Exit.VERDICT
    return state


@pytest.fixture
def recorded(bad: Path, tmp_path: Path, capsys: Out) -> Path:
    """Return a copy of its recording."""
    out = tmp_path / "shop.jsonl"
    assert main(["record", "--rollout", "2", "-o", str(out), "--state", str(bad)]) == 0
    assert f"deploy judge {out}" in capsys.readouterr().out
    return out


# -- judge


def test_a_recording_is_judged_as_it_was(recorded: Path, capsys: Out) -> None:
    assert main(["judge", str(recorded)]) == Exit.VERDICT
    out = capsys.readouterr().out

    assert out.startswith("✗ worse  candidate ")
    assert "policy: as recorded" in out
    assert "users had seen" in out


def test_another_policy_is_named_with_what_differs(recorded: Path, capsys: Out) -> None:
    code = main(["judge", str(recorded), "--set", "judge.errors.margin=500x", "--set", "judge.latency=false"])
    out = capsys.readouterr().out

    assert code != Exit.VERDICT
    assert "judge.errors.margin: 1.5x → 500x" in out
    assert "judge.latency: " in out


def test_the_policy_of_a_manifest_is_used(recorded: Path, tmp_path: Path, capsys: Out) -> None:
    manifest = tmp_path / "deploy.yml"
    manifest.write_text("service: shop\nimage: shop:1\nport: 8080\njudge: {errors: {margin: 500x}, latency: false}\n")

    assert main(["judge", str(recorded), "-f", str(manifest), "--output", "json"]) == Exit.INCONCLUSIVE
    told = json.loads(capsys.readouterr().out)
    assert told["policy"]["errors"]["margin"] == 500
    assert told["decision"] == "inconclusive"
    assert told["exit"] == Exit.INCONCLUSIVE


def test_metrics_of_a_policy_are_said_to_be_left_out(recorded: Path, tmp_path: Path, capsys: Out) -> None:
    metric = "{name: queue, command: [cat, depth], max: 100}"
    manifest = tmp_path / "deploy.yml"
    manifest.write_text(f"service: shop\nimage: shop:1\nport: 8080\njudge: {{metrics: [{metric}]}}\n")

    assert main(["judge", str(recorded), "-f", str(manifest)]) == Exit.VERDICT
    assert "metrics are not in a recording (queue)" in capsys.readouterr().out


def test_a_log_of_requests_is_judged(tmp_path: Path, capsys: Out) -> None:
    log = tmp_path / "requests.csv"
    rows = [f"{n / 100},{'candidate' if n % 2 else 'stable'},{500 if n % 10 == 1 else 200},12,50" for n in range(5000)]
    log.write_text("\n".join(["time,side,status,ms,share", *rows]))

    assert main(["judge", str(log)]) == Exit.VERDICT
    assert "requests.csv" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("judge.errors.margn=2", "did you mean `margin`?"),
        ("judge.errors.margin=0.5x", "judge.errors.margin"),
        ("judge.errors", "write a key of `judge` and its value"),
        ("traffic.lease=3s", "write a key of `judge` and its value"),
        ("judge.errors={", "is not a value"),
    ],
)
def test_what_is_no_policy_is_refused(recorded: Path, given: str, told: str, capsys: Out) -> None:
    assert main(["judge", str(recorded), "--set", given]) == Exit.REFUSED
    assert told in capsys.readouterr().err


def test_a_release_that_passes_is_told_by_all_its_watches(state: Path, capsys: Out) -> None:
    with rollout(state, Users(6), rate=40.0) as (house, ending):
        file = recording.file_of(house.store.folder, ending.rollout)
    assert main(["judge", str(file)]) == 0
    first, where, *_ = capsys.readouterr().out.splitlines()

    assert first.startswith("✓ passes  no regression found: candidate ")
    assert " at 100%, " in where


def test_a_file_of_another_kind_is_refused_with_what_would_be_right(tmp_path: Path, capsys: Out) -> None:
    (tmp_path / "deploy.yml").write_text("service: shop\n")
    assert main(["judge", str(tmp_path / "deploy.yml")]) == Exit.REFUSED
    told = capsys.readouterr().err

    assert "is neither a recording nor a log of requests: its first line is not a header" in told
    assert "each line needs time, side" in told


def test_a_file_that_is_not_there_is_refused(tmp_path: Path, capsys: Out) -> None:
    assert main(["judge", str(tmp_path / "none.jsonl")]) == Exit.REFUSED
    assert "cannot be read" in capsys.readouterr().err


# -- record


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--rollout", "99"], "99"),
        (["--rollout", "1"], "rollout 1 has no recording"),
        (["--rollout", "2", "--for", "1m"], "one of them"),
        (["--for", "soon"], "--for soon"),
    ],
)
def test_a_record_that_cannot_be_is_refused(bad: Path, arguments: list[str], told: str, capsys: Out) -> None:
    assert main(["record", *arguments, "--state", str(bad)]) == Exit.REFUSED
    assert told in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_named(bad: Path, tmp_path: Path, capsys: Out) -> None:
    out = str(tmp_path / "none" / "r.jsonl")
    for command in (["record", "--rollout", "2"], ["report", "2", "--format", "md"]):
        assert main([*command, "-o", out, "--state", str(bad)]) == Exit.REFUSED
        assert f"{out} cannot be written: No such file or directory" in capsys.readouterr().err


def test_nothing_is_written_over(recorded: Path, bad: Path, capsys: Out) -> None:
    assert main(["record", "--rollout", "2", "-o", str(recorded), "--state", str(bad)]) == Exit.REFUSED
    assert f"{recorded} exists" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--for", "1s"]])
def test_the_stream_of_now_is_recorded_without_a_rollout(
    state: Path, tmp_path: Path, arguments: list[str], capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(clock=SystemClock())  # type: ignore[arg-type]
    with house(state, world) as opened:
        operations.deploy(opened, request("1.0", "bluegreen", REPOSITORY))
        monkeypatch.setattr(wiring, "open_house", lambda *_: kept_open(opened))
        assert main(["record", "-o", str(tmp_path / "now.jsonl"), *arguments, "--service", "shop"]) == 0
    seen = [m.sample for m in recording.read(tmp_path / "now.jsonl") if isinstance(m, recording.Looked)]

    assert sum(s.stable.requests for s in seen) > 50
    told = capsys.readouterr()
    assert "recording shop 0:00  0% target; stable " in told.err
    assert "now.jsonl: stable answered " in told.out
    assert told.out.endswith("nothing in it can be judged, as no candidate responded meanwhile\n")


@contextmanager
def kept_open(opened: AppContext) -> Iterator[AppContext]:
    yield opened


# -- report and show


@pytest.mark.parametrize(("name", "begin"), [("r.html", "<!doctype html>"), ("r.md", "## shop"), ("r.json", "{")])
def test_a_report_is_written_in_the_format_of_its_name(
    bad: Path, tmp_path: Path, name: str, begin: str, capsys: Out
) -> None:
    assert main(["report", "2", "-o", str(tmp_path / name), "--state", str(bad)]) == 0
    assert (tmp_path / name).read_text().startswith(begin)
    assert capsys.readouterr().out == f"wrote {tmp_path / name}\n"


def test_a_report_goes_to_stdout_and_is_of_the_newest_rollout(bad: Path, capsys: Out) -> None:
    assert main(["report", "--format", "junit", "--service", "shop", "--state", str(bad)]) == 0
    assert ElementTree.fromstring(capsys.readouterr().out)[0].get("failures") == "1"


def test_a_report_whose_format_nobody_says_is_refused(bad: Path, tmp_path: Path, capsys: Out) -> None:
    assert main(["report", "2", "-o", str(tmp_path / "r.pdf"), "--state", str(bad)]) == Exit.REFUSED
    assert "does not say its format" in capsys.readouterr().err


def test_show_says_the_cause_first(bad: Path, capsys: Out) -> None:
    assert main(["show", "2", "--state", str(bad)]) == 0
    head, _, why, remedy, cost, shield, _, _, title, heads, candidate, stable, *_ = capsys.readouterr().out.splitlines()

    assert "reverted" in head
    assert why.startswith("why     r2 is worse: candidate ")
    assert remedy.startswith("do ")
    assert re.fullmatch(r"budget  users saw \d+ of \d+ failed responses", cost)
    assert shield.startswith("shield  ")
    assert title == "what users got"
    assert heads.split() == ["share", "took", "side", "responses", "failed", "rate", "p50", "p95", "p99", "verdict"]
    assert candidate.split()[0] == "5%"
    assert candidate.endswith("worse")
    assert stable.split()[0] == "stable"


def test_no_page_is_poured_over_a_terminal(bad: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["report", "2", "--state", str(bad)]) == Exit.REFUSED
    assert "deploy report -o report.html" in capsys.readouterr().err
    assert main(["report", "2", "--format", "md", "--state", str(bad)]) == 0
