"""The steps of a migration: its commands and playbooks, asked before whether they were applied, and read back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed, StepFailed
from deployer.core.secret import hide
from deployer.drivers.jobs import JobSpec, Once
from deployer.engine.hooks import told
from deployer.engine.run import Drive
from deployer.model import Release
from deployer.planning.migration import out_of_sight
from deployer.planning.migration_steps import CHECK_SECONDS, Discard, Migrate
from deployer.planning.steps import span

JOB = "_migrate"  # of the names of its instances: no job of a manifest is called so
START_SECONDS = 60.0
NUMBERS = 1000  # of one rollout: more than two for each of its steps
SHOWN = 50  # lines of output with a failure
OUTPUT = 64 * 1024  # bytes of a command's output that are kept


def migrate(run: Drive, step: Migrate, n: int, deadline: Deadline) -> dict[str, Any]:
    """Make a backup, or apply a part of a migration unless its check says that it was applied.

    Raise StepFailed, with what is left to do, where it fails, or where its check does not find it applied afterwards.
    """
    try:
        return _applied(run, step, _Place(run, step, n), deadline)
    except StepFailed as error:
        error.message = f"{step.when}: {error.message}"
        error.hint = f"{error.hint}; {_what_now(run, step)}" if error.hint else _what_now(run, step)
        raise


def _applied(run: Drive, step: Migrate, place: _Place, deadline: Deadline) -> dict[str, Any]:
    if step.when == "contract":
        _refuse_former(run, step)
        run.store.services.contracting(run.lock, step.release)  # before it begins: a killed one has begun
    asked = " ".join(step.check)
    if asked and place.check(deadline)[0]:
        run.tell("note", text=f"{step.when}: `{asked}` says that {step.what} was applied before")
        return {"applied": "before", "check": asked}
    if step.playbooks:
        run.drivers.playbooks.play(place.release, None, step.playbooks, place.variables, deadline, run.tell)
        kept: dict[str, Any] = {"playbooks": list(step.playbooks)}
    else:
        within = Deadline.after(run.clock, min(step.within, deadline.left()))
        kept = told(run, step.what, place.name, *place.execute(step.run, within))
    if asked:
        applied, lines = place.check(deadline, again=True)
        if not applied:
            raise StepFailed(f"{step.what} has ended, and `{asked}` does not find it applied", log=lines)
    if step.when == "backup":
        kept["backup"] = _id(kept)
        run.tell("note", text=f"backup: {kept['backup']}")
    return kept


def _refuse_former(run: Drive, step: Migrate) -> None:
    """Raise StepFailed where a release from before the contract runs, or where users may be sent back to one."""
    live = run.traffic.read()
    if live is None or live.stable != step.colour or live.share or live.warm:
        where = live.explain() if live else "the proxy does not know the service"
        raise StepFailed(
            f"r{step.release} ({step.colour}) does not have all users to itself: {where}",
            "`deploy status` shows where users are",
        )
    there = run.lookout.standing()
    if there.silent:
        raise StepFailed(*out_of_sight(there.silent))
    if beside := [i.name for i in there.instances if i.colour != step.colour]:
        raise StepFailed(
            f"{', '.join(beside)}: instances of a former release are there",
            "`deploy doctor --fix` removes what is left over",
        )


def _id(kept: dict[str, Any]) -> str:
    """Return the last line that a backup printed. Raise StepFailed where it printed none."""
    if not kept["output"]:
        raise StepFailed(f"{kept['command']} printed nothing", "what it prints last is the id of the backup")
    return str(kept["output"][-1])


def _what_now(run: Drive, step: Migrate) -> str:
    """Return what a person does after a failure."""
    made = run.store.journal.backup(run.rollout.number)
    backup = f" (backup: {made})" if made else ""
    if step.when in {"backup", "rehearse"}:
        return "the database was not changed"
    if step.when == "expand":
        return f"no user was moved; what it did change stays{backup}: see that the live release works, deploy again"
    if run.store.services.get(run.service).contracted != step.release:
        return "the database was not changed; `deploy migrate contract` again"
    return f"what it did change stays{backup}: fix it, then `deploy migrate contract` again, or deploy a new release"


def discard(run: Drive, step: Discard, deadline: Deadline) -> dict[str, Any]:
    """Remove what was started for commands of a migration, whether it has ended or not."""
    release = run.release(step.release)
    plan, gone = run.rollout.plan, []
    for n, each in enumerate(plan.forward):
        if isinstance(each, Migrate) and each.inside:
            for found in _Place(run, each, n).instances():
                run.drivers.jobs.remove(*found, release.manifest.stop.grace, deadline)
                gone.append(found)
    if left := [name for name, host in gone if run.drivers.jobs.read(name, host) is not None]:
        raise StepFailed(f"{', '.join(left)}: removed, but the runtime still shows it", "see `deploy doctor`")
    return {"removed": [name for name, _ in gone]}


def _last(output: str) -> tuple[str, ...]:
    return tuple(hide(line.rstrip()) for line in output.splitlines() if line.strip())[-SHOWN:]


@dataclass(frozen=True)
class _Place:
    """Where a part of a migration runs: on this host, or in an instance of its own."""

    run: Drive
    step: Migrate
    n: int

    @property
    def release(self) -> Release:
        return self.run.release(self.step.release)

    @property
    def variables(self) -> dict[str, str]:
        number = self.run.rollout.number
        backup = {"deployer_backup": self.run.store.journal.backup(number)} if self.step.when == "rehearse" else {}
        return {"deployer_when": self.step.when, "deployer_rollout": str(number), **backup}

    @property
    def name(self) -> str:
        """Where it runs, in words."""
        return f"an instance of {self.release.name}" if self.step.inside else "this host"

    def check(self, deadline: Deadline, *, again: bool = False) -> tuple[bool, tuple[str, ...]]:
        """Ask whether it was applied; return that, and what the check printed last."""
        words, within = self.step.check, Deadline.after(self.run.clock, min(CHECK_SECONDS, deadline.left()))
        code, output = self.execute(words, within, check=2 if again else 1)
        found = f"exit code {code}: {'not ' if code else ''}applied"
        self.run.tell("task", playbook=" ".join(words), task="check", host=self.name, status="ok", message=found)
        return not code, _last(output)

    def execute(self, words: tuple[str, ...], deadline: Deadline, check: int = 0) -> tuple[int, str]:
        """Run a command to its end; return its exit code and what it printed.

        In an instance of its own one that was begun before is followed, and one that has ended is not run again.
        """
        if not self.step.inside:
            return self.run.drivers.playbooks.command(self.release, None, words, self.variables, deadline)
        jobs, spec = self.run.drivers.jobs, self._spec(words, check)
        host = self._begun(spec, deadline)
        output = bytearray()

        def heard(chunk: bytes) -> None:
            output.extend(chunk)
            del output[:-OUTPUT]

        jobs.follow(spec.name, host, heard, deadline, lambda: False)
        found, text = jobs.read(spec.name, host), output.decode(errors="replace")
        lines, what = _last(text), f"`{' '.join(words)}` in {spec.name}"
        if found is not None and found.state == "running":
            jobs.remove(spec.name, host, 0.0, Deadline.after(self.run.clock, START_SECONDS))
            raise DeadlinePassed(f"{what} did not end within {span(deadline.seconds)}", "raise `within`", log=lines)
        if found is None or found.exit_code is None:
            raise StepFailed(f"{what} is gone, and nobody saw how it ended", "check the host", log=lines)
        return found.exit_code, text

    def instances(self) -> list[tuple[str, str]]:
        """Name the instances that were started for it, each with its host."""
        names = [self._spec((), check).name for check in range(3)]
        there = [(name, host) for name in names for host in self._hosts()]
        return [(name, host) for name, host in there if self.run.drivers.jobs.read(name, host) is not None]

    def _begun(self, spec: JobSpec, deadline: Deadline) -> str:
        """Start it on the first host, where it was not begun before; return the host."""
        jobs = self.run.drivers.jobs
        for host in self._hosts():
            found = jobs.read(spec.name, host)
            if found is not None and found.state != "created":
                return host
            if found is not None:  # its start was cut off
                jobs.remove(spec.name, host, 0.0, Deadline.after(self.run.clock, START_SECONDS))
        start = Deadline.after(self.run.clock, min(START_SECONDS, deadline.left()))
        jobs.start(replace(spec, secrets=self.run.secrets(self.release)), start)
        return spec.host

    def _hosts(self) -> tuple[str, ...]:
        return self.release.host_names(self.step.colour) or ("",)

    def _spec(self, words: tuple[str, ...], check: int) -> JobSpec:
        variables = {name.upper(): value for name, value in self.variables.items()}
        number = self.run.rollout.number * NUMBERS + 3 * self.n + check
        return JobSpec(self.release, JOB, number, {}, self._hosts()[0], Once("migrate", words, variables))
