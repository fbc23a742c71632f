"""`deploy store move`: the records of a state folder into a database, and back, while nothing is going on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from deployer.app.attendance import CERTIFICATES, JOBS, KEEPER
from deployer.core import files
from deployer.core.clock import Clock
from deployer.core.errors import Locked, Refused
from deployer.evidence.recording import file_of
from deployer.evidence.shared_recording import PIECE, brought
from deployer.planning import reach, release_record
from deployer.store import AuditEntry, Store, damage, homes, meta
from deployer.store.address import checked
from deployer.store.adoption import is_blank
from deployer.store.beside import place_beside
from deployer.store.copying import copy
from deployer.store.database import Connection
from deployer.store.opening import FILE, MOVED, VARIABLE, SharedStore, connected, open_store, remember, remembered
from deployer.store.vault import Vault

_PREFIX = ".moving-"
# Nobody else writes meanwhile, and a pause between two statements is the other store's.
_PATIENT = "set local statement_timeout = '10min'; set local idle_in_transaction_session_timeout = '10min'"


@dataclass(frozen=True)
class MovedRecords:
    """What was moved from where to where: records in all, and those of services, releases and rollouts."""

    source: str
    target: str
    records: int
    services: int
    releases: int
    rollouts: int
    secrets: int
    recordings: int
    aside: str = ""  # where the former file is

    @property
    def text(self) -> str:
        """Return it in one sentence."""
        many = f"{self.services} services, {self.releases} releases, {self.rollouts} rollouts, {self.records} records"
        more = f"secrets of {self.secrets} releases, {self.recordings} recordings"
        return f"moved and read back: {many} in all, {more}, from {self.source} to {self.target}"


def into_database(folder: Path, clock: Clock, environ: Mapping[str, str] = os.environ) -> MovedRecords:
    """Move the records of a state folder into the database that the environment names. Raise DeployError."""
    address, known = environ.get(VARIABLE, ""), remembered(folder)
    if known is not None:
        raise Refused(f"{folder} works with {known.address} already", "--to-file moves its records back")
    if not address:
        raise Refused("no database is named", f"name the one to move to by {VARIABLE} or --store")
    if not (folder / damage.NAME).exists():
        raise Refused(f"{folder} has no records", f"a deploy with {VARIABLE} begins in the database")
    shared = connected(checked(address), clock)
    with closing(Store(folder, clock)) as source, closing(Store(folder, clock, shared=shared)) as target:
        with source.database.transaction() as old:
            with target.database.transaction() as new:
                new.execute(_PATIENT)
                _refuse_busy(source, old)
                _refuse_full(source, target, new)
                counts = copy(old, new)
                target.vault.unlock()
                secrets = _secrets(source.vault, target.vault)
                recordings = _recordings_there(source, target)
                for service in _bound(source):
                    homes.put(new, service, release_record.home(folder))
            # From here on the database has them; the file is still ours alone.
            remember(folder, SharedStore(target.name, target.secret("installation")))
            aside = damage.move_aside(folder)
        moved = _moved(source.name, target.name, counts, secrets, recordings, str(aside[0]))
        _forget(source.vault)
        _tell(target, moved)
    return moved


def into_file(folder: Path, clock: Clock, environ: Mapping[str, str] = os.environ) -> MovedRecords:
    """Move the records of a database into the state folder of this host. Raise DeployError."""
    if remembered(folder) is None and not environ.get(VARIABLE):
        raise Refused(f"{folder} works with its own file already", "without --to-file, records go into a database")
    if (folder / damage.NAME).exists():
        raise Refused(f"{folder / damage.NAME} is there already", "move it to another place")
    here = release_record.home(folder)
    with (
        closing(open_store(folder, clock, environ)) as source,
        place_beside(folder, _PREFIX) as room,
        ExitStack() as late,
    ):
        place = room / damage.NAME
        target = late.enter_context(closing(Store(folder, clock, file=place)))
        with source.database.transaction() as old:
            old.execute(_PATIENT)
            _refuse_busy(source, old)
            _refuse_elsewhere(source, here)
            with target.database.transaction() as new:
                counts = copy(old, new)
            secrets = _secrets(source.vault, Vault(folder / "secrets"))
            recordings = _recordings_here(source, old)
            moved = _moved(source.name, str(folder / damage.NAME), counts, secrets, recordings)
            _tell(target, moved)
            late.close()  # all of it is in the file then, not in its log
            place.rename(folder / damage.NAME)
            files.sync(folder)
            meta.put(old, MOVED, here)
            old.execute("alter table locks rename to locks_that_were")  # for processes that have it open
        (folder / FILE).unlink(missing_ok=True)
    return moved


# -- what stands against it


def _refuse_busy(store: Store, db: Connection) -> None:
    """Raise Refused or Locked while anything is going on: what is in progress, who holds a lock, who keeps."""
    for row in db.execute("select number, service from rollouts where ended_at is null").fetchall():
        raise Refused(
            f"rollout {row['number']} of {row['service']} is in progress",
            "end it first: `deploy status` says how",
        )
    for row in db.execute("select service, job from job_runs where ended_at is null").fetchall():
        raise Refused(f"the job {row['job']} of {row['service']} runs", "wait for its end: `deploy jobs`")
    for row in db.execute("select service from locks").fetchall():
        if (lock := store.locks.read(row["service"])) is not None:
            raise Locked(lock.explain(store.clock.now()), "wait for it")
    for duty in (KEEPER, JOBS, CERTIFICATES):
        if store.claims.is_held(duty.claim):
            raise Refused(
                f"somebody looks after the services of {store.name} ({duty.name})",
                "stop `deploy serve` and `deploy keep`, on every control host, and start them again afterwards",
            )


def _refuse_full(source: Store, target: Store, db: Connection) -> None:
    if is_blank(target) and not db.last_number("audit"):
        return
    if target.secret("installation") == source.secret("installation"):
        raise Refused(
            f"{target.name} has a copy of these records already, from a move that was interrupted or from before the"
            " state folder was restored",
            f"see which of both is newer: `deploy history` here uses {source.name}; then empty the database and move"
            " again, or put the file away and name the database",
        )
    raise Refused(f"{target.name} has records already", "name an empty database, or a schema of its own in one")


def _refuse_elsewhere(store: Store, here: str) -> None:
    for service in store.services.all():
        if (home := store.homes.of(service.name)) not in ("", here):
            raise Refused(
                f"{service.name} is reached from its control host alone, {home}", "move the records to that host"
            )


def _bound(store: Store) -> Iterator[str]:
    """Yield the services of which something is reached from this host alone."""
    for service in store.services.all():
        if any(reach.only_from_one(release.manifest) for release in store.releases.of(service.name)):
            yield service.name


# -- what lies beside the tables


def _secrets(source: Vault, target: Vault) -> int:
    """Copy the secrets of all releases, and read them back; return of how many."""
    found = [(service, number) for service in source.services() for number in sorted(source.kept(service))]
    for service, number in found:
        source.copy_to(target, service, number)
    return len(found)


def _forget(vault: Vault) -> None:
    for service in vault.services():
        for number in vault.kept(service):
            vault.forget(service, number)


def _recordings_there(source: Store, target: Store) -> int:
    """Bring the recordings of rollouts into the database; the files stay, as what other hosts have, too."""
    there = sorted(int(f.stem) for f in (source.folder / "recordings").glob("*.jsonl") if f.stem.isdecimal())
    if (shared := target.shared) is None:
        return 0
    for number in there:
        with file_of(source.folder, number).open("rb") as file:
            at = 0
            while piece := file.read(PIECE):
                lines = piece[: piece.rfind(b"\n") + 1]
                if not lines:
                    break  # the end of what a killed process wrote
                shared.recordings.put(number, at, lines.decode("ascii"))
                file.seek(at := at + len(lines))
    return len(there)


def _recordings_here(source: Store, db: Connection) -> int:
    there = [int(row[0]) for row in db.execute("select distinct rollout from recordings order by 1").fetchall()]
    for number in there:
        brought(source, number)
    return len(there)


# -- in words


def _moved(
    source: str, target: str, counts: Mapping[str, int], secrets: int, recordings: int, aside: str = ""
) -> MovedRecords:
    named = (counts["services"], counts["releases"], counts["rollouts"])
    return MovedRecords(source, target, sum(counts.values()), *named, secrets, recordings, aside)


def _tell(store: Store, moved: MovedRecords) -> None:
    store.audit.record(AuditEntry("store move", "", detail=f"{moved.records} records from {moved.source}"))
