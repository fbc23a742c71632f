"""Services at a glance, and one service: what is live, what happened, who did it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deployer.planning.steps import percent
from deployer.server.page import environments
from deployer.server.page.dialogs import Dialog, buttons, dialogs
from deployer.server.page.frame import fold, part
from deployer.store import Rollout
from deployer.views.data import AuditView, HistoryView, ReleasesView, RolloutRow, StatusView
from deployer.views.progress import ServiceRow
from deployer.views.report.headline import KINDS
from deployer.views.report.markup import Content, Markup, tag
from deployer.views.report.sections import facts, table
from deployer.views.text import duration, moment, release

STATUSES = {"good": "good", "rolled-back": "bad", "failed": "bad", "new": "open"}


@dataclass(frozen=True)
class Glance:
    """A service in a few words: its line, its newest rollout with the release of it, and what that gets."""

    row: ServiceRow
    last: Rollout | None = None
    release: str = ""
    share: int | None = None


def home(glances: Sequence[Glance]) -> list[Content]:
    """Write all services."""
    if not glances:
        empty = "No service is here that this token is for. The first deploy makes one: `deploy up`."
        return [tag("h1", "Services"), tag("section", tag("p", empty))]
    return [tag("h1", "Services"), tag("ul", [_card(one) for one in glances], class_="cards")]


def _card(one: Glance) -> Markup:
    row, last = one.row, one.last
    live = release(row.stable, row.stable_version) if row.stable else "nothing"
    lines: list[Content] = [tag("p", tag("b", live), " is live", class_="live")]
    if last is not None:
        what = f"{last.strategy} of {one.release}"
        share = "" if one.share is None else f" at {percent(one.share)}"
        words = f"{what}{share}, by {last.started_by}" if row.rollout else f"{what}, {moment(last.started_at)}"
        rollout = tag("a", words, href=f"/rollouts/{last.number}")
        lines.append(tag("p", _chip(last.outcome or ""), rollout, class_="soft"))
    name = tag("h2", tag("a", row.service, href=f"/services/{row.service}"))
    return tag("li", name, lines, class_="under-way" if row.rollout else None, id=f"service-{row.service}")


def _chip(outcome: str) -> Markup:
    return tag("span", outcome or "in progress", class_=f"chip {KINDS.get(outcome, '')}")


@dataclass(frozen=True)
class ServicePage:
    """What is known of a service at a moment."""

    status: StatusView
    history: HistoryView
    releases: ReleasesView
    audit: AuditView
    now: float


def service(told: ServicePage, asked: Sequence[Dialog], *, logs: bool) -> list[Content]:
    """Write one service."""
    status, now = told.status, told.now
    live = release(status.stable, status.stable_version) if status.stable else "nothing"
    return [
        tag("p", tag("b", status.service), class_="over"),
        tag("h1", f"{live} is live" if status.read else "What is live is not known now"),
        buttons(asked),
        environments.problems(status),
        _under_way(status, now),
        part("Instances", environments.instances(status, now), _to_logs(status) if logs else None, id_="instances"),
        part("Rollouts", _rollouts(told.history.rollouts), id_="rollouts"),
        fold("Releases", _releases(told.releases), id_="releases"),
        fold("Audit log", records(told.audit), id_="audit"),
        dialogs(status.service, asked),
    ]


def _to_logs(status: StatusView) -> Markup:
    return tag("p", tag("a", "Recent logs", href=f"/services/{status.service}/logs"))


def logs(service: str, lines: Mapping[str, Sequence[str]], silent: Mapping[str, str]) -> list[Content]:
    """Write the last lines of each instance."""
    up = tag("p", tag("a", tag("b", service), href=f"/services/{service}"), class_="over")
    gone = [tag("p", f"{host or 'this host'} is unreachable: {why}", class_="error") for host, why in silent.items()]
    parts = [
        part(name, tag("pre", "\n".join(told) or "nothing yet", tabindex="0", aria_label=name), id_=f"log-{name}")
        for name, told in lines.items()
    ]
    return [up, tag("h1", "Last lines of the instances"), gone, parts or tag("section", tag("p", "Nothing runs."))]


def _under_way(status: StatusView, now: float) -> Markup | None:
    row = status.rollout
    if row is None:
        return None
    name = f"{row.strategy} of {release(row.release, row.version)}"
    link = tag("a", f"Rollout {row.number}: {name} at {percent(status.share)}", href=f"/rollouts/{row.number}")
    rows = environments.facts(status, now)
    return part("In progress", tag("p", _chip(row.outcome), link), facts(rows) if rows else None, id_="under-way")


def _rollouts(rows: Sequence[RolloutRow]) -> Markup:
    return table(
        ("rollout", "outcome", "began", "took", "what", "by", "report"),
        [
            (
                tag("a", str(row.number), href=f"/rollouts/{row.number}"),
                _chip(row.outcome),
                moment(row.started_at),
                duration(row.seconds),
                [f"{row.strategy} to {release(row.release, row.version)}", tag("small", f" {row.message}")],
                row.by,
                tag("a", "report", href=f"/api/v1/rollouts/{row.number}/report", aria_label=f"report {row.number}"),
            )
            for row in rows
        ],
        numeric=(3,),
    )


def _releases(view: ReleasesView) -> Markup:
    return table(
        ("release", "status", "made", "by", "image", "git"),
        [
            (
                [release(r.number, r.version), " (live)" if r.live else ""],
                tag("span", r.status, class_=f"chip {STATUSES.get(r.status, '')}"),
                moment(r.created_at),
                r.created_by,
                r.image,
                r.git,
            )
            for r in view.releases
        ],
    )


def records(view: AuditView) -> Markup:
    """Write records of the audit log."""
    heads = ("when (UTC)", *(() if view.service else ("service",)), "what", "result", "who", "from", "why")
    return table(
        heads,
        [
            (
                r.at[:19].replace("T", " "),
                *(() if view.service else (r.service,)),
                [r.action, tag("small", f" rollout {r.rollout}") if r.rollout else None],
                r.result,
                r.by,
                tag("small", r.origin),
                r.reason or r.detail,
            )
            for r in view.records
        ],
    )
