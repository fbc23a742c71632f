"""Hooks of a rollout: playbooks, and commands on this host or in an instance, with output and exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deployer.core.clock import Deadline
from deployer.core.errors import StepFailed
from deployer.core.secret import hide
from deployer.engine.run import Drive
from deployer.model import Environment, Instance, Release

if TYPE_CHECKING:
    from deployer.manifest.hook import RolloutHook

KEPT, SHOWN = 20, 50  # lines of output: in the journal, and with a failure
ENDING_SECONDS = 300.0  # for all hooks of an ending together, whatever a command may take


@dataclass(frozen=True)
class Command:
    """What is run, and whether in an instance."""

    words: tuple[str, ...]
    inside: bool = False

    def __str__(self) -> str:
        return " ".join(self.words)


def play_all(
    run: Drive, release: Release, environment: Environment, hooks: Sequence[RolloutHook], extra: dict[str, str]
) -> None:
    """Run the hooks of an ending, in their order. Raises StepFailed or DeadlinePassed at the first that fails."""
    deadline = Deadline.after(run.clock, ENDING_SECONDS)
    for hook in hooks:
        if hook.run:
            within = Deadline.after(run.clock, min(hook.within, deadline.left()))
            command(run, release, environment, Command(hook.run, hook.where == "instance"), extra, within)
        elif hook.playbook:
            run.drivers.playbooks.play(release, environment, (hook.playbook,), extra, deadline, run.tell)


def command(
    run: Drive,
    release: Release,
    environment: Environment | None,
    what: Command,
    extra: dict[str, str],
    deadline: Deadline,
) -> dict[str, Any]:
    """Run a command and report it as a task; return what is kept in the journal.

    Raises StepFailed with the end of its output for an exit code that is not 0, DeadlinePassed when it takes too long.
    """
    if what.inside:
        instance = _any(environment, release)
        where = instance.name
        code, output = run.drivers.runtime.run(instance, what.words, deadline)
    else:
        where = "this host"
        code, output = run.drivers.playbooks.command(release, environment, what.words, extra, deadline)
    return told(run, str(what), where, code, output)


def told(run: Drive, what: str, where: str, code: int, output: str) -> dict[str, Any]:
    """Report a command that has ended as a task; return what is kept in the journal.

    Raise StepFailed with the end of its output for an exit code that is not 0.
    """
    lines = [hide(line.rstrip()) for line in output.splitlines() if line.strip()]
    said = f": {lines[-1]}" if lines else ""
    seen = {"status": "failed" if code else "ok", "message": f"exit code {code}{said}", "output": lines[-KEPT:]}
    run.tell("task", playbook=what, task="command", host=where, **seen)
    if code:
        raise StepFailed(f"`{what}` on {where} ended with exit code {code}{said}", log=tuple(lines[-SHOWN:]))
    return {"command": what, "where": where, "exit": code, "output": lines[-KEPT:]}


def _any(environment: Environment | None, release: Release) -> Instance:
    running = [i for i in environment.instances if i.state == "running"] if environment else []
    if not running:
        raise StepFailed(
            f"the command needs a running instance of {release.name}, and there is none",
            "`deploy logs` shows why it ended",
        )
    return running[0]
