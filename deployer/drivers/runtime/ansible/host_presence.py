"""What hosts say of instances. What was made there is written down; that it still is so, the host must say."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast, get_args

from deployer.core import commands
from deployer.core.clock import Clock, Deadline
from deployer.core.host import Host
from deployer.drivers.ports import READ_SECONDS
from deployer.drivers.runtime.ansible.instance_record import State
from deployer.transport import ssh
from deployer.transport.fanout import on_all
from deployer.transport.reachability import LastHeard
from deployer.transport.timeouts import QUICK

AT_ONCE = 20
_ANSWER_SECONDS = 15.0  # to get there, and for an answer
_MOST = 1 << 20  # bytes of an answer


@dataclass(frozen=True)
class InstanceReport:
    """An instance as its host shows it."""

    state: State
    exit_code: int | None = None
    restarts: int = 0


@dataclass(frozen=True)
class HostQuestion:
    """What a host is asked: scripts, each with the names of instances that it knows to look at."""

    host: Host
    scripts: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """Return all instances that are asked for."""
        return frozenset(name for names in self.scripts.values() for name in names)

    def command(self) -> list[str]:
        """Return the command line that asks it; without a script, whether it is there."""
        parts = [shlex.join(["sh", "-c", script, "sh", *names]) for script, names in self.scripts.items()]
        line = "; ".join(parts) or "true"
        return ["sh", "-c", line] if self.host.connection == "local" else [*ssh.line(self.host, QUICK), line]


@dataclass(frozen=True)
class HostAnswer:
    """Why a host was silent, empty when it was not, and what it said of the instances asked for."""

    why: str
    asked: frozenset[str] = frozenset()
    seen: Mapping[str, InstanceReport] = field(default_factory=dict)


class HostPresence:
    """Asks hosts, by ssh, and remembers for a moment what they said."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hosts: dict[str, LastHeard[HostAnswer]] = {}

    def ask(self, questions: Iterable[HostQuestion]) -> dict[str, HostAnswer]:
        """Return what hosts answer, by their name; this one is asked only where there is a script for it."""
        asked = {q.host.name: q for q in questions if q.scripts or q.host.connection != "local"}
        heard = {name: self._known(question) for name, question in asked.items()}
        unknown = {name: asked[name] for name, answer in heard.items() if answer is None}
        heard |= on_all(unknown, self._ask, AT_ONCE).all()
        return {name: answer for name, answer in heard.items() if answer is not None}

    @contextmanager
    def changing(self, name: str) -> Iterator[None]:
        """Forget what a host said before something is changed there, and while it is."""
        self._host(name).forget()
        try:
            yield
        finally:
            self._host(name).forget()

    def lost(self, name: str, why: str) -> None:
        """Remember that a host was just found silent."""
        self._host(name).keep(HostAnswer(why))

    def _host(self, name: str) -> LastHeard[HostAnswer]:
        return self._hosts.setdefault(name, LastHeard(name, self._clock))

    def _known(self, question: HostQuestion) -> HostAnswer | None:
        """Return what is known of all instances that are asked for."""
        answer = self._host(question.host.name).known(partial(self._look, question))
        return answer if answer is not None and (answer.why or question.names <= answer.asked) else None

    def _ask(self, question: HostQuestion) -> HostAnswer | None:
        return self._host(question.host.name).ask(partial(self._look, question))

    def _look(self, question: HostQuestion) -> HostAnswer:
        patience = Deadline.after(self._clock, min(READ_SECONDS, _ANSWER_SECONDS))
        try:
            printed = commands.run(question.command(), Path("/"), os.environ, patience.left, most=_MOST)
        except commands.CommandFailed as failed:
            unreached = ssh.unreached(failed, question.host)
            return HostAnswer(unreached.message if unreached else failed.message)
        lines = (line.split() for line in printed.decode(errors="replace").splitlines())
        said = {words[0]: seen for words in lines if words and (seen := _seen(words[1:]))}
        # What a script does not name is not there any more.
        found = {name: said.get(name, InstanceReport("exited")) for name in question.names}
        return HostAnswer("", question.names, found)


def _seen(words: Sequence[str]) -> InstanceReport | None:
    """Read what is said of an instance: STATE, and maybe its exit code and how often it was restarted."""
    if not words or words[0] not in get_args(State):
        return None
    numbers = [int(word) if word.isascii() and word.isdigit() else None for word in words[1:3]]
    exit_code, restarts = (*numbers, None, None)[:2]
    return InstanceReport(cast(State, words[0]), exit_code, restarts or 0)
