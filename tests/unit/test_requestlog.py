"""Logs of other tools are judged like a recording: fields, times, shares, clients, and what is wrong in them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from deployer.core.errors import Refused
from deployer.evidence import replay
from deployer.evidence.recording import Looked, RecordedDrive, RecordedStep
from deployer.evidence.replay import Policy
from deployer.evidence.request_log import FIELDS, RequestLog, is_log
from deployer.manifest.models import Judge
from deployer.model import Coins
from tests.documents import REPOSITORY, Block, blocks


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def row(time: float, side: str = "stable", status: int = 200, ms: float = 20.0, share: float = 10.0) -> dict[str, Any]:
    return {"time": time, "side": side, "status": status, "ms": ms, "share": share}


def log(tmp_path: Path, text: str) -> RequestLog:
    path = tmp_path / "log"
    path.write_text(text)
    assert is_log(path)
    return RequestLog(path)


def test_requests_become_looks_under_the_share_of_their_line(tmp_path: Path) -> None:
    rows = [row(1.0), row(1.1, "candidate", 503), row(1.2), row(2.0, share=25), row(2.1, "candidate", share=25)]
    drive, first, look, second, later = log(tmp_path, lines(rows))

    assert isinstance(drive, RecordedDrive)
    assert (first, second) == (RecordedStep(1000, 2500, 1.0), RecordedStep(2500, 10000, 2.0))
    assert isinstance(look, Looked)
    assert (look.sample.stable.requests, look.sample.candidate.requests, look.sample.candidate.errors) == (2, 1, 1)
    assert look.sample.coins == (Coins(0.1, look.sample.stable, look.sample.candidate),)
    assert isinstance(later, Looked)
    assert later.sample.coins[0].p == 0.25


def test_a_share_that_ends_is_judged_for_all_users(tmp_path: Path) -> None:
    rows = [row(1.0, share=50), row(1.1, "candidate", share=50), row(2.0, share=0)]
    source = log(tmp_path, lines(rows))

    marks = [mark for mark in source if isinstance(mark, RecordedStep)]
    assert [(mark.share, mark.following) for mark in marks] == [(5000, 10000), (0, 10000)]
    assert len(list(replay.looks(source, Policy(Judge(), sticky=False)))) == 2


def test_csv_says_the_same_as_json(tmp_path: Path) -> None:
    csv = "time,side,error,ms,share\n2026-11-24T10:00:00+00:00,stable,false,20,10%\n1795514400.1,candidate,true,,10\n"
    look = list(log(tmp_path, csv))[-1]

    assert isinstance(look, Looked)
    assert (look.sample.stable.requests, look.sample.candidate.errors) == (1, 1)
    assert look.sample.stable.quantile(0.5) == pytest.approx(20, rel=0.02)


def test_looks_never_go_back_where_a_log_does(tmp_path: Path) -> None:
    draw = random.Random(1)
    rows = [row(10 + n / 50 + draw.uniform(-0.1, 0.1)) for n in range(500)]
    looks = [m for m in log(tmp_path, lines(rows)) if isinstance(m, Looked)]

    assert sum(m.sample.stable.requests for m in looks) == 500
    assert [m.at for m in looks] == sorted(m.at for m in looks)


def test_of_a_client_the_first_answer_at_a_share_counts(tmp_path: Path) -> None:
    rows = [
        {**row(1.0), "client": "a"},
        {**row(1.01, status=500), "client": "a"},
        {**row(1.02, "candidate", 500), "client": "b"},
        {**row(1.03, "candidate", 500), "client": "b"},
        {**row(3.0, share=40), "client": "a"},
        {**row(3.1, "candidate", share=40), "client": "b"},
    ]
    looks = [m.sample for m in log(tmp_path, lines(rows)) if isinstance(m, Looked)]

    (at_ten,) = looks[0].coins
    assert (at_ten.p, at_ten.stable.requests, at_ten.candidate.requests) == (0.1, 1, 1)
    assert at_ten.first_errors == (1, 1)
    (at_forty,) = looks[1].coins
    assert at_forty.p == pytest.approx(0.3 / 0.9), "a was on stable while 10% were not: it is thrown for the rest"
    assert (at_forty.stable.requests, at_forty.candidate.requests) == (1, 0)


@pytest.mark.parametrize(("bad", "decision"), [(0.2, "worse"), (0.0, "passes")])
def test_a_log_is_judged(tmp_path: Path, bad: float, decision: str) -> None:
    draw = random.Random(7)
    rows = []
    for n in range(15_000):
        side = "candidate" if draw.random() < 0.5 else "stable"
        failed = draw.random() < 0.001 + (bad if side == "candidate" else 0)
        rows.append(row(n / 200, side, 500 if failed else 200, share=50))
    policy = Policy(Judge.model_validate({"latency": False, "errors": {"add": "2%"}}), sticky=False)
    found = replay.judge(log(tmp_path, lines(rows)), policy)

    assert found.decision == decision


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ("{", "log:2: not a request: side is missing"),
        ('{"time": 1, "side": "canary", "status": 200, "share": 5}', "side is 'canary'"),
        ('{"time": 1, "side": "stable", "status": 200}', "share is missing"),
        ('{"time": 1, "side": "stable", "share": 5}', "status is missing"),
        ('{"time": 1, "side": "stable", "status": 200, "share": 101}', "from 0 to 100"),
        ('{"time": "noon", "side": "stable", "status": 200, "share": 5}', "noon"),
        ('{"time": 1, "side": "stable", "status": 200, "share": 5, "ms": -1}', "ms is -1"),
        ('{"time": 1, "side": "stable", "error": "maybe", "share": 5}', "error is 'maybe'"),
    ],
)
def test_a_bad_line_is_refused_with_its_number(tmp_path: Path, second: str, told: str) -> None:
    with pytest.raises(Refused) as refused:
        list(log(tmp_path, lines([row(0.0)]) + second + "\n"))

    assert told in str(refused.value)
    assert "log:2" in str(refused.value)


@pytest.mark.parametrize("text", ["", '{"recording": 1}\n', "hello\n", "{\n"])
def test_what_is_no_log_is_told_apart(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)

    assert not is_log(tmp_path / "file")


# -- the page about it


EXAMPLES = [b for b in blocks(REPOSITORY / "docs/report.md") if "log" in b.marks]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda block: block.language)
def test_the_logs_of_the_page_can_be_judged(tmp_path: Path, example: Block) -> None:
    looks = [m.sample for m in log(tmp_path, example.text) if isinstance(m, Looked)]

    assert sum(s.candidate.errors for s in looks) == 1
    assert sum(s.stable.requests for s in looks) in (1, 2)


def test_the_page_has_examples_of_both_kinds_and_names_every_field() -> None:
    page = (REPOSITORY / "docs/report.md").read_text()

    assert [b.language for b in EXAMPLES] == ["json", "csv"]
    assert all(f"`{name}`" in page for name in FIELDS)


def test_a_log_tells_the_status_of_responses_that_are_no_errors(tmp_path: Path) -> None:
    """Also where clients keep their side: each counts once for each status."""
    for client in ("", ",client"):
        rows = [f"time,side,status,share{client}"]
        for n in range(400):
            candidate = n % 10 == 0
            row = f"{n / 20},{'candidate' if candidate else 'stable'},{404 if candidate else 200},10"
            rows.append(row + (f",c{n}" if client else ""))
        path = tmp_path / "log.csv"
        path.write_text("\n".join(rows) + "\n")
        found = [look.verdict for look in replay.looks(RequestLog(path), Policy(Judge(), sticky=bool(client)))]
        assert found[-1].text.startswith("status 404: 100% of the candidate's responses")
