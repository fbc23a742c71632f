"""Every error that a person can meet, and the exit code that goes with it.

DeployError                 1  internal: ours to fix
├── Refused                 2  bad input or a missing precondition; nothing was changed
│   ├── ManifestRefused     2  all problems of a manifest at once
│   ├── StoreFailed         2  the store cannot be read or written: no space, no right, busy for too long
│   │   └── StoreDamaged    2  the store is damaged or gone
│   └── NoServer            2  the server was not reached, or does not let this client in
├── StepFailed              4  a step or gate failed
│   ├── VerdictWorse        3  the candidate is worse than the margin allows
│   ├── BudgetSpent         3  users saw as many failed responses as the budget allows
│   ├── CannotJudge         7  too little was seen before the deadline
│   ├── NotApproved         7  nobody approved before the deadline
│   ├── DeadlinePassed      4  a wait came to its end
│   │   └── LockHeld        4  … for the lock of a proxy, which another process held
│   └── DriverFailed        4  the engine, the proxy or a playbook refused or did not answer
│       ├── NoServerUp      4  users are not sent where the proxy finds no server up
│       └── Unreachable     4  … did not answer at all
│           └── HostsUnreachable  4  hosts of the inventory did not
├── Locked                  5  somebody else is deploying this service
│   └── LockLost            5  this process was overtaken; it may change nothing any more
├── Aborted                 6  a person stopped the rollout
│   ├── TakenBack           6  … at the proxy, without asking the process that drives it
│   └── Detached            6  … no, only its process: the rollout is as it was, for `deploy resume`
├── NeedsPerson             8  neither forward nor back is safe without a decision
│   └── OutOfSight          8  the server took an order and does not respond any more: it goes on, unseen
└── Answered                *  what a server answered, with the exit code that the command has there
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class Exit(IntEnum):
    """Exit codes: a public contract (docs/exit-codes.md)."""

    DONE = 0
    INTERNAL = 1
    REFUSED = 2
    VERDICT = 3
    FAILED = 4
    LOCKED = 5
    ABORTED = 6
    INCONCLUSIVE = 7
    NEEDS_PERSON = 8
    CHANGES = 10


class DeployError(Exception):
    """Something went wrong: what and where (`message`), and what to do next (`hint`)."""

    exit = Exit.INTERNAL

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.hint}" if self.hint else self.message


def bug(error: Exception) -> str:
    """Return what is said of an error that nobody expected, with its trace."""
    import traceback

    trace = "".join(traceback.format_exception(error)).rstrip()
    what = f"internal error: {type(error).__name__}: {error}"
    return f"{what}\n  → this is a bug; please report it with this trace:\n{trace}"


class Refused(DeployError):
    """The request cannot be carried out as asked; nothing was changed."""

    exit = Exit.REFUSED


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a manifest: where it stands and what would be right."""

    where: str  # "deploy.yml:7"
    path: str  # "health.rise"
    message: str
    hint: str = ""
    # Where all that is wrong is that the environment lacks it: a variable without a value, a file of variables
    variable: str = ""

    def __str__(self) -> str:
        text = ": ".join(part for part in (self.where, self.path, self.message) if part)
        return f"{text} → {self.hint}" if self.hint else text


class ManifestRefused(Refused):
    """The manifest, or another file (`what`), has problems; all of them are listed."""

    def __init__(self, problems: tuple[Problem, ...], what: str = "the manifest") -> None:
        self.problems = problems
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
        super().__init__("\n".join([f"{what} was refused, {count}:", *(f"  {p}" for p in problems)]))


class StoreFailed(Refused):
    """The store could not be read or written; what was asked of it is not recorded."""


class StoreDamaged(StoreFailed):
    """The store is damaged, or gone although there was one: nothing is built on it, nothing is written over it."""


class NoServer(Refused):
    """The server was not reached, or does not let this client in; it was given nothing to do."""


