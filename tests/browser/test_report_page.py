"""The report in a real browser: from a disk, wide and narrow, light and dark, on paper, and without the network."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployer.app import queries
from deployer.app.reports.gather import gather
from deployer.views.report import render
from tests.browser.chromium import Tab, chromium
from tests.reported import Users, rollout
from tests.services import require

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("report")]

DESK, PHONE = 1280, 390  # columns of the window
VISIBLE = "[...document.querySelectorAll('svg.plot')].filter(s => s.getBoundingClientRect().width > 0)"
# Text of plots must be readable: the height of a letter as it is shown
SMALLEST = (
    f"Math.min(...{VISIBLE}.flatMap(s => [...s.querySelectorAll('text')]).map(t => t.getBoundingClientRect().height))"
)
OUTSIDE = (
    "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, pre, svg')"
    " && e.getBoundingClientRect().right > innerWidth + 1).length"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    with rollout(folder / "state", Users(5, bad=0.03, spared=0.5), message="Show prices with VAT") as (opened, ending):
        text = render(gather(opened, queries.show(opened, ending.rollout)), "html")
    (folder / "report.html").write_text(text, encoding="utf-8")
    return folder / "report.html"


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    require("chromium")
    with chromium() as opened:
        yield opened


@pytest.fixture(autouse=True)
def _nothing_from_outside_and_no_complaint(tab: Tab, page: Path) -> Iterator[None]:
    tab.requested.clear()
    tab.complaints.clear()
    yield
    assert set(tab.requested) <= {page.as_uri()}
    assert tab.complaints == []


@pytest.mark.parametrize(("width", "hidden"), [(DESK, "narrow"), (PHONE, "wide")])
def test_plots_and_numbers_are_there_and_nothing_leaves_the_window(
    tab: Tab, page: Path, width: int, hidden: str
) -> None:
    tab.open(page, width)
    plots = tab.ask(f"{VISIBLE}.map(s => [s.ariaLabel, s.querySelectorAll('path.line, circle').length])")
    words = tab.ask("document.body.innerText")

    assert len(plots) == 7, "errors, share, cost, three quantiles, evidence"
    assert all(drawn for _, drawn in plots)
    assert tab.ask(f"{VISIBLE}.filter(s => s.classList.contains('{hidden}')).length") == 0
    assert "r2 (2.0) was rolled back" in words
    assert "failed responses seen by users" in words
    assert "Show prices with VAT" in words
    assert tab.ask("document.documentElement.scrollWidth <= innerWidth")
    assert tab.ask(OUTSIDE) == 0
    assert tab.ask(SMALLEST) >= 9


def test_what_is_pointed_at_says_its_numbers(tab: Tab, page: Path) -> None:
    tab.open(page, DESK)
    hints = tab.ask(f"[...{VISIBLE}[0].querySelectorAll('.hint title')].map(t => t.textContent)")

    assert len(hints) > 3
    assert all("% failed" in hint or "has no responses" in hint for hint in hints)


def test_dark_is_dark_and_light_is_light(tab: Tab, page: Path) -> None:
    brightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    seen = {}
    for scheme in ("light", "dark"):
        tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        tab.open(page, DESK)
        seen[scheme] = sum(tab.ask(brightness))
    tab.call("Emulation.setEmulatedMedia", features=[])

    assert seen["light"] > 600
    assert seen["dark"] < 150


def test_details_open_without_a_script(tab: Tab, page: Path) -> None:
    tab.open(page, DESK)
    before = tab.ask("document.body.innerText.length")
    tab.ask("document.querySelectorAll('summary').forEach(s => s.click())")

    assert tab.ask("document.body.innerText.length") > before + 500


def test_it_can_be_printed_and_pictured(tab: Tab, page: Path) -> None:
    tab.open(page, DESK)
    paper, picture = tab.paper(), tab.picture()

    assert paper.startswith(b"%PDF-")
    assert len(paper) > 20_000
    assert struct.unpack(">I", picture[16:20])[0] == DESK
