"""Proving a domain by a TXT record, which a program of the user sets and removes.

It is called as `lego` calls programs of its provider `exec`: with `present NAME VALUE`, and `cleanup NAME VALUE`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from deployer.core import commands
from deployer.core.clock import Clock, Deadline
from deployer.core.undo import undone
from deployer.drivers.certificates.problems import OrderFailed

RUN_SECONDS = 120.0
MOST_BYTES = 1 << 20


class DnsRecords:
    """Sets TXT records by a program, run in `folder` with the variables of `environ`."""

    def __init__(
        self, program: Sequence[str], wait: float, environ: Mapping[str, str], folder: Path, clock: Clock
    ) -> None:
        self._program, self._wait, self._environ = tuple(program), wait, environ
        self._folder, self._clock = folder, clock

    @contextmanager
    def proving(self, name: str, value: str) -> Iterator[None]:
        """Have the record for the length of the block, which begins when name servers have it. Raise OrderFailed.

        Of two that fail, the first says why; the record is removed also where the program did not end in time.
        """
        with undone(lambda: self._run("cleanup", name, value)):
            self._run("present", name, value)
            self._clock.sleep(self._wait)
            yield
        self._run("cleanup", name, value)

    def _run(self, action: str, name: str, value: str) -> None:
        left = Deadline.after(self._clock, RUN_SECONDS).left
        try:
            commands.run((*self._program, action, name, value), self._folder, self._environ, left, most=MOST_BYTES)
        except commands.CommandFailed as error:
            words = f"{action} {name}"
            raise OrderFailed(
                f"{name.rstrip('.')}: `tls.auto.dns.run` ({words}): {error.message}", error.hint
            ) from None
