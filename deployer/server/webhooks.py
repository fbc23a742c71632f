"""Webhooks of forges: who sent one proves it by a signature or a secret that both know, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Mapping
from typing import Literal

from deployer.core.clock import Clock
from deployer.core.secret import SecretText
from deployer.core.web import SIGNATURE, TIMESTAMP, signature

Forge = Literal["github", "gitlab", "generic"]
WINDOW_SECONDS = 300.0  # before and after now, in which the time of a generic one must lie
_MOST = 10_000  # signatures that are known as used


class Hook:
    """The secret of one webhook, and what has been sent by it lately.

    `github` signs the body (`X-Hub-Signature-256`), `gitlab` sends the secret (`X-Gitlab-Token`), `generic` signs
    time and body as our own webhooks are signed, so that nothing can be sent a second time.
    """

    def __init__(self, forge: Forge, secret: SecretText, clock: Clock) -> None:
        self._forge, self._secret, self._clock = forge, secret, clock
        self._used: dict[str, float] = {}
        self._mutex = threading.Lock()

    def problem(self, headers: Mapping[str, str], body: bytes) -> str:
        """Return why a request is not believed; "" when it is genuine. `headers` are found in any case."""
        key = self._secret.reveal().encode()
        match self._forge:
            case "github":
                made = "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()
                return _unlike("X-Hub-Signature-256", headers.get("x-hub-signature-256", ""), made)
            case "gitlab":
                return _unlike("X-Gitlab-Token", headers.get("x-gitlab-token", ""), self._secret.reveal())
            case "generic":
                return self._generic(key, headers, body)

    def _generic(self, key: bytes, headers: Mapping[str, str], body: bytes) -> str:
        given, at = headers.get(SIGNATURE.lower(), ""), headers.get(TIMESTAMP.lower(), "")
        if not (at.isascii() and at.isdigit() and len(at) < 12):
            return f"{TIMESTAMP} is not there, or no Unix time"
        if problem := _unlike(SIGNATURE, given, signature(key, int(at), body)):
            return problem
        now = self._clock.now()
        if abs(now - int(at)) > WINDOW_SECONDS:
            return f"it is {abs(now - int(at)):.0f} s away from now by {TIMESTAMP}, {WINDOW_SECONDS:.0f} s are allowed"
        with self._mutex:
            self._used = {sent: until for sent, until in self._used.items() if until > now}
            if given in self._used:
                return "it was sent before"
            if len(self._used) >= _MOST:
                return f"more than {_MOST} were sent in {2 * WINDOW_SECONDS:.0f} s: whether it was before is not known"
            self._used[given] = int(at) + WINDOW_SECONDS + 1
        return ""


def _unlike(header: str, given: str, right: str) -> str:
    if not given:
        return f"{header} is not there"
    return "" if hmac.compare_digest(given.encode(), right.encode()) else f"{header} is not right"
