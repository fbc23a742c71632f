"""Who gets a request: each (address, name, path) belongs to one service."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from deployer.core.errors import Refused

if TYPE_CHECKING:
    from deployer.drivers.traffic.haproxy.spec import Spec

Kind = Literal["http", "https", "tcp"]
WILDCARD = {"*": "0.0.0.0", "0.0.0.0": "0.0.0.0"}  # noqa: S104 -- the names of an address, nothing is bound


@dataclass(frozen=True)
class Listen:
    """An address on which the proxy listens."""

    host: str  # an IP address without brackets, 0.0.0.0 for `*`
    port: int

    @classmethod
    def parse(cls, text: str) -> Listen:
        """Read `*:80`, `127.0.0.1:80`, `[::1]:80`."""
        host, _, port = text.rpartition(":")
        host = WILDCARD.get(host, host.strip("[]"))
        try:
            return cls(str(ipaddress.ip_address(host)), int(port))
        except ValueError:
            raise Refused(f"{text} is not an address to listen on", "write it like *:80 or 127.0.0.1:8080") from None

    @property
    def address(self) -> str:
        """Write it as the config does."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def any(self) -> bool:
        """Return whether it takes every address of the host."""
        return ipaddress.ip_address(self.host).is_unspecified

    @property
    def loopback(self) -> str:
        """Return host:port at which this host reaches it."""
        if not self.any:
            return self.address
        return f"[::1]:{self.port}" if ":" in self.host else f"127.0.0.1:{self.port}"

    def overlaps(self, other: Listen) -> bool:
        """Return whether both cannot be listened on at the same time."""
        same_family = (":" in self.host) == (":" in other.host)
        return self != other and self.port == other.port and same_family and (self.any or other.any)


@dataclass(frozen=True)
class Listener:
    """An address with the services behind it."""

    listen: Listen
    kind: Kind
    specs: tuple[Spec, ...]


def entries(specs: Iterable[Spec]) -> tuple[Listener, ...]:
    """Group services by the addresses on which they are reached. Raises Refused for services that claim the same."""
    kinds: dict[Listen, Kind] = {}
    members: dict[Listen, list[Spec]] = {}
    claimed: dict[tuple[Listen, str], Spec] = {}
    for spec in sorted(specs, key=lambda s: s.service):
        for listen, kind in listens(spec):
            _no_overlap(spec, listen, members)
            known = kinds.setdefault(listen, kind)
            sharing = members.setdefault(listen, [])
            if sharing and (known != kind or kind == "tcp"):
                raise Refused(
                    f"{listen.address}: {sharing[0].service} wants it for {known}, {spec.service} for {kind}",
                    "give one of them another listen address",
                )
            for key in sorted(routes(spec)):
                if (other := claimed.setdefault((listen, key), spec)) is not spec:
                    raise _common_route(listen, spec, other, key)
            sharing.append(spec)
    return tuple(Listener(listen, kinds[listen], tuple(members[listen])) for listen in sorted(members, key=_order))


def listens(spec: Spec) -> tuple[tuple[Listen, Kind], ...]:
    """Return the addresses of a service."""
    entry = spec.entry
    if entry.mode == "tcp":
        return ((Listen.parse(entry.listen), "tcp"),)
    plain: tuple[tuple[Listen, Kind], ...] = ((Listen.parse(entry.listen), "http"),)
    return (*plain, (Listen.parse(entry.tls.listen), "https")) if entry.tls else plain


def routes(spec: Spec) -> tuple[str, ...]:
    """Return the keys of a service in the route map: name, path, a closing slash; `*` where it has no name."""
    path = spec.entry.path.rstrip("/") + "/"
    return tuple(f"{domain}{path}" for domain in spec.entry.domains or ("*",))


def _order(listen: Listen) -> tuple[str, int]:
    return listen.host, listen.port


def _no_overlap(spec: Spec, listen: Listen, members: dict[Listen, list[Spec]]) -> None:
    for other, sharing in members.items():
        if listen.overlaps(other):
            raise Refused(
                f"{spec.service} wants {listen.address}, but {sharing[0].service} listens on {other.address},"
                " and one of them takes every address",
                "write the same address for both, or choose another port",
            )


def _common_route(listen: Listen, spec: Spec, other: Spec, key: str) -> Refused:
    name, _, path = key.partition("/")
    what = "every name that no other service claims" if name == "*" else name
    return Refused(
        f"{spec.service} and {other.service} both claim {what}, path /{path.rstrip('/')}, on {listen.address}",
        "give one of them its own domain, path or listen address",
    )
