"""Events as plain lines: for pipelines and log files. The wording is stable; new kinds may be added."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import IO, Any

from deployer.core.errors import Exit
from deployer.core.events import PASSING, Event
from deployer.planning.steps import percent
from deployer.views import text as write
from deployer.views.text import ascii_only, clean, one_line

QUIET = 60.0  # seconds between two lines of the same passing kind that say the same but for their numbers
CHANGED = 5.0  # seconds between two that say something else


class PlainLines:
    """Writes one line an event, in ASCII where the stream knows nothing else."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._ascii = (getattr(out, "encoding", None) or "utf-8").lower().replace("-", "") != "utf8"
        # By service and passing kind: when one was written, and what it said
        self._last: dict[tuple[str, str], tuple[float, object]] = {}

    def __call__(self, event: Event) -> None:
        """Write the event, unless one of its passing kind was written just before."""
        if event.kind in PASSING:
            key = event.service, event.kind
            at, said = self._last.get(key, (float("-inf"), None))
            says = _news(event)
            if event.at - at < (QUIET if says == said else CHANGED):
                return
            self._last[key] = event.at, says
        text = lines(event)
        self._out.write((ascii_only(text) if self._ascii else text) + "\n")
        self._out.flush()


def _news(event: Event) -> object:
    """Return what a reader should hear of at once when it changes: not numbers that grow with every request."""
    d = event.data
    if event.kind != "sample":
        return d.get("n"), re.sub(r"\d+", "", str(d.get("text", "")))
    begun = [bool(d.get(key)) for key in ("spent", "shielded", "lost")]
    return d.get("share_target"), bool((d.get("candidate") or {}).get("errors")), *begun, d.get("waits")


def lines(event: Event) -> str:
    """Return the line of an event; a failed step with a log has one more line for each of its lines."""
    number = f" #{event.rollout}" if event.rollout else ""  # what comes before the rollout has no number
    at, service = time.strftime("%H:%M:%S", time.localtime(event.at)), one_line(event.service)
    head = f"{at} {service}{number}" if service else f"{at}{number}"  # what is about several services names none
    log = event.data.get("log") or () if event.kind == "step.failed" else ()
    return "\n".join([f"{head} {sentence(event)}", *(f"    | {clean(line).rstrip()}" for line in log)])


def sentence(event: Event) -> str:
    """Return what an event says, without when and where."""
    return _worded(event) or f"{event.kind}: {_rest(event.data)}"


def _worded(event: Event) -> str:
    """Return the sentence of an event, or nothing for a kind or a field that this version cannot read."""
    try:
        return _WRITERS[event.kind](event.data)
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError):
        return ""


def _started(d: dict[str, Any]) -> str:
    origin, release = int(d.get("origin", 0)), int(d.get("release", 0))
    way = write.way(origin, release, d.get("version", ""))
    return f"started: {_s(d, 'strategy')} {way}, {write.plural(len(d.get('steps', ())), 'step')}, by {_s(d, 'by')}"


def _resumed(d: dict[str, Any]) -> str:
    return f"{'rolling back' if d.get('phase') == 'back' else 'resumed'}, by {_s(d, 'by')}"


def _began(d: dict[str, Any]) -> str:
    deadline = float(d.get("deadline") or 0)
    limit = f" (up to {write.duration(deadline)})" if deadline else ""
    return f"{_step(d)} began: {_s(d, 'text')}{limit}"


def _progress(d: dict[str, Any]) -> str:
    step = f"step {int(d['n']) + 1}: " if "n" in d else ""  # its `of` counts what the step counts, not steps
    return f"{step}{_s(d, 'text')}"


def _done(d: dict[str, Any]) -> str:
    return f"{_step(d)} done in {write.duration(float(d.get('seconds') or 0))}: {_s(d, 'text')}"


def _failed(d: dict[str, Any]) -> str:
    return f"{_step(d)} {'stopped' if d.get('exit') == Exit.ABORTED else 'FAILED'}: {_error(d)}"


def _task(d: dict[str, Any]) -> str:
    message = f": {_s(d, 'message')}" if d.get("message") else ""
    return f"task {_s(d, 'status')}: {_s(d, 'playbook')}: {_s(d, 'task')} on {_s(d, 'host')}{message}"


def _traffic(d: dict[str, Any]) -> str:
    baseline = f", the baseline {percent(int(d['baseline']))}" if d.get("baseline") else ""
    share = int(d.get("share", 0))
    if not share:
        return f"traffic: everyone is on {_s(d, 'stable')}"
    return f"traffic: stable is {_s(d, 'stable')}, the candidate gets {percent(share)}{baseline}"


def _sample(d: dict[str, Any]) -> str:
    measured = d.get("share_actual")
    got = write.actual(None if measured is None else float(measured))
    asked = percent(int(d.get("share_target") or 0))
    parts = [f"sample: {asked} target, {got}", _side("stable", d), _side("candidate", d)]
    if d.get("budget"):
        parts.append(f"users saw {write.spent(int(d.get('spent') or 0), int(d['budget']))}")
    if d.get("shielded"):
        parts.append(write.shielded(int(d["shielded"])))
    if d.get("shown") is not None:
        parts.append(write.shown(float(d["shown"]), d.get("more"), _s(d, "unit") or "responses"))
    if d.get("waits"):
        parts.append(f"waiting: {_s(d, 'waits')}")
    if d.get("lost"):
        parts.append(f"{write.count(int(d['lost']))} not seen")
    return "; ".join(parts)


