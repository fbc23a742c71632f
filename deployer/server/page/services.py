"""Services at a glance, and one service: what is live, what happened, who did it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from deployer.planning.steps import percent
from deployer.server.page import environments
from deployer.server.page.dialogs import Dialog, buttons, dialogs
from deployer.server.page.frame import fold, part, until, words
from deployer.store import Rollout
from deployer.views.cost_data import CostView
from deployer.views.data import AuditView, HistoryView, ReleasesView, RolloutRow, StatusView
from deployer.views.keeper import concurrency, following, load, usual, wanted
from deployer.views.progress import ServiceRow
from deployer.views.report import load_plot, times
from deployer.views.report.headline import KINDS
from deployer.views.report.markup import Content, Markup, tag
from deployer.views.report.sections import facts, table
from deployer.views.status_parts import JobRunView, JobView
from deployer.views.text import duration, release, users_on

OUTCOMES = {"": "", "done": "good", "aborted": "open", "skipped": "open", "missed": "open"}  # of a run of a job
STATUSES = {"good": "good", "rolled-back": "open", "failed": "bad", "new": "open"}


@dataclass(frozen=True)
class Glance:
    """A service in a few words: its line, its newest rollout with the release of it, and what that gets.

    `back` is the release that an operator may roll back to, empty for none; `asleep` since when it sleeps, else 0.
    """

    row: ServiceRow
    last: Rollout | None = None
    release: str = ""
    share: int = 0
    back: str = ""
    acts: bool = False
    asleep: float = 0.0


def home(glances: Sequence[Glance], now: float, sets: Content = None) -> list[Content]:
    """Write all services, and before them the sets in which they are released together."""
    if not glances:
        empty = "No service is here that this token is for. The first deploy makes one: `deploy up`."
        return [tag("h1", "Services"), tag("section", tag("p", empty))]
    return [tag("h1", "Services"), sets, tag("ul", [_card(one, now) for one in glances], class_="cards")]


def _card(one: Glance, now: float) -> Markup:
    row, last = one.row, one.last
    live = release(row.stable, row.stable_version) if row.stable else "nothing"
    rest = f", the rest on {live}" if one.share else None
    lines: list[Content] = [tag("p", tag("b", users_on(live, one.release, one.share)), rest, class_="live")]
    if one.asleep:
        lines.append(tag("p", "asleep since ", times.date(one.asleep), ", wakes with the next request", class_="soft"))
    if last is not None:
        lines += _newest(last, one.release, now)
    if one.acts:
        lines.append(_ways(one))
    name = tag("h2", tag("a", row.service, href=f"/services/{row.service}"))
    return tag("li", name, lines, class_="under-way" if row.rollout else None, id=f"service-{row.service}")


def _newest(last: Rollout, name: str, now: float) -> Iterator[Content]:
    """Write the newest rollout, and in a sentence why it is not done."""
    what = tag("a", f"{last.strategy} of {name}", href=f"/rollouts/{last.number}")
    by = "" if last.outcome else f" by {last.started_by}"
    when = times.ago(last.ended_at or last.started_at, now)
    yield tag("p", _chip(last.outcome or ""), what, f"{by}, ", when, class_="soft")
    if last.text and last.outcome not in (None, "done"):
        yield tag("p", words(last.text), class_="cause")


def _ways(one: Glance) -> Content:
    """Link to the dialogs that take users off a release."""
    row = one.row
    if row.rollout:
        return tag("p", tag("a", "Abort…", href=f"/rollouts/{row.rollout}#ask-abort", class_="way"))
    way = f"/services/{row.service}#ask-rollback"
    return tag("p", tag("a", f"Roll back to {one.back}…", href=way, class_="way")) if one.back else None


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
    last: Rollout | None = None  # the newest rollout
    cost: CostView | None = None  # of the last days, where its size follows the load


def title(status: StatusView) -> str:
    """Return where the users of a service are."""
    if not status.read:
        return "What is live is not known now"
    live = release(status.stable, status.stable_version) if status.stable else "nothing"
    return users_on(live, release(status.candidate, status.candidate_version), status.share)


def service(told: ServicePage, asked: Sequence[Dialog], *, logs: bool) -> list[Content]:
    """Write one service."""
    status, now = told.status, told.now
    rest = f"The rest is on {release(status.stable, status.stable_version)}." if status.read and status.share else None
    return [
        tag("p", tag("b", status.service), f", a guest of {status.tenant}" if status.tenant else "", class_="over"),
        tag("h1", title(status)),
        tag("p", rest, class_="soft") if rest else None,
        buttons(asked),
        _ended(told),
        environments.problems(status),
        _under_way(status, now),
        part("Instances", environments.instances(status, now), _to_logs(status) if logs else None, id_="instances"),
        _kept(status, now),
        _load(told.cost) if told.cost else None,
        part("Jobs", _jobs(status.jobs, now), id_="jobs") if status.jobs else None,
        part("Rollouts", _rollouts(told.history.rollouts, now), id_="rollouts"),
        fold("Releases", _releases(told.releases), id_="releases"),
        fold("Audit log", records(told.audit), id_="audit"),
        dialogs(f"/services/{status.service}", asked),
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
    share = f" at {percent(status.share)}" if status.served else ""
    link = tag("a", f"Rollout {row.number}: {name}{share}", href=f"/rollouts/{row.number}")
    rows = environments.facts(status, now)
    return part("In progress", tag("p", _chip(row.outcome), link), facts(rows) if rows else None, id_="under-way")


def _ended(told: ServicePage) -> Markup | None:
    """Return in a sentence why the newest rollout is not live."""
    last = told.last
    if last is None or told.status.rollout is not None or last.outcome in (None, "", "done") or not last.text:
        return None
    link = tag("a", f"Rollout {last.number}", href=f"/rollouts/{last.number}")
    line = tag("p", _chip(last.outcome), link, " ended ", times.ago(last.ended_at or last.started_at, told.now), ": ")
    kind = KINDS.get(last.outcome, "")
    return tag("section", tag("h2", "Last rollout"), line, tag("p", words(last.text)), class_=f"why {kind}", id="last")


def _rollouts(rows: Sequence[RolloutRow], now: float) -> Markup:
    return table(
        ("rollout", "outcome", "began", "took", "what", "by", "report"),
        [
            (
                tag("a", str(row.number), href=f"/rollouts/{row.number}"),
                _chip(row.outcome),
                times.ago(row.started_at, now),
                duration(row.seconds),
                [f"{row.strategy} to {release(row.release, row.version)}", tag("small", f" {row.message}")],
                row.by,
                tag("a", "report", href=f"/api/v1/rollouts/{row.number}/report", aria_label=f"report {row.number}"),
            )
            for row in rows
        ],
        numeric=(3,),
    )


def _kept(status: StatusView, now: float) -> Markup | None:
    """Write the size that somebody wants, and what the keeper did last and does next."""
    rows: list[tuple[str, Content]] = []
    if status.size and (status.size.by or status.size.scale):
        rows.append(("size", wanted(status.size)))
    if status.size and status.size.scale:
        rows.append(("load", load(status.size.scale)))
        if status.size.scale.usual:
            rows.append(("usual", usual(status.size.scale)))
        if status.size.scale.learns:
            rows.append(("concurrency", concurrency(status.size.scale)))
    if status.migration and status.migration.contract not in ("none", "done"):
        rows.append(("migration", status.migration.text))
    if (keeper := status.keeper) is not None:
        if keeper.last:
            link = tag("a", keeper.last, href=f"/rollouts/{keeper.last_rollout}")
            rows.append(("last", [link, ", ", times.ago(keeper.last_at, now)]))
        if keeper.next and (keeper.runs or keeper.next_at <= now):
            rows.append(("keeper", following(keeper, now)))
    return part("Between rollouts", facts(rows), id_="keeper") if rows else None


def _load(cost: CostView) -> Markup | None:
    figure = load_plot.figure(cost)
    return part("Size and load", figure.render(), id_="load") if figure else None


def _jobs(found: Sequence[JobView], now: float) -> Markup:
    return table(
        ("job", "schedule", "next in", "last run"),
        [
            (
                job.name,
                [job.cron, tag("small", f" {job.timezone}")],
                until(job.next, now),
                _last_run(job.runs[0], now) if job.runs else "none yet",
            )
            for job in found
        ],
    )


def _last_run(run: JobRunView, now: float) -> list[Content]:
    chip = tag("span", run.outcome or "running", class_=f"chip {OUTCOMES.get(run.outcome, 'bad')}")
    if not run.outcome:
        return [chip, "since ", times.ago(run.started_at, now)]
    code = f"exit code {run.exit}, " if run.exit else ""
    return [chip, code, times.ago(run.started_at + run.seconds, now)]


def _releases(view: ReleasesView) -> Markup:
    return table(
        ("release", "status", "made", "by", "image", "git"),
        [
            (
                [release(r.number, r.version), " (live)" if r.live else ""],
                tag("span", r.status, class_=f"chip {STATUSES.get(r.status, '')}"),
                times.date(r.created_at),
                r.created_by,
                r.image,
                r.git,
            )
            for r in view.releases
        ],
    )


def records(view: AuditView) -> Markup:
    """Write records of the audit log."""
    heads = ("when", *(() if view.service else ("service",)), "what", "result", "who", "from", "why")
    return table(
        heads,
        [
            (
                times.date(datetime.fromisoformat(r.at).timestamp()),
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
