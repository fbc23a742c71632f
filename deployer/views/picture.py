"""A picture of the live view, made from a recording of events.

    python -m deployer.views.picture EVENTS.jsonl OUT.svg --at SECONDS [--width COLUMNS] [--title TEXT]

EVENTS.jsonl is what `--output json` printed.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme

from deployer.core.errors import DeployError
from deployer.core.events import Event
from deployer.views.jsonl import load
from deployer.views.live_page import render
from deployer.views.reduce import reduce_all

# A picture in a README may load nothing from elsewhere, so the fonts are those that the reader has.
_FONT_FACES = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
_FONTS = "ui-monospace, 'Fira Code', 'DejaVu Sans Mono', Menlo, Consolas, monospace"


def _rgb(code: str) -> tuple[int, int, int]:
    return int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16)


# black, red, green, yellow, blue, magenta, cyan, white: as they are, then bright
NIGHT = TerminalTheme(
    (22, 27, 34),
    (230, 237, 243),
    [_rgb(code) for code in ["484f58", "ff7b72", "3fb950", "d29922", "58a6ff", "bc8cff", "39c5cf", "b1bac4"]],
    [_rgb(code) for code in ["6e7681", "ffa198", "56d364", "e3b341", "79c0ff", "d2a8ff", "56d4dd", "ffffff"]],
)


def picture(events: Iterable[Event], at: float, *, width: int = 92, title: str = "deploy") -> str:
    """Return the page as SVG, `at` seconds after the first event."""
    recorded = list(events)
    now = recorded[0].at + at
    state = reduce_all(event for event in recorded if event.at <= now)
    console = Console(
        file=io.StringIO(), record=True, width=width, force_terminal=True, color_system="truecolor", _environ={}
    )
    console.print(render(state, now, width))
    console.print()  # or the frame cuts the feet of the last line's letters
    svg = console.export_svg(title=title, theme=NIGHT, unique_id="deploy")
    return _FONT_FACES.sub("", svg).replace("Fira Code, monospace", _FONTS)


def main(argv: Sequence[str] | None = None) -> int:
    """Draw a picture; return an exit code."""
    parser = argparse.ArgumentParser(prog="python -m deployer.views.picture", description=__doc__.splitlines()[0])
    parser.add_argument("events", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--at", type=float, required=True, metavar="SECONDS", help="seconds after the first event")
    parser.add_argument("--width", type=int, default=92, metavar="COLUMNS")
    parser.add_argument("--title", default="deploy")
    given = parser.parse_args(argv)
    try:
        events = load(given.events.read_text(encoding="utf-8").splitlines())
        if not events:
            parser.error(f"{given.events}: holds no event")
        svg = picture(events, given.at, width=given.width, title=given.title)
        temporary = given.out.with_name(given.out.name + ".tmp")
        temporary.write_text(svg, encoding="utf-8")
        temporary.replace(given.out)
    except (OSError, DeployError) as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
