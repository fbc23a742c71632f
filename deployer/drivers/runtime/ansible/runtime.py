"""Runs instances by five verbs: create, update and start make one, stop and destroy take it away.

Each verb is a playbook, played against the host of the instance. What was made is written down here, as hosts of
any kind cannot be asked for it; whether it runs, a script beside the verbs may say, else health checks find out.

FOLDER/artifacts/SERVICE/HASH   what is deployed, and verbs of somebody's own: one snapshot for each content
FOLDER/instances/NAME.json      one instance
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed, HostsUnreachable, Refused
from deployer.core.events import Tell
from deployer.core.host import ServiceHosts
from deployer.drivers.ports import PIN, READ_SECONDS, Found, Image, Verbs
from deployer.drivers.runtime.ansible import compatibility, variables
from deployer.drivers.runtime.ansible.archive import PREFIX
from deployer.drivers.runtime.ansible.host_presence import HostAnswer, HostPresence, HostQuestion
from deployer.drivers.runtime.ansible.instance_record import AnsibleInstance, InstanceRecords, State
from deployer.drivers.runtime.ansible.lifecycle import Lifecycle
from deployer.drivers.runtime.ansible.pinned import NAME, Pinned
from deployer.drivers.runtime.artifacts import Snapshots, abandoned, remove_all
from deployer.drivers.runtime.environ import split_address
from deployer.manifest import verbs
from deployer.model import Instance, InstanceSpec, Release
from deployer.planning import release_record

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest

PAUSE, RESUME = "pause", "resume"  # playbooks that a folder may have
UNDO_SECONDS = 60.0  # to take away what was begun and failed


@dataclass(frozen=True)
class Ground:
    """Where a runtime stands: the state folder and the store in it, and the manifest's folder."""

    state: Path
    installation: str
    manifest: Path


