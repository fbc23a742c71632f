"""What the server writes on stderr: sentences for a person, or a JSON object for each request and each run.

Neither has what a client sent: no header, no query, no body, of a path only what a route knows of it.
"""

from __future__ import annotations

import json
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from deployer.core.clock import Clock, SystemClock
from deployer.core.events import Event
from deployer.core.secret import hide, hide_in
from deployer.views.plain import sentence


@dataclass
class ServerLog:
    """Writes lines, whole ones, from whichever thread."""

    clock: Clock = field(default_factory=SystemClock)
    lines: bool = False  # of JSON
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def hear(self, event: Event) -> None:
        """Log, of what happens in the house of a look, that somebody was not notified."""
        if event.kind == "notify.failed":
            self.say(event.kind, f"{event.service}: {sentence(event)}", service=event.service, **event.data)

    def say(self, event: str, words: str = "", **fields: Any) -> None:
        """Log what happened: as an object, or in words where there are any."""
        what = {"event": event, "at": self.clock.now(), **fields}
        line = json.dumps(hide_in(what)) if self.lines else hide(words)
        if line:
            with self._mutex, suppress(OSError):  # whoever read it is gone: what it is about goes on
                sys.stderr.write(f"{line}\n")
                sys.stderr.flush()
