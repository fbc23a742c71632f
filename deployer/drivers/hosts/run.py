"""Runs a worker, reads what it says, and ends it at the deadline."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from deployer.core import files
from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed
from deployer.drivers.hosts.markers import end_marked
from deployer.drivers.hosts.reports import END, Report

_PATIENCE = 10.0  # seconds that the worker gets to kill and clean up


def reports(run: Mapping[str, Any], mark: str, log: Path, deadline: Deadline) -> Generator[Report, None, None]:
    """Run a playbook with these arguments of `ansible_runner.run`; return its reports as they come.

    The last one has the event `end`. However this ends, also when the caller closes the generator, nothing of the run
    is alive afterwards. Raises DeadlinePassed, and DriverFailed when the worker itself fails.
    """
    yield from messages("deployer.drivers.hosts.worker", {"run": run, "mark": mark}, mark, log, deadline)


def messages(
    module: str, job: Mapping[str, Any], mark: str, log: Path, deadline: Deadline
) -> Generator[Report, None, None]:
    """Start a module as a process, give it its job, and give its messages up to and with that of the event `end`.

    What it writes to stderr goes to `log`. The rest is as with `reports`.
    """
    with _worker(module, mark, log) as worker:
        assert worker.stdin is not None and worker.stdout is not None  # noqa: S101, PT018 -- both are pipes
        with suppress(BrokenPipeError):  # it ended before it read its job; why, its log says
            worker.stdin.write(json.dumps(job).encode() + b"\n")
            worker.stdin.flush()
        for line in _lines(worker.stdout.fileno(), deadline):
            report = json.loads(line)
            yield report
            if report["event"] == END:
                return
        raise DriverFailed(
            f"the process that ran Ansible ended unexpectedly (exit code {worker.wait(_PATIENCE)})",
            log=tuple(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]),
        )


def _lines(fd: int, deadline: Deadline) -> Iterator[bytes]:
    held, waiting = b"", select.poll()
    waiting.register(fd, select.POLLIN)
    while True:
        if not waiting.poll(deadline.left() * 1000):
            raise DeadlinePassed(f"not finished within {deadline.seconds:g} s")
        more = os.read(fd, 65536)
        if not more:
            return
        *lines, held = (held + more).split(b"\n")
        yield from lines


@contextmanager
def _worker(module: str, mark: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the worker; on the way out let it end by itself, or kill it and all that it started."""
    with os.fdopen(files.new(log), "wb") as errors:
        worker = subprocess.Popen(
            # -P: a file of the user called docker.py must not be taken for a library.
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # a Ctrl-C is ours to answer: it reaches the worker as the end of its lifeline
        )
    try:
        yield worker
    finally:
        for pipe in (worker.stdin, worker.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        try:
            worker.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
        if worker.returncode:
            end_marked(mark)
