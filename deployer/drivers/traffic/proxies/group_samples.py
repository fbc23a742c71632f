"""The requests that the proxies of a group answer, counted together; one that is lost is not waited for."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import reduce

from deployer.core.errors import DriverFailed
from deployer.drivers.traffic.haproxy.request_counter import RequestCounter
from deployer.drivers.traffic.haproxy.request_stream import Requests
from deployer.drivers.traffic.proxies.members import Members
from deployer.model import Sample


@contextmanager
def group_samples(service: str, members: Members) -> Iterator[GroupSamples]:
    """Open the streams of all that are present."""
    with ExitStack() as stack:
        yield GroupSamples(service, members, stack)


class GroupSamples:
    """The streams of those that are present: a lost proxy leaves, and comes back with one that is opened then."""

    def __init__(self, service: str, members: Members, stack: ExitStack) -> None:
        self._service, self._members, self._stack = service, members, stack
        self._tally = RequestCounter(service)
        self._streams: dict[str, Requests] = {}
        self._follow()

    def take(self) -> Sample:
        """Return what was answered since the last call; the share is the smallest that is in force."""
        for name, stream in list(self._streams.items()):
            try:
                stream.check()
            except DriverFailed as error:
                self._lose(name, error)
        self._follow()
        sample = self._tally.take(min(stream.share() for stream in self._streams.values()))
        read = [waiting for stream in self._streams.values() if (waiting := stream.waiting())]
        return replace(sample, waiting=reduce(operator.add, read)) if read else sample

    def _follow(self) -> None:
        """Read those that are present, and no others."""
        present = self._members.present(self._service)
        self._streams = {name: stream for name, stream in self._streams.items() if name in present}
        for name, member in present.items():
            if name not in self._streams:
                try:
                    self._streams[name] = self._stack.enter_context(
                        member.membership.stream(self._service, self._tally)
                    )
                except DriverFailed as error:
                    self._lose(name, error)

    def _lose(self, name: str, error: DriverFailed) -> None:
        """Go on without one. Raise its error where it cannot be spared."""
        self._members.lose(self._service, name, error)
        self._streams.pop(name, None)
