"""`adopt`: rebuild the records of services from what stands and what the proxy does. Nothing that runs is changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from deployer.app.operations.context import AppContext
from deployer.app.operations.execution import locked
from deployer.app.recovery import FoundService, Recovery, read_records, recover
from deployer.app.releases import config_hash
from deployer.core.errors import DeployError, HostsUnreachable, Refused
from deployer.core.host import NOT_SAID, Host, Meant
from deployer.drivers.ports import Drivers, Found, Traffic
from deployer.model import PLACES, Instance, Live, Place, Release, Server
from deployer.planning import release_record
from deployer.store import whoami
from deployer.store.adoption import LostStore, is_blank
from deployer.store.adoption import adopt as write
from deployer.store.damage import NAME
from deployer.store.former import holders
from deployer.store.opening import remembered


@dataclass(frozen=True)
class Survey:
    """What can be adopted: whose it is, each service as it will be recorded, and what else must be said."""

    installation: str
    config_key: str  # empty where the store has one already, or the old one is lost
    services: tuple[Recovery, ...]
    last_rollout: int
    why: str = ""  # what is wrong with the store that it is to replace
    notes: tuple[str, ...] = ()


def survey(
    house: AppContext,
    *,
    service: str = "",
    installation: str = "",
    why: str = "",
    meant: Meant = NOT_SAID,
) -> Survey:
    """Look for services that stand and that the store does not know; nothing is changed.

    `installation` chooses among several on one engine, `why` says what is wrong with the store of before. Besides this
    host, those that a manifest means are looked at. Raises
    Refused when the world cannot be read in full, when what stands belongs to another store, or when a process still
    drives with the store that was lost.
    """
    _refuse_driven(house)
    found, silent = _census(house, (*meant.hosts, *meant.twin))
    chosen = _choose(house, found, installation)
    ours = [f for f in found if f.installation == chosen]
    _refuse_another_home(house, ours)
    if why and silent and not ours:
        raise Refused(
            f"nothing was found to rebuild the store from: {silent[0]}", "start the engine, or set DOCKER_HOST"
        )
    known = {s.name for s in house.store.services.all() if house.store.releases.of(s.name)}
    names = {f.instance.service for f in ours} - known
    seen = [
        _seen(house, name, [f for f in ours if f.instance.service == name], silent, meant)
        for name in sorted(names)
        if service in ("", name)
    ]
    services = tuple(recover(one, house.clock.now()) for one in seen)
    key, said = _key(house, services)
    notes = (*silent, *said, *_empty(house, names | known), *_strangers(house, found, chosen))
    return Survey(chosen, key, services, _last_rollout(house, ours, seen), why, notes)


def adopt(house: AppContext, found: Survey) -> None:
    """Write what was found into the store, in one transaction. Raises Refused when somebody was faster."""
    with ExitStack() as stack:
        locks = [stack.enter_context(locked(house, one.records.service, "adopt")) for one in found.services]
        lost = LostStore(found.installation, found.config_key, found.last_rollout)
        write(house.store, lost, locks, [one.records for one in found.services], by=whoami())


# -- whose it is


def _refuse_driven(house: AppContext) -> None:
    store = house.store.folder / NAME
    pids = ", ".join(map(str, holders(store)))
    if pids:
        raise Refused(
            f"process {pids} still works with the store that was at {store} before this one",
            f"wait until it has ended, or end it: kill {pids.replace(',', '')}",
        )


def _census(house: AppContext, hosts: Sequence[Host]) -> tuple[list[Found], tuple[str, ...]]:
    """Ask every runtime; return what was found, and why others did not answer."""
    found: dict[str, Found] = {}
    silent: list[str] = []
    for drivers in house.anywhere(hosts).values():
        try:
            found |= {f.instance.runtime_id: f for f in drivers.runtime.list_all()}
        except HostsUnreachable as error:
            found |= {f.instance.runtime_id: f for f in error.seen}
            silent.append(error.message)
        except DeployError as error:
            silent.append(error.message)
    return list(found.values()), tuple(silent)


def _choose(house: AppContext, found: Iterable[Found], asked: str) -> str:
    """Return the installation that this state folder is, or was before its store was lost."""
    if not is_blank(house.store):
        own = house.store.secret("installation")
        if asked not in ("", own):
            raise Refused(
                f"the store of {house.store.folder} is that of installation {own}", "name another state folder: --state"
            )
        return own
    homes = {f.installation: f.home for f in found}
    if asked:
        if asked not in homes:
            there = ", ".join(f"{i} ({home or 'unknown'})" for i, home in homes.items()) or "none"
            raise Refused(f"nothing is running of installation {asked}", f"running: {there}")
        return asked
    known, own_home = remembered(house.store.folder), release_record.home(house.store.folder)
    if known is not None and house.store.shared is not None:
        return known.installation  # of several control hosts, the one that made an instance may be another one
    here = [i for i, home in homes.items() if home == own_home]
    if len(here) > 1:
        raise Refused(
            f"instances of {len(here)} state databases of {house.store.folder} are running",
            f"say which one is to be adopted: --installation {' or '.join(sorted(here))}",
        )
    return here[0] if here else house.store.secret("installation")


def _refuse_another_home(house: AppContext, ours: Iterable[Found]) -> None:
    """Refuse what belongs to a state folder of this host whose store is there."""
    host = release_record.home(Path())[:-1]
    for home in sorted({f.home for f in ours if f.home.startswith(host)}):
        folder = Path(home.removeprefix(host))
        if folder != house.store.folder and (folder / NAME).exists():
            raise Refused(f"these instances belong to the store in {folder}, which still exists", f"--state {folder}")


def _strangers(house: AppContext, found: Iterable[Found], chosen: str) -> Iterable[str]:
    others = {(f.installation, f.home, f.instance.service) for f in found if f.installation != chosen}
    for installation, home, service in sorted(others):
        whose = f"{service} of {home or 'another state folder'} is left alone"
        lost = f"if its store is lost: deploy adopt --installation {installation}"
        yield f"{whose}; {lost}" if is_blank(house.store) else whose


# -- what stands, service by service


def _seen(
    house: AppContext,
    name: str,
    found: Sequence[Found],
    silent: Sequence[str],
    meant: Meant,
) -> FoundService:
    releases, lost = read_records(found)
    if any(f.instance.host for f in found):
        hosts, twin = meant.hosts, meant.twin
        releases = {n: replace(release, hosts=hosts, twin=twin) for n, release in releases.items()}
    releases = {
        n: replace(release, proxies=meant.proxies) if not release.manifest.traffic.proxies.local else release
        for n, release in releases.items()
    }
    instances = tuple(sorted((f.instance for f in found), key=lambda i: (i.release, i.index)))
    live = _live(house, name, releases, {i.name for i in instances}, silent) or _worker(releases, instances)
    return FoundService(name, instances, releases, lost, live, house.vault.kept(name))


def _live(
    house: AppContext, name: str, releases: dict[int, Release], there: set[str], silent: Sequence[str]
) -> Live | None:
    """Read the live value. Raises Refused when users are on instances that no runtime shows."""
    drivers = _drivers(house, releases)
    if drivers is None:
        return None
    try:
        live = drivers.traffic.read(name)
        users = {s.name for s, _ in drivers.traffic.servers(name, live.stable)} if live else set()
    except DeployError as error:
        raise Refused(f"the proxy of {name} cannot be asked: {error.message}", error.hint) from error
    if silent and users - there:
        raise Refused(
            f"the proxy sends users of {name} to {min(users - there)}, which no runtime shows: {silent[0]}",
            "start the engine, or set DOCKER_HOST: what it runs would be left out",
        )
    return live


def _worker(releases: dict[int, Release], instances: Sequence[Instance]) -> Live | None:
    """Return the live value of a service without a port whose own was lost: what an earlier rollout started is live."""
    if not releases or releases[max(releases)].served:
        return None
    running = [i for i in instances if i.state == "running" and i.release in releases]
    first = min(running, key=lambda i: i.rollout, default=None)
    return Live("green" if first.colour == "green" else "blue", rollout=first.rollout) if first else None


def _drivers(house: AppContext, releases: dict[int, Release]) -> Drivers | None:
    """Return the drivers of the newest release, else those of our own proxy; None where there can be none of ours."""
    if releases:
        return house.drivers(releases[max(releases)])
    with suppress(Refused):  # the path of the state folder is too long for a proxy of ours
        return house.anywhere()["process"]
    return None


def _empty(house: AppContext, known: set[str]) -> Iterable[str]:
    """Name what our proxy serves and of which nothing is running."""
    drivers = _drivers(house, {})
    if drivers is None:
        return
    for name in sorted(set(drivers.inspection.services()) - known):
        up = [server.name for place in PLACES for server, is_up in _servers(drivers.traffic, name, place) if is_up]
        if up:
            where = "with the manifest that names its hosts (-f), and where its inventory is"
            yield f"the proxy serves {name} by {up[0]}, which runs on another host: `deploy adopt` again {where}"
        else:
            yield f"the proxy knows {name}, of which nothing is running: `deploy doctor --fix` takes it off"


def _servers(traffic: Traffic, name: str, place: Place) -> tuple[tuple[Server, bool], ...]:
    with suppress(DeployError):  # a proxy that does not respond serves nobody now
        return traffic.servers(name, place)
    return ()


def _last_rollout(house: AppContext, ours: Iterable[Found], seen: Iterable[FoundService]) -> int:
    recordings = (int(f.stem) for f in (house.store.folder / "recordings").glob("*.jsonl") if f.stem.isdigit())
    lives = (one.live.rollout for one in seen if one.live)
    return max((*(f.instance.rollout for f in ours), *lives, *recordings), default=0)


def _key(house: AppContext, services: Sequence[Recovery]) -> tuple[str, tuple[str, ...]]:
    """Read the key of the hashes, and try it on what stands."""
    if not is_blank(house.store) or not services:
        return "", ()
    key = house.vault.key()
    if key and all(_fits(house, release, key) for one in services for release in one.records.releases):
        return key, ()
    return "", ("the key of the hashes is gone: the next deploy makes a new release, also of what is live already",)


def _fits(house: AppContext, release: Release, key: str) -> bool:
    try:
        names = frozenset(release.manifest.secrets)
        secrets = house.vault.load(release.service, release.number, names)
    except Refused:
        return True  # it cannot be tried without its secrets
    return config_hash(release.image_id, release.manifest, secrets, key, release.terms) == release.config_hash
