"""The lifecycle playbooks of releases: which they are, and how they are played for an instance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed, HostsUnreachable
from deployer.core.host import LOCAL, Host, ServiceHosts
from deployer.core.resources import builtin
from deployer.drivers.ports import Verbs
from deployer.drivers.runtime.ansible import variables
from deployer.drivers.runtime.ansible.archive import packed
from deployer.drivers.runtime.ansible.host_presence import HostPresence
from deployer.drivers.runtime.ansible.instance_record import AnsibleInstance
from deployer.drivers.runtime.ansible.pinned import Pinned
from deployer.drivers.runtime.artifacts import Snapshots
from deployer.drivers.runtime.hosts import host_of
from deployer.manifest import verbs
from deployer.model import InstanceSpec, Release

LOOK = "look.sh"  # beside the playbooks: says whether instances run
ENSURE, REMOVE = verbs.REQUIRED[:3], verbs.REQUIRED[3:]


class Lifecycle:
    """Plays the lifecycle playbooks of instances on their hosts; `folder` is for archives on their way there."""

    def __init__(
        self, player: Verbs, presence: HostPresence, hosts: ServiceHosts, snapshots: Snapshots, folder: Path
    ) -> None:
        self._player, self._presence, self._snapshots, self._folder = player, presence, snapshots, folder
        self.hosts: Mapping[str, Host] = {host.name: host for host in hosts.every or (LOCAL,)}

    def host(self, name: str) -> Host:
        """Return a host of the service. Raise DriverFailed for any other."""
        return host_of(self.hosts, name)

    def ensure(self, spec: InstanceSpec, told: Mapping[str, Any], deadline: Deadline) -> Mapping[str, Any]:
        """Play create, update and start; return what they reported."""
        with self._files(spec.release) as brought:
            return self._play(ENSURE, spec.release, spec.host, {**told, **brought}, deadline)

    def remove(self, known: AnsibleInstance, grace: float, deadline: Deadline) -> None:
        """Play stop and destroy; `grace` is never longer than that of the release's own manifest."""
        release = known.made_of()
        told = {**_remembered(known, release), "deployer_grace": min(grace, release.manifest.stop.grace)}
        self._play(REMOVE, release, known.host, told, deadline)

    def ask(self, known: AnsibleInstance, verb: str, told: Mapping[str, Any], deadline: Deadline) -> Mapping[str, Any]:
        """Play one playbook for an instance that was made; return what it reported."""
        release = known.made_of()
        return self._play((verb,), release, known.host, {**_remembered(known, release), **told}, deadline)

    def has(self, known: AnsibleInstance, verb: str) -> bool:
        """Return whether there is a playbook for this."""
        return (self._playbooks(known.made_of()) / f"{verb}.yml").is_file()

    def look(self, known: AnsibleInstance) -> str:
        """Return the script that says on a host whether the instance runs; "" where there is none."""
        file = self._playbooks(known.made_of()) / LOOK
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    def _play(
        self, chosen: Sequence[str], release: Release, host: str, told: Mapping[str, Any], deadline: Deadline
    ) -> Mapping[str, Any]:
        target = self.host(host)
        told = {**told, "deployer_playbooks": str(builtin("playbooks"))}
        try:
            with self._presence.changing(host):
                return self._player.play(self._playbooks(release), chosen, target, told, deadline)
        except HostsUnreachable as error:
            for name, why in error.silent.items():
                self._presence.lost(name, why)
            raise
        except DriverFailed as error:
            raise DriverFailed(f"{told['deployer_name']}: {error.message}", error.hint, log=error.log) from error
        except DeadlinePassed as error:
            raise DeadlinePassed(f"{told['deployer_name']}: {error.message}", error.hint, log=error.log) from error

    def _playbooks(self, release: Release) -> Path:
        """Return the folder of a release's playbooks: shipped ones, or its own as they were when it was made."""
        if own := Pinned.parse(release.image_id).verbs:
            return self._snapshots.of(release.service).path(release, own)
        folder = verbs.shipped(release.manifest.verbs or "")
        if folder is None:
            raise DriverFailed(
                f"this version ships no lifecycle playbooks {release.manifest.verbs}", "use the one that made it"
            )
        return folder

    @contextmanager
    def _files(self, release: Release) -> Iterator[Mapping[str, str]]:
        """Bring the files of a release: the snapshot, one archive of it, and the one file where it is one."""
        with ExitStack() as stack:
            if not (identity := Pinned.parse(release.image_id).files):
                yield {"deployer_files": "", "deployer_archive": "", "deployer_file": ""}
                return
            snapshot = self._snapshots.of(release.service).path(release, identity)
            content = list(snapshot.iterdir())
            single = content[0] if len(content) == 1 and content[0].is_file() else ""
            archive = "" if single else stack.enter_context(packed(snapshot, self._folder))
            yield {"deployer_files": str(snapshot), "deployer_archive": str(archive), "deployer_file": str(single)}


def _remembered(known: AnsibleInstance, release: Release) -> dict[str, Any]:
    return {
        **variables.known(release, known.name, known.colour, known.index, known.asked),
        "deployer_id": known.runtime_id,
    }
