"""Every wait ends: nothing in the package waits without saying for how long, and every step and driver call has an end.

What is found by reading the code is compared with a list of what may wait without a number, each with its reason.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from deployer.drivers import ports
from deployer.planning.kinds import KINDS
from deployer.planning.steps import Step
from tests.documents import REPOSITORY

SOURCES = [f for folder in ("deployer", "strategies") for f in sorted((REPOSITORY / folder).rglob("*.py"))]
_BINDS = "it only tries to bind an address, which never waits"
_TIMER = "the timer is cancelled; what it may be doing is one shutdown of a socket"
_PAUSED = "it pauses an instance, by a call that has a deadline"
_KILLED = "the process was killed with SIGKILL"
ALLOWED = {
    "deployer/drivers/runtime/docker/guests.py: DockerGuests.freeze.halt: client.api.pause": _PAUSED,
    "deployer/drivers/sleeping/sleeper.py: LocalSleeper.sleep: self._starter(side).pause": _PAUSED,
    "deployer/drivers/sleeping/starters.py: DockerStarter.pause: container.pause": _PAUSED,
    "deployer/engine/perform.py: perform: resting.pause": _PAUSED,
    "deployer/engine/resting.py: pause: pauser.pause": _PAUSED,
    "deployer/drivers/sleeping/starters.py: ProcessStarter.pause: supervisor.pause": _PAUSED,
    "deployer/drivers/sleeping/waker.py: Waker.run: over.wait": "it runs until a signal ends it",
    "deployer/drivers/sleeping/waker.py: main: os.waitpid": "the child is all that this process runs",
    "deployer/transport/sockets.py: connection: timer.join": _TIMER,
    "deployer/drivers/runtime/docker/commands.py: _cancelled: timer.join": _TIMER,
    "deployer/drivers/runtime/process/runtime.py: _claim: socket": _BINDS,
    "deployer/drivers/traffic/haproxy/proxy.py: refuse_taken: socket": _BINDS,
    "deployer/emergency/remote_endpoint.py: RemoteEndpoint.close: os.waitpid": _KILLED,
    "deployer/drivers/hosts/run.py: _worker: worker.wait": _KILLED,
    "deployer/drivers/notices/outbox.py: Outbox._run: self._waiting.get": "finishing puts the end into the queue, and"
    " whoever closes it waits so long and no longer; the process does not wait for the thread",
    "deployer/app/operations/execution.py: port_usable: socket": _BINDS,
    "deployer/store/postgres/connection.py: _cut: socket": "it shuts down what is open, which waits for nobody",
    "deployer/app/operations/dispatch.py: _perform: operations.pause": "it is our own pause, not that of signals",
    "deployer/cli/keep.py: keep: asked.wait": "it runs until a signal ends it",
    "deployer/transport/ssh_process.py: SshProcess.close: self._process.wait": _KILLED,
    "deployer/evidence/replay.py: judge: stage.result": "it computes; nothing outside is asked",
    "deployer/server/connection_guard.py: Listening.accept: super().accept": "called when somebody is there",
    "deployer/server/hub.py: Hub.follow: changed.wait": "it runs in the block of a timeout",
    "deployer/server/hub.py: Hub.follow: poller.result": "it is asked only when it is done",
    "deployer/server/runs.py: Processes._await: process.wait": "a thread of its own, which nobody waits for; what the"
    " process does has its deadlines",
    "deployer/server/stdio.py: _answer: socket": "both ends are in this process, and it ends when stdin does",
    "deployer/supervisor/port.py: keep: socket": _BINDS,
    "deployer/supervisor/watch.py: _bury: os.waitpid": _KILLED,
    "deployer/views/queued_sink.py: QueuedSink.__exit__: self._writer.join": "a reader may pause, as with any program:"
    " the rollout has ended by then, its lock is given back, and Ctrl-C ends it",
    "deployer/views/queued_sink.py: QueuedSink._write: self._events.get": "leaving it puts the end into the queue",
}


class Waits(ast.NodeVisitor):
    """Finds calls that may wait for ever: by their name, and by the argument with an end that they lack."""

    RUNS = frozenset({"run", "call", "check_call", "check_output"})
    # Methods that wait for ever when they are called with nothing.
    BARE = frozenset({"wait", "join", "get", "acquire", "result", "communicate", "select", "accept"})
    NEVER = frozenset({"input", "pause", "sigwait", "getch"})
    HTTP = frozenset({"get", "post", "put", "head", "request"})

    def __init__(self) -> None:
        self.found: list[str] = []
        self._inside: list[str] = []

    def _named(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self._inside.append(node.name)
        self.generic_visit(node)
        self._inside.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _named  # noqa: N815 - names of ast.NodeVisitor

    def visit_Call(self, node: ast.Call) -> None:
        name, owner = _name(node.func)
        given = {keyword.arg for keyword in node.keywords}
        if self._forever(node, name, owner, given):
            self.found.append(f"{'.'.join(self._inside)}: {owner + '.' if owner else ''}{name}")
        self.generic_visit(node)

    def _forever(self, node: ast.Call, name: str, owner: str, given: set[str | None]) -> bool:
        if owner == "subprocess" and name in self.RUNS:
            return "timeout" not in given
        if owner in ("requests", "session") and name in self.HTTP:
            return "timeout" not in given
        if name in ("urlopen", "create_connection"):
            return "timeout" not in given and len(node.args) < 2
        if name in self.NEVER or (owner == "os" and name in ("wait", "waitpid", "waitid")):
            return not _has_flag(node, "WNOHANG")
        if name in ("flock", "lockf", "fcntl"):
            waiting = {"F_SETLKW", "F_OFD_SETLKW", "LOCK_EX", "LOCK_SH"}
            return any(_has_flag(node, flag) for flag in waiting) and not _has_flag(node, "LOCK_NB")
        if owner == "select" and name == "select":
            return len(node.args) < 4
        return name in self.BARE and not node.args and not given and bool(owner)


def _name(function: ast.expr) -> tuple[str, str]:
    """Return the name that is called and what it belongs to: `("wait", "self._end")`."""
    if isinstance(function, ast.Attribute):
        return function.attr, ast.unparse(function.value)
    return (function.id, "") if isinstance(function, ast.Name) else ("", "")


def _has_flag(node: ast.Call, flag: str) -> bool:
    return any(flag in ast.unparse(argument) for argument in node.args)


class Sockets(ast.NodeVisitor):
    """Finds functions that make a socket, or sleep in a loop, without an end in sight."""

    ENDS = ("deadline", "settimeout", "setblocking", "patience", "limit", "passed", "_end", "monotonic")

    def __init__(self) -> None:
        self.found: list[str] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        text = ast.unparse(node)
        called = {_name(call.func) for call in ast.walk(node) if isinstance(call, ast.Call)}
        loops = [loop for loop in ast.walk(node) if isinstance(loop, ast.While)]
        sleeps = any("sleep(" in ast.unparse(loop) for loop in loops)
        if ((("socket", "socket") in called) or sleeps) and not any(word in text for word in self.ENDS):
            self.found.append(f"{node.name}: {'sleeps in a loop' if sleeps else 'socket'}")
        self.generic_visit(node)


def found_in(text: str) -> list[str]:
    tree = ast.parse(text)
    found = []
    for visitor in (Waits(), Sockets()):
        visitor.visit(tree)
        found += visitor.found
    return found


def everything() -> Iterator[str]:
    for file in SOURCES:
        for what in found_in(file.read_text()):
            yield f"{file.relative_to(REPOSITORY)}: {what}"


def test_nothing_waits_without_an_end_but_what_says_why() -> None:
    found = set(everything())
    assert found - set(ALLOWED) == set(), "give it a time-out, or say in ALLOWED why it ends"
    assert set(ALLOWED) - found == set(), "these are gone: take them out of ALLOWED"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("subprocess.run(['ls'])", True),
        ("subprocess.run(['ls'], timeout=5)", False),
        ("process.wait()", True),
        ("process.wait(5)", False),
        ("thread.join()", True),
        ("', '.join(names)", False),
        ("answers.get()", True),
        ("given.get('a')", False),
        ("lock.acquire()", True),
        ("lock.acquire(timeout=1)", False),
        ("future.result()", True),
        ("requests.get(url)", True),
        ("requests.get(url, timeout=3)", False),
        ("socket.create_connection(address)", True),
        ("socket.create_connection(address, timeout=3)", False),
        ("fcntl.flock(fd, fcntl.LOCK_EX)", True),
        ("fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)", False),
        ("select.select([a], [], [])", True),
        ("select.select([a], [], [], 0.1)", False),
        ("os.waitpid(pid, 0)", True),
        ("os.waitpid(pid, os.WNOHANG)", False),
        ("input('sure? ')", True),
        ("def f():\n    s = socket.socket()\n    s.connect(path)", True),
        ("def f():\n    s = socket.socket()\n    s.settimeout(3)", False),
        ("def f():\n    while not ready():\n        time.sleep(1)", True),
        ("def f(deadline):\n    while not ready():\n        deadline.check('x')\n        time.sleep(1)", False),
    ],
)
def test_a_wait_without_an_end_is_seen(line: str, told: bool) -> None:
    assert bool(found_in(textwrap.dedent(line))) == told


# -- steps and drivers

# Calls that only ask: they have their answer or fail within READ_SECONDS.
ASKING = {
    "RuntimeCare.list_all",
    "Runtime.check_release",
    "Runtime.instances",
    "RuntimeCare.garbage",
    "Runtime.logs",
    "ImageFiles.has",
    "ImageFiles.keep",
    "ImageFiles.platform",
    "ImageFiles.present",
    "ServiceData.names",
    "ServiceData.source",
    "Runtime.prune",
    "RuntimeCare.foreign",
    "RuntimeCare.collect_garbage",
    "TrafficInspection.reachable",
    "TrafficInspection.measured",
    "ShownCertificates.shown",
    "TrafficInspection.load",
    "TrafficInspection.drift",
    "Traffic.read",
    "Traffic.lost",
    "Traffic.servers",
    "TrafficInspection.services",
    "Traffic.preview",
    "Traffic.spent",
    "Traffic.samples",
    "Samples.take",
    "Verbs.require",
}
PROTOCOLS = [
    value
    for value in (getattr(ports, name) for name in ports.__all__)  # each is imported when it is asked for
    if inspect.isclass(value) and getattr(value, "_is_protocol", False)
]


def _methods() -> Iterator[tuple[str, bool]]:
    for protocol in PROTOCOLS:
        for name, method in vars(protocol).items():
            if inspect.isfunction(method) and not name.startswith("_"):
                yield f"{protocol.__name__}.{name}", "Deadline" in inspect.get_annotations(method).values()


def test_every_driver_call_that_waits_is_given_a_deadline() -> None:
    without = {name for name, bounded in _methods() if not bounded}
    assert {p.__name__ for p in PROTOCOLS} >= {
        "Runtime",
        "Traffic",
        "Checks",
        "Playbooks",
        "MetricSources",
        "Samples",
        "Verbs",
    }
    assert without == ASKING


def test_every_kind_of_step_has_a_deadline_that_must_be_given() -> None:
    assert len(KINDS) >= 12
    for kind in KINDS.values():
        deadline = next(f for f in fields(kind) if f.name == "deadline")
        assert issubclass(kind, Step)
        assert deadline.default is deadline.default_factory, f"{kind.__name__} has a default"  # both are MISSING


def test_no_plan_has_a_step_without_a_deadline() -> None:
    plans = sorted((REPOSITORY / "tests/golden").rglob("*.json"))
    steps = [step for file in plans for step in _steps(json.loads(Path(file).read_text()))]
    assert len(steps) > 50
    assert all(0 < step["deadline"] < 86_400 for step in steps)


def _steps(data: object) -> Iterator[dict[str, float]]:
    if isinstance(data, dict):
        if "kind" in data and "deadline" in data:
            yield data
        for value in data.values():
            yield from _steps(value)
    elif isinstance(data, list):
        for value in data:
            yield from _steps(value)
