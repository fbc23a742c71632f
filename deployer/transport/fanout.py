"""The same work on many at the same time: hosts, proxies, instances."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from deployer.core.errors import DeployError, Unreachable

K = TypeVar("K")
A = TypeVar("A")
T = TypeVar("T")


@dataclass(frozen=True)
class Answers(Generic[K, T]):
    """What came of the work on each: what it gave, or why it failed; both in the order of what was given."""

    ok: dict[K, T]
    failed: dict[K, DeployError]

    def all(self) -> dict[K, T]:
        """Return what each gave. Raise the first error, if there is one."""
        for error in self.failed.values():
            raise error
        return self.ok


@dataclass(frozen=True)
class _Raised:
    """An error that was raised: one that the work gives as its answer is an answer."""

    error: DeployError


def on_all(items: Mapping[K, A], work: Callable[[A], T], limit: int) -> Answers[K, T]:
    """Do the work on all of the items, on so many at once, and wait for every one of them.

    Whatever is no DeployError is raised as it is, once all have ended.
    """
    ok: dict[K, T] = {}
    failed: dict[K, DeployError] = {}

    def one(item: A) -> T | _Raised:
        try:
            return work(item)
        except DeployError as error:
            return _Raised(error)

    for key, came in zip(items, _carried_out(one, list(items.values()), limit), strict=True):
        if isinstance(came, _Raised):
            failed[key] = came.error
        else:
            ok[key] = came
    return Answers(ok, failed)


def _carried_out(one: Callable[[A], T], items: list[A], limit: int) -> list[T]:
    at_once = min(limit, len(items))
    if at_once < 2:  # in this thread: one after the other
        return [one(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(at_once, thread_name_prefix="on-all") as pool:
        return list(pool.map(one, items))


def on_most(items: Mapping[K, A], work: Callable[[A], T], enough: int, seconds: float) -> Answers[K, T]:
    """Do the work on all of the items at once; when so many have done it, wait for the others `seconds` and no longer.

    What has not ended then is Unreachable, and left to itself, in a thread of its own. Where fewer have done it, every
    one is waited for. Whatever is no DeployError is raised as it is, once nobody is waited for any more.
    """
    import queue
    import threading

    ended = queue.SimpleQueue[tuple[K, tuple[T] | BaseException]]()

    def one(key: K, item: A) -> None:
        try:
            ended.put((key, (work(item),)))
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it
            ended.put((key, error))

    for key, item in items.items():
        threading.Thread(target=one, args=(key, item), name="on-most", daemon=True).start()
    came: dict[K, tuple[T] | BaseException] = {}
    late: float | None = None  # the moment at which nobody is waited for any more
    while len(came) < len(items):
        try:
            key, came[key] = ended.get(timeout=None if late is None else max(late - time.monotonic(), 0.0))
        except queue.Empty:
            break
        if late is None and sum(isinstance(each, tuple) for each in came.values()) >= enough:
            late = time.monotonic() + seconds
    ok: dict[K, T] = {}
    failed: dict[K, DeployError] = {}
    for key in items:
        what = came.get(key, Unreachable(f"{key}: no response within {seconds:.3g} s after others had responded"))
        if isinstance(what, tuple):
            (ok[key],) = what
        elif isinstance(what, DeployError):
            failed[key] = what
        else:
            raise what
    return Answers(ok, failed)
