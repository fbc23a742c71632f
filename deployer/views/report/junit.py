"""The report for a pipeline: JUnit XML, each gate a test case."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree

from deployer.views.data import JournalRow
from deployer.views.report.data import ReportView
from deployer.views.text import clean, one_line, release

GATES = frozenset({"healthy", "smoke", "watch", "approve", "meet", "play", "migrate", "promote"})


def junit(view: ReportView) -> str:
    """Write the report; a rollout that did not end well has a failure, whatever its steps say."""
    row = view.rollout
    cases = [_case(view, step) for step in view.steps if _is_case(step)]
    told = any(len(case.findall("failure")) for case in cases)
    if row.outcome in ("reverted", "needs-attention") and not told:
        cases.append(_ending(view, "failure"))
    elif row.outcome == "paused":
        cases.append(_ending(view, "skipped"))
    name = f"{view.service} rollout {row.number}: {row.strategy} to {release(row.release, row.version)}"
    started = datetime.fromtimestamp(row.started_at, UTC).isoformat(timespec="seconds").removesuffix("+00:00")
    return document(name, cases, seconds=row.seconds, timestamp=started)


def document(name: str, cases: Sequence[ElementTree.Element], seconds: float = 0.0, timestamp: str = "") -> str:
    """Write one suite with these test cases; `timestamp` is ISO 8601, in UTC, without a zone."""
    counts = {kind: str(sum(len(c.findall(kind)) for c in cases)) for kind in ("failure", "skipped")}
    suite = ElementTree.Element(
        "testsuite",
        name=text_of(name),
        tests=str(len(cases)),
        failures=counts["failure"],
        errors="0",
        skipped=counts["skipped"],
        time=f"{seconds:.3f}",
    )
    if timestamp:
        suite.set("timestamp", timestamp)
    suite.extend(cases)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _is_case(step: JournalRow) -> bool:
    return step.state == "failed" or (step.phase == "forward" and step.kind in GATES)


def _case(view: ReportView, step: JournalRow) -> ElementTree.Element:
    case = _new(view, f"{step.phase} {step.n + 1}: {step.text}", step.seconds)
    if step.state == "failed":
        failure = ElementTree.SubElement(case, "failure", message=text_of(step.error), type=step.kind)
        failure.text = text_of("\n".join([step.error, *(f"→ {view.remedy}" for _ in [1] if view.remedy), *view.log]))
    elif step.state != "done":
        ElementTree.SubElement(case, "skipped", message="not reached" if step.state == "waiting" else "not finished")
    return case


def _ending(view: ReportView, kind: str) -> ElementTree.Element:
    case = _new(view, f"the rollout is {view.rollout.outcome}", 0.0)
    ending = ElementTree.SubElement(case, kind, message=text_of(view.cause))
    if kind == "failure":
        ending.set("type", "rollout")
    return case


def _new(view: ReportView, name: str, seconds: float) -> ElementTree.Element:
    return ElementTree.Element(
        "testcase", classname=f"deploy.{view.service}", name=text_of(name), time=f"{seconds:.3f}"
    )


def text_of(words: str) -> str:
    """Leave out what XML cannot hold, even escaped."""
    kept = clean(words) if "\n" in words else one_line(words)
    return "".join(
        c for c in kept if c in "\n\t" or 0x20 <= ord(c) <= 0xD7FF or 0xE000 <= ord(c) <= 0xFFFD or ord(c) > 0xFFFF
    )
