"""A cable to a port of this host that can be cut: what is sent then is lost from sight, and nobody is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.ports import free_port

_SIZE = 1 << 16


class Cable:
    """Carries bytes both ways; `port` is its near end. While it is cut nothing arrives, as with one that was pulled."""

    def __init__(self, port: int) -> None:
        self.port, self._to = free_port(), port
        self._whole = threading.Event()
        self._whole.set()
        self._mutex = threading.Lock()
        self._ends: list[socket.socket] = []
        self._near = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._take, name="cable", daemon=True).start()

    def cut(self) -> None:
        """Let nothing through any more; a connection is neither refused nor ended."""
        self._whole.clear()

    def heal(self) -> None:
        """Let through what was sent meanwhile, and what comes."""
        self._whole.set()

    def close(self) -> None:
        """End all connections."""
        with self._mutex:
            for end in (self._near, *self._ends):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
        self.heal()

    def _take(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._near.accept()
                threading.Thread(target=self._connect, args=(near,), name="cable", daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        self._whole.wait()
        far = socket.create_connection(("127.0.0.1", self._to), timeout=20)
        far.settimeout(None)
        with self._mutex:
            self._ends += (near, far)
        for from_, to in ((near, far), (far, near)):
            threading.Thread(target=self._carry, args=(from_, to), name="cable", daemon=True).start()

    def _carry(self, from_: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while data := from_.recv(_SIZE):
                self._whole.wait()
                to.sendall(data)
        self._whole.wait()  # that an end has gone is not seen through a cut cable either
        for end in (from_, to):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def cable(port: int) -> Iterator[Cable]:
    """Have one to a port."""
    made = Cable(port)
    try:
        yield made
    finally:
        made.close()
