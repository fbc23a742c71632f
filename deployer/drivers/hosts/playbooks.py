"""Playbooks over the instances of an environment and the hosts of an inventory, run by Ansible."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deployer.core.clock import Clock, Deadline
from deployer.core.commands import CommandFailed
from deployer.core.commands import run as run_command
from deployer.core.errors import DeadlinePassed, Refused, StepFailed
from deployer.core.events import Tell
from deployer.core.resources import builtin as shipped
from deployer.drivers.hosts.environ import program, surroundings
from deployer.drivers.hosts.reports import Course
from deployer.drivers.hosts.run import reports
from deployer.drivers.hosts.variables import GROUP, variables
from deployer.drivers.hosts.workspace import fill, workspace
from deployer.model import Environment, Release

OUTPUT = 64 * 1024  # bytes of a command's output that are kept


class AnsiblePlaybooks:
    """Rolls playbooks over the instances of an environment (group `twin`) and the hosts of an inventory.

    `folder` is that of the manifest: playbooks are looked for there first, then by name among the built-in ones.
    Without an inventory the shipped one is used, whose groups all mean this host.
    """

    def __init__(self, folder: Path, builtin: Path, inventory: Path | None, clock: Clock) -> None:
        self._folder = folder.resolve()
        self._builtin = builtin
        self._inventory = inventory
        self._clock = clock

    def play(
        self,
        release: Release,
        environment: Environment | None,
        playbooks: Sequence[str],
        extra: dict[str, str],
        deadline: Deadline,
        tell: Tell,
    ) -> None:
        """Run the playbooks in order, telling each task as it ends.

        Raises StepFailed with task, host and message, DeadlinePassed, or Refused (before anything ran) when a playbook,
        the inventory or Ansible itself is missing.
        """
        paths = [self.find(name) for name in playbooks]
        self._hosts()
        program()
        told = variables(release, environment, extra, self._builtin)
        for name, path in zip(playbooks, paths, strict=True):
            self._one(name, path, environment, told, deadline, tell)

    def command(
        self,
        release: Release,
        environment: Environment | None,
        words: Sequence[str],
        extra: dict[str, str],
        deadline: Deadline,
    ) -> tuple[int, str]:
        """Run a command on this host, in the folder of the manifest; return its exit code and the end of its output.

        It gets what a playbook gets as variables in its environment, in capitals. Raises StepFailed when it cannot be
        started, DeadlinePassed when it takes too long.
        """
        told = variables(release, environment, extra, self._builtin)
        given = {name.upper(): str(value) for name, value in told.items() if isinstance(value, str | int)}
        output = bytearray()

        def heard(chunk: bytes) -> None:
            output.extend(chunk)
            del output[:-OUTPUT]

        code = 0
        try:
            run_command(words, self._folder, {**os.environ, **given}, deadline.left, heard=heard)
        except CommandFailed as error:
            lines = tuple(output.decode(errors="replace").splitlines())
            if deadline.passed():
                raise DeadlinePassed(f"{error.message} (limit {deadline.seconds:g} s)", error.hint, log=lines) from None
            if not error.code:
                raise StepFailed(error.message, error.hint, log=lines) from None
            code = error.code
        return code, output.decode(errors="replace")

    def find(self, name: str) -> Path:
        """Return the path of a playbook. Raises Refused when it is neither the user's nor built in."""
        candidates = [self._folder / name]
        if Path(name).name == name:
            candidates.append(self._builtin / name)
        for path in candidates:
            if path.is_file():
                return path.resolve()
        known = ", ".join(sorted(p.name for p in self._builtin.glob("*.yml")))
        hint = f"paths are relative to the folder of the manifest; built in are {known}"
        raise Refused(f"there is no playbook {name} in {self._folder}", hint)

    def _hosts(self) -> Path:
        path = self._inventory or shipped("inventories") / "local"
        if not path.exists():
            raise Refused(f"there is no inventory {path}", "name a file or folder that Ansible can read")
        return path.resolve()

    def _one(
        self,
        name: str,
        path: Path,
        environment: Environment | None,
        told: Mapping[str, Any],
        deadline: Deadline,
        tell: Tell,
    ) -> None:
        course, mark = Course(), secrets.token_hex(16)
        with workspace() as private:
            run = {
                "private_data_dir": str(private),
                "project_dir": str(self._folder),
                "ident": "play",
                "playbook": str(path),
                "inventory": [str(self._hosts()), str(private / "inventory")],
                "cmdline": " ".join(fill(private, self._folder, environment, told)),
                "envvars": surroundings(private, self._folder, program(), mark),
            }
            try:
                with closing(reports(run, mark, private / "worker.log", deadline)) as said:
                    for task in (task for report in said for task in course.take(report)):
                        tell("task", playbook=name, **asdict(task))
            except DeadlinePassed as error:
                at = f", while task {course.running!r} ran" if course.running else ""
                raise DeadlinePassed(f"playbook {name}: {error.message}{at}", log=tuple(course.lines)) from error
        self._judge(name, course, environment, tell)

    def _judge(self, name: str, course: Course, environment: Environment | None, tell: Tell) -> None:
        if course.status != "successful":
            raise StepFailed(f"playbook {name}: {course.trouble()}", log=tuple(course.lines))
        if course.tasks:
            return
        # A misspelt group is no error to Ansible; here it would let a release go out without its update.
        if environment is not None and environment.instances:
            hint = f"`hosts:` may name localhost, {GROUP} (the instances) and what {self._hosts()} defines"
            raise StepFailed(f"playbook {name}: no task ran on any host", hint, log=tuple(course.lines))
        tell("task", playbook=name, task="", host="", status="skipped", message="no task ran on any host")
