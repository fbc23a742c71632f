"""A store that is filled beside the one it replaces, and put in its place when it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployer.core import files
from deployer.core.clock import Clock
from deployer.core.errors import Locked, StoreDamaged, StoreFailed
from deployer.core.filelock import FileLock
from deployer.store import damage
from deployer.store.adoption import is_blank
from deployer.store.beside import place_beside
from deployer.store.opening import SharedStore, open_store, remember, works_with_another
from deployer.store.privacy import private
from deployer.store.store import Store

_PREFIX = ".adopting-"
_WITHIN = 30.0  # seconds for another process that opens the store


@dataclass(frozen=True)
class Rebuilding:
    """The store to write to. `why` says what is wrong with the one in its place, empty where that is a good one."""

    store: Store
    why: str

    def put_in_place(self) -> tuple[Path, ...]:
        """Put the new store where the old one was; return where the parts of that one are now. Closes the store.

        A good store is in its place already, and so is one in a database. Raises Locked while somebody works with the
        old one.
        """
        if self.store.shared is not None:
            remember(self.store.folder, SharedStore(self.store.name, self.store.secret("installation")))
            return ()
        if not self.why:
            return ()
        folder, made = self.store.folder, self.store.file
        self.store.database.close()  # the last connection: what its log holds is in the file then
        aside = damage.move_aside(folder)
        with FileLock(folder / "deployer.lock").held(_WITHIN):
            if (folder / damage.NAME).exists():
                raise Locked(f"another command has made a store in {folder} meanwhile", "look at it: `deploy status`")
            made.rename(folder / damage.NAME)
            files.sync(folder)
        return aside


@contextmanager
def rebuilding(folder: Path, clock: Clock) -> Iterator[Rebuilding]:
    """Open the store of a folder where it is good; else make one that can take its place.

    One that has no record is no better than one that is lost. Raises Locked while another command rebuilds it.
    """
    try:
        private(folder)
    except OSError as error:
        raise StoreFailed(f"{folder} cannot be made: {error.strerror}", "check its permissions and space") from None
    own = FileLock(folder / "adopt.lock")
    if not own.try_take():
        raise Locked(f"the store of {folder} is being rebuilt by another command", "wait for it")
    try:
        good, why = _in_database(folder, clock) if works_with_another(folder) else _good(folder, clock)
        if good is not None and good.shared is not None:
            yield Rebuilding(good, why)
            return
        if good is not None:
            yield Rebuilding(good, "")
            return
        with place_beside(folder, _PREFIX) as place:
            yield Rebuilding(Store(folder, clock, file=place / damage.NAME), why)
    finally:
        own.let_go()


def _in_database(folder: Path, clock: Clock) -> tuple[Store, str]:
    """Open a store in a database: it is filled where it is, in one transaction."""
    store = open_store(folder, clock, lost=True)
    return store, "it has no record of anything" if is_blank(store) else ""


def _good(folder: Path, clock: Clock) -> tuple[Store | None, str]:
    if not (folder / damage.NAME).exists():
        return None, "it is gone"
    try:
        store = Store(folder, clock)
    except StoreDamaged as error:
        return None, error.message
    try:
        store.database.whole()
        blank = is_blank(store)
    except StoreDamaged as error:
        store.database.close()
        return None, error.message
    if not blank:
        return store, ""
    store.database.close()
    return None, "it has no record of anything"
