"""A server of HTTP/2 alone, as a release: answers each call as gRPC does, its version as the message.

The trailer grpc-message is the sha256 of what was sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections import defaultdict
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions


class Calls(asyncio.Protocol):
    """One connection."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.seen = defaultdict[int, Any](hashlib.sha256)  # by stream
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.h2.initiate_connection()
        transport.write(self.h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        try:
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError:  # HTTP/1.1, for one
            self.transport.close()
            return
        for event in events:
            if isinstance(event, h2.events.DataReceived):
                self.seen[event.stream_id].update(event.data)
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self.h2.send_headers(event.stream_id, [(":status", "200"), ("content-type", "application/grpc")])
                self.h2.send_data(event.stream_id, os.environ["DEPLOYER_VERSION"].encode())
                told = [("grpc-status", "0"), ("grpc-message", self.seen[event.stream_id].hexdigest())]
                self.h2.send_headers(event.stream_id, told, end_stream=True)
        self.transport.write(self.h2.data_to_send())


async def main() -> None:
    loop, ending = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ending.set)
    server = await loop.create_server(Calls, os.environ["HOST"], int(os.environ["PORT"]))
    await ending.wait()
    server.close()


asyncio.run(main())
