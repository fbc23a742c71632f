"""What ansible-runner reports, made small, and turned into what the deployer tells."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "changed", "failed", "skipped", "unreachable"]
Report = Mapping[str, Any]

END = "end"  # our own last event: how ansible-playbook ended
HIDDEN = "(hidden: no_log)"
_LINES, _MESSAGE = 40, 500
_FIELDS = ("play", "task", "host", "ignore_errors", "task_action")
_RESULTS = ("msg", "rc", "stderr", "stdout", "changed", "results", "skip_reason", "censored", "reason", "ansible_stats")


def slim(event: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what is used of an event; empty for one that says nothing to us, or takes the name of our own last one."""
    data = event.get("event_data")
    data = data if isinstance(data, dict) else {}
    kept: dict[str, Any] = {name: data[name] for name in _FIELDS if name in data}
    if isinstance(data.get("res"), dict):
        kept["res"] = {name: data["res"][name] for name in _RESULTS if name in data["res"]}
    kind, stdout = str(event.get("event", "")), str(event.get("stdout", ""))
    if kind == END:
        return {}
    return {"event": kind, "stdout": stdout, **kept} if stdout or kind.startswith(("playbook_", "runner_on_")) else {}


@dataclass(frozen=True)
class TaskReport:
    """One task on one host, as it ended."""

    task: str
    host: str
    status: Status
    message: str = ""


@dataclass
class Course:
    """What is known of a run so far."""

    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES))
    running: str = ""
    tasks: int = 0
    failures: list[TaskReport] = field(default_factory=list)  # of the task that failed last
    status: str = ""
    rc: int | None = None

    def take(self, report: Report) -> Iterator[TaskReport]:
        """Add a report; yield the task that it tells the end of, if any."""
        self.lines.extend(line for line in str(report.get("stdout", "")).splitlines() if line.strip())
        kind = report["event"]
        if kind == END:
            self.status, self.rc = str(report["status"]), report["rc"]
        elif kind in ("playbook_on_task_start", "playbook_on_handler_task_start"):
            self.running = str(report.get("task", ""))
        elif ended := task_report(report):
            self.tasks += 1
            if ended.status in ("failed", "unreachable") and not report.get("ignore_errors"):
                same = bool(self.failures) and self.failures[0].task == ended.task
                self.failures = [*self.failures, ended] if same else [ended]
            yield ended

    def trouble(self) -> str:
        """Return why the run failed."""
        if not self.failures:
            errors = [line for line in self.lines if line.startswith(("ERROR!", "[ERROR]"))]
            return errors[0] if errors else f"ansible-playbook ended with {self.rc}, status {self.status or 'unknown'}"
        first, *others = self.failures
        more = f" (and on {', '.join(f.host for f in others)})" if others else ""
        if first.status == "unreachable":
            return f"task {first.task!r}: host {first.host} cannot be reached{more}: {first.message}"
        return f"task {first.task!r} failed on {first.host}{more}: {first.message}"


_STATUS: dict[str, Status] = {
    "runner_on_ok": "ok",
    "runner_on_failed": "failed",
    "runner_on_skipped": "skipped",
    "runner_on_unreachable": "unreachable",
}


def task_report(report: Report) -> TaskReport | None:
    """Read the end of a task out of a report; None when it is another one."""
    status = _STATUS.get(report["event"])
    if status is None:
        return None
    result = report.get("res") or {}
    if status == "ok" and result.get("changed"):
        status = "changed"
    return TaskReport(str(report.get("task", "")), str(report.get("host", "")), status, _message(report, status))


def _message(report: Report, status: Status) -> str:
    result = report.get("res") or {}
    if "censored" in result:
        return HIDDEN
    if status == "skipped":
        return str(result.get("skip_reason", ""))
    if status in ("failed", "unreachable"):
        message = _failure(result)
        return f"{message} (ignored)" if report.get("ignore_errors") else message
    says = str(report.get("task_action", "")).rpartition(".")[2] == "debug"  # only debug is meant to be read
    return _short(result.get("msg", "")) if says else ""


def _failure(result: Mapping[str, Any]) -> str:
    items = result.get("results")
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and (item.get("failed") or "censored" in item):
            return HIDDEN if "censored" in item else _failure({**item, "results": None})
    message = str(result.get("msg") or result.get("reason") or "")
    if result.get("rc"):
        said = str(result.get("stderr") or "").strip() or str(result.get("stdout") or "").strip()
        message = f"{message} (rc {result['rc']})" + (f": {said}" if said else "")
    return _short(message) or "no message"


def _short(text: Any) -> str:
    """Keep both ends of a long text: it begins with what failed, and ends with what was said last."""
    line = " ".join(str(text).split())
    return line if len(line) <= _MESSAGE else f"{line[: _MESSAGE // 2]} … {line[-_MESSAGE // 2 :]}"
