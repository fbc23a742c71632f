"""Recorded rollouts and golden files of the views."""

from __future__ import annotations

import os
from pathlib import Path

from deployer.core.events import Event
from deployer.views.jsonl import load

GOLDEN = Path(__file__).parents[1] / "golden" / "views"
NAMES = ("canary", "worse", "update-failed", "paused", "guarded")


def recording(name: str, until: float = 1e9) -> list[Event]:
    """Return a recording, up to `until` seconds after its first event."""
    events = load((GOLDEN / f"{name}.jsonl").read_text(encoding="utf-8").splitlines())
    return [event for event in events if event.at - events[0].at <= until]


def same_as_golden(name: str, text: str) -> None:
    """Compare with a golden file; UPDATE_GOLDEN=1 writes it instead."""
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")
