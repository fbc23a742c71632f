"""What a command leaves for a pipeline: files in a folder, and what GitHub Actions asks for in files of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.core.errors import DeployError, ManifestRefused, NoServer, Refused

if TYPE_CHECKING:
    from deployer.core.events import Event
    from deployer.manifest.target import Target
    from deployer.planning.orders import RolloutResult
    from deployer.views.report.data import ReportView
    from deployer.views.report.pipeline import ManifestError, Result

_PUBLIC = 0o644  # the next step of a pipeline may be another user
_NAMES = {"html": "report.html", "json": "report.json", "junit": "junit.xml", "md": "summary.md"}


class PipelineReports:
    """The folder of a command's reports; without one, nothing is told."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._told = False
        self.service, self.rollout = "", 0  # the newest rollout that this command had to do with
        self.commands: tuple[str, ...] = ()  # what GitHub Actions is to show, once our log is over

    def about(self, target: Target) -> None:
        """Learn the service that the command is about, as far as that is known without asking anybody."""
        with suppress(Refused):  # a manifest that cannot be read: the command itself says so
            self.service = target.service or target.peeked()

    def see(self, event: Event) -> None:
        """Look at an event: which rollout it is about."""
        self.service = event.service or self.service
        self.rollout = event.rollout or self.rollout

    def ended(self, ending: RolloutResult, report: Callable[[int], ReportView]) -> None:
        """Write out an ending; `report` gives that of a rollout."""
        if self._folder and ending.rollout:
            self._tell_rollout(report, ending.rollout, int(ending.exit), ending.text)
        elif self._folder:
            from deployer.views.report.pipeline import Result

            self._tell(Result(self.service, "unchanged", int(ending.exit), ending.text))

    def failed(self, error: DeployError, report: Callable[[int], ReportView] | None = None) -> None:
        """Write out the error of a command, with the rollout that it had to leave, if it had begun one."""
        if self._folder is None or self._told:
            return
        if report is not None and self.rollout:
            self._tell_rollout(report, self.rollout, int(error.exit), error.message)
            return
        from deployer.views.report.pipeline import Result

        outcome = error.exit.name.lower().replace("_", "-")
        self._tell(
            Result(self.service, outcome, int(error.exit), error.message, error.hint, places=tuple(_places(error)))
        )

    def _tell_rollout(self, report: Callable[[int], ReportView], rollout: int, code: int, text: str) -> None:
        from deployer.views.report import FORMATS, render
        from deployer.views.report.pipeline import result_of

        try:
            view = report(rollout)
        except NoServer as error:
            sys.stderr.write(f"the report could not be written: {error.message}\n")
            return
        self._tell(result_of(view, code, text), {_NAMES[form]: render(view, form) for form in FORMATS})

    def _tell(self, result: Result, rollout: Mapping[str, str] | None = None) -> None:
        """Write all; that it cannot be written is said, and changes nothing of how the command ends."""
        from deployer.core.secret import hide
        from deployer.views.report.pipeline import environment, junit, outputs, summary, values, workflow_commands

        self._told = True
        folder = self._folder or Path()
        found = values(result, str(folder / _NAMES["html"]) if rollout else "")
        documents = dict(rollout or {_NAMES["junit"]: junit(result), _NAMES["md"]: summary(result)})
        documents["outputs.env"] = environment(found)
        try:
            _write(folder, {name: hide(text) for name, text in documents.items()})
            if _on_github():
                _append("GITHUB_STEP_SUMMARY", hide(documents[_NAMES["md"]]))
                _append("GITHUB_OUTPUT", hide(outputs(found)))
                self.commands = tuple(map(hide, workflow_commands(result)))
        except OSError as error:
            sys.stderr.write(f"the report could not be written: {error}\n")


@contextmanager
def reports(folder: Path | None) -> Iterator[PipelineReports]:
    """Open the reports of a command, before it changes anything; an error that leaves it is told there.

    Raises Refused when the folder cannot be made.
    """
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Refused(f"{folder} cannot be made: {error.strerror}", "name another folder: --report DIR") from None
    opened = PipelineReports(folder)
    stopped = folder is not None and _on_github()
    token = os.urandom(16).hex()
    if stopped:  # what a release prints, and we repeat, must not be taken for a command of this pipeline
        sys.stderr.write(f"::stop-commands::{token}\n")
    try:
        yield opened
    except DeployError as error:
        opened.failed(error)
        raise
    finally:
        if stopped:
            sys.stderr.write("".join(f"{line}\n" for line in (f"::{token}::", *opened.commands)))


def _write(folder: Path, documents: Mapping[str, str]) -> None:
    from deployer.core import files

    for name in _NAMES.values():  # of an earlier run: a refusal has no page
        if name not in documents:
            (folder / name).unlink(missing_ok=True)
    for name, text in documents.items():
        files.replace(folder / name, text, _PUBLIC, lasting=False)


def _on_github() -> bool:
    return os.environ.get("GITHUB_ACTIONS") == "true"


def _append(variable: str, text: str) -> None:
    """Add to a file that the runner named; earlier steps may have written to it."""
    if name := os.environ.get(variable):
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(text)


def _places(error: DeployError) -> Iterator[ManifestError]:
    from deployer.views.report.pipeline import place_of

    for problem in error.problems if isinstance(error, ManifestRefused) else ():
        said = f"{problem.path}: {problem.message}" if problem.path else problem.message
        place = place_of(problem.where, f"{said}\n→ {problem.hint}" if problem.hint else said)
        if place is not None:
            yield place
