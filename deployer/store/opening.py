"""Which store a state folder works with: the file in it, or a database that several hosts share (docs/store.md).

A folder that once worked with a database remembers which one, in a file without the password. So a command that is not
told the address uses the same store, and one that is told another store is refused: two stores beside one folder would
give two processes the lock of one service.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.core import files
from deployer.core.clock import Clock
from deployer.core.errors import Refused, StoreDamaged, StoreFailed
from deployer.store import damage, meta
from deployer.store.address import checked, without_password
from deployer.store.store import Store

if TYPE_CHECKING:
    from deployer.store.postgres.shared import PostgresStore

VARIABLE = "DEPLOYER_STORE"
FILE = "store.json"
MOVED = "moved"  # in the table `meta`: where the records are now
_NEEDED = ("psycopg", "cryptography")


@dataclass(frozen=True)
class SharedStore:
    """The database that a state folder works with: its address without the password, and whose records are in it."""

    address: str
    installation: str


def open_store(folder: Path, clock: Clock, environ: Mapping[str, str] = os.environ, *, lost: bool = False) -> Store:
    """Open the store that a state folder works with. Raise Refused or StoreFailed, with nothing changed.

    `lost`: also where the records that the folder knew are not in its database any more, to rebuild them.
    """
    given, known = environ.get(VARIABLE, ""), remembered(folder)
    if not given and known is None:
        return Store(folder, clock)
    if known is None and (folder / damage.NAME).exists():
        raise Refused(
            f"{folder} has a store of its own, {damage.NAME}: it does not work with another one beside it",
            "name another state folder by --state, or move its records there: `deploy store move`",
        )
    shared = connected(checked(given) if given else known.address if known else "", clock)
    try:
        store = Store(folder, clock, shared=shared)
        joined(store, known, lost=lost)
    except BaseException:
        shared.claims.close()
        shared.database.close()
        raise
    return store


def works_with_another(folder: Path, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether the store of a state folder is not a file in it."""
    return bool(environ.get(VARIABLE)) or remembered(folder) is not None


def connected(address: str, clock: Clock) -> PostgresStore:
    """Connect to a database, and make its tables where it has none. Raise Refused or StoreFailed."""
    import importlib.util

    from deployer.core import extras

    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise Refused(
            f"the store {without_password(address)} needs {', '.join(missing)}", extras.how_to_add("postgresql")
        )
    try:
        from deployer.store.postgres.shared import opened
    except ImportError as error:  # psycopg without a libpq
        raise Refused(f"psycopg cannot be used: {error}", extras.how_to_add("postgresql")) from None
    return opened(address, clock)


def joined(store: Store, known: SharedStore | None, *, lost: bool = False) -> None:
    """Check that a folder may work with a store, and let it remember that it does."""
    with store.database.reading() as db:
        moved = meta.value(db, MOVED)
    if moved:
        raise Refused(
            f"the records of {store.name} were moved to {moved}",
            f"work there; or name an empty database. {store.folder / FILE} can be removed",
        )
    here = SharedStore(store.name, store.secret("installation"))
    if known is not None and known.installation != here.installation and not lost:
        from deployer.store.adoption import is_blank  # with the plans that it rebuilds

        if is_blank(store):
            raise StoreDamaged(
                f"the records of {store.folder} are not in {store.name} any more: it has none",
                "restore a backup of the database; or `deploy adopt` rebuilds them from what runs",
            )
        raise Refused(
            f"{store.folder} works with the store of installation {known.installation} ({known.address}),"
            f" and {store.name} has that of {here.installation}",
            "name the right address, or another state folder by --state",
        )
    store.vault.unlock()
    if here != known and not lost:
        remember(store.folder, here)


def remembered(folder: Path) -> SharedStore | None:
    """Return the database that a state folder works with; None for its own file. Raise StoreDamaged."""
    file = folder / FILE
    try:
        return SharedStore(**json.loads(file.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        raise StoreDamaged(
            f"{file} cannot be read: {type(error).__name__}: {error}",
            f"remove it, and name the store once more: --store or {VARIABLE}",
        ) from None


def remember(folder: Path, store: SharedStore) -> None:
    """Let a state folder remember the database that it works with. Raise StoreFailed."""
    try:
        files.replace(folder / FILE, json.dumps(asdict(store)) + "\n")
    except OSError as error:
        raise StoreFailed(f"{folder / FILE} cannot be written: {error.strerror}", "check its permissions") from None
