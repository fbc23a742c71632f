"""What a pipeline shows of a deploy: values for later jobs, lines beside the code, a word where no rollout began."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from deployer.views.report.data import ReportView
from deployer.views.report.junit import document, text_of
from deployer.views.report.markdown import escaped
from deployer.views.text import one_line

GOOD = frozenset({"done", "paused"})  # outcomes of which nothing is called an error
_FULL = 10000  # basis points


@dataclass(frozen=True)
class ManifestError:
    """What is wrong at a line of a file of the user's."""

    file: str
    line: int
    text: str


@dataclass(frozen=True)
class Result:
    """How a command ended. `outcome` is that of the rollout, or why none began: `unchanged`, `refused`, `locked`, ….

    `share` is the candidate's part of the users then, in basis points; None where nothing is known of it.
    """

    service: str
    outcome: str
    exit: int
    text: str
    hint: str = ""
    rollout: int = 0
    release: int = 0
    version: str = ""
    share: int | None = None
    places: Sequence[ManifestError] = ()


def result_of(view: ReportView, code: int, text: str) -> Result:
    """Return the result of a command that drove a rollout to where it is now."""
    row = view.rollout
    share: int | None = {"done": _FULL, "reverted": 0}.get(row.outcome, view.timeline[-1].share if view.timeline else 0)
    if not view.served:
        share = None
    return Result(
        view.service, row.outcome or "open", code, text, view.remedy, row.number, row.release, row.version, share
    )


def values(result: Result, report: str = "") -> dict[str, str]:
    """Return what later jobs may want to know, each a text of one line; `report` is where the page lies."""
    share = "" if result.share is None else f"{result.share / 100:g}"
    found = {
        "outcome": result.outcome,
        "exit": str(result.exit),
        "service": result.service,
        "rollout": str(result.rollout or ""),
        "release": str(result.release or ""),
        "version": result.version,
        "share": share,
        "report": report,
    }
    return {name: one_line(value) for name, value in found.items()}


def environment(found: Mapping[str, str]) -> str:
    """Write values as `DEPLOYER_NAME=VALUE`, for a shell's `.` and for the dotenv reports of GitLab."""
    return "".join(f"DEPLOYER_{name.upper()}={shlex.quote(value) if value else ''}\n" for name, value in found.items())


def outputs(found: Mapping[str, str]) -> str:
    """Write values for the file GITHUB_OUTPUT (GitHub Actions, workflow commands: setting an output parameter)."""
    return "".join(f"{name}={value}\n" for name, value in found.items())


def workflow_commands(result: Result) -> Iterator[str]:
    """Yield lines by which GitHub Actions shows an ending (workflow commands: error, warning, notice)."""
    if result.places:
        for place in result.places:
            yield _command("error", place.text, file=place.file, line=str(place.line), title="deploy")
        return
    level = "notice" if result.outcome in GOOD | {"unchanged"} else "error"
    level = "warning" if level == "notice" and result.exit else level
    title = f"{result.service or 'deploy'}{f' rollout {result.rollout}' if result.rollout else ''}: {result.outcome}"
    yield _command(level, f"{result.text}\n→ {result.hint}" if result.hint else result.text, title=title)


def summary(result: Result) -> str:
    """Write the Markdown of a command that began no rollout."""
    name = result.service or "deploy"
    lines = [f"## {escaped(name)}: {escaped(result.outcome)}", *(_paragraph(line) for line in result.text.splitlines())]
    return "\n\n".join([*lines, *([f"→ {escaped(result.hint)}"] if result.hint else [])]) + "\n"


def junit(result: Result) -> str:
    """Write the JUnit report of a command that began no rollout: one test case."""
    name = result.service or "deploy"
    case = ElementTree.Element("testcase", classname=f"deploy.{name}", name=f"the deploy is {result.outcome}", time="0")
    if result.outcome != "unchanged":
        failure = ElementTree.SubElement(case, "failure", message=text_of(result.text), type=result.outcome)
        failure.text = text_of(f"{result.text}\n→ {result.hint}" if result.hint else result.text)
    return document(f"{name}: {result.outcome}", [case])


def place_of(where: str, text: str) -> ManifestError | None:
    """Read where a problem of a manifest is (`deploy.yml:7`); None where it is at no line."""
    match = re.fullmatch(r"(.+):([0-9]+)", where)
    return ManifestError(match[1], int(match[2]), text) if match else None


def _command(name: str, message: str, **properties: str) -> str:
    given = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{name} {given}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _paragraph(line: str) -> str:
    return f"- {escaped(line)}" if line.startswith(" ") else escaped(line)
