"""The data of what lifecycle playbooks make: `save.yml` writes it into one file, `restore.yml` reads it from there."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deployer.core import files
from deployer.core.clock import Deadline
from deployer.core.errors import DeployError, Refused
from deployer.core.host import LOCAL, Host
from deployer.core.resources import builtin
from deployer.drivers.ports import Verbs
from deployer.drivers.ports.data import Restoring, SavedData
from deployer.manifest import verbs

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest

SAVE, RESTORE = "save", "restore"


class AnsibleData:
    """The data of a service on one host, by playbooks of its manifest's `folder`; `scratch` is for the file."""

    kind: Literal["mount", "playbook"] = "playbook"

    def __init__(self, manifest: Manifest, folder: Path, host: Host | None, player: Verbs, scratch: Path) -> None:
        self._manifest, self._host, self._player, self._scratch = manifest, host or LOCAL, player, scratch
        self._playbooks = verbs.folder_of(manifest.verbs or "", folder)

    def names(self) -> tuple[str, ...]:
        """Return the one name of what the playbooks save."""
        missing = [f"{verb}.yml" for verb in (SAVE, RESTORE) if not (self._playbooks / f"{verb}.yml").is_file()]
        if missing:
            raise Refused(
                f"the lifecycle playbooks {self._playbooks} have no {' and no '.join(missing)}",
                "only these know what the data of the service is: docs/ansible-runtime.md",
            )
        return ("data",)

    def save(self, _name: str, _image: str, target: Path, deadline: Deadline) -> None:
        """Play `save.yml`, which writes the file."""
        self._play(SAVE, {"deployer_data": str(target.absolute())}, deadline)
        if not target.is_file() or not target.stat().st_size:
            raise Refused(f"{SAVE}.yml wrote nothing to {target}", "it writes the data to the file `deployer_data`")

    def is_free(self, _name: str, _image: str, _deadline: Deadline, *, overwrite: bool) -> bool:  # noqa: ARG002 - a word of the port
        """Return True: `restore.yml` sees for itself, and fails where there is data."""
        return bool(self.names())

    def source(self, _name: str) -> str:
        """Return "": the playbooks know it."""
        return ""

    def restore(self, _name: str, _image: str, saved: SavedData, deadline: Deadline, how: Restoring) -> None:
        """Play `restore.yml` with the file; it gets whether it may replace what is there, and writes beside that."""
        self.names()
        files.folder(self._scratch)
        with tempfile.NamedTemporaryFile(dir=self._scratch, prefix=".restore-") as file:
            try:
                for piece in saved.read():
                    file.write(piece)
                file.flush()
            except OSError as error:
                raise Refused(f"the data cannot be written in {self._scratch}: {error.strerror}", "see `df`") from error
            self._play(RESTORE, {"deployer_data": file.name, "deployer_overwrite": how.overwrite}, deadline)

    def _play(self, verb: str, told: Mapping[str, Any], deadline: Deadline) -> None:
        self._player.require()
        known = {
            "deployer_service": self._manifest.service,
            "deployer_version": self._manifest.version,
            "deployer_playbooks": str(builtin("playbooks")),
        }
        try:
            self._player.play(self._playbooks, (verb,), self._host, {**known, **told}, deadline)
        except DeployError as error:
            raise Refused(f"{self._manifest.service}: {error.message}", error.hint or f"see {verb}.yml") from error
