"""What was made, kept in the state folder: playbooks leave nothing behind that every host could be asked for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, cast

from deployer.core import files
from deployer.core.errors import DriverFailed
from deployer.drivers.runtime.identity import InstanceIdentity, identity_of, read_record
from deployer.model import Instance, InstanceSpec, Place, Release
from deployer.planning import release_record

State = Literal["created", "running", "paused", "exited"]


@dataclass(frozen=True, kw_only=True)
class AnsibleInstance(InstanceIdentity):
    """The identity of an instance, and what its lifecycle playbooks reported last.

    `asked` is the address that was handed to the verbs, `address` the one that they reported, the same until they did.
    """

    host: str
    asked: str
    state: State = "created"
    runtime_id: str = ""

    @classmethod
    def of(cls, spec: InstanceSpec, installation: str) -> AnsibleInstance:
        """Make the record of what is wanted."""
        identity = identity_of(spec, installation)
        return cls(**identity, host=spec.host, asked=spec.address, runtime_id=spec.name)

    def same(self, other: AnsibleInstance | None) -> bool:
        """Return whether both are the same instance; a later rollout may take over what an earlier one made."""
        if other is None:
            return False
        mine = replace(self, rollout=other.rollout, record=other.record, address=other.address)
        return replace(mine, state=other.state, runtime_id=other.runtime_id) == other

    def made_of(self) -> Release:
        """Read the release of which it was made. Raises DriverFailed when the record does not have it."""
        try:
            return release_record.read(self.record)
        except ValueError as error:
            raise DriverFailed(
                f"{self.name}: {error}", "take it away by hand, then remove its record from the state folder"
            ) from None

    def observed(self) -> Instance:
        """Return the instance as the verbs left it."""
        return Instance(
            service=self.service,
            colour=cast(Place, self.colour),
            release=self.release,
            index=self.index,
            name=self.name,
            runtime_id=self.runtime_id,
            address=self.address,
            state=self.state,
            config_hash=self.config,
            rollout=self.rollout,
            host=self.host,
        )


class InstanceRecords:
    """What was made, of any service, and by any store that lay in this folder: FOLDER/NAME.json."""

    def __init__(self, folder: Path, installation: str) -> None:
        self._folder = folder
        self._installation = installation

    def load(self, name: str) -> AnsibleInstance | None:
        """Read the record of an instance; None when there is none. Raise DriverFailed when it cannot be read."""
        return _load(self._path(name))

    def save(self, made: AnsibleInstance) -> None:
        """Write the record of an instance."""
        files.folder(self._folder)
        files.replace(self._path(made.name), json.dumps(asdict(made), indent=1))

    def remove(self, name: str) -> None:
        """Remove the record of an instance."""
        self._path(name).unlink(missing_ok=True)

    def every(self) -> list[AnsibleInstance]:
        """Read all records."""
        found = (_load(path) for path in sorted(self._folder.glob("[!.]*.json")))
        return [known for known in found if known is not None]

    def mine(self) -> list[AnsibleInstance]:
        """Read the records of this installation."""
        return [known for known in self.every() if known.installation == self._installation]

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"


def _load(path: Path) -> AnsibleInstance | None:
    return read_record(AnsibleInstance, path, "take away by hand what it stood for, then remove the file")
