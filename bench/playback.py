"""A recording of a rollout as the stream that it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.traffic.world import Tick
from deployer.evidence.recording import Looked, RecordedStep, Recording, read
from deployer.model import FULL


def playback(file: Path) -> tuple[Iterator[Tick], bool]:
    """Return the looks of a recording, and whether its clients were sticky; Refused for a file that is none.

    The time is counted from its first look, and every bad answer of the candidate as harm: nobody knows which of them
    stable would have given too.
    """
    recording = read(file)
    return _ticks(recording), bool(recording.header["sticky"])


def _ticks(recording: Recording) -> Iterator[Tick]:
    following, began = FULL, None
    for mark in recording:
        if isinstance(mark, RecordedStep):
            following = mark.following
        elif isinstance(mark, Looked):
            began = mark.at if began is None else began
            yield Tick(mark.at - began, mark.sample, following, mark.sample.candidate.errors)
