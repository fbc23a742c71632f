"""The address of a program between two runs: nobody else gets it, and what listens there is known."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployer.core.errors import DriverFailed
from deployer.supervisor import ensure_running, port
from deployer.supervisor.door import UserGate
from deployer.supervisor.proc import Process
from tests.ports import free_port
from tests.services import require
from tests.unit.test_supervisor import folder, seen, sleeper, wait_for
from tests.waiting import within

__all__ = ["folder"]
NOBODY = 65534
MYSELF = Process.of(os.getpid())


@pytest.fixture(params=["127.0.0.1", "[::1]"])
def address(request: pytest.FixtureRequest) -> str:
    return f"{request.param}:{free_port()}"


def listen(address: str, **options: bool) -> socket.socket:
    host, number = port.split(address)
    return socket.create_server((host, number), family=socket.AF_INET6 if ":" in host else socket.AF_INET, **options)


def leave_connections(address: str) -> None:
    """Close a connection from the side of the program: it stays in TIME_WAIT for a minute."""
    with listen(address) as server, socket.create_connection(port.split(address)) as client:
        accepted, _ = server.accept()
        accepted.close()
        assert client.recv(1) == b""


def test_an_address_that_is_kept_is_nobodys_and_refuses_connections(address: str, tmp_path: Path) -> None:
    leave_connections(address)
    door = UserGate(sleeper(tmp_path, address=address))
    assert door.shut() == ""
    with pytest.raises(OSError, match="in use"):
        listen(address)  # with SO_REUSEADDR
    with pytest.raises(OSError, match="in use"):
        listen(address, reuse_port=True)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(port.split(address), 5)
    assert door.shut() == "", "it is kept already"
    door.hand_over()
    listen(address).close()


def test_who_listens_is_known(address: str) -> None:
    assert MYSELF is not None
    assert not port.listens(MYSELF, address)
    with listen(address):
        assert port.listens(MYSELF, address)
    with listen(f"[::]:{port.split(address)[1]}", dualstack_ipv6=True):
        assert port.listens(MYSELF, address)


@pytest.fixture
def intruder(address: str) -> Iterator[int]:
    """Yield the process of another user who listens on the address."""
    require("root")
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.setuid(NOBODY)
        with listen(address):
            os.write(told, b".")
            signal.pause()
        os._exit(0)
    os.read(ready, 1)
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(ready)
    os.close(told)


def test_another_user_is_not_taken_for_the_program(address: str, intruder: int) -> None:
    assert MYSELF is not None
    assert not port.listens(MYSELF, address)
    own = Process.of(intruder)
    assert own is not None
    assert port.listens(own, address), "a program of root's may change its user"


def test_a_first_start_where_another_program_listens_says_so(folder: Path, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    with listen(address), pytest.raises(DriverFailed, match=f"cannot have {address}: another program listens") as told:
        ensure_running(folder, sleeper(tmp_path, address=address), within())
    assert told.value.hint == "stop it, then try again"
    assert not seen(folder).supervisor_pid


def test_a_program_is_not_started_while_another_one_has_its_address(folder: Path, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    first = ensure_running(folder, sleeper(tmp_path, address=address), within())
    with listen(address):
        os.kill(first.pid, signal.SIGKILL)
        within().until(lambda: bool(seen(folder).error), "the trouble is told")
        assert seen(folder).error == f"another program listens on {address}"
        assert (seen(folder).state, seen(folder).pid) == ("exited", 0)
    assert wait_for(folder, "running").pid not in {0, first.pid}
