"""HTTP/2 without TLS, both ends: an upstream that answers like gRPC (with trailers), and a client on one connection."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import h2.config
import h2.connection
import h2.events

from tests.live.upstream import Upstream


class H2Upstream(Upstream):
    """Answers each call with its name and the trailer grpc-status: 0. Speaks nothing but HTTP/2."""

    def protocol(self) -> asyncio.Protocol:
        return _Server(self, self._connections)


class _Server(asyncio.Protocol):
    def __init__(self, upstream: Upstream, connections: set[asyncio.Transport]) -> None:
        self._upstream = upstream
        self._connections = connections
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(transport)
        self._h2.initiate_connection()
        transport.write(self._h2.data_to_send())

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                self._upstream.hits[dict(event.headers)[b":path"].decode()] += 1
            elif isinstance(event, h2.events.DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self._answer(event.stream_id)
        self._transport.write(self._h2.data_to_send())

    def _answer(self, stream: int) -> None:
        self._h2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        self._h2.send_data(stream, self._upstream.name.encode())
        self._h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)


class H2Client:
    """Calls, one after the other, on one connection."""

    def __init__(self, to: int | socket.socket, name: str = "shop") -> None:
        """Call a port of this host, or whoever is at the other end of a connection, under a name."""
        self._socket = socket.create_connection(("127.0.0.1", to), timeout=10) if isinstance(to, int) else to
        self._name = name
        self.headers: dict[str, str] = {}  # of the last call
        self.trailers: dict[str, str] = {}  # the same
        self._h2 = h2.connection.H2Connection()
        self._h2.initiate_connection()
        self._socket.sendall(self._h2.data_to_send())

    def close(self) -> None:
        self._socket.close()

    def begin(self, method: str, path: str) -> None:
        """Send a request without a body, and do not wait for its answer."""
        self._h2.send_headers(self._h2.get_next_available_stream_id(), self._head(method, path), end_stream=True)
        self._socket.sendall(self._h2.data_to_send())

    def _head(self, method: str, path: str) -> list[tuple[str, str]]:
        return [(":method", method), (":scheme", "http"), (":authority", self._name), (":path", path)]

    def call(self, path: str = "/shop.Shop/Buy", message: bytes = b"\x00\x00\x00\x00\x00") -> tuple[str, str, str]:
        """Return status, body and the trailer grpc-status."""
        stream = self._h2.get_next_available_stream_id()
        head = [*self._head("POST", path), ("te", "trailers"), ("content-length", str(len(message)))]
        self._h2.send_headers(stream, head)
        left = self._send(stream, message)
        status, body, grpc, ended = "", b"", "", False
        while not ended:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError("closed in the middle of a call")
            for event in self._h2.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    self.headers = _text(event.headers)
                    status = self.headers.get(":status", "")
                elif isinstance(event, h2.events.TrailersReceived):
                    self.trailers = _text(event.headers)
                    grpc = self.trailers.get("grpc-status", "")
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    ended = True
                elif isinstance(event, h2.events.StreamReset) and not ended:  # the rest of a request may be unwanted
                    raise ConnectionError("the call was reset")
            if left and not ended:
                left = self._send(stream, left)
            self._socket.sendall(self._h2.data_to_send())
        return status, body.decode(), grpc

    def _send(self, stream: int, message: bytes) -> bytes:
        """Send as much of a message as the other side takes now; return the rest."""
        most = min(self._h2.local_flow_control_window(stream), len(message))
        for at in range(0, most, self._h2.max_outbound_frame_size):
            until = min(at + self._h2.max_outbound_frame_size, most)
            self._h2.send_data(stream, message[at:until], end_stream=until == len(message))
        self._socket.sendall(self._h2.data_to_send())
        return message[most:]


def _text(headers: Any) -> dict[str, str]:
    return {_str(k): _str(v) for k, v in headers}


def _str(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
