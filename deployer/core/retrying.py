"""Trying again: one policy for whatever may fail for a moment, on tenacity.

Deadline and clock are passed in, so that tests take no time. Loops that only wait for something are `Deadline.until`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from deployer.core.clock import Deadline

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")
Again = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool]


def retry(
    work: Callable[[], T],
    deadline: Deadline,
    again: Again,
    *,
    pauses: Sequence[float] = (0.01,),
    attempts: int = 0,
    wanted: Callable[[Exception], float] = lambda _error: 0.0,
) -> T:
    """Return what `work` gives, called again while it fails in a way that may pass.

    `again` says which way that is: errors of these types, or those of which it is true. The pauses come one after the
    other, the last one again and again; `wanted` is a longer one that an error itself asks for. Raise the last error
    when the next pause would not end before the deadline, and after so many `attempts`, if a number is given.
    """

    def may_pass(error: BaseException) -> bool:
        if isinstance(again, type | tuple):
            return isinstance(error, again)
        return isinstance(error, Exception) and again(error)

    try:
        return work()
    except Exception as error:
        if not may_pass(error):
            raise
        failed = [error]  # nothing is imported where nothing fails: questions are to be answered at once

    import tenacity

    def next_attempt() -> T:
        if failed:
            raise failed.pop()
        return work()

    def next_pause(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        planned = pauses[min(state.attempt_number, len(pauses)) - 1]
        return max(planned, wanted(error)) if isinstance(error, Exception) else planned

    def over(state: RetryCallState) -> bool:
        return state.attempt_number == attempts or next_pause(state) >= deadline.left()

    policy = tenacity.Retrying(
        sleep=deadline.clock.sleep,
        stop=over,
        wait=next_pause,
        retry=tenacity.retry_if_exception(may_pass),
        reraise=True,
    )
    return policy(next_attempt)
