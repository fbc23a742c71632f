"""HTML and SVG as values: text is escaped unless it is markup already."""

from __future__ import annotations

import html
from collections.abc import Iterable

from deployer.views.text import clean

_VOID = frozenset({"br", "meta", "col", "input", "link"})


class Markup(str):
    """Text that is markup."""

    __slots__ = ()


Content = str | Iterable["Content"] | None


def tag(element: str, /, *content: Content, **attributes: str | float | None) -> Markup:
    """Make an element. `class_` is the attribute class, `stroke_width` is stroke-width; None leaves one out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if element in _VOID:
        return Markup(f"<{element}{written}>")
    return Markup(f"<{element}{written}>{text(*content)}</{element}>")


def text(*content: Content) -> Markup:
    """Join content; what is not markup is cleaned of control characters and escaped."""
    return Markup("".join(_pieces(content)))


def _pieces(content: Iterable[Content]) -> Iterable[str]:
    for piece in content:
        if piece is None:
            continue
        if isinstance(piece, Markup):
            yield piece
        elif isinstance(piece, str):
            yield html.escape(clean(piece), quote=False)
        else:
            yield from _pieces(piece)


def _value(value: str | float) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return html.escape(clean(value))
