"""What stands before every route: host name, token, rate, size. Whatever is not let through here reaches nothing.

Only `OPEN`, the login, its style and webhooks, which prove themselves, answer without a token, so that a new route
cannot forget to ask for one. A browser that has logged in has a cookie instead; what it changes must come from our own
page, which a foreign one cannot fake.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployer import __version__
from deployer.core.clock import Clock
from deployer.core.errors import DeployError
from deployer.server.connection_guard import Guest, neighbours
from deployer.server.messages import ApiError, ProblemAnswer, answer_of
from deployer.server.request_scope import ASSETS, CSRF, HOOKS, client, cookie_of, header, is_page, name_of
from deployer.server.sessions import Session, Sessions
from deployer.server.tokens import Token, Tokens

OPEN = "/api/v1/health"
LOGIN = "/login"
READING = ("GET", "HEAD")
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
VERSION = (b"x-deployer-version", __version__.encode())
HSTS = ("strict-transport-security", "max-age=31536000")


@dataclass(frozen=True)
class RequestLimits:
    """What a client may ask for: bytes of a body, and of a webhook's; requests a second and at once; and how often an
    address may be wrong at the same door: without a token, with a login or a webhook that is not valid.
    """

    body: int = 64 * 1024
    hook: int = 1024 * 1024  # what a forge says of a push names every commit and file
    rate: float = 20.0
    burst: float = 100.0
    stranger_rate: float = 1.0
    stranger_burst: float = 20.0


@dataclass(frozen=True)
class Caller:
    """Who asks: the token, from where, and by which session of the page, if by one.

    Whoever came `by_shell` has the rights of the account, a name that is only told, and no role.
    """

    token: Token
    origin: str
    session: Session | None = None
    by_shell: bool = False


class Buckets:
    """Rates by client: each request takes one out of a bucket that fills by itself."""

    def __init__(self, clock: Clock, rate: float, burst: float) -> None:
        self._clock, self._rate, self._burst = clock, rate, burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Take one; return 0, or the seconds after which there is one again."""
        now = self._clock.monotonic()
        left, at = self._left.pop(client, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        allowed = left >= 1
        self._left[client] = (left - 1 if allowed else left, now)
        if len(self._left) > _KEPT:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._rate


@dataclass(frozen=True)
class EntryRules:
    """Under which names the server may be asked, how often, and whether it is by TLS."""

    hosts: Collection[str]
    limits: RequestLimits = RequestLimits()
    tls: bool = False


class Guard:
    """Lets a request through to the routes, with the `Caller` as `scope["caller"]`, or answers it."""

    def __init__(
        self,
        app: ASGIApp,
        tokens: Tokens,
        sessions: Sessions,
        clock: Clock,
        rules: EntryRules,
        scoped: Callable[[Token], Token] = lambda token: token,
    ) -> None:
        limits, self._scoped = rules.limits, scoped
        self._app, self._tokens, self._sessions, self._limits = app, tokens, sessions, limits
        self._hosts = frozenset(host.lower() for host in rules.hosts)
        self._known = Buckets(clock, limits.rate, limits.burst)
        # Of each address one bucket for each kind of door: what proves nothing at one closes no other.
        self._strangers = Buckets(clock, limits.stranger_rate, limits.stranger_burst)
        headers = [*HEADERS.items(), HSTS] if rules.tls else [*HEADERS.items()]
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
                if "caller" in scope:  # a stranger need not know it
                    extra.append(VERSION)
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        guest: Guest = scope.get("guest") or Guest()
        try:
            self._expected(scope)
            if scope["path"] == LOGIN and scope["method"] == "POST":
                self._from_here(scope)
                scope["refused"] = self._refusing(scope, "login")  # by the route, which asks for a token
            elif scope["path"].startswith(HOOKS) and scope["method"] == "POST":
                scope["refused"] = self._refusing(scope, scope["path"])  # by the route, which asks for a signature
            elif not _is_open(scope):
                scope["caller"] = self._caller(scope)
                guest.shows_token()
            received = await self._body(scope, receive)
            guest.is_answered()
        except ApiError as answer:
            await _say(protected, answer)
            return
        await self._app(scope, received, protected)

    def _expected(self, scope: Scope) -> None:
        """Refuse a request for another host: a name that somebody else points at this address."""
        host = name_of(header(scope, b"host"))
        if host not in self._hosts:
            raise ApiError(
                400, ProblemAnswer(message=f"this server is not {host[:100]!a}", hint="deploy serve --allow-host NAME")
            )

    def _caller(self, scope: Scope) -> Caller:
        address, given = client(scope), header(scope, b"authorization")
        bearer = _BEARER.fullmatch(given)
        try:
            session = None if given else self._sessions.find(cookie_of(scope))
            token = session.token if session else self._tokens.find(bearer[1]) if bearer else None
            token = self._scoped(token) if token else None
        except DeployError as error:
            raise ApiError(503, answer_of(error).problem) from error
        if token is None:
            self._refusing(scope, "token")()
            raise _unknown(scope)
        self._slowly(self._known.wait(token.id))
        if session and scope["method"] not in READING:
            self._from_here(scope)
            if not hmac.compare_digest(header(scope, CSRF.encode()).encode(), session.csrf.encode()):
                raise ApiError(
                    403, ProblemAnswer(message=f"the header {CSRF} is not that of this session", hint="log in again")
                )
        way = "page" if session else "API"
        return Caller(token, f"{way}, from {address}, token {token.id}", session)

    def _refusing(self, scope: Scope, door: str) -> Callable[[], None]:
        """Return what is called for a request that proves nothing; it raises Answer (429) where there were too many.

        What proves itself takes nothing and waits for nobody: strangers who share its address cannot keep it out.
        """
        return lambda: self._slowly(self._strangers.wait(f"{neighbours(client(scope))} {door}"))

    def _slowly(self, wait: float) -> None:
        if wait:
            raise ApiError(
                429, ProblemAnswer(message="too many requests", hint="wait"), Retry_After=str(math.ceil(wait))
            )

    def _from_here(self, scope: Scope) -> None:
        """Refuse what the page of somebody else makes a browser send: browsers say whose page it was."""
        origin, site = header(scope, b"origin"), header(scope, b"sec-fetch-site")
        if name_of(urlsplit(origin).netloc) not in self._hosts or site not in ("", "same-origin"):
            problem = ProblemAnswer(
                message=f"this was sent by another page: {origin[:100]!a}",
                hint="use the web UI itself; behind a proxy: deploy serve --allow-host NAME",
            )
            raise ApiError(403, problem)

    async def _body(self, scope: Scope, receive: Receive) -> Receive:
        """Read the body, within its limits, and give it on as one message."""
        hook = scope["path"].startswith(HOOKS)
        most, length = self._limits.hook if hook else self._limits.body, header(scope, b"content-length")
        too_large = ApiError(413, ProblemAnswer(message=f"the request has more than {most} bytes", hint="send less"))
        if length.isascii() and length.isdigit() and int(length[:20]) > most:
            raise too_large
        body, more = b"", scope["method"] not in READING
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while more:
                    message = await receive()
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > most:
                        raise too_large
        except TimeoutError:
            problem = ProblemAnswer(message=f"the body did not come within {BODY_SECONDS:g} s", hint="send it at once")
            raise ApiError(408, problem) from None
        given = False

        async def received() -> Message:
            nonlocal given
            if given or scope["method"] in READING:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        return received


async def _say(send: Send, answer: ApiError) -> None:
    body = json.dumps(answer.problem.model_dump()).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **answer.headers}
    start = {
        "type": "http.response.start",
        "status": answer.status,
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})


def _is_open(scope: Scope) -> bool:
    path: str = scope["path"]
    return path == OPEN or (scope["method"] in READING and (path == LOGIN or path.startswith(ASSETS)))


def _unknown(scope: Scope) -> ApiError:
    problem = ProblemAnswer(
        message="missing or invalid token",
        hint="Authorization: Bearer TOKEN, from `deploy token create`",
    )
    if is_page(scope) and scope["method"] in READING:
        return ApiError(303, problem, Location=f"{LOGIN}?next={quote(scope['path'], safe='/')}")
    return ApiError(401, problem, WWW_Authenticate="Bearer")
