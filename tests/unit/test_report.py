"""Reports say what is in the store and the recording, in every format, whatever runs in the texts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from deployer.app import operations, queries
from deployer.app.operations import AppContext
from deployer.app.reports.gather import gather
from deployer.evidence import recording
from deployer.views.data import JournalRow, RolloutRow
from deployer.views.report import FORMATS, render
from deployer.views.report.data import ReportView
from tests.house import house, request
from tests.memory import World
from tests.reported import REPOSITORY, Users, rollout

EVIL = '<script>alert(1)</script>\x1b[31m & "quotes" ]]> | `x`\n\x00'


def report(opened: AppContext, number: int) -> ReportView:
    return gather(opened, queries.show(opened, number))


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> ReportView:
    with rollout(tmp_path_factory.mktemp("bad"), Users(5, bad=0.04, spared=0.5)) as (opened, ending):
        return report(opened, ending.rollout)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> ReportView:
    with rollout(tmp_path_factory.mktemp("good"), Users(6), rate=40.0) as (opened, ending):
        return report(opened, ending.rollout)


class Page(HTMLParser):
    """Reads a page strictly: what is opened is closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


# -- what is told


def test_a_bad_release_is_told_with_its_cause_and_its_cost(bad: ReportView) -> None:
    assert bad.rollout.outcome == "reverted"
    assert bad.cause.startswith("r2 is worse: candidate ")
    assert bad.seen is not None
    assert bad.seen + bad.shielded == sum(w.candidate.errors for w in bad.watches)
    assert 0 < bad.seen < 50 <= bad.budget
    assert [kind for kind, _ in bad.trips] == ["shield"]
    assert bad.watches[-1].verdict == "worse"
    assert bad.points[-1].worse == 1.0


def test_points_add_up_to_what_was_answered(good: ReportView) -> None:
    for watch, view in enumerate(good.watches):
        mine = [p for p in good.points if p.watch == watch]
        assert sum(p.candidate.requests for p in mine) == view.candidate.requests == mine[-1].candidate.watch_requests
        assert sum(p.stable.errors for p in mine) == view.stable.errors
    assert all(p.candidate.low - 1e-9 <= (p.candidate.rate or 0) <= p.candidate.high for p in good.points)
    assert len(good.points) <= 200
    assert good.highest == 10000


def test_who_asked_for_what_is_told(state: Path) -> None:
    world = World()
    with house(state, world) as opened:
        operations.deploy(opened, request("1.0", "bluegreen", REPOSITORY))
        held = operations.deploy(opened, request("2.0", "canary", REPOSITORY, options={"hold": True}))
        operations.stop(opened, "shop", "the shop is on television")
        told = report(opened, held.rollout)

    assert (
        any("abort asked by" in text and "television" in text for _, text in told.asked) or "television" in told.cause
    )


def test_a_rollout_without_a_recording_is_told_from_the_journal(state: Path) -> None:
    with rollout(state, Users(6), rate=40.0) as (opened, ending):
        recording.file_of(state, ending.rollout).unlink()
        told = report(opened, ending.rollout)

    assert not told.points
    assert [w.share for w in told.watches] == [500, 2500, 5000, 10000]
    assert told.watches[0].candidate.requests > 0
    assert "Nothing was recorded of it" in render(told, "html")


def test_a_recording_that_cannot_be_read_is_said_and_hides_nothing_else(state: Path) -> None:
    with rollout(state, Users(6), rate=40.0) as (opened, ending):
        recording.file_of(state, ending.rollout).write_text('{"recording":1}\n{"at":"x"}\n{"at":"y"}\n')
        told = report(opened, ending.rollout)

    assert "cannot be read" in told.notes[0]
    assert told.watches


def test_a_first_deploy_has_a_report(state: Path) -> None:
    with house(state, World()) as opened:
        first = operations.deploy(opened, request("1.0", "bluegreen", REPOSITORY))
        told = report(opened, first.rollout)

    for form in FORMATS:
        assert "1.0" in render(told, form)


def test_a_release_that_is_gone_at_once_has_a_picture_too(state: Path) -> None:
    with rollout(state, Users(5, bad=0.3), rate=100.0, options={"percent": 10}) as (opened, ending):
        told = report(opened, ending.rollout)
    (watch,) = told.watches

    assert watch.seconds < 2
    assert len(told.points) >= 3 * watch.seconds, "each look is a point where there are few"
    assert told.points[0].began == pytest.approx(watch.at)
    assert told.points[-1].candidate.watch_errors == watch.candidate.errors > 0


def test_what_spent_the_budget_is_on_the_bill(state: Path) -> None:
    tight = {"traffic": {"budget": 3}, "judge": {"alpha": 1e-9}}
    with rollout(state, Users(5, bad=0.5), manifest=tight) as (opened, ending):
        told = report(opened, ending.rollout)
        recording.file_of(state, ending.rollout).unlink()
        bare = report(opened, ending.rollout)

    assert "is spent" in told.cause
    assert told.seen == bare.seen == told.points[-1].seen >= 3
    assert told.budget == bare.budget == 3


