"""Runs instances by five verbs: create, update and start make one, stop and destroy take it away.

Each verb is a playbook, played against the machine of the instance. What was made is written down here, as machines of
any kind cannot be asked for it; whether it runs, a script beside the verbs may say, else health checks find out.

FOLDER/artifacts/SERVICE/HASH   what is deployed, and verbs of somebody's own: one snapshot for each content
FOLDER/instances/NAME.json      one instance
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed, MachinesSilent, Refused
from deployer.core.events import Tell
from deployer.core.host import LOCAL, Host, Machines
from deployer.core.resources import builtin
from deployer.drivers.ports import READ_SECONDS, Found, Image, Verbs
from deployer.drivers.runtime.ansible import compatibility, instance_record, variables
from deployer.drivers.runtime.ansible.archive import PREFIX, packed
from deployer.drivers.runtime.ansible.host_presence import HostAnswer, HostPresence, HostQuestion
from deployer.drivers.runtime.ansible.instance_record import AnsibleInstance, State
from deployer.drivers.runtime.ansible.pinned import NAME, Pinned
from deployer.drivers.runtime.artifacts import Artifacts, abandoned
from deployer.drivers.runtime.environ import split_address
from deployer.manifest import verbs
from deployer.model import Instance, InstanceSpec, Release
from deployer.planning import release_record

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest

LOOK = "look.sh"  # beside the verbs: says whether instances run
ENSURE, REMOVE = verbs.REQUIRED[:3], verbs.REQUIRED[3:]
UNDO_SECONDS = 60.0  # to take away what was begun and failed


@dataclass(frozen=True)
class Ground:
    """Where a runtime stands: the state folder and the store in it, and the manifest's folder."""

    state: Path
    installation: str
    manifest: Path


