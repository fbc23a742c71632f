"""Cookies as the proxy mints them, with the rolls that a test wants: the test knows the key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid

from deployer.drivers.traffic.haproxy.rules import ROLLS
from deployer.drivers.traffic.haproxy.spec import Spec
from tests.live.proxies import Bench


class Mint:
    """Mints for a service in one rollout."""

    def __init__(self, bench: Bench, rollout: int, service: str = "shop") -> None:
        text = bench.traffic.membership.spec(service)
        assert text
        self._key = base64.b64decode(Spec.model_validate_json(text).key)
        self._service, self._rollout = service, rollout

    def _tag(self, id_: str) -> bytes:
        return hmac.digest(self._key, f"{self._service}|{self._rollout}|{id_}".encode(), hashlib.sha256)

    def roll(self, cookie: str) -> int:
        """Return the roll of a cookie `deployer-SERVICE=ID.MAC`. Raises AssertionError for one that is not valid."""
        id_, _, mac = cookie.removeprefix(f"deployer-{self._service}=").partition(".")
        tag = self._tag(id_)
        assert mac == tag[:16].hex().upper(), cookie
        return int.from_bytes(tag[16:23], "big") % ROLLS

    def cookie(self, low: int, high: int) -> str:
        """Return a cookie whose roll is at least `low` and below `high`."""
        while True:
            id_ = str(uuid.uuid4())
            tag = self._tag(id_)
            if low <= int.from_bytes(tag[16:23], "big") % ROLLS < high:
                return f"deployer-{self._service}={id_}.{tag[:16].hex().upper()}"