class StepFailed(DeployError):
    """A step or gate did not reach its end; the rollout turns back."""

    exit = Exit.FAILED

    def __init__(self, message: str, hint: str = "", *, log: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.log = log  # last lines that the failing instance wrote


class VerdictWorse(StepFailed):
    """The candidate is worse than the margin allows."""

    exit = Exit.VERDICT


class BudgetSpent(StepFailed):
    """Users saw as many failed responses of the candidate as the budget allows; the proxy gives it none any more."""

    exit = Exit.VERDICT


class CannotJudge(StepFailed):
    """Too little was seen to say anything about the candidate."""

    exit = Exit.INCONCLUSIVE


class NotApproved(StepFailed):
    """The people whose consent it takes did not give it before the deadline."""

    exit = Exit.INCONCLUSIVE


class DeadlinePassed(StepFailed):
    """A wait came to its deadline."""


class LockHeld(DeadlinePassed):
    """Another process held the lock under which a proxy is changed: nothing was changed."""


class DriverFailed(StepFailed):
    """An engine, a proxy or a playbook refused a call or did not answer in time."""


class ImageGone(DriverFailed):
    """The engine has not, or has no more, the image of a release."""


class NoServerUp(DriverFailed):
    """Users were to be sent where the proxy finds no server up; nobody was moved. One may be up in a moment."""


class Unreachable(DriverFailed):
    """What was asked gave no answer at all; it may be down, or the way to it cut."""


class HostsUnreachable(Unreachable):
    """Hosts of the inventory gave no answer; `silent` says of each why, `seen` is what the others gave.

    Who can go on with less takes what was seen; for everybody else it is a failure that names the hosts.
    """

    def __init__(self, silent: Mapping[str, str], seen: tuple[Any, ...] = ()) -> None:
        told = "; ".join(f"{host or 'this host'} is unreachable: {why}" for host, why in sorted(silent.items()))
        super().__init__(told, "see that it runs and can be reached, or take it out of the inventory for good")
        self.silent = dict(silent)
        self.seen = seen


class Locked(DeployError):
    """Another deploy of the same service is in progress."""

    exit = Exit.LOCKED


class LockLost(Locked):
    """The lock went to somebody else while this process was away; it may change nothing any more."""


class Aborted(DeployError):
    """A person stopped the rollout; `by` says who."""

    exit = Exit.ABORTED

    def __init__(self, message: str, hint: str = "", *, by: str = "") -> None:
        super().__init__(message, hint)
        self.by = by


class TakenBack(Aborted):
    """Users were taken off the candidate at the proxy, by an emergency command: they are not given to it again."""


class Detached(Aborted):
    """The process that drove the rollout was told to leave it where it is: whoever resumes it goes on."""


class NeedsPerson(DeployError):
    """Neither forward nor back is safe without a decision by a person."""

    exit = Exit.NEEDS_PERSON


class OutOfSight(NeedsPerson):
    """A server may have been given something to do, and does not respond any more: what becomes of it is not seen."""


class Answered(DeployError):
    """A server answered that it did not go well; the exit code is the one that the command has there."""

    def __init__(self, message: str, hint: str, code: Exit) -> None:
        super().__init__(message, hint)
        self.exit = code


class NothingInProgress(Refused):
    """What is asked needs a rollout in progress, and the service has none, or another one than the `wanted`."""

    def __init__(self, service: str, wanted: int = 0, there: int = 0) -> None:
        if there:
            said = f"rollout {wanted} of {service} is not in progress: {there} is"
            super().__init__(said, "look at it again: `deploy status`")
        else:
            super().__init__(f"{service} has no rollout in progress", "`deploy history` lists the finished ones")


class NoSetInProgress(Refused):
    """What is asked needs a release of a set in progress, and there is none."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no release of {name} is in progress", "`deploy release history` lists the finished ones")


class Abandoned(DeployError):
    """The process that drove a rollout is gone, or does not respond; the rollout is in progress."""

    def __init__(self, rollout: int) -> None:
        super().__init__(
            f"the process that ran rollout {rollout} is gone, or does not respond any more",
            "`deploy resume` finishes it, `deploy abort` rolls it back; its share runs out by itself",
        )
