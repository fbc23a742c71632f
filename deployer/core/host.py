"""A host of the inventory, and how it is reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Host:
    """A host as its inventory describes it.

    `address` is where proxies and checks reach its instances, `ssh_host` where ssh connects to. What is empty, None or
    () is left to the user's configuration of ssh. `groups` are sorted, without `all`. Its engine is reached by ssh,
    unless `engine` says where it listens (tcp://HOST:PORT); `engine_certs` is then the folder of `certificates`.
    """

    name: str
    address: str
    connection: Literal["ssh", "local"]
    ssh_host: str
    port: int | None = None
    user: str = ""
    key_file: str = ""
    ssh_args: tuple[str, ...] = ()  # of the inventory, e.g. ("-J", "jump.example.com", "-o", "UserKnownHostsFile=…")
    groups: tuple[str, ...] = ()
    engine: str = ""
    engine_certs: str = ""


# This host, where it runs beside others
LOCAL = Host("", "127.0.0.1", "local", "")


@dataclass(frozen=True)
class Meant:
    """The hosts that a manifest means: those of `hosts`, of `twin.hosts`, of `traffic.proxies`; none is this one."""

    hosts: tuple[Host, ...] = ()
    twin: tuple[Host, ...] = ()
    proxies: tuple[Host, ...] = ()


NOT_SAID = Meant()


@dataclass(frozen=True)
class ServiceHosts:
    """Hosts of one service: the `wanted` ones, on which a release is to stand, and `others` on which more of it may.

    Without any, everything is on this host; `proxies` are those whose proxies users reach.
    """

    wanted: tuple[Host, ...] = ()
    others: tuple[Host, ...] = ()
    proxies: tuple[Host, ...] = ()

    @property
    def every(self) -> tuple[Host, ...]:
        """Return all of them, once each; what is wanted says how a host is reached."""
        return tuple({host.name: host for host in (*self.others, *self.wanted)}.values())
