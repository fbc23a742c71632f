"""A proxy that has, before it is configured, what it serves: the account's thumbprint, and a key with a certificate."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from deployer.core.clock import Deadline
from deployer.drivers.certificates.keeper import CertificateKeeper
from deployer.drivers.ports import CertificateProxy
from deployer.manifest.tls import AutoTls

BEFORE = frozenset({"check", "configure", "repair"})  # what loads a configuration


def supplied(
    traffic: CertificateProxy, keeper: CertificateKeeper, auto: AutoTls, domains: tuple[str, ...]
) -> CertificateProxy:
    """Return a proxy's driver that installs what is kept for these domains before it loads a configuration."""
    return cast(CertificateProxy, _Supplied(traffic, keeper, auto, domains))


class _Supplied:
    """Stands for a driver and has all that it has."""

    def __init__(
        self, traffic: CertificateProxy, keeper: CertificateKeeper, auto: AutoTls, domains: tuple[str, ...]
    ) -> None:
        self._traffic, self._keeper, self._auto, self._domains = traffic, keeper, auto, domains

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._traffic, name)
        return self._after_install(found) if name in BEFORE else found

    def _after_install(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def installed(*given: Any, **named: Any) -> Any:
            deadline = named.get("deadline") or next(each for each in given if isinstance(each, Deadline))
            kept = [self._keeper.served(each, self._auto) for each in self._domains]
            self._traffic.certificates.install(kept, deadline)
            return call(*given, **named)

        return installed
