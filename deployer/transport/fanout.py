"""The same work on many at the same time: machines, proxies, instances."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from deployer.core.errors import DeployError

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
