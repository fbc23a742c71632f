"""Secret values of releases in a database that hosts share: encrypted, by a key that only the hosts have.

Each value is sealed by AES-256-GCM together with the release that it belongs to, so that nobody who can write to the
database can give one release the secrets of another. The same key seals what only these hosts may have written. What
the database knows of the key is its hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from pathlib import Path

from deployer.core import files
from deployer.core.errors import Refused, StoreDamaged, StoreFailed
from deployer.store import meta
from deployer.store.database import Database
from deployer.store.vault import Vault

KEY_FILE = "store.key"  # in the state folder
BITS, NONCE = 256, 12
_KEY = re.compile("[0-9a-f]{64}")
_ROW, SEALED = "key-hash", "sealed:"  # in the table `meta`


class SealedVault(Vault):
    """The rows of the table `sealed`. The key of the hashes stays in a file of the state folder, as elsewhere."""

    def __init__(self, folder: Path, database: Database, name: str) -> None:
        super().__init__(folder / "secrets")
        self._file, self._database, self._name = folder / KEY_FILE, database, name
        self._key = b""

    def unlock(self) -> None:
        """Read the key, made for a store that has none yet. Raise Refused where it is not here, or another one."""
        with self._database.reading() as db:
            known = meta.value(db, _ROW)
        made = not known and self._make()
        try:
            text = self._file.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            text = ""
        if not _KEY.fullmatch(text):
            raise Refused(
                f"this host does not have the key of the store {self._name}: {self._file} is missing",
                f"copy it from a control host that has it: scp HOST:{self._file} {self._file.parent}/ (docs/store.md)",
            )
        self._key = bytes.fromhex(text)
        mine = hashlib.sha256(self._key).hexdigest()
        if not known and self._database.unwritable is None:
            with self._database.transaction() as db:
                db.execute("insert into meta values (?, ?) on conflict do nothing", (_ROW, mine))
                known = meta.value(db, _ROW)
        if known not in ("", mine):
            if made:
                self._file.unlink()  # another host was faster
            raise Refused(
                f"{self._file} is not the key of the store {self._name}",
                "copy the one of a control host that works with this store (docs/store.md)",
            )

    def _make(self) -> bool:
        """Write a new key, unless there is one."""
        try:
            return files.first(self._file, os.urandom(BITS // 8).hex() + "\n")
        except OSError as error:
            raise StoreFailed(f"{self._file} cannot be written: {error.strerror}", "check its folder") from None

    def kept(self, service: str) -> frozenset[int]:
        """Return the numbers of the releases of which values are kept."""
        return frozenset(
            int(row["release"]) for row in self._database.rows("select release from sealed where service = ?", service)
        )

    def services(self) -> tuple[str, ...]:
        """Return the services of which values are kept."""
        return tuple(row["service"] for row in self._database.rows("select distinct service from sealed order by 1"))

    def forget(self, service: str, release: int) -> None:
        """Delete the values of a release."""
        with self._database.transaction() as db:
            db.execute("delete from sealed where service = ? and release = ?", (service, release))

    def _write(self, service: str, release: int, text: str) -> None:
        sealed = _seal(self._key, text, _belongs(service, release))
        with self._database.transaction() as db:
            db.execute(
                "insert into sealed values (?, ?, ?) on conflict (service, release) do update set text = excluded.text",
                (service, release, sealed),
            )

    def _read(self, service: str, release: int) -> str:
        rows = self._database.rows("select text from sealed where service = ? and release = ?", service, release)
        if not rows:
            raise FileNotFoundError
        return _unseal(self._key, rows[0]["text"], _belongs(service, release))

    def _place(self, service: str, release: int) -> str:
        return f"the table sealed of {self._name}, {service} r{release}"


class SealedRows:
    """Texts in the table `meta`, sealed by the key of a store that is open: the key is there, and the right one."""

    def __init__(self, folder: Path, database: Database, name: str) -> None:
        self._key = bytes.fromhex((folder / KEY_FILE).read_text(encoding="ascii").strip())
        self._database, self._name = database, name

    def read(self, name: str) -> str:
        """Return a text; "" where there is none."""
        with self._database.reading() as db:
            sealed = meta.value(db, SEALED + name)
        try:
            return _unseal(self._key, sealed, name.encode()) if sealed else ""
        except ValueError as error:
            raise StoreDamaged(f"{name} in {self._name} cannot be read: {error}", "restore a backup") from None

    def write(self, name: str, text: str) -> None:
        """Write a text."""
        with self._database.transaction() as db:
            meta.put(db, SEALED + name, _seal(self._key, text, name.encode()))


def _seal(key: bytes, text: str, belongs: bytes) -> str:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(NONCE)
    return base64.b64encode(nonce + AESGCM(key).encrypt(nonce, text.encode(), belongs)).decode("ascii")


def _unseal(key: bytes, text: str, belongs: bytes) -> str:
    """Return what was sealed. Raise ValueError."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    sealed = base64.b64decode(text, validate=True)
    try:
        return AESGCM(key).decrypt(sealed[:NONCE], sealed[NONCE:], belongs).decode()
    except InvalidTag:
        raise ValueError("it was sealed by another key, or for something else") from None


def _belongs(service: str, release: int) -> bytes:
    return json.dumps([service, release]).encode()
