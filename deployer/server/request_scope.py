"""What a request says of itself: the headers that decide who it is from, where it comes from and what it wants."""

from __future__ import annotations

import re

from starlette.types import Scope

PREFIX = "/api/v1"
ASSETS = "/assets/"
HOOKS = f"{PREFIX}/hooks/"
COOKIE = "deployer_session"
CSRF = "x-csrf-token"
_NAME = re.compile("[a-z0-9-]{1,40}")


def is_page(scope: Scope) -> bool:
    """Return whether a person looks at the answer: a browser asks for a page."""
    accepts = "text/html" in header(scope, b"accept")
    return accepts and not scope["path"].startswith(("/api/", "/metrics", ASSETS))


def route_of(scope: Scope) -> str:
    """Return the route that was taken, without the prefix of the API; nothing where none was."""
    return str(getattr(scope.get("route"), "path", "")).removeprefix(PREFIX)


def named(scope: Scope) -> dict[str, str]:
    """Return what the path names: a service, a number, a run; nothing else that somebody wrote there."""
    return {key: str(value) for key, value in scope.get("path_params", {}).items() if _NAME.fullmatch(str(value))}


def client(scope: Scope) -> str:
    """Return the address that it comes from."""
    return str(scope["client"][0]) if scope.get("client") else "?"


def refused(scope: Scope) -> None:
    """Count a request that proved nothing; raise Answer where too many came from its address.

    Whoever was let in without a guard, by ssh, is counted by nobody.
    """
    scope.get("refused", lambda: None)()


def cookie_of(scope: Scope) -> str:
    """Return the cookie of a session, as it was sent."""
    pairs = (pair.strip().partition("=") for pair in header(scope, b"cookie").split(";"))
    return next((value for key, _, value in pairs if key == COOKIE), "")


def header(scope: Scope, called: bytes) -> str:
    """Return the value of a header; nothing where there is none, or more than one."""
    values = [value for key, value in scope["headers"] if key == called]
    return values[0].decode("latin-1").strip() if len(values) == 1 else ""


def name_of(host: str) -> str:
    """Return the name of a Host header without its port; IPv6 addresses keep their brackets."""
    return re.sub(r":[0-9]{1,5}$", "", host).lower()
