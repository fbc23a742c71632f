"""Bringing a changed configuration into the running proxy: all of it, or nothing."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed, Refused
from deployer.core.undo import afterwards
from deployer.drivers.traffic.haproxy import (
    budget,
    identity,
    layout,
    listeners,
    live_value,
    naming,
    proxy,
    request_history,
    shield,
    spec,
    waker,
)
from deployer.drivers.traffic.haproxy.live_map import LiveMap
from deployer.drivers.traffic.haproxy.proxy import Proxy
from deployer.drivers.traffic.haproxy.render import Files, render, with_servers
from deployer.drivers.traffic.haproxy.spec import Spec
from deployer.manifest.models import Manifest
from deployer.model import COLOURS, INITIAL, Live

ANSWERS_WITHIN = 5.0  # seconds in which a proxy answers that needs no help


def load(running: Proxy, live: LiveMap, specs: Mapping[str, Spec], deadline: Deadline) -> None:
    """Make the proxy run these services. Raises Refused when it cannot; everything is as it was then.

    The caller holds the lock of the folder.
    """
    _load(running, live, spec.load_all(running.home.services), specs, deadline)


def _load(
    running: Proxy, live: LiveMap, before: Mapping[str, Spec], specs: Mapping[str, Spec], deadline: Deadline
) -> None:
    place = running.home
    specs = _with_keys(place, specs)
    remember(running, live, specs, deadline)
    files = files_of(running, specs, place)
    loaded = _runs(running, live, files, deadline)
    if loaded and before == specs:
        return
    with _restored(place):
        if not loaded:
            _refuse_taken(running, before, specs)
            _validate(running, specs)
        _write(place, specs, files)
        if not loaded:
            _reload(running, live, specs, deadline)


def change(running: Proxy, live: LiveMap, wanted: Spec, deadline: Deadline) -> None:
    """Make the proxy run a service as this, and all others as they are; see `load`."""
    before = spec.load_all(running.home.services)
    _load(running, live, before, {**before, wanted.service: wanted}, deadline)


def end_baseline(running: Proxy, live: LiveMap, service: str, deadline: Deadline) -> None:
    """End the baseline of a service unless it has a server. The caller holds the lock of the folder."""
    known = spec.require(running.home.services, service)
    if known.baseline and not known.baseline.members:
        change(running, live, known.model_copy(update={"baseline": None}), deadline)


def try_out(running: Proxy, live: LiveMap, manifest: Manifest, deadline: Deadline) -> None:
    """Raise Refused when the proxy could not run a service as its manifest says. The caller holds the lock."""
    known = spec.load_all(running.home.services)
    wanted = spec.configured(known.get(manifest.service), manifest.service, manifest, None)
    for colour in COLOURS:
        wanted = spec.configured(wanted, manifest.service, manifest, colour)
    specs = {**known, manifest.service: wanted}
    with nullcontext() if known else afterwards(running.home.remove):
        try:
            running.require(deadline)
            if not _runs(running, live, files_of(running, specs, running.home), deadline):
                _refuse_taken(running, known, specs)
                _validate(running, specs)
        except DriverFailed as error:
            raise Refused(error.message, error.hint) from error


def remember(running: Proxy, live: LiveMap, specs: Iterable[str], deadline: Deadline) -> None:
    """Write live values that the file has lost from what the proxy does: a reload would begin with none of them."""
    known = live_value.load(running.home.state)
    lost = [service for service in specs if live_value.understood(service, known.get(service)) is None]
    if not lost or not running.master.answers():
        return
    there = live.values(deadline)
    found = {service: there[service] for service in lost if live_value.understood(service, there.get(service))}
    if found:
        live_value.save(running.home.state, {**known, **found})


def repair(running: Proxy, live: LiveMap, deadline: Deadline) -> None:
    """Write all files again from what the proxy knows about its services, and load them where it runs others.

    The caller holds the lock of the folder.
    """
    place = running.home
    specs = _with_keys(place, spec.load_all(place.services))
    files = files_of(running, specs, place)
    loaded = _runs(running, live, files, deadline) and place.has_token()
    if not place.has_token():
        place.token.unlink(missing_ok=True)
    with _restored(place):
        if not loaded:
            _validate(running, specs)
        _keep_edited(place, files)
        _write(place, specs, files)
        if not loaded:
            _reload(running, live, specs, deadline)


def revive(running: Proxy, live: LiveMap, lost: Mapping[str, Live], deadline: Deadline) -> None:
    """Start a proxy of ours again that does not respond for some seconds, with files that it can run.

    A team starts its own: for that one the files are written. Raises DriverFailed then.
    """
    try:
        running.ready(Deadline.after(deadline.clock, min(ANSWERS_WITHIN, deadline.left())))
    except (DriverFailed, DeadlinePassed, Refused) as failed:
        if running.own:
            restore(running, live, lost, deadline)
        elif rewrite(running, live, lost, deadline):
            raise DriverFailed(
                f"{failed.message}; deployer's files for it were missing or edited, and have been written again",
                "start your HAProxy, then repeat this command",
            ) from None
        else:
            raise


def restore(running: Proxy, live: LiveMap, lost: Mapping[str, Live], deadline: Deadline) -> None:
    """Have a proxy of ours serve again that is unreachable: files from what is known of its services, then a start.

    What somebody edited is kept aside, as `NAME.aside-…` in its folder. `lost` are the live values of services of which
    neither file nor proxy has one; the caller holds the lock of the folder. What still runs is ended, as nobody can ask
    it.
    """
    rewrite(running, live, lost, deadline)
    running.leave(deadline)
    running.load(deadline)
    live.settle(live_value.load(running.home.state), deadline)


def rewrite(running: Proxy, live: LiveMap, lost: Mapping[str, Live], deadline: Deadline) -> bool:
    """Write all files of a proxy that does not respond, as `restore` does; return whether that changed any."""
    place = running.home
    specs = spec.load_all(place.services)
    files = files_of(running, specs, place)
    before = _snapshot(place)
    _validate(running, specs)
    fill(running, live, lost, deadline)
    _keep_edited(place, files)
    _write(place, specs, files)
    return _snapshot(place) != before


def fill(running: Proxy, live: LiveMap, lost: Mapping[str, Live], deadline: Deadline) -> None:
    """Write live values that neither the file nor the proxy has any more, as they are said to be."""
    place = running.home
    specs = spec.load_all(place.services)
    try:
        known = live_value.load(place.state)
    except DriverFailed:  # a line that is none of ours
        _keep_aside(place, place.state)
        known = {}
    if running.master.answers():
        remember(running, live, specs, deadline)
        known = {**known, **live_value.load(place.state)}
    said = {
        service: live_value.encode(lost[service])
        for service in specs
        if service in lost and live_value.understood(service, known.get(service)) is None
    }
    if said:
        live_value.save(place.state, {**known, **said})


def _keep_edited(place: layout.Home, files: Files) -> None:
    for path, text in ((place.config, files.config), *files.others.items()):
        if layout.read(path) not in (None, text):
            _keep_aside(place, path)


def _keep_aside(place: layout.Home, path: Path) -> None:
    path.rename(place.root / f"{path.name}.aside-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")


def _reload(running: Proxy, live: LiveMap, specs: Mapping[str, Spec], deadline: Deadline) -> None:
    """Start the proxy, or reload it without losing what its worker counts of a budget until it ends."""
    _begin(running, live, specs, deadline)
    running.home.inside.collect_garbage((*shield.sockets(specs.values()), *waker.sockets(specs.values())))


def _begin(running: Proxy, live: LiveMap, specs: Mapping[str, Spec], deadline: Deadline) -> None:
    place, answers = running.home, running.master.answers()
    if answers:
        names = [naming.backend(one.service, side) for one in specs.values() for side in one.places]
        request_history.keep(running, names, deadline)
    if not (answers and live.counting(live_value.load(place.state))):
        running.load(deadline)
        live.settle(live_value.load(place.state), deadline)
        return
    with budget.Leaver(place.requests) as leaver:
        had = live.values(deadline)
        live_value.save(place.state, live.carried(live_value.load(place.state), deadline))
        running.load(deadline)
        live.settle(live_value.load(place.state), deadline)
        live.await_answers(deadline)
        live.hand_over(had, leaver.since(), deadline)
        live_value.save(place.state, live.carried(live_value.load(place.state), deadline))


def _runs(running: Proxy, live: LiveMap, files: Files, deadline: Deadline) -> bool:
    """Return whether the running proxy has this configuration, whatever its servers and live values."""
    return running.master.answers() and live.structure(deadline) == files.structure


def _with_keys(place: layout.Home, specs: Mapping[str, Spec]) -> dict[str, Spec]:
    """Return the specs, each with a key: its own, the one that a lost spec had, or a new one."""
    kept = identity.read_keys(layout.read(place.keys) or "")
    return {
        service: known if known.key else known.model_copy(update={"key": kept.get(service) or identity.new_key()})
        for service, known in specs.items()
    }


def persist(running: Proxy, changed: Spec) -> None:
    """Write a spec whose servers changed, and the config that a restarted proxy comes up with. No reload."""
    place = running.home
    config = with_servers(layout.read(place.config) or "", changed, place)
    if config is None:
        config = files_of(running, {**spec.load_all(place.services), changed.service: changed}, place).config
    spec.save(place.services, changed)
    layout.write(place.config, config)


def files_of(running: Proxy, specs: Mapping[str, Spec], place: layout.Home) -> Files:
    """Write the files of a proxy, to stand in `place`."""
    return render(specs.values(), place, own=running.own, user=os.geteuid())


def _refuse_taken(running: Proxy, before: Mapping[str, Spec], specs: Mapping[str, Spec]) -> None:
    ours = {li for s in before.values() for li, _ in listeners.listens(s)} if running.master.answers() else set()
    wanted = {li for s in specs.values() for li, _ in listeners.listens(s)}
    proxy.refuse_taken(sorted(wanted - ours, key=lambda li: (li.host, li.port)))


def _validate(running: Proxy, specs: Mapping[str, Spec]) -> None:
    """Let HAProxy read the new files in a place of their own."""
    staging = running.home.staging()
    with afterwards(lambda: shutil.rmtree(staging.root)):
        staging.create()
        files = files_of(running, specs, staging)
        values = dict.fromkeys(specs, live_value.encode(INITIAL))
        for path, text in {
            **files.others,
            staging.state: live_value.text(values),
            staging.config: files.config,
        }.items():
            staging.write(path, text)
        running.validate(staging.config)


def _write(place: layout.Home, specs: Mapping[str, Spec], files: Files) -> None:
    place.create()
    values = live_value.load(place.state)
    lives = {service: values.get(service, live_value.encode(INITIAL)) for service in specs}
    live_value.save(place.state, {**lives, live_value.STRUCTURE: files.structure})
    for path, text in files.others.items():
        place.write(path, text)
    for path in set(place.maps.iterdir()) - set(files.others) - {place.state}:
        path.unlink()
    for path in place.services.glob("*.json"):
        if path.stem not in specs:
            path.unlink()
    for each in specs.values():
        spec.save(place.services, each)
    layout.write(place.config, files.config)


@contextmanager
def _restored(place: layout.Home) -> Iterator[None]:
    """Put every file back when something goes wrong; what never had a service leaves nothing."""
    old = _snapshot(place)
    try:
        yield
    except BaseException:
        if not any(path.parent == place.services for path in old):
            place.remove()
        elif _snapshot(place) != old:
            for path in _snapshot(place).keys() - old.keys():
                path.unlink()
            for path, text in old.items():
                place.write(path, text)
        raise


def _snapshot(place: layout.Home) -> dict[Path, str]:
    paths = [place.config, *place.maps.glob("*"), *place.services.glob("*.json")]
    return {path: text for path in paths if (text := layout.read(path)) is not None}
