"""What stands before every route: host name, token, rate, size. Whatever is not let through here reaches nothing.

Only `OPEN` answers without a token, so that a new route cannot forget to ask for one.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployer.clock import Clock
from deployer.errors import DeployError
from deployer.server.answers import Answer, Problem, answer_of
from deployer.server.tokens import Token, Tokens

OPEN = "/api/v1/health"
BODY_SECONDS = 10.0
_BEARER = re.compile(r"[Bb]earer +([A-Za-z0-9_.~+/=-]{1,200})")
_KEPT = 10_000  # clients whose rate is known

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
HSTS = ("strict-transport-security", "max-age=31536000")


@dataclass(frozen=True)
class Limits:
    """What a client may ask for: bytes of a body, requests a second and at once, and the same without a token."""

    body: int = 64 * 1024
    rate: float = 20.0
    burst: float = 100.0
    stranger_rate: float = 1.0
    stranger_burst: float = 20.0


@dataclass(frozen=True)
class Caller:
    """Who asks: the token, and from where."""

    token: Token
    origin: str


class Buckets:
    """Rates by client: each request takes one out of a bucket that fills by itself."""

    def __init__(self, clock: Clock, rate: float, burst: float) -> None:
        self._clock, self._rate, self._burst = clock, rate, burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Take one; give 0, or the seconds after which there is one again."""
        now = self._clock.monotonic()
        left, at = self._left.pop(client, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        allowed = left >= 1
        self._left[client] = (left - 1 if allowed else left, now)
        if len(self._left) > _KEPT:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._rate


class Guard:
    """Lets a request through to the routes, with the `Caller` as `scope["caller"]`, or answers it."""

    def __init__(
        self, app: ASGIApp, *, tokens: Tokens, clock: Clock, hosts: Collection[str], limits: Limits, tls: bool
    ) -> None:
        self._app, self._tokens, self._limits = app, tokens, limits
        self._hosts = frozenset(host.lower() for host in hosts)
        self._known = Buckets(clock, limits.rate, limits.burst)
        self._strangers = Buckets(clock, limits.stranger_rate, limits.stranger_burst)
        headers = [*HEADERS.items(), HSTS] if tls else [*HEADERS.items()]
        self._headers = [(name.encode(), value.encode()) for name, value in headers]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                extra = [pair for pair in self._headers if pair[0] not in given]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        try:
            self._expected(scope)
            if scope["path"] != OPEN:
                scope["caller"] = self._caller(scope)
            received = await self._body(scope, receive)
        except Answer as answer:
            await _say(protected, answer)
            return
        await self._app(scope, received, protected)

    def _expected(self, scope: Scope) -> None:
        """Refuse a request for another host: a name that somebody else points at this address."""
        host = _name(_header(scope, b"host"))
        if host not in self._hosts:
            raise Answer(
                400, Problem(message=f"this server is not {host[:100]!a}", hint="deploy serve --allow-host NAME")
            )

    def _caller(self, scope: Scope) -> Caller:
        client = scope["client"][0] if scope.get("client") else "?"
        bearer = _BEARER.fullmatch(_header(scope, b"authorization"))
        try:
            token = self._tokens.find(bearer[1]) if bearer else None
        except DeployError as error:
            raise Answer(503, answer_of(error).problem) from error
        wait = self._known.wait(token.id) if token else self._strangers.wait(client)
        if wait:
            raise Answer(429, Problem(message="too many requests", hint="wait"), Retry_After=str(math.ceil(wait)))
        if token is None:
            hint = "Authorization: Bearer TOKEN, from `deploy token create`"
            raise Answer(
                401, Problem(message="no token, or one that does not stand", hint=hint), WWW_Authenticate="Bearer"
            )
        return Caller(token, f"API, from {client}, token {token.id}")

    async def _body(self, scope: Scope, receive: Receive) -> Receive:
        """Read the body, within its limits, and give it on as one message."""
        most, length = self._limits.body, _header(scope, b"content-length")
        too_large = Answer(413, Problem(message=f"the request has more than {most} bytes", hint="send less"))
        if length.isascii() and length.isdigit() and int(length[:20]) > most:
            raise too_large
        body, more = b"", scope["method"] not in ("GET", "HEAD")
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while more:
                    message = await receive()
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > most:
                        raise too_large
        except TimeoutError:
            problem = Problem(message=f"the body did not come within {BODY_SECONDS:g} s", hint="send it at once")
            raise Answer(408, problem) from None
        given = False

        async def received() -> Message:
            nonlocal given
            if given or scope["method"] in ("GET", "HEAD"):
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        return received


async def _say(send: Send, answer: Answer) -> None:
    body = json.dumps(answer.problem.model_dump()).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **answer.headers}
    start = {
        "type": "http.response.start",
        "status": answer.status,
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})


def _header(scope: Scope, name: bytes) -> str:
    values = [value for key, value in scope["headers"] if key == name]
    return values[0].decode("latin-1").strip() if len(values) == 1 else ""


def _name(host: str) -> str:
    """Give the name of a Host header without its port; IPv6 addresses keep their brackets."""
    return re.sub(r":[0-9]{1,5}$", "", host).lower()
