"""The users of a scenario: a steady load of all kinds, of which no request may be lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.load import Load, Options

PLAIN = ("fresh", "busy", "post", "paused")  # without a cookie: they have no side to stay on
QUIET = Options(rate=60, kinds=("fresh", "busy", "sticky", "post"))
SEEN = 50  # requests after which something has certainly been met by users


@contextmanager
def users(url: str, options: Options = QUIET) -> Iterator[Load]:
    """Put users on a service, before the block and until some time after it: each request must be answered well."""
    with Load(url, options) as load:
        more(load)
        yield load
        more(load)
        report = load.stop()
    assert report.failed == 0, report.text()


def more(load: Load, requests: int = SEEN) -> None:
    """Wait until so many more requests were answered."""
    wanted = load.counters().answered + requests
    load.until(lambda now: now.answered >= wanted, f"{requests} more requests")


def met(load: Load, since: str) -> set[str]:
    """Return the versions that users without a cookie met whose requests began after a mark."""
    return set(load.report().only(*PLAIN).after(since).by_version)
