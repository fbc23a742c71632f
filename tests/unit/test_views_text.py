from __future__ import annotations

import pytest

from deployer.views import text


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (-1, "0.0 s"),
        (0, "0.0 s"),
        (0.0004, "1 ms"),
        (0.012, "12 ms"),
        (0.0994, "99 ms"),
        (0.1, "0.1 s"),
        (9.94, "9.9 s"),
        (9.99, "10 s"),
        (99.4, "99 s"),
        (100, "1 min 40 s"),
        (3599.4, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (7800, "2 h 10 min"),
        (3 * 86400, "3 d"),
    ],
)
def test_durations_read_as_a_person_says_them(seconds: float, written: str) -> None:
    assert text.duration(seconds) == written


@pytest.mark.parametrize(
    ("ms", "written"),
    [
        (None, "–"),
        (0.84, "0.8 ms"),
        (9.94, "9.9 ms"),
        (9.96, "10 ms"),
        (999.4, "999 ms"),
        (999.6, "1.0 s"),
        (9940, "9.9 s"),
        (9960, "10 s"),
        (131072, "131 s"),
    ],
)
def test_latencies_have_at_most_three_digits(ms: float | None, written: str) -> None:
    assert text.latency(ms) == written


@pytest.mark.parametrize(("seconds", "written"), [(-5, "0:00"), (62, "1:02"), (3723, "1:02:03")])
def test_stopwatch(seconds: float, written: str) -> None:
    assert text.stopwatch(seconds) == written


def test_part_of_nothing_is_a_dash() -> None:
    assert text.part(0, 0) == "–"
    assert text.part(1, 3) == "33.33%"


@pytest.mark.parametrize(
    "foreign",
    ["\x1b[31mred\x1b[0m", "\x1b]8;;http://x\x07red\x1b]8;;\x1b\\", "\x1b(Bred\x1bM", "\x9b1mred", "r\x00e\x08d\x7f"],
)
def test_clean_text_has_no_controls(foreign: str) -> None:
    assert not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in text.clean(foreign))


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("2.0\u202e0.1", "2.0\\u202e0.1"),  # seen as 2.01.0
        ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
        ("one\u2028two", "one\\u2028two"),
        ("\u2066left\u2069", "\\u2066left\\u2069"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("half\ud800", "half\\ud800"),
        ("Größe – שלום 日本 👍", "Größe – שלום 日本 👍"),
    ],
)
def test_what_changes_how_a_text_is_seen_is_shown(foreign: str, shown: str) -> None:
    assert text.clean(foreign) == text.one_line(foreign) == shown


def test_columns_are_aligned_whatever_is_coloured() -> None:
    assert text.columns([["\x1b[31ma\x1b[0m", "b"], ["long", "c"]]) == ["\x1b[31ma\x1b[0m     b", "long  c"]
    assert text.columns([]) == []
