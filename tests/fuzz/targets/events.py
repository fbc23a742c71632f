"""Events as `--output json` printed them, changed by any hand: every view shows something, and steers no terminal."""

from __future__ import annotations

import io
import json
import re

from rich.console import Console

from deployer.views import jsonl, plain
from deployer.views.live import LiveView
from tests.fuzz.target import REPOSITORY, refusals, said

SEEDS = (REPOSITORY / "tests" / "golden" / "views",)
LONGEST = 8192
STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def check(data: bytes) -> None:
    with refusals():
        events = jsonl.load(data.decode(errors="replace").splitlines())
        for event in events:
            line = plain.lines(event)
            said(line)
            assert not STEERS.search(line), line
            json.loads(jsonl.dump(event))
        page = io.StringIO()
        console = Console(file=page, width=80, height=40, color_system=None, legacy_windows=False)
        console.print(LiveView(console, events, now=lambda: 1_790_000_100.0)._frame)
        assert not STEERS.search(page.getvalue()), page.getvalue()
