"""What an HAProxy may say on its sockets, whole or damaged: understood, or one of our errors."""

from __future__ import annotations

from pathlib import Path

from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed
from deployer.drivers.traffic.haproxy import budget, live_map
from deployer.drivers.traffic.haproxy.master import MasterSocket, Worker, complaints
from deployer.drivers.traffic.haproxy.servers import Servers
from deployer.model import Live
from tests.fuzz.target import refusals
from tests.memory import FakeClock

WEIGHT = 3
SPLIT = b"\n%%%\n"
SOCKET = Path("/run/master.sock")


class Answering(MasterSocket):
    """A master socket at which the same bytes answer every question, in turns if there are several."""

    def __init__(self, answers: list[bytes]) -> None:
        self._answers, self._turn = answers, 0
        super().__init__(SOCKET, FakeClock())

    def _ask(self, command: str, within: float, limit: Deadline) -> str:
        assert "\n" not in command, "a command of more than one line"
        answer = self._answers[self._turn % len(self._answers)]
        self._turn += 1
        if not answer:
            raise ConnectionResetError("closed without a response")
        return answer.decode(errors="replace")


class LeftWith(budget.Leaver):
    """Reads a table from what one `recv` after the other would give."""

    def __init__(self, answers: list[bytes]) -> None:
        super().__init__(SOCKET)
        self._connection.close()
        self._connection = Saying(answers)  # type: ignore[assignment]


class Saying:
    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = list(chunks)

    def sendall(self, data: bytes) -> None:
        pass

    def recv(self, size: int) -> bytes:
        return self._chunks.pop(0)[:size] if self._chunks else b""


def check(data: bytes) -> None:
    answers = data.split(SPLIT)
    worker = Worker(4711, old=False)
    for ask in (_workers, _servers, _values, _budget):
        with refusals():
            ask(Answering(answers), worker)
    complaints(data.decode(errors="replace"))
    leaver = LeftWith([answer + b"> " for answer in answers])
    try:
        leaver._look()
        leaver._look()
    except ConnectionResetError:
        pass
    assert all(count >= 0 for count in leaver.since().values())


def _workers(master: Answering, worker: Worker) -> None:
    deadline = _soon(master)
    assert all(w.pid >= 0 for w in master.workers(deadline))
    master.pid(deadline)
    master.current(deadline)
    assert master.connections(worker, deadline) >= 0
    master.reload(deadline)


def _servers(master: Answering, worker: Worker) -> None:
    servers, deadline = Servers(master), _soon(master)
    for name, seen in servers.seen(worker, "shop_blue", deadline).items():
        assert name == seen.name
        _ = seen.up, seen.checked, seen.passed, seen.tells, seen.last
    servers.admin(worker, "shop_blue", deadline)
    assert servers.idle(worker, deadline) >= 0
    servers.cut(Worker(1, old=True), "shop_blue", "shop-r1-1", deadline)


def _values(master: Answering, worker: Worker) -> None:
    values, deadline = live_map.LiveMap(master, Path("/state/maps/state.map")), _soon(master)
    try:
        found = values.read("shop", deadline)
        assert isinstance(found, Live)
    except DriverFailed:
        pass
    values.values(deadline)
    values.structure(deadline)
    values.spent("shop", "blue,500,0,3,50,0,0,0", deadline)


def _budget(master: Answering, worker: Worker) -> None:
    assert budget.count(master, worker, "shop", 3, _soon(master)) >= 0


def _soon(master: Answering) -> Deadline:
    return Deadline.after(master._clock, 0.05)
