"""Containers read at the socket of an engine, without its SDK: what it says, and what happens when it says it badly."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer

import pytest

from deployer.core.errors import DeadlinePassed, DriverFailed, Unreachable
from deployer.drivers.runtime.docker import reading
from tests.waiting import within

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def engine(folder: Path, answer: Answer) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def address_string(self) -> str:
            return "socket"

        def log_message(self, *_: object) -> None:
            pass

    path = folder / "engine.sock"
    with ThreadingUnixStreamServer(str(path), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"unix://{path}"
        server.shutdown()


def say(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    handler.wfile.write(body)


def test_containers_are_read_and_one_that_is_removed_meanwhile_is_left_out(tmp_path: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path.startswith("/containers/json?all=1&filters=%7B%22label%22%3A%20%5B%22a%3Db%22%5D%7D"):
            say(handler, json.dumps([{"Id": "one"}, {"Id": "gone"}]).encode())
        elif handler.path == "/containers/one/json":
            say(handler, b'{"Id": "one", "Name": "/shop-r1-1"}')
        else:
            say(handler, b'{"message": "No such container"}', 404)

    with engine(tmp_path, answer) as address:
        found = reading.containers("containers of shop", address, ["a=b"], 30)
    assert found == [{"Id": "one", "Name": "/shop-r1-1"}]


def test_the_words_of_the_engine_are_kept(tmp_path: Path) -> None:
    with (
        engine(tmp_path, lambda handler: say(handler, b'{"message": "disk is full"}', 500)) as address,
        pytest.raises(DriverFailed, match="containers of shop: disk is full"),
    ):
        reading.containers("containers of shop", address, [], 30)


def test_what_is_no_engine_is_called_so(tmp_path: Path) -> None:
    with (
        engine(tmp_path, lambda handler: say(handler, b"<html>")) as address,
        pytest.raises(DriverFailed, match="is not a Docker engine"),
    ):
        reading.containers("containers of shop", address, [], 30)


def test_an_answer_that_drips_ends_with_the_time(tmp_path: Path) -> None:
    done = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not done.wait(0.02):
            try:
                handler.wfile.write(b" ")
            except OSError:
                return

    with engine(tmp_path, drip) as address:
        patience = within()
        with pytest.raises(DeadlinePassed, match=r"did not respond within 0\.3 s"):
            reading.containers("containers of shop", address, [], 0.3)
        assert not patience.passed()
        done.set()


def test_an_answer_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGEST", 1 << 20)
    with (
        engine(tmp_path, lambda handler: say(handler, b" " * (2 << 20))) as address,
        pytest.raises(DriverFailed, match="is not trusted: its response has more than 1 MiB"),
    ):
        reading.containers("containers of shop", address, [], 30)


def test_nobody_at_the_socket_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="no Docker engine at unix://"):
        reading.containers("containers of shop", f"unix://{tmp_path}/none.sock", [], 5)
