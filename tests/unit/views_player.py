"""Plays a recording into the view that `open_view` chooses, as a command would: run by the terminal tests.

python -m tests.unit.views_player NAME OUTPUT SPEED [forever]
"""

from __future__ import annotations

import sys
import time

from deployer.cli import guarded
from deployer.cli.output import open_view
from deployer.core.events import Event
from tests.unit.views_recordings import recording


def play(name: str, output: str, speed: float, *, forever: bool) -> int:
    events = recording(name)
    with open_view(output) as sink:  # type: ignore[arg-type]
        before = events[0].at
        for event in events:
            time.sleep((event.at - before) / speed)
            before = event.at
            sink(Event(event.kind, event.at, event.service, event.rollout, event.data))
        while forever:
            time.sleep(0.05)
    sys.stdout.write("after the view\n")
    return 0


if __name__ == "__main__":
    name, output, speed = sys.argv[1:4]
    with guarded() as ended:
        ended.code = play(name, output, float(speed), forever=len(sys.argv) > 4)
    sys.exit(ended.code)