class AnsibleRuntime:
    """The runtime `ansible`, on this host or on those of an inventory."""

    def __init__(self, ground: Ground, player: Verbs, machines: Machines, presence: HostPresence, clock: Clock) -> None:
        self._ground, self._player, self._presence, self._clock = ground, player, presence, clock
        self._folder = ground.state.absolute() / "ansible"
        self._home = release_record.home(ground.state.absolute())
        self._machines: Mapping[str, Host] = {host.name: host for host in machines.every or (LOCAL,)}

    def resolve(self, manifest: Manifest, reference: str, deadline: Deadline, tell: Tell) -> Image:
        """Take snapshots of what is deployed and of verbs of somebody's own, and name both by their content."""
        self._player.require()
        name = manifest.verbs or ""
        own = None if verbs.shipped(name) else verbs.folder_of(name, self._ground.manifest)
        if own and (trouble := verbs.trouble(own)):
            raise Refused(f"verbs: {trouble}", f"it needs a playbook for each of {', '.join(verbs.REQUIRED)}")
        artifacts = self._artifacts(manifest.service)
        source = Path(reference)
        compatibility.check(manifest, source, by_name=own is not None)
        try:
            what = artifacts.take(source, deadline, tell) if source.exists() else NAME + reference
            return Image(reference, str(Pinned(what, artifacts.take(own, deadline, tell) if own else "")))
        except OSError as error:
            raise Refused(f"{error.filename} cannot be copied: {error.strerror}") from error

    def instances(self, service: str) -> tuple[Instance, ...]:
        """Read what was made of the service, ordered by release and index, as its machines show it now."""
        mine = self._mine()
        answers = self._presence.ask(self._questions(mine))
        found = sorted((_observed(i, answers.get(i.host)) for i in mine if i.service == service), key=_order)
        if silent := {name: answer.why for name, answer in answers.items() if answer.why}:
            raise MachinesSilent(silent, tuple(i for i in found if i.host not in silent))
        return tuple(found)

    def ensure(self, spec: InstanceSpec, deadline: Deadline) -> Instance:
        """Play create, update and start; they change nothing where everything is so already.

        What begins and fails is taken away again; where even that fails it stays written down.
        """
        given = {**_known(spec), **variables.delivered(spec)}
        wanted, known = (
            AnsibleInstance.of(spec, self._ground.installation),
            instance_record.load(self._place(spec.name)),
        )
        self._machine(spec.host)
        if known is not None and not wanted.same(known):
            self._take_away(known, known.made_of().manifest.stop.grace, deadline)
            known = None
        if known is None:
            wanted.save(self._place(spec.name).parent)
        try:
            with self._files(spec.release) as brought:
                reported = self._play(ENSURE, spec.release, spec.host, {**given, **brought}, deadline)
            made = _reported(known or wanted, reported)
        except BaseException as error:
            if known is None and not isinstance(error, MachinesSilent):
                self._undo(wanted)
            raise
        if made != known:
            made.save(self._place(spec.name).parent)
        return made.observed()

    def remove(self, instance: Instance, grace: float, deadline: Deadline) -> None:
        """Play stop and destroy; `grace` is never longer than that of the release's own manifest."""
        known = instance_record.load(self._place(instance.name))
        if known is not None:
            self._take_away(known, grace, deadline)

    def count_lines(self, instance: Instance, pattern: re.Pattern[str], seconds: float, deadline: Deadline) -> int:  # noqa: ARG002 - the port's signature
        """Raise DriverFailed: it would take a playbook for each look; a manifest that asks for it is refused."""
        raise DriverFailed(f"the log of {instance.name} cannot be counted with runtime ansible", "use another source")

    def logs(self, instance: Instance, lines: int) -> tuple[str, ...]:
        """Give the last lines that the instance wrote; none where its verbs have no `logs`."""
        known = instance_record.load(self._place(instance.name))
        if known is None or not lines or not self._has(known, "logs"):
            return ()
        deadline = Deadline.after(self._clock, READ_SECONDS)
        reported = self._asked(known, "logs", {"deployer_lines": lines}, deadline)
        return tuple(map(str, reported.get("deployer_log", ())))[-lines:]

    def run(self, instance: Instance, command: Sequence[str], deadline: Deadline) -> tuple[int, str]:
        """Run a command as the instance runs, by the verb `run`."""
        known = instance_record.load(self._place(instance.name))
        if known is None:
            raise DriverFailed(f"{instance.name} does not exist", "see `deploy status`")
        if not self._has(known, "run"):
            raise DriverFailed(
                f"{instance.name}: its lifecycle playbooks have no run.yml", "add one, or do it by a playbook"
            )
        told = {"deployer_run": list(command), "deployer_seconds": deadline.left()}
        reported = self._asked(known, "run", told, deadline)
        if "deployer_code" not in reported:
            raise DriverFailed(f"{instance.name}: run.yml did not report deployer_code", "set it by set_stats")
        return int(reported["deployer_code"]), str(reported.get("deployer_output", ""))

    def check_release(self, release: Release) -> None:
        """Raise ImageGone when a snapshot of the release is gone; where its image is a name, its playbooks fetch it."""
        for identity in sorted(Pinned.parse(release.image_id).snapshots):
            self._artifacts(release.service).path(release, identity)

    def prune(self, keep: Sequence[Release], drop: Sequence[Release]) -> tuple[str, ...]:
        """Remove snapshots of `drop` that no release in `keep` and no instance uses; give what was removed."""
        needed = self._needed(keep, self._mine())
        removed: list[str] = []
        for service in sorted({release.service for release in drop}):
            unused = {s for r in drop if r.service == service for s in Pinned.parse(r.image_id).snapshots} - needed
            removed += self._artifacts(service).remove(sorted(unused))
        return tuple(removed)

    def list_all(self) -> tuple[Found, ...]:
        """Give every instance that is written down here, of any service and any store that lay here."""
        seen = [Found(known.observed(), known.installation, self._home, known.record) for known in self._records()]
        return tuple(sorted(seen, key=lambda f: (f.instance.service, *_order(f.instance))))

    def foreign(self, service: str) -> tuple[str, ...]:
        """Name the instances of the service in this folder that belong to another store."""
        others = (r for r in self._records() if r.installation != self._ground.installation)
        return tuple(sorted(known.name for known in others if known.service == service))

    def garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        """Name snapshots that no release in `keep` and no instance has, and archives that a killed process left."""
        return tuple(str(path) for path in self._unneeded(keep))

    def collect_garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        """Remove the `leftovers`; give what was removed."""
        unneeded = self._unneeded(keep)
        for path in unneeded:
            shutil.rmtree(path)
        return tuple(str(path) for path in unneeded)

    # -- verbs

    def _take_away(self, known: AnsibleInstance, grace: float, deadline: Deadline) -> None:
        release = known.made_of()
        told = {**_remembered(known, release), "deployer_grace": min(grace, release.manifest.stop.grace)}
        self._play(REMOVE, release, known.host, told, deadline)
        self._place(known.name).unlink(missing_ok=True)

    def _undo(self, begun: AnsibleInstance) -> None:
        """Take away what was begun; where that fails its record stays, and whoever rolls it back meets the trouble."""
        try:
            self._take_away(begun, 0.0, Deadline.after(self._clock, UNDO_SECONDS))
        except (DriverFailed, DeadlinePassed):
            return

    def _asked(
        self, known: AnsibleInstance, verb: str, told: Mapping[str, Any], deadline: Deadline
    ) -> Mapping[str, Any]:
        release = known.made_of()
        return self._play((verb,), release, known.host, {**_remembered(known, release), **told}, deadline)

    def _play(
        self, chosen: Sequence[str], release: Release, host: str, told: Mapping[str, Any], deadline: Deadline
    ) -> Mapping[str, Any]:
        machine = self._machine(host)
        told = {**told, "deployer_playbooks": str(builtin("playbooks"))}
        try:
            with self._presence.changing(host):
                return self._player.play(self._verbs(release), chosen, machine, told, deadline)
        except MachinesSilent as error:
            for name, why in error.silent.items():
                self._presence.lost(name, why)
            raise
        except DriverFailed as error:
            raise DriverFailed(f"{told['deployer_name']}: {error.message}", error.hint, log=error.log) from error
        except DeadlinePassed as error:
            raise DeadlinePassed(f"{told['deployer_name']}: {error.message}", error.hint, log=error.log) from error

    def _questions(self, there: Collection[AnsibleInstance]) -> Iterator[HostQuestion]:
        """Ask each machine whether it is there, and what runs of what was made on it."""
        for name, host in self._machines.items():
            scripts: dict[str, list[str]] = {}
            for known in there:
                if known.host == name and (script := self._look(known)):
                    scripts.setdefault(script, []).append(known.name)
            yield HostQuestion(host, scripts)

    def _look(self, known: AnsibleInstance) -> str:
        file = self._verbs(known.made_of()) / LOOK
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    def _verbs(self, release: Release) -> Path:
        """Give the folder of a release's verbs: shipped ones, or its own as they were when it was made."""
        if own := Pinned.parse(release.image_id).verbs:
            return self._artifacts(release.service).path(release, own)
        folder = verbs.shipped(release.manifest.verbs or "")
        if folder is None:
            raise DriverFailed(
                f"this version ships no lifecycle playbooks {release.manifest.verbs}", "use the one that made it"
            )
        return folder

    def _has(self, known: AnsibleInstance, verb: str) -> bool:
        return (self._verbs(known.made_of()) / f"{verb}.yml").is_file()

    @contextmanager
    def _files(self, release: Release) -> Iterator[Mapping[str, str]]:
        """Give the files of a release to its verbs: the snapshot, one archive of it, and the one file that it is."""
        with ExitStack() as stack:
            if not (identity := Pinned.parse(release.image_id).files):
                yield {"deployer_files": "", "deployer_archive": "", "deployer_file": ""}
                return
            snapshot = self._artifacts(release.service).path(release, identity)
            content = list(snapshot.iterdir())
            single = content[0] if len(content) == 1 and content[0].is_file() else ""
            archive = "" if single else stack.enter_context(packed(snapshot, self._folder))
            yield {"deployer_files": str(snapshot), "deployer_archive": str(archive), "deployer_file": str(single)}

    def _machine(self, host: str) -> Host:
        machine = self._machines.get(host)
        if machine is None:
            raise DriverFailed(
                f"{host or 'this host'} is not a host of this service: {', '.join(self._machines)}",
                "name it in the inventory",
            )
        return machine

    # -- records and snapshots

    def _place(self, name: str) -> Path:
        return self._folder / "instances" / f"{name}.json"

    def _records(self) -> list[AnsibleInstance]:
        found = (instance_record.load(path) for path in sorted(self._place("x").parent.glob("[!.]*.json")))
        return [known for known in found if known is not None]

    def _mine(self) -> list[AnsibleInstance]:
        return [known for known in self._records() if known.installation == self._ground.installation]

    def _artifacts(self, service: str) -> Artifacts:
        return Artifacts(self._folder / "artifacts" / service, self._ground.state.absolute())

    def _needed(self, keep: Sequence[Release], there: Collection[AnsibleInstance]) -> set[str]:
        images = {release.image_id for release in keep} | {known.image for known in there}
        return {snapshot for image in images for snapshot in Pinned.parse(image).snapshots}

    def _unneeded(self, keep: Sequence[Release]) -> tuple[Path, ...]:
        needed = self._needed(keep, self._records())
        services = sorted((self._folder / "artifacts").glob("*"))
        snapshots = [path for folder in services for path in self._artifacts(folder.name).unneeded(needed)]
        return (*snapshots, *(path for path in sorted(self._folder.glob(f"{PREFIX}*")) if abandoned(path)))


