"""What an instance is, kept beside its process: the counterpart of a container's labels."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, cast

from deployer.core import files
from deployer.drivers.runtime.identity import InstanceIdentity, identity_of, read_record
from deployer.model import Instance, InstanceSpec, Place
from deployer.supervisor import ProcessStatus

FILE = "instance.json"


@dataclass(frozen=True, kw_only=True)
class ProcessInstance(InstanceIdentity):
    """The identity of an instance; its name is that of its folder, too."""

    @classmethod
    def of(cls, spec: InstanceSpec, installation: str) -> ProcessInstance:
        """Make the record of what is wanted."""
        return cls(**identity_of(spec, installation))

    def same(self, other: ProcessInstance | None) -> bool:
        """Return whether both are the same instance; a later rollout may take over what an earlier one started."""
        return other is not None and replace(other, rollout=self.rollout, record=self.record) == self

    def save(self, folder: Path) -> None:
        """Write the record."""
        files.replace(folder / FILE, json.dumps(asdict(self), indent=1))

    def observed(self, name: str, status: ProcessStatus | None) -> Instance:
        """Return the instance, with the state of its process."""
        status = status or ProcessStatus()
        states: dict[str, Literal["created", "running", "paused", "exited"]] = {
            "running": "running",
            "starting": "created",
            "paused": "paused",
        }
        state = states.get(status.state, "exited")
        return Instance(
            service=self.service,
            colour=cast(Place, self.colour),
            release=self.release,
            index=self.index,
            name=name,
            runtime_id=name,
            address=self.address,
            state=state,
            exit_code=status.exit_code if state == "exited" or status.restarts else None,
            config_hash=self.config,
            restarts=status.restarts,
            rollout=self.rollout,
        )


class InstanceFolders:
    """The folders of instances, of any service, and of any store that lay here: FOLDER/NAME."""

    def __init__(self, folder: Path, installation: str) -> None:
        self._folder = folder
        self._installation = installation

    def of(self, name: str) -> Path:
        """Return the folder of an instance."""
        return self._folder / name

    def every(self) -> list[Path]:
        """Return all folders, also of what was never begun."""
        return sorted(self._folder.glob("*"))

    def written(self) -> list[tuple[Path, ProcessInstance]]:
        """Read all records."""
        known = [(folder, load(folder)) for folder in self.every()]
        return [(folder, found) for folder, found in known if found is not None]

    def made(self) -> list[tuple[Path, ProcessInstance]]:
        """Read what was made here; a copy of an instance, under another name, is none."""
        return [(folder, known) for folder, known in self.written() if folder.name == known.name]

    def mine(self) -> list[tuple[Path, ProcessInstance]]:
        """Read what this installation made."""
        return [(folder, known) for folder, known in self.made() if known.installation == self._installation]


def load(folder: Path) -> ProcessInstance | None:
    """Read the record of a folder; None when its maker died before it was written. Raises DriverFailed."""
    return read_record(ProcessInstance, folder / FILE, f"end what runs there by hand, then remove {folder}")
