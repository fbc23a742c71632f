"""`deploy record`: what both sides of a service answer goes to a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import click

from deployer.app import queries
from deployer.app.local import service_meant
from deployer.app.operations import AppContext
from deployer.cli.options import Common, common
from deployer.cli.session import house, signals
from deployer.cli.values import NUMBER
from deployer.core import files
from deployer.core.errors import Exit, Refused
from deployer.evidence import recording
from deployer.evidence.recording import Recorder
from deployer.evidence.shared_recording import brought
from deployer.manifest.units import seconds
from deployer.model import FULL, Counts, Sample
from deployer.planning.steps import percent
from deployer.views.text import count, part, stopwatch

LOOK = 0.25  # seconds between two looks at the stream, as in a rollout
SAY = 5.0  # seconds between two lines about it; a terminal has one line that changes


@click.command("record")
@common("file", "destination", "service")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="File to write; default: SERVICE-TIME.jsonl, with --rollout stdout.",
)
@click.option("--for", "span", metavar="TIME", help="How long to record, e.g. 10m; default: until Ctrl-C.")
@click.option("--rollout", "number", type=NUMBER, metavar="N", help="Copy the recording of a rollout.")
def record(common: Common, out: Path | None, span: str | None, number: int | None) -> int:
    """Record the responses of stable and candidate for `deploy judge`: live, or from a past rollout."""
    if number is not None and span:
        raise click.UsageError("--for records now, --rollout copies what is recorded: one of them")
    limit = _span(span)
    if out and out.exists():
        raise Refused(f"{out} exists", "name another file with -o")
    with house(common) as opened:
        if number is not None:
            return _export(opened, number, out)
        name = service_meant(common.target, opened)
        return _record(opened, name, out or Path(time.strftime(f"{name}-%Y%m%d-%H%M%S.jsonl")), limit)


def _span(given: str | None) -> float | None:
    try:
        return None if given is None else seconds(given)
    except ValueError as error:
        raise click.UsageError(f"--for {given}: {error}") from None


def _export(opened: AppContext, number: int, out: Path | None) -> int:
    opened.store.rollouts.get(number)  # refuses a number that was never given
    source = brought(opened.store, number)
    if not source.exists():
        raise Refused(f"rollout {number} has no recording", f"the last {recording.KEPT} that watched users have one")
    if out is None:
        sys.stdout.write(source.read_text(encoding="ascii"))
        return int(Exit.DONE)
    try:
        files.replace(out, source.read_text(encoding="ascii"))
    except OSError as error:
        raise Refused(f"{out} cannot be written: {error.strerror}", "name another file with -o") from None
    sys.stdout.write(f"wrote {out}; `deploy judge {out}` judges it again\n")
    return int(Exit.DONE)


def _record(opened: AppContext, name: str, path: Path, limit: float | None) -> int:
    drivers, (release, origin) = queries.drivers_of(opened, name), queries.sides_of(opened, name)
    stopped = Event()
    with drivers.traffic.samples(name) as samples, signals(stopped), _progress(name) as progress:
        recorder = Recorder(path, recording.describe(release, opened.clock, rollout=0, origin=origin))
        share, end = -1, None if limit is None else opened.clock.monotonic() + limit
        while not recorder.broken and not stopped.is_set() and (end is None or opened.clock.monotonic() < end):
            sample, at = samples.take(), opened.clock.monotonic()
            if sample.share != share:
                share = sample.share
                recorder.watch(share, FULL, at)
            recorder.sample(sample, at)
            progress.add(sample, at)
            stopped.wait(LOOK)
        recorder.close()
    if recorder.broken:
        raise Refused(f"{path} cannot be written: {recorder.broken}", "name another file with -o")
    sys.stdout.write(f"wrote {path}: {progress.told}; {_advice(path, progress)}\n")
    return int(Exit.DONE)


def _advice(path: Path, progress: _Progress) -> str:
    if progress.compared:
        return f"`deploy judge {path}` judges it"
    return "nothing in it can be judged, as no candidate responded meanwhile"


@contextmanager
def _progress(service: str) -> Iterator[_Progress]:
    progress = _Progress(service)
    try:
        yield progress
    finally:
        progress.end()


def _answers(counts: Counts) -> str:
    if not counts.requests:
        return "has no responses"
    return f"answered {count(counts.requests)} ({part(counts.errors, counts.requests)} bad)"


class _Progress:
    """Prints on stderr how much was recorded: a line that changes on a terminal, now and then a line elsewhere."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._paints = sys.stderr.isatty()
        self._began = self._said = 0.0
        self._stable, self._candidate = Counts(), Counts()

    def add(self, sample: Sample, at: float) -> None:
        """Count what was recorded, and say it if that is due."""
        self._began = self._began or at
        self._stable += Counts(sample.stable.requests, sample.stable.errors)
        self._candidate += Counts(sample.candidate.requests, sample.candidate.errors)
        if at - self._said >= (LOOK if self._paints else SAY):
            self._said = at
            self._say(
                f"recording {self._service} {stopwatch(at - self._began)}  {percent(sample.share)} target; {self.told}"
            )

    @property
    def told(self) -> str:
        """What both sides answered so far."""
        sides = (("stable", self._stable), ("candidate", self._candidate))
        return ", ".join(f"{name} {_answers(counts)}" for name, counts in sides)

    @property
    def compared(self) -> bool:
        """Whether the candidate has answered at all."""
        return bool(self._candidate.requests)

    def _say(self, text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{text}" if self._paints else f"{text}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the line."""
        if self._paints and self._said:
            sys.stderr.write("\n")