def _observed(known: AnsibleInstance, answer: HostAnswer | None) -> Instance:
    """Give an instance as its machine shows it; one that is not finished is not expected to run."""
    instance, seen = known.observed(), answer.seen.get(known.name) if answer else None
    if seen is None or (known.state == "created" and seen.state != "running"):
        return instance
    code = seen.exit_code if seen.state == "exited" or seen.restarts else None
    return replace(instance, state=seen.state, exit_code=code, restarts=seen.restarts)


def _order(instance: Instance) -> tuple[int, int, str]:
    return instance.release, instance.index, instance.host


def _known(spec: InstanceSpec) -> dict[str, Any]:
    return variables.known(spec.release, spec.name, spec.colour, spec.index, spec.address)


def _remembered(known: AnsibleInstance, release: Release) -> dict[str, Any]:
    return {
        **variables.known(release, known.name, known.colour, known.index, known.asked),
        "deployer_id": known.runtime_id,
    }


def _reported(known: AnsibleInstance, reported: Mapping[str, Any]) -> AnsibleInstance:
    """Take over what verbs reported of an instance. Raises DriverFailed for an address or a state that is none."""
    address, state = str(reported.get("deployer_address", known.asked)), reported.get("deployer_state", "running")
    split_address(address)
    if state not in get_args(State):
        raise DriverFailed(
            f"{known.name}: its lifecycle playbooks reported deployer_state {state!r}",
            f"it is one of {', '.join(get_args(State))}",
        )
    runtime_id = str(reported.get("deployer_id", known.runtime_id))
    return replace(known, address=address, state=cast(State, state), runtime_id=runtime_id)
