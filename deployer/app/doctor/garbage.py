"""What is ours and belongs to nothing any more: secrets, images, snapshots, services of the proxy, instances."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from deployer.app.doctor.finding import Discrepancy, Fix
from deployer.app.doctor.jobs import job_runs
from deployer.app.operations import AppContext
from deployer.core.clock import Deadline
from deployer.core.errors import DeployError, HostsUnreachable
from deployer.drivers.ports import RuntimeCare
from deployer.model import PLACES, Release
from deployer.planning import release_record
from deployer.store import Lock

OLD = 86_400.0  # seconds after which a half-written file belongs to nobody
STATE = "state folder"


def leftovers(house: AppContext) -> Iterator[Discrepancy]:
    """Look for what no service accounts for."""
    yield from _secrets(house)
    yield from _half_written(house)
    yield from _runtimes(house)
    yield from _served(house)
    yield from _unrecorded(house)
    yield from job_runs(house)


def _secrets(house: AppContext) -> Iterator[Discrepancy]:
    for service in house.vault.services():
        recorded = {r.number for r in house.store.releases.of(service)}
        for number in sorted(house.vault.kept(service) - recorded):
            text = f"secrets of {service} r{number} are kept, which is not recorded"
            cure = Fix(f"delete the secrets of {service} r{number}", _forget(house, service, number))
            yield Discrepancy("warn", STATE, text, "", cure)


def _forget(house: AppContext, service: str, number: int) -> Callable[[Lock | None], None]:
    return lambda _lock: house.vault.forget(service, number)


def _half_written(house: AppContext) -> Iterator[Discrepancy]:
    """Files that a killed process had not renamed yet: `.NAME.PID.HEX`, see `deployer.core.files`."""
    found = [p for p in house.store.folder.rglob(".*.*.????????") if p.is_file() and _old(p)]
    if found:
        among = f" and {len(found) - 1} more" if len(found) > 1 else ""
        cure = Fix("delete half-written files", _delete(found))
        yield Discrepancy("warn", STATE, f"a killed process left {found[0]}{among}", "", cure)


def _delete(found: Sequence[Path]) -> Callable[[Lock | None], None]:
    def do(_lock: Lock | None) -> None:
        for path in found:
            path.unlink(missing_ok=True)

    return do


def _old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > OLD


def _runtimes(house: AppContext) -> Iterator[Discrepancy]:
    """Images and snapshots of releases that are not recorded, in every runtime that answers."""
    keep = [release for each in house.store.services.all() for release in house.store.releases.of(each.name)]
    for kind, drivers in house.anywhere().items():
        try:
            found = drivers.runtime.garbage(keep)
        except HostsUnreachable as error:
            found = error.seen
        except DeployError:
            continue  # that no engine answers is said elsewhere, where one is needed
        if found:
            among = f" and {len(found) - 1} more" if len(found) > 1 else ""
            cure = Fix(f"remove what is left of the runtime {kind}", _sweep(drivers.runtime, keep))
            yield Discrepancy("warn", f"runtime {kind}", f"{found[0]}{among} belongs to no release", "", cure)


def _sweep(runtime: RuntimeCare, keep: Sequence[Release]) -> Callable[[Lock | None], None]:
    def do(_lock: Lock | None) -> None:
        runtime.collect_garbage(keep)

    return do


def _served(house: AppContext) -> Iterator[Discrepancy]:
    """Services of our own proxy that the store does not know."""
    known = {s.name for s in house.store.services.all() if house.store.releases.of(s.name)}
    try:
        drivers = next(iter(house.anywhere().values()))
        for name in drivers.inspection.services():
            if name in known:
                continue
            up = [s.name for place in PLACES for s, is_up in drivers.traffic.servers(name, place) if is_up]
            if up:
                text = f"the proxy serves {name} by {up[0]}, which is not recorded"
                yield Discrepancy("bad", "proxy", text, "`deploy adopt` records it")
            else:
                cure = Fix(f"take {name} off the proxy", _forget_service(house, name))
                text = f"the proxy knows {name}, which is not recorded and of which nothing is up"
                yield Discrepancy("warn", "proxy", text, "", cure)
    except DeployError as error:
        yield Discrepancy("bad", "proxy", error.message, error.hint)


def _forget_service(house: AppContext, name: str) -> Callable[[Lock | None], None]:
    def do(_lock: Lock | None) -> None:
        next(iter(house.anywhere().values())).traffic.forget(name, Deadline.after(house.clock, 30))

    return do


def _unrecorded(house: AppContext) -> Iterator[Discrepancy]:
    """Instances that were started from this folder and belong to a service or a store that is not known here."""
    known = {s.name for s in house.store.services.all() if house.store.releases.of(s.name)}
    own, here = house.store.secret("installation"), release_record.home(house.store.folder)
    seen: set[str] = set()
    for drivers in house.anywhere().values():
        try:
            census = drivers.runtime.list_all()
        except HostsUnreachable as error:
            census = error.seen
        except DeployError:
            continue
        for found in census:
            instance = found.instance
            if found.home != here or instance.runtime_id in seen:
                continue
            seen.add(instance.runtime_id)
            if found.installation != own:
                text = f"{instance.name} was started from this folder by a store that it had before"
                remedy = "remove it by hand when it gets no traffic; `deploy adopt` rebuilds a lost state database"
                yield Discrepancy("warn", instance.service, text, remedy)
            elif instance.service not in known:
                text = f"{instance.name} is running, but {instance.service} is not recorded"
                yield Discrepancy("bad", instance.service, text, "`deploy adopt` records it")
