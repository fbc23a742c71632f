from __future__ import annotations

import subprocess
import sys

import pytest

from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed, Refused, Unreachable
from deployer.core.retrying import retry
from tests.memory import FakeClock


class Work:
    """Fails in these ways, one after the other, then gives 7; remembers when it was called."""

    def __init__(self, clock: FakeClock, *errors: BaseException) -> None:
        self.clock, self.errors, self.at = clock, list(errors), []  # type: ignore[var-annotated]

    def __call__(self) -> int:
        self.at.append(round(self.clock.monotonic(), 6))
        if self.errors:
            raise self.errors.pop(0)
        return 7


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(0.0)


def test_what_works_is_done_once(clock: FakeClock) -> None:
    work = Work(clock)
    assert retry(work, Deadline.after(clock, 0.0), Exception) == 7
    assert len(work.at) == 1


def test_the_pauses_come_one_after_the_other_and_the_last_again_and_again(clock: FakeClock) -> None:
    began = clock.monotonic()
    work = Work(clock, *(DriverFailed("no") for _ in range(4)))
    assert retry(work, Deadline.after(clock, 60.0), DriverFailed, pauses=(1.0, 2.0)) == 7
    assert [at - began for at in work.at] == [0.0, 1.0, 3.0, 5.0, 7.0]


def test_the_last_error_is_raised_before_a_pause_that_would_not_end_in_time(clock: FakeClock) -> None:
    began = clock.monotonic()
    work = Work(clock, *(DriverFailed(f"no {n}") for n in range(9)))
    with pytest.raises(DriverFailed, match="no 3"):
        retry(work, Deadline.after(clock, 3.5), DriverFailed, pauses=(1.0,))
    assert [at - began for at in work.at] == [0.0, 1.0, 2.0, 3.0]


def test_a_deadline_that_has_passed_leaves_one_attempt(clock: FakeClock) -> None:
    work = Work(clock, DriverFailed("no"))
    with pytest.raises(DriverFailed):
        retry(work, Deadline.after(clock, 0.0), DriverFailed)
    assert len(work.at) == 1


def test_so_many_attempts_and_no_more(clock: FakeClock) -> None:
    work = Work(clock, *(DriverFailed(f"no {n}") for n in range(9)))
    with pytest.raises(DriverFailed, match="no 2"):
        retry(work, Deadline.after(clock, 60.0), DriverFailed, attempts=3)
    assert len(work.at) == 3


@pytest.mark.parametrize("first", [[], [Unreachable("no")]], ids=["at-once", "later"])
def test_another_error_is_raised_as_it_is(clock: FakeClock, first: list[Exception]) -> None:
    work = Work(clock, *first, Refused("never"))
    with pytest.raises(Refused, match="never"):
        retry(work, Deadline.after(clock, 60.0), lambda error: isinstance(error, Unreachable))
    assert len(work.at) == len(first) + 1


def test_what_is_no_error_ends_it_at_once(clock: FakeClock) -> None:
    work = Work(clock, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        retry(work, Deadline.after(clock, 60.0), Exception)
    work = Work(clock, DriverFailed("no"), KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        retry(work, Deadline.after(clock, 60.0), Exception)


def test_an_error_may_ask_for_a_longer_pause(clock: FakeClock) -> None:
    began = clock.monotonic()
    work = Work(clock, DriverFailed("4"), DriverFailed("0"))
    assert retry(work, Deadline.after(clock, 60.0), DriverFailed, pauses=(1.0,), wanted=lambda e: float(str(e))) == 7
    assert [at - began for at in work.at] == [0.0, 4.0, 5.0]
    work = Work(clock, DriverFailed("30"))
    with pytest.raises(DriverFailed):
        retry(work, Deadline.after(clock, 20.0), DriverFailed, wanted=lambda e: float(str(e)))


def test_tenacity_is_imported_when_something_failed() -> None:
    code = (
        "import sys; from deployer.core.clock import Deadline, SystemClock; from deployer.core.retrying import retry;"
        "assert retry(lambda: 7, Deadline.after(SystemClock(), 1.0), Exception) == 7; print('tenacity' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "False\n"
