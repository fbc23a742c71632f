"""The audit log for people."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from deployer.views.data import AuditRow, AuditView, ChainView
from deployer.views.text import columns, moment, one_line, plural

Ink = Callable[[str, str], str]
_STYLES = {"refused": "red", "needs-attention": "red", "reverted": "yellow", "paused": "cyan", "asked": "cyan"}


def audit(view: AuditView, now: float, ink: Ink) -> list[str]:  # noqa: ARG001 - the shape of all renderers
    """List records; times are local."""
    if not view.records:
        return [f"{view.service or 'the audit log'}: nothing is recorded yet"]
    heads = ("", "when", "by", "from", "service", "rollout", "action", "result", "what and why")
    return columns([[ink(head, "dim") for head in heads], *(_row(record, ink) for record in view.records)])


def _row(record: AuditRow, ink: Ink) -> list[str]:
    why = ": ".join(one_line(text) for text in (record.detail, record.reason) if text)
    return [
        str(record.n),
        _local(record.at),
        one_line(record.by),
        one_line(f"{record.host}, {record.origin}"),
        one_line(record.service),
        f"#{record.rollout}" if record.rollout else "–",
        one_line(record.action),
        ink(one_line(record.result), _STYLES.get(record.result, "")),
        why,
    ]


def _local(at: str) -> str:
    try:
        return moment(datetime.fromisoformat(at).timestamp())
    except ValueError:
        return one_line(at)  # somebody wrote something else there; `deploy audit verify` says so


def chain(view: ChainView, now: float, ink: Ink) -> list[str]:  # noqa: ARG001 - the shape of all renderers
    """Return whether the chain holds, how long it is, and the hash to keep."""
    where = one_line(view.file) if view.file else "the audit log"
    if view.broken:
        lines = [f"{ink('broken', 'red')}: {where}: {one_line(view.problem)}"]
        if view.records:
            lines.append(f"intact: {plural(view.records, 'record')}, up to the hash {view.head}")
        return [*lines, "next: compare it with an export or an earlier copy of the store; somebody else wrote to it"]
    since = "" if view.since is None else f", {view.since} since the hash that was given"
    return [f"{ink('intact', 'green')}: {where}: {plural(view.records, 'record')}{since}", f"last hash: {view.head}"]
