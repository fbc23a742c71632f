"""Another process that runs a piece of Python, and speaks with the test by lines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.house import REPOSITORY


@contextmanager
def program(text: str, *arguments: str, says: str, before: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """Run a program once it `says` its first line; kill it at the end. `before` is a command that runs it."""
    command = [*before, sys.executable, "-c", text, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline().strip() == says
            yield process
        finally:
            process.kill()