def test_moments_that_matter_are_named_in_the_plots(bad: ReportView, good: ReportView) -> None:
    assert [mark.label for mark in bad.marks] == ["share 5%", "rolled back"]
    assert [mark.label for mark in good.marks] == ["share 5%", "25%", "50%", "100%", "promoted"]
    assert ">rolled back</text>" in render(bad, "html")
    assert ">promoted</text>" in render(good, "html")


def test_a_rate_without_errors_has_a_band_from_exactly_nothing(good: ReportView) -> None:
    faultless = [p.candidate for p in good.points if p.candidate.watch_requests and not p.candidate.watch_errors]

    assert faultless
    assert {side.low for side in faultless} == {0.0}


def test_the_policy_is_written_as_in_a_manifest(bad: ReportView) -> None:
    words = re.sub(r"<[^>]+>", " ", render(bad, "html"))

    assert re.search(r"latency\.warmup\.for\s+1m ", words)
    assert re.search(r"latency\.add\s+5ms ", words)
    assert re.search(r"errors\.margin\s+1\.5x ", words)


# -- the page


def test_the_page_has_the_plots_and_their_numbers(bad: ReportView) -> None:
    page = Page(render(bad, "html"))
    plots = [attributes["aria-label"] or "" for tag, attributes in page.tags if tag == "svg"]
    words = " ".join(page.text)

    for what in ("target and actual share", "error rates", "p50 of", "p95 of", "p99 of", "failed responses", "how far"):
        assert any(what in label for label in plots), what
    assert f"{bad.watches[-1].candidate.requests:,}" in words
    assert "r2 (2.0) was rolled back" in words


def test_the_page_loads_nothing_and_runs_nothing(bad: ReportView) -> None:
    text = render(bad, "html")
    page = Page(text)
    names = {tag for tag, _ in page.tags}
    attributes = {name for _, given in page.tags for name in given}

    assert not names & {"script", "link", "img", "iframe", "object", "embed", "use", "image", "form"}
    assert not attributes & {"src", "href", "srcset", "action", "onload", "onclick", "style"}
    assert not re.search(r"https?://|url\(|@import", text)
    assert any("default-src 'none'" in (given.get("content") or "") for _, given in page.tags)


@pytest.mark.parametrize("form", FORMATS)
def test_no_text_breaks_out_of_a_report(bad: ReportView, form: str) -> None:
    row = replace(bad.rollout, message=EVIL, by=EVIL, version=EVIL, strategy=EVIL)
    steps = (JournalRow("forward", 0, "watch", EVIL, "failed", 1.0, 1.0, EVIL),)
    evil = replace(bad, rollout=row, cause=EVIL, remedy=EVIL, log=(EVIL,), asked=((1.0, EVIL),), steps=steps)
    text = render(evil, form)  # type: ignore[arg-type]

    assert "\x1b" not in text
    if form == "html":
        assert "script" not in {tag for tag, _ in Page(text).tags}
    elif form == "junit":
        ElementTree.fromstring(text)
    elif form == "json":
        json.loads(text)
    else:
        assert "<script" not in re.sub(r"(?s)```.*?```", "", text).replace("\\<", "")


def test_no_number_in_a_picture_is_broken(bad: ReportView, good: ReportView) -> None:
    for told in (bad, good):
        assert not re.search(
            r'"[^"]*\b(nan|inf|None)\b[^"]*"', " ".join(re.findall(r"<svg.*?</svg>", render(told, "html")))
        )


# -- pipelines


def test_junit_has_a_case_for_each_gate_and_the_failure_with_its_cause(bad: ReportView) -> None:
    (suite,) = ElementTree.fromstring(render(bad, "junit"))
    cases = {case.get("name"): case for case in suite}
    (failed,) = [case for case in cases.values() if case.find("failure") is not None]

    assert suite.get("failures") == "1"
    assert suite.get("tests") == str(len(cases))
    assert "watch 5%" in (failed.get("name") or "")
    assert "r2 is worse" in (failed.find("failure").get("message") or "")  # type: ignore[union-attr]
    assert suite.get("skipped") == str(sum(case.find("skipped") is not None for case in cases.values()))


def test_junit_fails_for_an_end_that_no_step_tells(good: ReportView) -> None:
    aborted = replace(good, rollout=replace(good.rollout, outcome="reverted", exit=6), cause="aborted by ann")
    held = replace(good, rollout=replace(good.rollout, outcome="paused"))

    assert 'failures="1"' in render(aborted, "junit")
    assert "aborted by ann" in render(aborted, "junit")
    assert 'failures="0"' in render(held, "junit")
    assert "the rollout is paused" in render(held, "junit")


def test_markdown_begins_with_what_became_of_it(bad: ReportView) -> None:
    head, why, *_ = render(bad, "md").split("\n\n")

    assert head == "## shop: r2 (2.0) was rolled back"
    assert why.startswith("**Why:** r2 is worse")


def test_json_has_everything(bad: ReportView) -> None:
    data = json.loads(render(bad, "json"))

    assert set(data) == set(vars(bad))
    assert len(data["points"]) == len(bad.points)


def test_a_report_of_almost_nothing_is_a_page_too() -> None:
    row = RolloutRow(1, "canary", 0, 1, "1", "needs-attention", 8, 0.0, 1.0, "ann")
    bare = ReportView("shop", row, "", "")
    for form in FORMATS:
        assert render(bare, form)
    assert "needs attention" in render(bare, "html")
