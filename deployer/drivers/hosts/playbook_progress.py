"""One playbook rolled over hosts: told as it goes, summed up for each host at the end."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed, StepFailed
from deployer.core.events import Tell
from deployer.drivers.hosts.environ import program, surroundings
from deployer.drivers.hosts.reports import Course, Status
from deployer.drivers.hosts.run import reports
from deployer.drivers.hosts.workspace import VARIABLES, workspace, write_variables


@dataclass
class PlaySummary:
    """How many tasks ended how on one host."""

    counts: dict[Status, int] = field(default_factory=dict)

    def add(self, status: Status) -> None:
        """Count one."""
        self.counts[status] = self.counts.get(status, 0) + 1


@dataclass(frozen=True)
class Rolled:
    """How a playbook ended: a tally for each host, and why it failed, if it did."""

    tallies: Mapping[str, PlaySummary]
    failure: StepFailed | None = None


@dataclass(frozen=True)
class PlaybookRun:
    """A playbook, and what it is run over: an inventory, or the part of it that `limit` names, "" for all.

    An `ansible.cfg` in `folder` is obeyed.
    """

    playbook: Path
    inventory: Path
    limit: str
    variables: Mapping[str, Any]
    folder: Path


def roll(play: PlaybookRun, deadline: Deadline, tell: Tell) -> Rolled:
    """Run a playbook; tells `note` when a task begins, `task` when one ends.

    Raises Refused when Ansible is missing, DriverFailed when it cannot be run,
    DeadlinePassed; what goes wrong on a host is part of the answer.
    """
    playbook, course = play.playbook, Course()
    mark, tallies = secrets.token_hex(16), dict[str, PlaySummary]()
    with workspace() as private:
        write_variables(private, play.variables)
        run = {
            "private_data_dir": str(private),
            "project_dir": str(play.folder),
            "ident": "play",
            "playbook": str(playbook),
            "inventory": [str(play.inventory)],
            "limit": play.limit or None,
            "cmdline": f"-e @{private / VARIABLES}",
            "envvars": surroundings(private, play.folder, program(), mark),
        }
        running = ""
        try:
            with closing(reports(run, mark, private / "worker.log", deadline)) as said:
                for report in said:
                    for task in course.take(report):
                        tallies.setdefault(task.host, PlaySummary()).add(task.status)
                        tell("task", playbook=playbook.name, **asdict(task))
                    if course.running != running:
                        running = course.running
                        tell("note", text=f"{playbook.name}: {running}")
        except DeadlinePassed as error:
            raise DeadlinePassed(
                f"playbook {playbook.name}: {error.message}, while task {course.running!r} ran", log=tuple(course.lines)
            ) from error
    return Rolled(tallies, _failure(playbook, course))


def _failure(playbook: Path, course: Course) -> StepFailed | None:
    if course.status == "successful":
        return None
    return StepFailed(f"playbook {playbook.name}: {course.trouble()}", log=tuple(course.lines))


def listed(names: Sequence[str]) -> str:
    """Write the names of hosts, the first of many only."""
    shown = ", ".join(names[:6])
    return shown if len(names) <= 6 else f"{shown} and {len(names) - 6} more"
