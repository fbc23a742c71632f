"""What the log gets of requests, and of what libraries have to say."""

from __future__ import annotations

import logging
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import LOGGING_CONFIG, Config

from deployer.server.log import ServerLog
from deployer.server.request_scope import client, named, route_of


class Logged:
    """Logs each request when its answer has ended, whoever gave it."""

    def __init__(self, app: ASGIApp, log: ServerLog) -> None:
        self._app, self._log = app, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, size = self._log.clock.monotonic(), 0, 0

        async def seen(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = int(message["status"])
            size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, seen)
        finally:
            caller = scope.get("caller")
            self._log.say(
                "request",
                method=str(scope["method"])[:20],
                route=route_of(scope),
                of=named(scope),
                status=status,
                bytes=size,
                seconds=round(self._log.clock.monotonic() - began, 6),
                address=client(scope),
                by=caller.token.name if caller else "",
                token=caller.token.id if caller else "",
            )


class Lines(logging.Handler):
    """Logs what libraries log."""

    def __init__(self, log: ServerLog) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, with the traceback it may have."""
        self._log.say("log", level=record.levelname.lower(), name=record.name, text=self.format(record))


def of_libraries(log: ServerLog) -> dict[str, Any]:
    """Return the configuration of uvicorn's `logging`: its own, unless there are lines of JSON."""
    if not log.lines:
        return LOGGING_CONFIG
    own = {"handlers": ["lines"], "level": "WARNING", "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"lines": {"()": lambda: Lines(log)}},
        "loggers": {"uvicorn": own, "asyncio": own},
    }


def configured(app: ASGIApp, log: ServerLog, **more: Any) -> Config:
    """Configure a server of ours, on whatever it listens: one protocol, and our log in place of its own."""
    return Config(
        app,
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_level="warning",
        log_config=of_libraries(log),
        access_log=False,
        server_header=False,
        proxy_headers=False,
        **more,
    )
