"""The load as seen from a test: starts, watches and ends the load process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.load.ledger import Counters
from tests.load.options import Options, Target
from tests.load.report import Report, read_requests

ROOT = Path(__file__).resolve().parents[2]
START_WITHIN = 60.0  # seconds
END_WITHIN = 30.0  # seconds after the last request


class LoadBroken(Exception):
    """The load process itself failed, or what was waited for did not come: the run says nothing."""


class Load:
    """A steady load on a base URL; use as a context manager. `inside` is a command that runs it elsewhere."""

    def __init__(self, url: str, options: Options | None = None, inside: Sequence[str] = ()) -> None:
        self.url, self._inside = url, inside
        self.options = options or Options()
        Target.of(url, self.options)  # refuse a bad URL here, not in the other process
        self.marks: dict[str, float] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="dpload", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None
        self._report: Report | None = None

    def __enter__(self) -> Self:
        with (self._folder / "stderr").open("wb") as stderr:
            self._process = subprocess.Popen(
                [*self._inside, sys.executable, "-m", "tests.load.worker"],
                stdin=subprocess.PIPE,
                stdout=stderr,
                stderr=stderr,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                process_group=0,  # Ctrl-C is for the parent, which then ends the load in order
            )
        try:
            self._tell(f"{self.url}\n{self._folder}\n{self.options.dump()}\n")
            self._wait((self._folder / "status.json").exists, START_WITHIN, "the load process has started")
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.stop()
        finally:
            self._kill()

    def mark(self, name: str) -> float:
        """Remember this moment under a name; return it, Unix seconds."""
        self.marks[name] = time.time()
        return self.marks[name]

    def counters(self) -> Counters:
        """Read the counters, at most 0.1 s old."""
        self._check()
        return Counters(**json.loads((self._folder / "status.json").read_text()))

    def until(self, ready: Callable[[Counters], bool], what: str, seconds: float = 60.0) -> Counters:
        """Wait until the counters satisfy `ready`; raises LoadBroken after `seconds`, with the counters."""
        self._wait(lambda: ready(self.counters()), seconds, what)
        return self.counters()

    def report(self) -> Report:
        """Return the account until now; requests in progress are not in it. After `stop` it is the whole account."""
        if self._report is not None:
            return self._report
        return Report(read_requests(self._folder / "requests.jsonl"), dict(self.marks))

    def stop(self) -> Report:
        """Begin no more requests, let those in progress end, and give the account of all."""
        if self._report is None:
            process = self._check()
            self._tell("stop\n")
            try:
                code = process.wait(self.options.timeout + END_WITHIN)
            except subprocess.TimeoutExpired as late:
                raise LoadBroken(f"the load process did not end within {late.timeout:g} s of being told to") from late
            if code:
                raise LoadBroken(self._obituary(code))
            last = Counters(**json.loads((self._folder / "status.json").read_text()))
            report = Report(read_requests(self._folder / "requests.jsonl"), dict(self.marks), last.moved, last.lag)
            if last.open or (last.sent, last.failed) != (report.sent, report.failed):
                raise LoadBroken(f"the books do not balance: {last} against {report.sent} sent, {report.failed} failed")
            self._report = report
        return self._report

    def _check(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise LoadBroken("the load is not running: use `with Load(...) as load`")
        if (code := self._process.poll()) is not None and self._report is None:
            raise LoadBroken(self._obituary(code))
        return self._process

    def _obituary(self, code: int) -> str:
        return f"the load process ended with {code}:\n{(self._folder / 'stderr').read_text()}"

    def _tell(self, line: str) -> None:
        if self._process is None or self._process.stdin is None:
            raise LoadBroken("the load is not running")
        self._process.stdin.write(line.encode())
        self._process.stdin.flush()

    def _wait(self, ready: Callable[[], bool], seconds: float, what: str) -> None:
        end = time.monotonic() + seconds
        while not ready():
            self._check()
            if time.monotonic() > end:
                status = self._folder / "status.json"
                raise LoadBroken(f"{what}: not within {seconds:g} s; {status.read_text() if status.exists() else ''}")
            time.sleep(0.02)

    def _kill(self) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait(END_WITHIN)
            if self._process.stdin is not None:
                self._process.stdin.close()
        shutil.rmtree(self._folder, ignore_errors=True)
