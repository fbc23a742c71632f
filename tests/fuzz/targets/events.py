"""Events as `--output json` printed them, changed by any hand: every view shows something, and steers no terminal."""

from __future__ import annotations

import json
import re

from deployer.views import jsonl, plain
from deployer.views.reduce import reduce_all
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
        reduce_all(events)
