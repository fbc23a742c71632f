"""Plays the verbs of runtime `ansible` against one host, and reads what they report."""

from __future__ import annotations

import secrets
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed, HostsUnreachable
from deployer.core.host import Host
from deployer.core.secret import hide
from deployer.drivers.hosts.environ import program, surroundings
from deployer.drivers.hosts.reports import Course, Report
from deployer.drivers.hosts.run import reports
from deployer.drivers.hosts.workspace import VARIABLES, workspace, write_inventory, write_playbook, write_variables

GROUP = "deployer_machine"
_VERB = "deployer verb "  # begins the names of plays that announce one


class AnsibleVerbs:
    """Plays verbs; the `inventory` of a manifest adds what it knows of the host, where it is there."""

    def __init__(self, inventory: Path | None) -> None:
        self._inventory = inventory

    def require(self) -> None:
        """Raise Refused when Ansible is not installed."""
        program()

    def play(
        self, folder: Path, verbs: Sequence[str], host: Host, variables: Mapping[str, Any], deadline: Deadline
    ) -> Mapping[str, Any]:
        """Play the verbs in one run of Ansible; see `drivers.ports.Verbs`.

        An `ansible.cfg` in the folder is obeyed, and what lies beside the playbooks (group_vars, roles, files) holds.
        """
        heard, mark = _VerbRun(verbs), secrets.token_hex(16)
        with workspace() as private:
            write_variables(private, variables)
            known = [str(self._inventory)] if self._inventory and self._inventory.exists() else []
            run = {
                "private_data_dir": str(private),
                "project_dir": str(folder),
                "ident": "play",
                "playbook": str(write_playbook(private, _in_order(folder, verbs))),
                "inventory": [*known, str(write_inventory(private, inventory(host)))],
                "cmdline": f"-e @{private / VARIABLES}",
                "envvars": surroundings(private, folder, program(), mark),
            }
            try:
                with closing(reports(run, mark, private / "worker.log", deadline)) as said:
                    for report in said:
                        heard.take(report)
            except DeadlinePassed as error:
                text = f"{heard.verb}.yml: {error.message}, while task {heard.course.running!r} ran"
                raise DeadlinePassed(text, log=heard.lines) from error
        return heard.judged(host)


@dataclass
class _VerbRun:
    """What is known of a run so far: the verb that is played, what the verbs reported, and how it goes."""

    verbs: Sequence[str]
    verb: str = ""
    course: Course = field(default_factory=Course)
    reported: dict[str, Any] = field(default_factory=dict)
    ran: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.verb = self.verbs[0]

    def take(self, report: Report) -> None:
        if report["event"] == "playbook_on_play_start" and str(report.get("play", "")).startswith(_VERB):
            self.verb = str(report["play"]).removeprefix(_VERB)
        for _ in self.course.take(report):
            self.ran.add(self.verb)
        # Each one as it is set, not the sum at the end: Ansible would join two addresses to one.
        stats = (report.get("res") or {}).get("ansible_stats")
        if report["event"] == "runner_on_ok" and isinstance(stats, Mapping):
            self.reported |= stats.get("data") or {}

    def judged(self, host: Host) -> dict[str, Any]:
        """Return what was reported. Raises DriverFailed, or HostsUnreachable, when the run failed."""
        lost = [f for f in self.course.failures if f.status == "unreachable" and f.host == host.name]
        if self.course.status != "successful" and lost:
            raise HostsUnreachable({host.name: hide(lost[0].message)})
        if self.course.status != "successful":
            raise DriverFailed(f"{self.verb}.yml: {hide(self.course.trouble())}", log=self.lines)
        if idle := [verb for verb in self.verbs if verb not in self.ran]:
            raise DriverFailed(
                f"{idle[0]}.yml: no task ran on any host",
                f"`hosts:` names {GROUP} (the host of the instance) or localhost",
                log=self.lines,
            )
        return self.reported

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(map(hide, self.course.lines))


def _in_order(folder: Path, verbs: Sequence[str]) -> list[dict[str, Any]]:
    """Return a playbook that takes in those of the verbs, each announced by a play that does nothing."""
    plays: list[dict[str, Any]] = []
    for verb in verbs:
        plays.append({"name": _VERB + verb, "hosts": GROUP, "gather_facts": False, "tasks": []})
        plays.append({"import_playbook": str(folder / f"{verb}.yml")})
    return plays


def inventory(host: Host) -> dict[str, Any]:
    """Return an inventory whose group `deployer_machine` is this one host, reached as ours is."""
    if host.connection == "local":
        told: dict[str, Any] = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    else:
        said = {
            "ansible_connection": "ssh",
            "ansible_host": host.ssh_host,
            "ansible_port": host.port,
            "ansible_user": host.user,
            "ansible_ssh_private_key_file": host.key_file,
            "ansible_ssh_common_args": shlex.join(host.ssh_args),
        }
        told = {name: value for name, value in said.items() if value}
    return {"all": {"children": {GROUP: {"hosts": {host.name or "localhost": told}}}}}
