from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import deployer.core.events
from deployer.core.errors import Exit, Refused
from deployer.core.events import Event
from deployer.views.jsonl import JsonLines, dump, load
from deployer.views.plain import _WRITERS, PlainLines, lines
from deployer.views.reduce import _HANDLERS
from tests.unit.views_recordings import NAMES, recording, same_as_golden

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class Stream(io.StringIO):
    """A stream with an encoding that counts its flushes."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self._encoding = encoding
        self.flushes = 0

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def flush(self) -> None:
        self.flushes += 1


# -- plain


@pytest.mark.parametrize("name", NAMES)
def test_plain_lines_keep_their_wording(name: str) -> None:
    out = Stream()
    view = PlainLines(out)
    for event in recording(name):
        view(event)
    same_as_golden(f"plain-{name}", out.getvalue())


def test_a_long_analysis_is_a_line_a_minute_and_one_for_each_change() -> None:
    out = Stream()
    view = PlainLines(out)
    for second in range(1800):
        errors = max(0, second - 910)
        share = 1000 if second < 1230 else 5000
        side = {"requests": second, "errors": errors}
        view(Event("sample", float(second), "shop", 1, {"share_target": share, "stable": side, "candidate": side}))
        view(Event("step.progress", float(second), "shop", 1, {"n": 3, "text": f"{second} of 1800 s"}))
    told = out.getvalue().splitlines()
    samples = [line[:8] for line in told if "sample:" in line]
    assert len(samples) == 32
    assert {"00:15:11", "00:20:30"} < set(samples), "of errors and of another share one hears at once"
    assert len(told) - len(samples) == 30


def test_plain_lines_are_ascii_where_the_stream_knows_nothing_else() -> None:
    out = Stream("ascii")
    PlainLines(out)(Event("note", 0.0, "shop", 1, {"text": "r1 → r2 … “é” ≤ 3"}))
    assert out.getvalue() == '00:00:00 shop #1 note: r1 -> r2 ... "?" <= 3\n'


def test_changes_come_at_most_every_five_seconds() -> None:
    out = Stream()
    view = PlainLines(out)
    for at in range(100):
        view(Event("sample", at / 10, "shop", 1, {"share_target": at}))
    assert out.getvalue().count("sample") == 2


def test_an_event_is_one_line_whatever_it_says() -> None:
    for kind in _WRITERS:
        data = {"text": "a\nb\x1b[2J", "error": "a\nb", "hint": "c\rd", "message": "e\nf", "verdict": "x\ny"}
        written = lines(Event(kind, 0.0, "shop", 1, data))
        assert "\n" not in written
        assert "\x1b" not in written


def test_an_event_that_cannot_be_worded_is_written_as_it_is() -> None:
    out = Stream()
    PlainLines(out)(Event("traffic.changed", 0.0, "shop", 1, {"share": "much"}))
    assert out.getvalue() == "00:00:00 shop #1 traffic.changed: share=much\n"


def test_unknown_kinds_are_written_with_their_fields() -> None:
    assert lines(Event("weather", 0.0, "shop", 1, {"rain": True})) == "00:00:00 shop #1 weather: rain=True"


# -- JSON lines


@pytest.mark.parametrize("name", NAMES)
def test_json_lines_are_flushed_each_and_read_back_the_same(name: str) -> None:
    out, events = Stream(), recording(name)
    view = JsonLines(out)
    for event in events:
        view(event)
    assert out.flushes == len(events)
    assert load(out.getvalue().splitlines()) == events


def test_json_lines_are_ascii() -> None:
    assert dump(Event("note", 0.0, "shop", 1, {"text": "→\n"})).isascii()


@pytest.mark.parametrize(
    "line", ["{", "[]", "{}", '{"event": "note", "at": "x", "service": "s", "rollout": 1}', "null"]
)
def test_a_line_that_is_no_event_is_refused_with_its_number(line: str) -> None:
    with pytest.raises(Refused, match="line 2"):
        load(["", line])


# -- the contract


def declared() -> dict[str, set[str]]:
    """Read kinds and fields from the docstring of deployer.core.events."""
    kinds: dict[str, set[str]] = {}
    text = re.sub(r",\n {10,}", ", ", deployer.core.events.__doc__ or "")
    for kind, fields in re.findall(r"^    (\S+)\s{2,}(.+)$", text, re.MULTILINE):
        bare = re.sub(r"\(.*?\)|\{.*?\}|\[.*?\]", "", fields)
        kinds[kind] = {name.strip(" :") for name in bare.split(",") if " " not in name.strip(" :")}
    return kinds


def documented() -> dict[str, tuple[dict[str, bool], dict[str, object]]]:
    """Read kinds, their fields (and whether each is always there) and their example from docs/events.md."""
    kinds = {}
    for section in (DOCS / "events.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        name = section.split("`")[1]
        fields = {
            field: "optional" not in kind for field, kind in re.findall(r"^\| `(.+?)` \| (.+?) \|", section, re.M)
        }
        example = re.search(r"```json\n(.+?)\n```", section)
        assert example, f"{name} has no example"
        kinds[name] = fields, json.loads(example[1])
    return kinds


def test_every_kind_of_event_is_declared_documented_and_shown() -> None:
    assert set(declared()) == set(documented()) == set(_HANDLERS) == set(_WRITERS)


@pytest.mark.parametrize("kind", sorted(_HANDLERS))
def test_documented_fields_are_the_declared_ones(kind: str) -> None:
    fields, example = documented()[kind]
    free = {"*"} | ({"done", "of"} if kind == "step.progress" else set())
    assert set(fields) - free == declared()[kind]
    assert list(example) == ["event", "at", "service", "rollout", *(field for field in fields if field != "*")]
    assert example["event"] == kind
    load([json.dumps(example)])


@pytest.mark.parametrize("name", NAMES)
def test_recordings_hold_what_is_documented(name: str) -> None:
    for event in recording(name):
        fields, _ = documented()[event.kind]
        assert {field for field, always in fields.items() if always and field != "*"} <= set(event.data)
        assert "*" in fields or set(event.data) <= set(fields)


def test_every_exit_code_is_documented_with_its_name() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", (DOCS / "exit-codes.md").read_text(encoding="utf-8"), re.M)
    assert [(int(code), name) for code, name in rows] == [(int(code), code.name) for code in Exit]
