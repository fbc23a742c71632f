"""How numbers, times and foreign text are written for people: one way everywhere."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Container, Sequence

from deployer.core.amounts import percent

# Cursor moves, colours, window titles: what another program wrote must not steer our user's terminal.
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]|\x9b[0-?]*[ -/]*[@-~]"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_FOREIGN = re.compile(r"[^\x00-\x7f]")
# Marks without a shape, such as U+202E, let a text be seen as another one: Cf, and the other ends of lines and
# paragraphs. Halves of surrogates are no text at all.
_UNSEEN = frozenset({"Cf", "Zl", "Zp", "Cs"})
_ASCII = str.maketrans(
    {"→": "->", "–": "-", "—": "-", "…": "...", "≤": "<=", "≥": ">=", "×": "x", "“": '"', "”": '"', "’": "'"}
)


def clean(text: object) -> str:
    """Return text without escape sequences and control characters; line breaks stay, tabs become spaces.

    Characters that are not seen, but change how others are, stand as they are written in code: `\\u202e`.
    """
    plain = _ESCAPES.sub("", str(text)).replace("\r\n", "\n").expandtabs(4)
    return _FOREIGN.sub(_seen, _CONTROLS.sub("", plain))


def _seen(found: re.Match[str]) -> str:
    sign = found[0]
    return sign.encode("unicode_escape").decode() if unicodedata.category(sign) in _UNSEEN else sign


def one_line(text: object) -> str:
    """Return cleaned text with its line breaks and indents folded into single spaces."""
    return " ".join(clean(text).split())


def ascii_only(text: str) -> str:
    """Write text in ASCII: the signs that we use get their ASCII twins, everything else a question mark."""
    return text.translate(_ASCII).encode("ascii", "replace").decode("ascii")


def count(number: int) -> str:
    """Write a count with its thousands apart: `12,345`."""
    return f"{number:,}"


def part(number: int, total: int) -> str:
    """Write `number` of `total` as a percentage; nothing of nothing is a dash."""
    return percentage(number / total) if total else "–"


def percentage(fraction: float) -> str:
    """Write a measured fraction as a percentage, to two decimals at most: `10%`, `1.71%`."""
    return f"{100 * fraction:.2f}".rstrip("0").rstrip(".") + "%"


def actual(basis_points: float | None) -> str:
    """Write the share that was measured."""
    return "nothing measured" if basis_points is None else f"{percentage(basis_points / 10_000)} actual"


def rate(per_second: float | None) -> str:
    """Write requests per second."""
    return "–" if per_second is None else f"{per_second:,.1f}" if per_second < 1000 else f"{per_second:,.0f}"


def latency(ms: float | None) -> str:
    """Write a latency given in milliseconds, three digits at most."""
    if ms is None:
        return "–"
    value, unit = (ms, "ms") if ms < 999.5 else (ms / 1000, "s")
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


def duration(seconds: float) -> str:
    """Write a time span as a person says it: `12 ms`, `1.2 s`, `42 s`, `3 min 05 s`, `2 h 10 min`, `3 d`."""
    if 0 < seconds < 0.0995:
        return f"{max(seconds * 1000, 1):.0f} ms"
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d"


def stopwatch(seconds: float) -> str:
    """Write elapsed time as on a watch: `0:42`, `1:02:03`."""
    whole = max(int(seconds), 0)
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def moment(at: float) -> str:
    """Write a Unix time in local time, to the second; 0 is a dash."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if at else "–"


def ago(seconds: float) -> str:
    """Write how long ago something was, in its largest unit: `5 min ago`."""
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{int(seconds // unit)} {name} ago"
    return f"{int(seconds)} s ago" if seconds >= 1 else "just now"


def zone(at: float) -> str:
    """Name the zone of local times at a moment: `UTC+02:00`."""
    offset = time.strftime("%z", time.localtime(at))
    return "UTC" if offset == "+0000" else f"UTC{offset[:3]}:{offset[3:]}"


def release(number: int, version: str = "") -> str:
    """Name a release: `r42 (2.0)`; 0 is nothing."""
    if not number:
        return "nothing"
    return f"r{number} ({one_line(version)})" if version else f"r{number}"


def way(origin: int, number: int, version: str = "") -> str:
    """Name where a rollout leads: `r41 → r42 (2.0)`; `r42 (2.0)` where it leaves the release that is live."""
    to = release(number, version)
    return to if origin == number else f"{release(origin)} → {to}"


def plural(number: int, noun: str) -> str:
    """Write a number with its noun: `1 step`, `2 steps`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def verdict(kind: str, enough: bool) -> str:
    """Name a verdict; a step of fixed time asks for no proof, only that enough was seen and it was not worse."""
    return "no regression found" if kind == "inconclusive" and enough else kind


def spent(answers: int, budget: int) -> str:
    """Write how much of a budget is gone: `12 of 50 failed responses`."""
    return f"{answers:,} of {plural(budget, 'failed response')}"


def shielded(responses: int) -> str:
    """Write what a shield has done: `2 failed responses kept from users: stable answered instead`."""
    return f"{plural(responses, 'failed response')} kept from users: stable answered instead"


def users_on(stable: str, candidate: str, share: int) -> str:
    """Return where users are: `50% on r6 (2.0)` while a candidate has some, else `r5 (1.0) is live`."""
    return f"{percent(share)} on {candidate}" if share else f"{stable} is live"


def shown(part: float, more: int | None, unit: str = "responses") -> str:
    """Write how far a proof is: `no worse: 62% proven, about 1,200 more clients needed`."""
    left = "" if more is None else f", about {about(more)} more {unit} needed"
    return f"no worse: {100 * part:.0f}% proven{left}"


def about(number: int) -> str:
    """Write an estimate with the two digits that mean something: 1,234 is `1,200`."""
    size = max(len(str(abs(number))) - 2, 0)
    return f"{round(number, -size):,}"


def columns(rows: Sequence[Sequence[str]], *, gap: int = 2, right: Container[int] = ()) -> list[str]:
    """Lay rows out as columns, those in `right` with their ends below each other, the others with their beginnings.

    Colours in cells take no room; the last column is as long as it likes.
    """
    widths = [max(map(_width, cells)) for cells in zip(*rows, strict=True)] if rows else []

    def padded(place: int, cell: str) -> str:
        blank = " " * (widths[place] - _width(cell))
        return blank + cell if place in right else cell + blank

    return [(" " * gap).join(padded(place, cell) for place, cell in enumerate(row)).rstrip() for row in rows]


def _width(cell: str) -> int:
    return len(_ESCAPES.sub("", cell))
