"""The application: routes, what they answer when something is wrong, and the guard before them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any, cast

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from deployer import __version__
from deployer.core.errors import DeployError, Exit
from deployer.server import command_routes, event_routes, query_routes, set_routes, webhook_routes
from deployer.server.access_log import Logged
from deployer.server.connection_guard import AtDoor, ConnectionGuard, Network
from deployer.server.context import ServerContext
from deployer.server.guard import EntryRules, Guard
from deployer.server.messages import ApiError, ProblemAnswer, answer_of
from deployer.server.metrics import ServerMetrics
from deployer.server.page import routes as pages
from deployer.server.request_scope import PREFIX, is_page, route_of
from deployer.server.rights import BEARER

ABOUT = "What `deploy` does, over HTTP: the same services, rollouts, verdicts and exit codes."
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_STATUSES = {
    400: "The request is for another host, or is no HTTP that is understood.",
    401: "There is no token, or it has expired, was revoked, or was never given.",
    403: "The token is not for this service, or its role is too low.",
    404: "There is no such thing.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    422: "It was refused, and nothing was changed: the message says why.",
    429: "Too many requests; `Retry-After` says when to come again.",
    503: "The store cannot be read.",
}


def make_app(
    desk: ServerContext, door: ConnectionGuard, rules: EntryRules, proxies: Collection[Network] = ()
) -> ASGIApp:
    """Make the application behind a door; `proxies` are believed whom they pass requests on for."""
    app = guarded(make_api(desk), desk, rules)
    if proxies:
        app = cast("ASGIApp", ProxyHeadersMiddleware(cast("Any", app), [str(network) for network in proxies]))
    return AtDoor(app, door)


def guarded(app: ASGIApp, desk: ServerContext, rules: EntryRules) -> ASGIApp:
    """Put the guard before routes."""
    guard = Guard(_Counted(app, desk), desk.tokens, desk.sessions, desk.clock, rules, desk.scoped)
    return Logged(guard, desk.log) if desk.log.lines else guard


def make_api(desk: ServerContext) -> FastAPI:
    """Make the routes, without the guard: whoever calls them has been let through."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.desk.hub.close()

    app = FastAPI(
        title="deployer",
        version=__version__,
        description=ABOUT,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # pages that load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.desk = desk
    app.state.metrics = ServerMetrics(desk)
    responses: dict[int | str, dict[str, Any]] = {
        status: {"model": ProblemAnswer, "description": text} for status, text in _STATUSES.items()
    }
    api = APIRouter(prefix=PREFIX)
    api.include_router(query_routes.public)
    api.include_router(webhook_routes.router)
    known = APIRouter(dependencies=[Depends(BEARER)])
    for router in (
        query_routes.router,
        event_routes.router,
        command_routes.router,
        set_routes.look,
        set_routes.act,
    ):
        known.include_router(router)
    api.include_router(known)
    app.include_router(api, responses=responses)
    app.include_router(query_routes.metrics_router, dependencies=[Depends(BEARER)], responses=responses)
    app.include_router(pages.router, include_in_schema=False)
    app.add_exception_handler(ApiError, _answered)
    app.add_exception_handler(DeployError, _failed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    return app


class _Counted:
    """Counts answers by route, for the metrics."""

    def __init__(self, app: ASGIApp, desk: ServerContext) -> None:
        self._app, self._desk = app, desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = route_of(scope) or "none"
                method = scope["method"] if scope["method"] in _METHODS else "other"  # a client may send any word
                key = (method, route, int(message["status"]))
                self._desk.answered[key] = self._desk.answered.get(key, 0) + 1
            await send(message)

        await self._app(scope, receive, counted)


async def _answered(request: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise error
    if is_page(request.scope):
        return pages.problem(error.status, error.problem, request.scope.get("caller"))
    return JSONResponse(error.problem.model_dump(), error.status, headers=error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    if not isinstance(error, DeployError):
        raise error
    return await _answered(request, answer_of(error))


async def _invalid(request: Request, error: Exception) -> Response:
    """Return every problem of a request at once; what was sent is not repeated."""
    if not isinstance(error, RequestValidationError):
        raise error
    lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    problem = ProblemAnswer(message="\n".join(["the request was refused:", *lines]), hint="see openapi.json")
    return await _answered(request, ApiError(422, problem))


async def _http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    problem = ProblemAnswer(
        message=f"{error.detail}: {request.method} {request.url.path[:200]}", exit=int(Exit.REFUSED)
    )
    headers = {name.replace("-", "_"): value for name, value in (error.headers or {}).items()}
    return await _answered(request, ApiError(error.status_code, problem, **headers))
