"""Logging in with a token, and out again."""

from __future__ import annotations

import re
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from deployer.server.guard import LOGIN
from deployer.server.page.frame import page
from deployer.server.request_scope import COOKIE, cookie_of, refused
from deployer.server.rights import AtDesk, By
from deployer.server.sessions import LONGEST_SECONDS
from deployer.views.report.markup import tag

_HERE = re.compile(r"/(?!/)[A-Za-z0-9/_-]{0,200}")  # a page of ours: never another host
WRONG = "Invalid token: it is mistyped, expired or revoked."
MAKE = "deploy token create NAME --role operator"

router = APIRouter()


@router.get(LOGIN)
async def ask(request: Request, desk: AtDesk, next: str = "/") -> Response:
    """Ask for a token, unless this browser has shown one."""
    if desk.sessions.find(cookie_of(request.scope)):
        return RedirectResponse(_here(next), 303)
    return _form(_here(next))


@router.post(LOGIN)
async def enter(request: Request, desk: AtDesk) -> Response:
    """Begin a session and go to the page that was wanted."""
    given = {name: values[0] for name, values in parse_qs((await request.body()).decode("utf-8", "replace")).items()}
    cookie = desk.sessions.begin(given.get("token", "").strip())
    to = _here(given.get("next", "/"))
    if cookie is None:
        refused(request.scope)
        return _form(to, WRONG)
    answer = RedirectResponse(to, 303)
    safe = request.headers.get("origin", "").startswith("https:")  # also behind a proxy that has TLS
    answer.set_cookie(
        COOKIE, cookie, max_age=int(LONGEST_SECONDS), path="/", httponly=True, samesite="strict", secure=safe
    )
    return answer


@router.post("/logout")
async def leave(desk: AtDesk, caller: By) -> Response:
    """End the session."""
    if caller.session:
        desk.sessions.end(caller.session)
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return answer


def _here(to: str) -> str:
    return to if _HERE.fullmatch(to) else "/"


def _form(to: str, problem: str = "") -> HTMLResponse:
    form = tag(
        "form",
        # Programs that keep passwords ask for a name to keep it under.
        tag("input", type="text", name="username", value="deploy", autocomplete="username", hidden="", readonly=""),
        tag("label", "Token", for_="token"),
        tag(
            "input",
            id="token",
            name="token",
            type="password",
            autocomplete="current-password",
            required="",
            autofocus="",
            spellcheck="false",
            aria_describedby="how",
        ),
        tag("input", type="hidden", name="next", value=to),
        tag("p", problem, class_="error", role="alert") if problem else None,
        tag("button", "Log in", type="submit", class_="main"),
        tag("p", "Paste what ", tag("code", MAKE), " printed on the host of this server.", id="how", class_="soft"),
        method="post",
        action=LOGIN,
    )
    main = tag("section", tag("h1", "Log in"), form, class_="login")
    return page("Log in", main, data={} if problem else {"next": to}, status=401 if problem else 200)
