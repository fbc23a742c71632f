"""What an instance is, as runtimes that have no labels for it keep it in the state folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from deployer.core.errors import DriverFailed
from deployer.model import InstanceSpec
from deployer.planning import release_record

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class InstanceIdentity:
    """The identity of an instance: whose it is, of which release, and where."""

    installation: str
    service: str
    release: int
    colour: str
    index: int
    rollout: int
    config: str
    image: str
    address: str
    record: str = ""  # of the release, as `planning.release_record` writes it

    @property
    def name(self) -> str:
        """Name of the instance."""
        return f"{self.service}-r{self.release}-{self.index}"


def identity_of(spec: InstanceSpec, installation: str) -> dict[str, Any]:
    """Return the fields of the identity of what is wanted."""
    release = spec.release
    return {
        "installation": installation,
        "service": release.service,
        "release": release.number,
        "colour": spec.colour,
        "index": spec.index,
        "rollout": spec.rollout,
        "config": release.config_hash,
        "image": release.image_id,
        "address": spec.address,
        "record": release_record.write(release),
    }


def read_record(kind: type[T], path: Path, remedy: str) -> T | None:
    """Read what was written of an instance; None when nothing was. Raise DriverFailed when it cannot be read."""
    try:
        return kind(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, RecursionError) as error:
        raise DriverFailed(f"{path} cannot be read: {error}", remedy) from None