def _side(role: str, d: dict[str, Any]) -> str:
    side = d.get(role) or {}
    requests, errors = int(side.get("requests") or 0), int(side.get("errors") or 0)
    times = f"p50 {write.latency(side.get('p50'))}, p99 {write.latency(side.get('p99'))}"
    return f"{role} {write.plural(requests, 'response')}, {errors:,} failed, {times}"


def _verdict(d: dict[str, Any]) -> str:
    return f"verdict: {write.verdict(_s(d, 'verdict'), bool(d.get('enough')))}: {_s(d, 'text')}"


def _metric(d: dict[str, Any]) -> str:
    dry = " (dry run: decides nothing)" if d.get("dry_run") else ""
    return f"metric {_s(d, 'name')}: {_s(d, 'verdict')}: {_s(d, 'text')}{dry}"


def _budget(d: dict[str, Any]) -> str:
    return f"budget: users saw {write.spent(int(d['spent']), int(d['limit']))}; the candidate gets no more users"


def _shield(d: dict[str, Any]) -> str:
    answers, all_of_them = write.plural(int(d["shielded"]), "failed response"), write.count(int(d.get("answered") or 0))
    return f"shield: {answers} of {all_of_them} did not reach a user: stable answered instead"


def _side_lost(d: dict[str, Any]) -> str:
    return _s(d, "text")


def _lease(d: dict[str, Any]) -> str:
    share, ago = percent(int(d.get("share") or 0)), write.duration(float(d.get("seconds") or 0))
    return f"lease: {share} ran out by itself {ago} ago; everyone has been on stable since"


def _asked(d: dict[str, Any]) -> str:
    until = f", until {write.moment(float(d['until']))}" if d.get("until") else ""
    given = ", ".join(one_line(who) for who in d.get("given") or ())
    return f"approval: {_s(d, 'text')}{until}{f'; given by {given}' if given else ''}"


def _voice(d: dict[str, Any]) -> str:
    return f"approval: {_s(d, 'text')}"


def _turned(d: dict[str, Any]) -> str:
    return f"rolling back (exit {d.get('exit', 0)}): {_error(d)}"


def _held(d: dict[str, Any]) -> str:
    text = _s(d, "text")  # names what leads on
    if d.get("until"):
        text += f"; at {write.moment(float(d['until']))} the proxy returns everyone to stable"
    at = f" at {percent(int(d['share'] or 0))}" if "share" in d else ""  # a worker has no share
    return text if text.startswith("paused at") else f"paused{at}: {text}"


def _left(d: dict[str, Any]) -> str:
    hint = f" → {_s(d, 'hint')}" if d.get("hint") else ""
    return f"detached (exit {d.get('exit', 0)}): {_s(d, 'text')}{hint}"


def _ended(d: dict[str, Any]) -> str:
    took = write.duration(float(d.get("seconds") or 0))
    return f"ended: {_s(d, 'outcome')} after {took} (exit {d.get('exit', 0)}): {_s(d, 'text')}"


def _note(d: dict[str, Any]) -> str:
    return f"note: {_s(d, 'text')}"


def _host(d: dict[str, Any]) -> str:
    return f"host: {_s(d, 'text')}"


def _proxy(d: dict[str, Any]) -> str:
    return f"proxy: {_s(d, 'text')}"


def _untold(d: dict[str, Any]) -> str:
    about = f" of {_s(d, 'about')}" if d.get("about") else ""
    return f"notify: {_s(d, 'to') or 'a recipient'} was not notified{about}: {_s(d, 'text')}"


def _step(d: dict[str, Any]) -> str:
    way = "back " if d.get("phase") == "back" else ""
    of = f"/{d['of']}" if d.get("of") else ""
    n = f" {int(d['n']) + 1}" if "n" in d else ""
    return f"{way}step{n}{of}"


def _error(d: dict[str, Any]) -> str:
    hint = f" → {_s(d, 'hint')}" if d.get("hint") else ""
    return f"{_s(d, 'error')}{hint}"


def _rest(d: dict[str, Any]) -> str:
    return ", ".join(f"{key}={one_line(value)}" for key, value in d.items())


def _s(d: dict[str, Any], key: str) -> str:
    return one_line(d.get(key, ""))


def _job(d: dict[str, Any]) -> str:
    return _s(d, "text")


def _set(d: dict[str, Any]) -> str:
    return f"{_s(d, 'name')} ended: {_s(d, 'outcome')} (exit {d.get('exit', 0)}): {_s(d, 'text')}"


_WRITERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "rollout.started": _started,
    "rollout.resumed": _resumed,
    "step.began": _began,
    "step.progress": _progress,
    "step.done": _done,
    "step.failed": _failed,
    "task": _task,
    "traffic.changed": _traffic,
    "sample": _sample,
    "verdict": _verdict,
    "metric": _metric,
    "budget.spent": _budget,
    "shield.used": _shield,
    "side.lost": _side_lost,
    "lease.over": _lease,
    "approval.asked": _asked,
    "approval.given": _voice,
    "approval.refused": _voice,
    "approval.expired": _voice,
    "rollout.rolling_back": _turned,
    "rollout.paused": _held,
    "rollout.detached": _left,
    "rollout.ended": _ended,
    "note": _note,
    "job.started": _job,
    "job.output": _job,
    "job.ended": _job,
    "set.ended": _set,
    "host.unreachable": _host,
    "host.back": _host,
    "proxy.lost": _proxy,
    "proxy.back": _proxy,
    "notify.failed": _untold,
}
