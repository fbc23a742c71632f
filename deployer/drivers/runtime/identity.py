"""What an instance is, as runtimes keep it: in labels of a container, or in the state folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from deployer.core.errors import DriverFailed
from deployer.model import PLACES, InstanceSpec, Place
from deployer.planning import release_record

T = TypeVar("T")
# What may differ in an instance that is the one that is wanted; the hash of the configuration covers the image.
OF_NO_ACCOUNT = frozenset({"rollout", "home", "record", "image"})


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


def labels(spec: InstanceSpec, installation: str, home: str, prefix: str) -> dict[str, str]:
    """Return the labels that make a container ours, from which it is read back what it is."""
    return {prefix + key: str(value) for key, value in {**identity_of(spec, installation), "home": home}.items()}


def same(found: Mapping[str, str], wanted: Mapping[str, str], prefix: str) -> bool:
    """Return whether a container is what is wanted; a later rollout may take over what an earlier one started."""
    return all(
        found.get(key) == value for key, value in wanted.items() if key.removeprefix(prefix) not in OF_NO_ACCOUNT
    )


def place_of(text: str) -> Place:
    """Read the place of an instance. Raise ValueError for what is none."""
    place = next((place for place in PLACES if place == text), None)
    if place is None:
        raise ValueError(f"{text!r} is not a place of an instance")
    return place


def read_record(kind: type[T], path: Path, remedy: str) -> T | None:
    """Read what was written of an instance; None when nothing was. Raise DriverFailed when it cannot be read."""
    try:
        return kind(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, RecursionError) as error:
        raise DriverFailed(f"{path} cannot be read: {error}", remedy) from None
