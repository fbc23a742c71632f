"""Tokens of the HTTP API for people."""

from __future__ import annotations

from collections.abc import Callable

from deployer.views.data import TokensView
from deployer.views.text import columns, moment, one_line

Ink = Callable[[str, str], str]
_STYLES = {"valid": "green", "expired": "yellow", "revoked": "red"}


def tokens(view: TokensView, now: float, ink: Ink) -> list[str]:  # noqa: ARG001 - the shape of all renderers
    """Write a row for each token."""
    if not view.tokens:
        return ["no tokens: `deploy token create NAME` makes one"]
    heads = ("id", "name", "role", "services", "state", "made", "by", "until")
    rows = [[ink(head, "dim") for head in heads]]
    for one in view.tokens:
        scope = ", ".join(map(one_line, one.services)) or "all"
        scope, state = scope + f" of {one.tenant}" * bool(one.tenant), ink(one.state, _STYLES.get(one.state, ""))
        made, until = moment(one.created_at), moment(one.expires_at) if one.expires_at else "for good"
        rows.append([one.id, one_line(one.name), one.role, scope, state, made, one_line(one.created_by), until])
    return columns(rows)
