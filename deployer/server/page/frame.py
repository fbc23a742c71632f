"""What all pages have around them: head, ways to go, who is logged in."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi.responses import HTMLResponse

from deployer import __version__
from deployer.server.guard import Caller
from deployer.views.report.markup import Content, Markup, tag
from deployer.views.text import duration, zone

# Nothing of ours is inline, so nothing that got into the text runs or loads.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {"content-security-policy": POLICY, "referrer-policy": "same-origin"}  # forms say then where they come from


def page(
    title: str,
    main: Content,
    caller: Caller | None = None,
    *,
    data: Mapping[str, str] | None = None,
    status: int = 200,
    now: float = 0.0,
) -> HTMLResponse:
    """Return a page. `data` tells the script what to listen to; `now` says that there are times on it."""
    session = caller.session if caller else None
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="csrf", content=session.csrf) if session else None,
        tag("title", f"{title} · deploy"),
        tag("link", rel="icon", href="/assets/icon.svg"),
        tag("link", rel="stylesheet", href="/assets/report.css"),
        tag("link", rel="stylesheet", href="/assets/page.css"),
        tag("script", type="module", src="/assets/page.js"),
    )
    attributes = {f"data_{key}": value for key, value in (data or {}).items()}
    body = tag(
        "body",
        tag("a", "To the content", href="#content", class_="skip"),
        _bar(caller),
        tag("main", main, id="content", tabindex="-1", **attributes),
        _foot(zone(now)) if now else None,
        tag("p", id="said", class_="said", role="status"),
    )
    return HTMLResponse(f"<!doctype html>\n{tag('html', head, body, lang='en')}\n", status, HEADERS)


def _foot(here: str) -> Markup:
    """Name the zone of the times; the script names the viewer's, and this one for times within sentences."""
    return tag("footer", tag("span", f"Times are {here}.", id="zone", data_here=here), f" deploy {__version__}")


def _bar(caller: Caller | None) -> Markup:
    ways: list[Content] = [tag("a", "deploy", href="/", class_="home")]
    if caller is None:
        return tag("header", tag("nav", ways, aria_label="Pages"), class_="bar")
    if caller.token.may("admin") and not caller.token.services:
        ways.append(tag("a", "Audit", href="/audit"))
    who = tag("span", tag("b", caller.token.name), f" {caller.token.role}", class_="who")
    out = tag("button", "Log out", type="button", data_logout="") if caller.session else None
    link = tag("span", id="link", class_="link", role="status")
    return tag("header", tag("nav", ways, aria_label="Pages"), link, tag("div", who, out, class_="me"), class_="bar")


def part(title: str, *content: Content, id_: str, style: str | None = None) -> Markup:
    """Make a section with its heading."""
    return tag(
        "section", tag("h2", title, id=f"{id_}-title"), content, id=id_, aria_labelledby=f"{id_}-title", class_=style
    )


def fold(title: str, *content: Content, id_: str) -> Markup:
    """Make a section that is closed at first."""
    return tag("section", tag("details", tag("summary", tag("h2", title)), content, id=f"{id_}-more"), id=id_)


def words(text: str) -> list[Content]:
    """Write a sentence; what is between backticks is a command."""
    return [tag("code", piece) if n % 2 else piece for n, piece in enumerate(text.split("`"))]


def until(at: float, now: float) -> Markup:
    """Write how long it is until a moment; the script counts it down."""
    left = max(at - now, 0.0)
    return tag("time", duration(round(left)) if left >= 1 else "now", data_until=f"{at:.3f}")
