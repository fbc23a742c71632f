"""What is told of real rollouts afterwards and meanwhile: status, show, report, recording and replay agree."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from xml.etree import ElementTree

import pytest

from deployer.evidence.recording import Looked, read
from tests.live.shop import Shop
from tests.load import Load, Options

pytestmark = pytest.mark.live

USERS = Options(rate=100, kinds=("fresh", "busy", "post"))


def judged(shop: Shop, file: Path, *more: str, expect: int) -> dict[str, object]:
    (told,) = shop.events("judge", str(file), *more, expect=expect)
    return told


def failed_in(file: Path) -> int:
    """Count the failed responses of the candidate in a recording, which may still be growing."""
    if not file.exists() or not file.stat().st_size:
        return 0
    return sum(m.sample.candidate.errors for m in read(file) if isinstance(m, Looked))


@pytest.mark.long("a whole canary, judged again")
def test_what_is_recorded_is_judged_as_it_was_and_reported(process_shop: Shop) -> None:
    shop = process_shop
    shop.version("2.0", {"ERR": "0.2"})
    shop.write(strategy={"canary": {"steps": [20]}})
    with Load(shop.url, USERS) as load:
        load.until(lambda now: now.answered > 100, "the load runs")
        told = shop.told("canary", "--version", "2.0", "-m", "cart", expect=3)
        report = load.stop()
    number, verdict = told.ended["rollout"], told.one("verdict")
    copy = shop.folder / "copy.jsonl"
    shop.deploy("record", "--rollout", str(number), "-o", str(copy))

    again = judged(shop, copy, expect=3)
    assert (again["decision"], again["text"]) == ("worse", verdict["text"])
    # What was in progress when the judge had seen enough is answered after its last look.
    assert 0 <= report.failed - int(str(again["seen"])) <= report.at_once, report.text()

    shop.deploy("report", str(number), "-o", "report.html")
    shop.deploy("report", str(number), "-o", "report.json")
    page, data = (shop.folder / "report.html").read_text(), json.loads((shop.folder / "report.json").read_text())
    assert verdict["text"] in page
    assert page.count("<svg") > 5
    # The proxy counts a failed response at its first byte; what the judge saw of it ended before its last look.
    assert 0 <= data["seen"] - int(str(again["seen"])) <= report.at_once
    assert data["points"]

    junit = ElementTree.fromstring(shop.deploy("report", str(number), "--format", "junit").stdout)
    assert junit[0].get("failures") == "1"
    head, _, why, *_ = shop.deploy("show", str(number)).stdout.splitlines()
    assert "cart" in head
    assert verdict["text"] in why


@pytest.mark.long("a canary that is paused and recorded")
def test_the_status_says_what_bounds_the_cost_and_a_held_share_can_be_recorded(process_shop: Shop) -> None:
    """It gets bad only when it is paused: before that, the judge would take it back as often as not."""
    shop = process_shop
    held = shop.folder / "held"
    shop.version("2.0", {"ERR": "0.3", "ERR_METHOD": "POST", "ERR_WHILE": str(held)})
    with Load(shop.url, USERS) as load:
        load.until(lambda now: now.answered > 100, "the load runs")
        shop.deploy("canary", "--percent", "10", "--hold", "--version", "2.0", expect=0)
        assert shop.status()["safety"]["spent"] == 0
        held.touch()
        status = shop.wait(lambda now: now["safety"]["spent"] > 2, "users see failed responses")
        out = shop.folder / "held.jsonl"
        with shop.start("record", "-o", str(out)) as recorder:
            shop.wait(lambda _: failed_in(out) > 0, "failed responses of the candidate are recorded")
            recorder.send_signal(signal.SIGINT)
            assert recorder.wait(60) == 0
        load.stop()
    text = shop.deploy("status").stdout

    assert status["safety"]["budget"] >= 50
    assert status["safety"]["shield"] is True
    assert f" of {status['safety']['budget']}" in text
    assert "shield: on" in text
    assert failed_in(out) > 0
    assert {m.sample.share for m in read(out) if isinstance(m, Looked)} == {1000}
    shop.deploy("abort")
