"""A proxy that has, before it is configured, what it serves: the account's thumbprint, and a key with a certificate."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from deployer.core.clock import Deadline
from deployer.drivers.certificates.keeper import CertificateKeeper
from deployer.drivers.ports import CertificateProxy
from deployer.manifest.tls import AutoTls

BEFORE = frozenset({"check", "configure", "repair", "bring_back"})  # what loads a configuration
PARTS = frozenset({"inspection", "upkeep"})


def supplied(
    traffic: CertificateProxy, keeper: CertificateKeeper, auto: AutoTls, domains: tuple[str, ...]
) -> CertificateProxy:
    """Return a proxy's driver that installs what is kept for these domains before it loads a configuration."""

    def install(deadline: Deadline) -> None:
        traffic.certificates.install([keeper.served(each, auto) for each in domains], deadline)

    return cast(CertificateProxy, _Supplied(traffic, install))


class _Supplied:
    """Stands for a driver, or for one of its parts, and has all that it has."""

    def __init__(self, driver: object, install: Callable[[Deadline], None]) -> None:
        self._driver, self._install = driver, install

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        if name in PARTS:
            return _Supplied(found, self._install)
        return self._after_install(found) if name in BEFORE else found

    def _after_install(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def installed(*given: Any, **named: Any) -> Any:
            self._install(named.get("deadline") or next(each for each in given if isinstance(each, Deadline)))
            return call(*given, **named)

        return installed
