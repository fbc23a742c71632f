"""What is live, as tables: environments with their instances, the lock, what is wrong."""

from __future__ import annotations

from deployer.planning.steps import percent
from deployer.server.page.frame import until, words
from deployer.views.data import EnvironmentView, InstanceView, StatusView
from deployer.views.report import times
from deployer.views.report.markup import Content, Markup, tag
from deployer.views.report.sections import table
from deployer.views.text import plural, release, shielded

ROLES = {"stable": "stable", "candidate": "candidate"}
PROXY = {True: "up", False: "down", None: "not there"}


def instances(status: StatusView, now: float) -> Markup:
    """List the instances of all environments."""
    found = [(e, i) for e in status.environments for i in e.instances]
    if not found:
        return tag("p", "Nothing runs." if status.read else "Nothing is known of it now.")
    checked = any(i.health != "none" for _, i in found)  # by a HEALTHCHECK of the image
    health = ["health"] if checked else []
    heads = ("environment", "release", "instance", "address", "state", *health, "in proxy")
    rows = [_row(e, i, now, checked=checked) for e, i in found]
    if not status.served:  # no proxy knows it, and nobody connects to it
        heads, rows = (*heads[:3], *heads[4:-1]), [[*row[:3], *row[4:-1]] for row in rows]
    return table(heads, rows)


def _row(environment: EnvironmentView, one: InstanceView, now: float, *, checked: bool) -> list[Content]:
    role: list[Content] = [tag("i", class_=f"swatch {ROLES.get(environment.role, '')}"), environment.role]
    if environment.warm_until:
        role += [" for ", until(environment.warm_until, now)]
    if environment.open:
        role.append(f", {environment.open:,} open")
    state = {"running": "good", "paused": "open"}.get(one.state, "bad")
    health = tag("span", one.health, class_=f"chip {'good' if one.health == 'healthy' else 'open'}")
    again = f", {plural(one.restarts, 'restart')}" if one.restarts else ""
    return [
        role,
        release(environment.release, environment.version),
        one.name,
        f"{one.address}{f' on {one.host}' if one.host else ''}",
        tag("span", f"{one.state}{again}", class_=f"chip {state}"),
        *(["–" if one.health == "none" else health] if checked else []),
        tag("span", PROXY[one.up], class_=f"chip {'good' if one.up else 'open'}"),
    ]


def problems(status: StatusView) -> Markup | None:
    """Return what is wrong."""
    if not status.problems:
        return None
    lines = [tag("p", words(text)) for text in status.problems]
    return tag("section", tag("h2", "Problems"), lines, class_="why bad", id="problems")


def facts(status: StatusView, now: float) -> list[tuple[str, Content]]:
    """Return share, lease, budget, and who has the lock."""
    rows: list[tuple[str, Content]] = []
    safety = status.safety
    if status.lease:
        gone = "it has run out: everybody is on stable"
        paused = status.rollout is not None and status.rollout.outcome == "paused"
        then = " left; then everybody is on stable" if paused else " left; its process renews it"
        left: Content = [until(status.lease, now), then]
        rows.append(("lease", left if status.lease > now else gone))
    elif status.share:
        rows.append(("lease", "none: the share stays until somebody decides"))
    if safety and safety.budget:
        ended = ": spent, the proxy gives it no more users" if safety.over else ""
        bar = tag("meter", value=str(min(safety.spent, safety.budget)), max=str(safety.budget), aria_hidden="true")
        rows.append(
            ("budget", [bar, f" {safety.spent:,} of {plural(safety.budget, 'failed response')} seen by users{ended}"])
        )
    if safety and safety.shield:
        rows.append(
            ("shield", shielded(safety.shielded) if safety.shielded else "on: stable answers what the candidate fails")
        )
    if status.baseline:
        rows.append(("baseline", f"{percent(status.baseline)} on fresh instances of stable"))
    if status.lock:
        since = times.clock(status.lock.since)
        rows.append(("run by", [f"{status.lock.by} since ", since, f": {status.lock.message}"]))
    return rows
