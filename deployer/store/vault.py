"""Secret values of releases: one private file a release, so that a rollback brings back the values of its time.

A store that hosts share keeps them itself, sealed (`store/postgres/vault.py`).
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from deployer.core import files
from deployer.core.errors import Refused, StoreFailed
from deployer.model import SecretText

KEY = ".config-key"  # no service has a dot in its name


class Vault:
    """Files below `folder`, mode 0600 in folders of mode 0700; nothing of them enters the store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, service: str, release: int) -> Path:
        return self._folder / service / f"r{release}.json"

    def save(self, service: str, release: int, values: dict[str, SecretText]) -> None:
        """Write the values of a release. Raise StoreFailed."""
        if not values:
            return
        self._write(service, release, json.dumps({name: value.reveal() for name, value in values.items()}))

    def load(self, service: str, release: int, names: frozenset[str]) -> dict[str, SecretText]:
        """Read the values of a release. Raises Refused when the file is gone or lacks one of `names`."""
        if not names:
            return {}
        place = self._place(service, release)
        try:
            values = json.loads(self._read(service, release))
            if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
                raise ValueError("not names with texts")
        except (OSError, ValueError, RecursionError) as error:
            raise Refused(
                f"the secrets of {service} r{release} cannot be read: {place}: {type(error).__name__}",
                "deploy that version again, so that its secrets are read again",
            ) from None
        missing = names - values.keys()
        if missing:
            raise Refused(f"{place} lacks {', '.join(sorted(missing))}", "deploy that version again")
        return {name: SecretText(values[name]) for name in names}

    def kept(self, service: str) -> frozenset[int]:
        """Return the numbers of the releases of which values are kept."""
        names = (path.name for path in (self._folder / service).glob("r*.json"))
        return frozenset(int(name[1:-5]) for name in names if re.fullmatch("[0-9]{1,18}", name[1:-5]))

    def services(self) -> tuple[str, ...]:
        """Return the services of which values are kept."""
        return tuple(sorted(path.name for path in self._folder.glob("*") if path.is_dir()))

    def keep_key(self, key: str) -> None:
        """Keep the key of the hashes beside what it protects, for a store that is rebuilt. Raise StoreFailed."""
        path = self._folder / KEY
        if not path.exists() or path.read_text() != key:
            _replace(path, key)

    def key(self) -> str:
        """Read the key of the hashes; empty when it is gone."""
        try:
            return (self._folder / KEY).read_text()
        except FileNotFoundError:
            return ""

    def forget(self, service: str, release: int) -> None:
        """Delete the values of a release."""
        self._path(service, release).unlink(missing_ok=True)

    def copy_to(self, other: Vault, service: str, release: int) -> None:
        """Copy the values of a release, and read them back. Raise Refused."""
        try:
            text = self._read(service, release)
            other._write(service, release, text)
            same = other._read(service, release) == text
        except (OSError, ValueError) as error:
            raise Refused(
                f"the secrets of {service} r{release} cannot be copied: {error}", "nothing was moved"
            ) from None
        if not same:
            raise Refused(f"the secrets of {service} r{release} are not the same after they were copied", "try again")

    def unlock(self) -> None:
        """Make it ready to be read, where that needs a key."""

    def _write(self, service: str, release: int, text: str) -> None:
        _replace(self._path(service, release), text)

    def _read(self, service: str, release: int) -> str:
        """Return what was written. Raise OSError and ValueError."""
        return self._path(service, release).read_text(encoding="utf-8")

    def _place(self, service: str, release: int) -> str:
        """Return where the values of a release are."""
        return str(self._path(service, release))


def _replace(path: Path, text: str) -> None:
    """Write a file, and the folder for it. Raise StoreFailed."""
    try:
        files.folder(path.parent)
        files.replace(path, text)
    except OSError as error:
        raise StoreFailed(f"{path} cannot be written: {error.strerror}", "is the disk full?") from None
