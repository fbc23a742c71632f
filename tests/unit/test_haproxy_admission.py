"""Servers that come to a proxy: a proxy that is gone meanwhile says nothing about them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed
from deployer.drivers.traffic.haproxy.admission import Attaching
from deployer.drivers.traffic.haproxy.master import MasterSocket
from deployer.drivers.traffic.haproxy.proxy import Proxy
from deployer.drivers.traffic.haproxy.servers import Servers
from deployer.model import Server
from tests.memory import FakeClock


class Slow(MasterSocket):
    """A proxy that is there, and has no time to answer."""

    def answers(self) -> bool:
        """Somebody listens."""
        return True


def attaching(master: MasterSocket) -> Attaching:
    proxy = cast("Proxy", SimpleNamespace(master=master))  # its files are not touched
    return Attaching(proxy, Servers(master), "shop", "green", (Server("shop-r2-1", "10.0.0.2:80"),))


def test_a_proxy_that_is_gone_is_what_is_wrong_and_not_its_servers(tmp_path: Path) -> None:
    clock = FakeClock()
    with pytest.raises(DriverFailed, match="No such file or directory"):
        attaching(MasterSocket(tmp_path / "none", clock)).run(Deadline.after(clock, 30))


def test_of_a_proxy_that_did_not_answer_in_time_the_server_is_named(tmp_path: Path) -> None:
    clock = FakeClock()
    with pytest.raises(DeadlinePassed, match="shop-r2-1 passed its checks, but the proxy was not asked"):
        attaching(Slow(tmp_path / "none", clock))._await_up(Deadline.after(clock, 30))