class AnsibleRuntime:
    """The runtime `ansible`, on this host or on those of an inventory."""

    moves = False

    def __init__(
        self, ground: Ground, player: Verbs, hosts: ServiceHosts, presence: HostPresence, clock: Clock
    ) -> None:
        state = ground.state.absolute()
        self._ground, self._player, self._presence, self._clock = ground, player, presence, clock
        self._folder = state / "ansible"
        self._home = release_record.home(state)
        self._records = InstanceRecords(self._folder / "instances", ground.installation)
        self._snapshots = Snapshots(self._folder / "artifacts", state)
        self._lifecycle = Lifecycle(player, presence, hosts, self._snapshots, self._folder)

    def resolve(self, manifest: Manifest, reference: str, deadline: Deadline, tell: Tell) -> Image:
        """Take snapshots of what is deployed and of verbs of somebody's own, and name both by their content."""
        self._player.require()
        name = manifest.verbs or ""
        own = None if verbs.shipped(name) else verbs.folder_of(name, self._ground.manifest)
        if own and (trouble := verbs.trouble(own)):
            raise Refused(f"verbs: {trouble}", f"it needs a playbook for each of {', '.join(verbs.REQUIRED)}")
        if manifest.keep.paused and (lacking := verbs.lacking(own or verbs.folder_of(name, Path()), PAUSE, RESUME)):
            raise Refused(f"keep.paused: {lacking}", "these pause an instance, and have it go on")
        artifacts = self._snapshots.of(manifest.service)
        file, _, digest = reference.partition(PIN)
        source = Path(file)
        compatibility.check(manifest, source, digest, by_name=own is not None)
        try:
            what = artifacts.take(source, deadline, tell) if source.exists() else NAME + reference
            return Image(reference, str(Pinned(what, artifacts.take(own, deadline, tell) if own else "")))
        except OSError as error:
            raise Refused(f"{error.filename} cannot be copied: {error.strerror}") from error

    def instances(self, service: str) -> tuple[Instance, ...]:
        """Read what was made of the service, ordered by release and index, as its hosts show it now."""
        mine = self._records.mine()
        answers = self._presence.ask(self._questions(mine))
        found = sorted((_observed(i, answers.get(i.host)) for i in mine if i.service == service), key=_order)
        if silent := {name: answer.why for name, answer in answers.items() if answer.why}:
            raise HostsUnreachable(silent, tuple(i for i in found if i.host not in silent))
        return tuple(found)

    def ensure(self, spec: InstanceSpec, deadline: Deadline) -> Instance:
        """Play create, update and start; they change nothing where everything is so already.

        What begins and fails is taken away again; where even that fails it stays written down.
        """
        told = variables.wanted(spec)
        wanted, known = AnsibleInstance.of(spec, self._ground.installation), self._records.load(spec.name)
        self._lifecycle.host(spec.host)
        if known is not None and not wanted.same(known):
            self._take_away(known, known.made_of().manifest.stop.grace, deadline)
            known = None
        if known is None:
            self._records.save(wanted)
        elif self._is_paused(known):
            self._lifecycle.ask(known, RESUME, {}, deadline)
            return known.observed()
        try:
            made = _reported(known or wanted, self._lifecycle.ensure(spec, told, deadline))
        except BaseException as error:
            if known is None and not isinstance(error, HostsUnreachable):
                self._undo(wanted)
            raise
        if made != known:
            self._records.save(made)
        return made.observed()

    def pause(self, instance: Instance, deadline: Deadline) -> None:
        """Play `pause`: the instance keeps its memory, and gets no processor time until it is ensured again."""
        known = self._records.load(instance.name)
        if known is None or not self._lifecycle.has(known, PAUSE):
            raise DriverFailed(f"{instance.name} has no lifecycle playbook pause.yml", "see `keep.paused`")
        self._lifecycle.ask(known, PAUSE, {}, deadline)

    def _is_paused(self, known: AnsibleInstance) -> bool:
        """Return whether its host shows an instance as paused."""
        if not self._lifecycle.has(known, RESUME):
            return False
        answers = self._presence.ask(self._questions([known]))
        return _observed(known, answers.get(known.host)).state == "paused"

    def remove(self, instance: Instance, grace: float, deadline: Deadline) -> None:
        """Play stop and destroy; `grace` is never longer than that of the release's own manifest."""
        known = self._records.load(instance.name)
        if known is not None:
            self._take_away(known, grace, deadline)

    def count_lines(self, instance: Instance, *_: object) -> int:
        """Raise DriverFailed: it would take a playbook for each look; a manifest that asks for it is refused."""
        raise DriverFailed(f"the log of {instance.name} cannot be counted with runtime ansible", "use another source")

    def logs(self, instance: Instance, lines: int) -> tuple[str, ...]:
        """Return the last lines that the instance wrote; none where its verbs have no `logs`."""
        known = self._records.load(instance.name)
        if known is None or not lines or not self._lifecycle.has(known, "logs"):
            return ()
        deadline = Deadline.after(self._clock, READ_SECONDS)
        reported = self._lifecycle.ask(known, "logs", {"deployer_lines": lines}, deadline)
        return tuple(map(str, reported.get("deployer_log", ())))[-lines:]

    def run(self, instance: Instance, command: Sequence[str], deadline: Deadline) -> tuple[int, str]:
        """Run a command as the instance runs, by the verb `run`."""
        known = self._records.load(instance.name)
        if known is None:
            raise DriverFailed(f"{instance.name} does not exist", "see `deploy status`")
        if not self._lifecycle.has(known, "run"):
            raise DriverFailed(
                f"{instance.name}: its lifecycle playbooks have no run.yml", "add one, or do it by a playbook"
            )
        told = {"deployer_run": list(command), "deployer_seconds": deadline.left()}
        reported = self._lifecycle.ask(known, "run", told, deadline)
        if "deployer_code" not in reported:
            raise DriverFailed(f"{instance.name}: run.yml did not report deployer_code", "set it by set_stats")
        return int(reported["deployer_code"]), str(reported.get("deployer_output", ""))

    def check_release(self, release: Release) -> None:
        """Raise ImageGone when a snapshot of the release is gone; where its image is a name, its playbooks fetch it."""
        for identity in sorted(Pinned.parse(release.image_id).snapshots):
            self._snapshots.of(release.service).path(release, identity)

    def prune(self, keep: Sequence[Release], drop: Sequence[Release]) -> tuple[str, ...]:
        """Remove snapshots of `drop` that no release in `keep` and no instance uses; return what was removed."""
        needed = _needed(keep, self._records.mine())
        return self._snapshots.prune(drop, needed, lambda release: Pinned.parse(release.image_id).snapshots)

    def list_all(self) -> tuple[Found, ...]:
        """Return every instance that is written down here, of any service and any store that lay here."""
        seen = [
            Found(known.observed(), known.installation, self._home, known.record) for known in self._records.every()
        ]
        return tuple(sorted(seen, key=lambda f: (f.instance.service, *_order(f.instance))))

    def foreign(self, service: str) -> tuple[str, ...]:
        """Name the instances of the service in this folder that belong to another store."""
        others = (r for r in self._records.every() if r.installation != self._ground.installation)
        return tuple(sorted(known.name for known in others if known.service == service))

    def garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        """Name snapshots that no release in `keep` and no instance has, and archives that a killed process left."""
        return tuple(str(path) for path in self._unneeded(keep))

    def collect_garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        """Remove what `garbage` names; return what was removed."""
        return remove_all(self._unneeded(keep))

    def _take_away(self, known: AnsibleInstance, grace: float, deadline: Deadline) -> None:
        self._lifecycle.remove(known, grace, deadline)
        self._records.remove(known.name)

    def _undo(self, begun: AnsibleInstance) -> None:
        """Take away what was begun; where that fails its record stays, and whoever rolls it back meets the trouble."""
        try:
            self._take_away(begun, 0.0, Deadline.after(self._clock, UNDO_SECONDS))
        except (DriverFailed, DeadlinePassed):
            return

    def _questions(self, there: Collection[AnsibleInstance]) -> Iterator[HostQuestion]:
        """Ask each host whether it is there, and what runs of what was made on it."""
        for name, host in self._lifecycle.hosts.items():
            scripts: dict[str, list[str]] = {}
            for known in there:
                if known.host == name and (script := self._lifecycle.look(known)):
                    scripts.setdefault(script, []).append(known.name)
            yield HostQuestion(host, scripts)

    def _unneeded(self, keep: Sequence[Release]) -> tuple[Path, ...]:
        needed = _needed(keep, self._records.every())
        return (
            *self._snapshots.unneeded(needed),
            *(path for path in sorted(self._folder.glob(f"{PREFIX}*")) if abandoned(path)),
        )


def _observed(known: AnsibleInstance, answer: HostAnswer | None) -> Instance:
    """Return an instance as its host shows it; one that is not finished is not expected to run."""
    instance, seen = known.observed(), answer.seen.get(known.name) if answer else None
    if seen is None or (known.state == "created" and seen.state != "running"):
        return instance
    code = seen.exit_code if seen.state == "exited" or seen.restarts else None
    return replace(instance, state=seen.state, exit_code=code, restarts=seen.restarts)


def _order(instance: Instance) -> tuple[int, int, str]:
    return instance.release, instance.index, instance.host


def _needed(keep: Sequence[Release], there: Collection[AnsibleInstance]) -> set[str]:
    images = {release.image_id for release in keep} | {known.image for known in there}
    return {snapshot for image in images for snapshot in Pinned.parse(image).snapshots}


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
