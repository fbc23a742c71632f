"""What machines say of instances. What was made there is written down; that it still is so, the machine must say."""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args

from deployer.core import commands
from deployer.core.clock import Clock, Deadline
from deployer.core.host import Host
from deployer.drivers.ports import READ_SECONDS
from deployer.drivers.runtime.ansible.instance_record import State
from deployer.transport import ssh
from deployer.transport.fanout import on_all

AT_ONCE = 20
AGAIN_SECONDS = 2.0  # after which a machine is asked again, in the background
STALE_SECONDS = 20.0  # after which an answer is too old to be believed
_ANSWER_SECONDS = 15.0  # to get there, and for an answer
_MOST = 1 << 20  # bytes of an answer


@dataclass(frozen=True)
class InstanceReport:
    """An instance as its machine shows it."""

    state: State
    exit_code: int | None = None
    restarts: int = 0


@dataclass(frozen=True)
class HostQuestion:
    """What a machine is asked: scripts, each with the names of instances that it knows to look at."""

    host: Host
    scripts: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """Give all instances that are asked for."""
        return frozenset(name for names in self.scripts.values() for name in names)

    def command(self) -> list[str]:
        """Give the command line that asks it; without a script, whether it is there."""
        parts = [shlex.join(["sh", "-c", script, "sh", *names]) for script, names in self.scripts.items()]
        line = "; ".join(parts) or "true"
        return ["sh", "-c", line] if self.host.connection == "local" else [*ssh.line(self.host, ssh.QUICK), line]


@dataclass(frozen=True)
class HostAnswer:
    """Why a machine was silent, empty when it was not, when that was, and what it said of the instances asked for."""

    why: str
    at: float
    asked: frozenset[str] = frozenset()
    seen: Mapping[str, InstanceReport] = field(default_factory=dict)


class HostPresence:
    """Asks machines, by ssh, and remembers for a moment what they said."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._mutex = threading.Lock()
        self._answers: dict[str, HostAnswer] = {}
        self._changes: dict[str, int] = {}  # how often something was changed there: what was said before is void
        self._asking: set[str] = set()

    def ask(self, questions: Iterable[HostQuestion]) -> dict[str, HostAnswer]:
        """Give what machines answer, by their name; this one is asked only where there is a script for it."""
        asked = {q.host.name: q for q in questions if q.scripts or q.host.connection != "local"}
        with self._mutex:
            ages = {name: self._age(question) for name, question in asked.items()}
            due = {name for name, age in ages.items() if AGAIN_SECONDS <= age < STALE_SECONDS} - self._asking
            self._asking |= due
        for name in due:
            threading.Thread(target=self._ask, args=(asked[name],), name=f"look-{name}", daemon=True).start()
        on_all({name: asked[name] for name, age in ages.items() if age >= STALE_SECONDS}, self._ask, AT_ONCE).all()
        with self._mutex:
            return {name: self._answers[name] for name in asked if name in self._answers}

    @contextmanager
    def changing(self, name: str) -> Iterator[None]:
        """Forget what a machine said before something is changed there, and while it is."""
        self._forget(name)
        try:
            yield
        finally:
            self._forget(name)

    def _forget(self, name: str) -> None:
        with self._mutex:
            self._changes[name] = self._changes.get(name, 0) + 1
            self._answers.pop(name, None)

    def lost(self, name: str, why: str) -> None:
        """Remember that a machine was just found silent."""
        with self._mutex:
            self._answers[name] = HostAnswer(why, self._clock.monotonic())

    def _age(self, question: HostQuestion) -> float:
        """Give the age of what is known; endless where it does not respond the question."""
        answer = self._answers.get(question.host.name)
        if answer is None or not (answer.why or question.names <= answer.asked):
            return STALE_SECONDS
        return self._clock.monotonic() - answer.at

    def _ask(self, question: HostQuestion) -> None:
        name = question.host.name
        with self._mutex:
            changes = self._changes.get(name, 0)
        why, seen = self._look(question)
        with self._mutex:
            self._asking.discard(name)
            if changes == self._changes.get(name, 0):
                self._answers[name] = HostAnswer(why, self._clock.monotonic(), question.names, seen)

    def _look(self, question: HostQuestion) -> tuple[str, dict[str, InstanceReport]]:
        patience = Deadline.after(self._clock, min(READ_SECONDS, _ANSWER_SECONDS))
        try:
            printed = commands.run(question.command(), Path("/"), os.environ, patience.left, most=_MOST)
        except commands.CommandFailed as failed:
            unreached = ssh.unreached(failed, question.host)
            return unreached.message if unreached else failed.message, {}
        lines = (line.split() for line in printed.out.decode(errors="replace").splitlines())
        said = {words[0]: seen for words in lines if words and (seen := _seen(words[1:]))}
        # What a script does not name is not there any more.
        return "", {name: said.get(name, InstanceReport("exited")) for name in question.names}


def _seen(words: Sequence[str]) -> InstanceReport | None:
    """Read what is said of an instance: STATE, and maybe its exit code and how often it was restarted."""
    if not words or words[0] not in get_args(State):
        return None
    numbers = [int(word) if word.isascii() and word.isdigit() else None for word in words[1:3]]
    exit_code, restarts = (*numbers, None, None)[:2]
    return InstanceReport(cast(State, words[0]), exit_code, restarts or 0)
