"""Every call of a driver, seen from outside: there a process may die, there a driver may fail, hang, lie, be late."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from typing import Any

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed
from deployer.drivers.ports import READ_SECONDS, Drivers

# Calls that change the world. Of these it is asked whether their caller may; others are no danger.
CHANGING = frozenset(
    {
        "configure",
        "set_traffic",
        "introduce",
        "attach",
        "drain",
        "hand_over",
        "detach",
        "forget",
        "ensure",
        "remove",
        "prune",
        "play",
    }
)


@dataclass(frozen=True)
class Call:
    """One call: `runtime.ensure`, with its deadline if it was given one."""

    driver: str
    method: str
    arguments: tuple[Any, ...]
    deadline: Deadline | None

    @property
    def changes(self) -> bool:
        return self.method in CHANGING

    def __str__(self) -> str:
        return f"{self.driver}.{self.method}"


Meet = Callable[[Call, Callable[[], Any]], Any]


class Seen:
    """A driver whose every call is met by somebody, who carries it out or not."""

    def __init__(self, name: str, driver: object, meet: Meet) -> None:
        self._name, self._driver, self._meet = name, driver, meet

    def __getattr__(self, method: str) -> Callable[..., Any]:
        real = getattr(self._driver, method)

        def met(*given: Any, **named: Any) -> Any:
            arguments = (*given, *named.values())
            deadline = next((a for a in arguments if isinstance(a, Deadline)), None)
            call = Call(self._name, method, arguments, deadline)
            answer = self._meet(call, lambda: real(*given, **named))
            return Opened(answer, self._meet) if method == "samples" else answer

        return met


class Opened:
    """A stream of samples, whose every `take` is met likewise."""

    def __init__(self, stream: AbstractContextManager[Any], meet: Meet) -> None:
        self._stream, self._meet = stream, meet

    def __enter__(self) -> Seen:
        return Seen("samples", self._stream.__enter__(), self._meet)

    def __exit__(self, *trouble: Any) -> None:
        self._stream.__exit__(*trouble)


def seen(drivers: Drivers, meet: Meet) -> Drivers:
    """Let every call of these drivers be met."""
    made: dict[str, Any] = {f.name: Seen(f.name, getattr(drivers, f.name), meet) for f in fields(drivers)}
    return Drivers(**made)


# -- faults

HANGS, FAILS, LIES, DENIES, LATE, TOO_LATE = "hangs", "fails", "lies", "denies", "is late", "is too late"
KINDS = (FAILS, HANGS, LIES, DENIES, LATE, TOO_LATE)
_LIES: dict[str, object] = {
    "drain": 0,
    "hand_over": 0,
    "load": {},
    "probe": "",
    "smoke": "",
}  # what a lie is, where it is not nothing


@dataclass(frozen=True)
class Fault:
    """What a driver does instead of what it should, at the call of that number, or at that one and all like it.

    fails        refuses at once
    hangs        answers nothing until its deadline, and then that it passed
    lies         says that it was done, and did nothing
    denies       does it, and says that it failed
    is late      does it after half of the time
    is too late  does it when the time is over, and says so as if nothing were
    """

    kind: str
    at: int = 0
    method: str = ""
    ever: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.kind}{' ever after' * self.ever} (call {self.at})"

    def meets(self, call: Call, number: int) -> bool:
        if self.ever:
            return number >= self.at and call.method == self.method
        return number == self.at

    def commit(self, call: Call, carry_out: Callable[[], Any], clock: Clock) -> Any:
        """Answer in place of the driver."""
        left = call.deadline.left() if call.deadline else READ_SECONDS
        match self.kind:
            case "hangs":
                clock.sleep(left)
                trouble = DeadlinePassed if call.deadline else DriverFailed
                raise trouble(f"{call}: no response within {left:g} s")
            case "lies":
                return _LIES.get(call.method, ())
            case "denies":
                carry_out()
                raise DriverFailed(f"{call}: failed, so it says")
            case "is late":
                clock.sleep(left / 2)
                return carry_out()
            case "is too late":
                clock.sleep(left + 1)
                return carry_out()
        raise DriverFailed(f"{call}: failed")


def kinds(call: Call) -> tuple[str, ...]:
    """Return what can go wrong with a call: only one that changes something, or judges, can lie about it."""
    if call.changes:
        return KINDS
    return (FAILS, HANGS, LIES, LATE) if call.method in _LIES else (FAILS, HANGS, LATE)
