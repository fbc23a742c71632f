"""Who has a port: found in the tables of the kernel."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from deployer.core.listening import program_at


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_program_that_listens_is_named(address: str) -> None:
    with socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET) as server:
        port = server.getsockname()[1]
        assert program_at(port) == f"{Path('/proc/self/comm').read_text().strip()} (process {os.getpid()})"
    assert program_at(port) == ""
