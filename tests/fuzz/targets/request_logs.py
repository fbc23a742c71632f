"""Logs of requests from other tools, JSON lines or CSV: judged, or refused with the number of the line."""

from __future__ import annotations

from tests.fuzz import judging

LONGEST = 2048


def check(data: bytes) -> None:
    judging.judge(data)
