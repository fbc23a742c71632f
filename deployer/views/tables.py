"""Results for people: each view of `deployer.views.data` as text for stdout. Pure: view and time in, text out."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from deployer.core.amounts import percent
from deployer.views import text as write
from deployer.views.palette import SIDES
from deployer.views.text import columns, duration, moment, one_line, release

if TYPE_CHECKING:
    from deployer.views.data import AdoptionView, DoctorView, HistoryView, PlanView, ReleasesView, RolloutView
    from deployer.views.status_data import EnvironmentView, InstanceView, StatusView
    from deployer.views.status_parts import ApprovalView, LockView, RolloutRow
    from deployer.views.view import View

Ink = Callable[[str, str], str]  # ink(text, style) gives the text, coloured or not
CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
CODES |= {side: paint.code for side, paint in SIDES.items()}
OUTCOMES = {"done": "green", "reverted": "yellow", "paused": "cyan", "needs-attention": "red"}
STATES = {"running": "green", "created": "yellow", "paused": "yellow", "exited": "red", "unknown": "yellow"}
STATUSES = {"good": "green", "rolled-back": "yellow", "failed": "red"}
LEVELS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "bad": ("✗", "red"), "fixed": ("✓", "cyan")}
ROLES = {"stable": "stable", "candidate": "candidate", "baseline": "dim", "left over": "yellow"}


def coloured(text: str, style: str) -> str:
    """Write text in a style of `CODES`."""
    return f"\x1b[{CODES[style]}m{text}\x1b[0m" if style and text else text


def uncoloured(text: str, style: str) -> str:  # noqa: ARG001 - the same shape as `coloured`
    """Leave text as it is."""
    return text


def render(view: View, now: float, ink: Ink = uncoloured) -> str:
    """Return the view as text, without the last line break. `now` is Unix seconds."""
    kind = type(view).__name__
    if kind in _ELSEWHERE:
        module, function = _ELSEWHERE[kind]
        draw = getattr(importlib.import_module(f"deployer.views.{module}"), function)
    else:
        draw = _RENDERERS[kind]
    return "\n".join(draw(view, now, ink))


def _status(view: StatusView, now: float, ink: Ink) -> list[str]:
    out = [f"{ink(view.service, 'bold')}  {_traffic(view, now, ink)}"]
    if view.environments:
        hosts = any(instance.host for environment in view.environments for instance in environment.instances)
        heads = ("", "release", "role", "instance", *(["host"] if hosts else []), "state")
        proxied = ("address", "state", "in proxy")
        rows = [_heads((*heads[:-1], *proxied) if view.served else heads, ink)]
        for environment in view.environments:
            rows += _environment(environment, now, ink, hosts=hosts, served=view.served)
        out += ["", *columns(rows), ""]
    out += _safety(view, ink)
    if view.rollout:
        out.append(f"rollout {_rollout(view.rollout, now, ink)}")
    if view.approval:
        out.append(_approval(view.approval, now, ink))
    if view.lock:
        out.append(_lock(view.lock, now, ink))
    if view.jobs:
        from deployer.views import jobs

        out += [jobs.line(job, now, ink) for job in view.jobs]
    if view.tenant:
        out.append(f"{ink('guest', 'dim')}: of {one_line(view.tenant)}")
    if view.migration and view.migration.contract not in ("none", "done"):
        out.append(f"{ink('migration', 'dim')}: {one_line(view.migration.text)}")
    if view.size or view.keeper:
        from deployer.views import keeper

        out += keeper.lines(view.size, view.keeper, now, ink)
    out += [f"{ink('problem', 'red')}: {one_line(problem)}" for problem in view.problems]
    if view.next:
        out.append(f"{ink('next', 'dim')}: {one_line(view.next)}")
    return out[:-1] if out[-1] == "" else out


def _traffic(view: StatusView, now: float, ink: Ink) -> str:
    if not view.read:
        return "what is live could not be read"
    if not view.stable:
        return "no release is live" if view.problems else "no release is live yet"
    stable = ink(release(view.stable, view.stable_version), "bold")
    if not view.served:
        beside = f", {release(view.candidate, view.candidate_version)} is on trial" if view.candidate else ""
        return f"{stable} is live{beside}"
    if not view.candidate:
        return f"{stable} is live for everyone"
    candidate = ink(release(view.candidate, view.candidate_version), "candidate")
    if view.safety and not view.share:
        had = f"{candidate} had {percent(view.safety.share)}"
        ago = duration(now - view.lease)
        why = "and has spent its budget" if view.safety.over else f"until its lease ran out {ago} ago"
        return f"{stable} is live for everyone: {had} {why}"
    lease = f" (lease: {duration(max(0, view.lease - now))} left)" if view.share and view.lease else ""
    baseline = f", its baseline {percent(view.baseline)}" if view.baseline and view.share else ""
    return f"{stable} is stable, {candidate} gets {percent(view.share)}{baseline}{lease}"


def _safety(view: StatusView, ink: Ink) -> list[str]:
    safety = view.safety
    if safety is None:
        return []
    lines = []
    if safety.budget:
        stopped = "; the proxy gives the candidate no more users" if safety.over else ""
        used = f"users saw {write.spent(safety.spent, safety.budget)}{stopped}"
        lines.append(f"{ink('budget', 'dim')}: {ink(used, 'red' if safety.over else '')}")
    else:
        lines.append(f"{ink('budget', 'dim')}: off")
    if view.share and not view.lease:
        lines.append(f"{ink('lease', 'dim')}: none, the share stays until somebody decides")
    spared = f", {write.plural(safety.shielded, 'failed response')} kept from users so far" if safety.shielded else ""
    lines.append(f"{ink('shield', 'dim')}: {'on' if safety.shield else 'off'}{spared}")
    return lines


def _environment(view: EnvironmentView, now: float, ink: Ink, *, hosts: bool, served: bool) -> list[list[str]]:
    role = ink(view.role, ROLES.get(view.role, ""))
    if view.warm_until:
        left = view.warm_until - now
        role += f" ({duration(left)} left)" if left > 0 else " (over)"
    if view.open:
        role += f", {view.open:,} open"
    head = [view.colour, release(view.release, view.version), role]
    rows = [_instance(i, ink, hosts=hosts, served=served) for i in view.instances] or [["–", "", "", ""]]
    return [[*(head if number == 0 else ["", "", ""]), *row] for number, row in enumerate(rows)]


def _instance(view: InstanceView, ink: Ink, *, hosts: bool, served: bool) -> list[str]:
    state = ink(view.state, STATES.get(view.state, ""))
    if view.exit_code is not None and view.state == "exited":
        state += f" ({view.exit_code})"
    if view.health != "none":
        state += f", {view.health}"
    if view.restarts:
        state += f", {write.plural(view.restarts, 'restart')}"
    up = {True: ink("up", "green"), False: ink("down", "red"), None: "–"}[view.up]
    proxied = [view.address, state, up] if served else [state]
    return [view.name, *([one_line(view.host) or "–"] if hosts else []), *proxied]


def _approval(view: ApprovalView, now: float, ink: Ink) -> str:
    given = f"; given by {', '.join(map(one_line, view.given))}" if view.given else ""
    after = {"revert": "then it is rolled back", "hold": "then it is paused"}.get(view.expired, "")
    left = f"{duration(max(0, view.until - now))} left, {after}"
    return f"{ink('waits', 'yellow')} for the approval of {one_line(view.whose)}: {left}{given}"


def _lock(view: LockView, now: float, ink: Ink) -> str:
    where = f" on {one_line(view.host)}" if view.host else ""
    what = f", rollout {view.rollout}" if view.rollout else ""
    version = f", version {one_line(view.version)}" if view.version else ""
    message = f": {one_line(view.message)}" if view.message else ""
    dead = "" if view.alive else "; its process is gone: `deploy resume` or `deploy abort`"
    since = duration(now - view.since)
    return f"{ink('locked', 'yellow')} by {one_line(view.by)}{where} for {since}{what}{version}{message}{dead}"


def _rollout(row: RolloutRow, now: float, ink: Ink) -> str:
    way = write.way(row.origin, row.release, row.version)
    message = f": {one_line(row.message)}" if row.message else ""
    if row.outcome:
        end = f"{ink(row.outcome, OUTCOMES.get(row.outcome, ''))} after {duration(row.seconds)}"
        end += f" (exit {row.exit})" if row.exit else ""
    else:
        end = f"{ink('in progress', 'cyan')} for {duration(now - row.started_at)}"
    return f"{row.number}: {row.strategy} {way}, {end}, by {one_line(row.by)}{message}"


def _history(view: HistoryView, now: float, ink: Ink) -> list[str]:
    if not view.rollouts:
        return [f"{view.service}: no rollout yet", *_since(view, ink)]
    rows = [_heads(("", "when", "took", "strategy", "release", "outcome", "by"), ink)]
    for row in view.rollouts:
        took = duration(row.seconds if row.outcome else now - row.started_at)
        way = write.way(row.origin, row.release, row.version)
        code = f" (exit {row.exit})" if row.exit else ""
        outcome = ink((row.outcome or "in progress") + code, OUTCOMES.get(row.outcome, "cyan"))
        # To the minute: with whole dates this just fits into 80 columns, and a message has a line of its own.
        at = moment(row.started_at).rpartition(":")[0]
        rows.append([f"#{row.number}", at, took, row.strategy, way, outcome, one_line(row.by)])
    lines = columns(rows)
    said = [lines[0]]
    for row, line in zip(view.rollouts, lines[1:], strict=True):
        said.append(line)
        if row.message:
            said.append(ink(f"     {one_line(row.message)}", "dim"))
        if row.backup:
            said.append(ink(f"     backup: {one_line(row.backup)}", "dim"))
    return [*said, *_since(view, ink)]


def _since(view: HistoryView, ink: Ink) -> list[str]:
    if not view.adopted:
        return []
    return [ink(f"rebuilt {moment(view.adopted)} by {one_line(view.adopted_by)}; what came before is not known", "dim")]


def _releases(view: ReleasesView, _: float, ink: Ink) -> list[str]:
    if not view.releases:
        return [f"{view.service}: no release yet"]
    rows = [_heads(("", "release", "status", "image", "id", "git", "made", "by", "message"), ink)]
    for row in view.releases:
        status = ink(row.status, STATUSES.get(row.status, ""))
        made = [moment(row.created_at), one_line(row.created_by), one_line(row.message)]
        name = release(row.number, row.version)
        live = ink("●", "green") if row.live else ""
        rows.append([live, name, status, row.image, _short(row.image_id), row.git[:10] or "–", *made])
    return columns(rows)


def _show(view: RolloutView, now: float, ink: Ink) -> list[str]:
    from deployer.views.show import show

    return [f"{ink(view.service, 'bold')}  rollout {_rollout(view.rollout, now, ink)}", *show(view, ink)]


def _plan(view: PlanView, _: float, ink: Ink) -> list[str]:
    origin = release(view.origin, view.origin_version) if view.origin else "first deploy"
    way = f"{origin} → {release(view.release, view.version)}"
    out = [f"{ink(view.service, 'bold')}  {view.strategy}, {way}"]
    if view.changes:
        out += ["", ink("what changes", "bold"), *(f"  {one_line(change)}" for change in view.changes)]
    out += ["", ink("steps", "bold"), *_numbered(view.forward)]
    until = "" if view.commit is None else f", from any step before {view.commit + 1}"
    out += ["", ink("rollback steps", "bold") + until, *_numbered(view.back)]
    if view.notes:
        out += ["", ink("notes", "bold"), *(f"  {one_line(note)}" for note in view.notes)]
    return out


def _numbered(sentences: tuple[str, ...]) -> list[str]:
    return [f"  {number:>2}  {one_line(sentence)}" for number, sentence in enumerate(sentences, 1)]


def _heads(names: tuple[str, ...], ink: Ink) -> list[str]:
    return [ink(name, "dim") for name in names]


def _short(image_id: str) -> str:
    return image_id.rpartition(":")[2][:12]


def _doctor(view: DoctorView, now: float, ink: Ink) -> list[str]:  # noqa: ARG001 - the shape of all renderers
    out = []
    for finding in view.findings:
        mark, style = LEVELS[finding.level]
        out.append(f"{ink(mark, style)} {ink(finding.what, 'bold')}: {one_line(finding.text)}")
        remedy = finding.remedy or (f"`deploy doctor --fix`: {finding.fix}" if finding.fix else "")
        if finding.level == "fixed":
            remedy = f"fixed: {finding.fix}"
        if remedy:
            out.append(f"    → {one_line(remedy)}")
    return out


def _adoption(view: AdoptionView, now: float, ink: Ink) -> list[str]:  # noqa: ARG001 - the shape of all renderers
    why = [f"the store of before: {one_line(view.why)}"] if view.why else []
    why += [f"it was moved to {path}" for path in view.aside[:1]]
    if not view.services:
        what = (
            "a new store, empty, as nothing is running"
            if view.why
            else "nothing to adopt: everything that is running is recorded"
        )
        return [f"{ink(view.folder, 'bold')}  {what}", *why, *(one_line(note) for note in view.notes)]
    what = "was recorded" if view.done else "would be recorded"
    rows = [_heads(("service", "", "release", "role", "instances"), ink)]
    for service in view.services:
        for number, each in enumerate(service.environments):
            role = ink(each.role, ROLES.get(each.role, ""))
            name = ink(service.service, "bold") if not number else ""
            rows.append([name, each.colour, release(each.release, each.version), role, str(each.instances)])
    out = [f"{ink(view.folder, 'bold')}  this {what}:", "", *columns(rows), ""]
    for service in view.services:
        said = [f"rollout {service.rollout} is open: {service.text}"] if service.rollout else []
        out += [f"{ink(service.service, 'bold')}: {one_line(line)}" for line in (*said, *service.lost)]
    return [*out, *why, *(one_line(note) for note in view.notes)]


_RENDERERS: dict[str, Callable[[Any, float, Ink], list[str]]] = {
    "StatusView": _status,
    "HistoryView": _history,
    "ReleasesView": _releases,
    "RolloutView": _show,
    "PlanView": _plan,
    "DoctorView": _doctor,
    "AdoptionView": _adoption,
}
_ELSEWHERE = {  # module and function; imported when there is one to print
    "SetView": ("sets", "status"),
    "SetsView": ("sets", "history"),
    "ScaleView": ("keeper", "scale"),
    "ScalingReplayView": ("scaling", "replay"),
    "CostsView": ("cost", "costs"),
    "MigrationView": ("migration", "migration"),
    "JudgementView": ("judgement", "judgement"),
    "AuditView": ("audit", "audit"),
    "ChainView": ("audit", "chain"),
    "TenantsView": ("guests", "tenants"),
    "GuestsView": ("guests", "guests"),
    "BillView": ("guests", "bill"),
    "HostsView": ("hosts", "hosts"),
    "CheckView": ("hosts", "check"),
    "PlayedView": ("hosts", "played"),
    "TokensView": ("tokens", "tokens"),
    "CertificatesView": ("certificates", "certificates"),
    "JobsView": ("jobs", "jobs"),
    "BundleView": ("bundle", "bundle"),
    "SentView": ("bundle", "sent"),
}
