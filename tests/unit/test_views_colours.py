"""The colours of pages and terminals: one for each side, red for what is bad alone, enough contrast in both themes."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from deployer.views import live_page, live_traffic, tables
from deployer.views.palette import CANDIDATE, SIDES, STABLE

REPORT = resources.files("deployer.views.report").joinpath("style.css").read_text()
PAGE = resources.files("deployer.server.page").joinpath("assets/page.css").read_text()
LIGHT, DARK = (dict(re.findall(r"--(\w+):(#[0-9a-f]{3,6})", part)) for part in REPORT.split("@media", 2)[:2])
THEMES = {"light": LIGHT, "dark": {**LIGHT, **DARK}}
# letters and what is behind them: 4.5 to 1 (WCAG 2.2, 1.4.3)
TEXT = [
    *((ink, paper) for ink in ("ink", "soft", "good", "bad", "open") for paper in ("card", "bg")),
    *((kind, f"{kind}bg") for kind in ("good", "bad", "open")),
    ("soft", "grid"),
    ("card", "ink"),
    ("card", "bad"),
    ("bg", "ink"),
]
# lines, dots and borders of what can be used: 3 to 1 (1.4.11)
SHAPES = [(name, "card") for name in ("candidate", "stable", "shield", "shown", "bad", "mark")] + [("mark", "bg")]


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#fff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", THEMES)
def test_everything_can_be_read(theme: str) -> None:
    colours = THEMES[theme]
    pairs = [(pair, 4.5) for pair in TEXT] + [(pair, 3.0) for pair in SHAPES]
    weak = {
        pair: round(found, 2)
        for pair, least in pairs
        if (found := contrast(colours[pair[0]], colours[pair[1]])) < least
    }
    assert weak == {}


def test_a_side_has_one_colour_everywhere() -> None:
    for name, paint in SIDES.items():
        assert (THEMES["light"][name], THEMES["dark"][name]) == (paint.light, paint.dark)
        assert tables.CODES[name] == paint.code
        assert tables.ROLES[name] == name
    assert len({CANDIDATE.rich, STABLE.rich, "red", "green", "yellow"}) == 5
    bar = live_traffic._bar(5000)
    assert [str(bar.style), *(str(span.style) for span in bar.spans)] == [CANDIDATE.rich, f"{STABLE.rich} dim"]


def test_red_is_for_what_is_bad() -> None:
    reds = [*re.findall(r"([^{}]+)\{[^{}]*var\(--bad\)", REPORT + PAGE)]
    named = {part.strip() for rule in reds for part in rule.split(",")}
    assert all(re.search(r"bad|error|worse|end|limit|failed|danger|lost", rule) for rule in named), named
    assert live_page.ENDINGS["reverted"][1] == "bold yellow"
