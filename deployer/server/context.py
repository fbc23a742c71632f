"""What the routes share: the store, houses, tokens, manifests, runs and the event stream."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from deployer.app.local import LocalApp
from deployer.app.operations import AppContext
from deployer.app.operations.guests import live_guests
from deployer.core.clock import Clock
from deployer.core.errors import ManifestRefused, Refused, StoreFailed
from deployer.core.events import Event
from deployer.evidence import live_sample
from deployer.manifest.load import Loaded, load
from deployer.manifest.peek import set_of
from deployer.manifest.release_file import ReleaseFile
from deployer.manifest.release_file import read as read_release_file
from deployer.planning.orders import StopRequest
from deployer.server.guard import Caller
from deployer.server.hub import Hub
from deployer.server.log import ServerLog
from deployer.server.loop import Loop
from deployer.server.reports import ReportCache
from deployer.server.runs import Runner
from deployer.server.sessions import Sessions
from deployer.server.tokens import Token, Tokens
from deployer.server.webhooks import Hook
from deployer.store import Store

T = TypeVar("T")


@dataclass(frozen=True)
class ManifestSource:
    """A manifest that this server may deploy, with the destination laid over it ("" for none), or a release file."""

    path: Path
    destination: str = ""

    def may_be(self, *, of_set: bool) -> bool:
        """Return whether it is a release file, or is none, as it lies there now; an illegible one may be both."""
        try:
            return not self.path.exists() or bool(set_of(self.path)) is of_set
        except Refused:
            return True


class Stores:
    """The store, opened once; opened again where the file was replaced (`deploy adopt`)."""

    def __init__(self, opener: Callable[[], Store]) -> None:
        self._open = opener
        self._mutex = threading.Lock()
        self._opened: list[Store] = []

    def store(self) -> Store:
        """Return the store as it lies there now. Raises StoreFailed."""
        with self._mutex:
            if self._opened:
                with suppress(StoreFailed):
                    self._opened[-1].database.present()
                    return self._opened[-1]
            self._opened.append(self._open())  # an older one is closed at the end: somebody may still read it
            return self._opened[-1]

    def close(self) -> None:
        """Close all that were opened."""
        with self._mutex:
            for store in self._opened:
                store.close()
            self._opened.clear()


class Webhooks(Protocol):
    """The webhooks of branches that are followed."""

    def hook(self, name: str) -> Hook | None:
        """Return the webhook of a branch; None where it has none."""
        ...

    def poke(self, name: str) -> None:
        """Let the branch be looked at, at once."""
        ...


@dataclass
class ServerContext:
    """What the routes share. `housed` makes a house of a store, with drivers of its own."""

    stores: Stores
    housed: Callable[[Store], AppContext]
    tokens: Tokens
    runner: Runner
    clock: Clock
    environ: Mapping[str, str]
    sources: Sequence[ManifestSource] = ()
    log: ServerLog = field(default_factory=ServerLog)
    hooks: Webhooks | None = None  # of the branches that are followed
    hub: Hub = field(init=False)
    sessions: Sessions = field(init=False)
    reports: ReportCache = field(init=False)
    answered: dict[tuple[str, str, int], int] = field(default_factory=dict)  # by method, route and status
    loops: tuple[Loop, ...] = ()  # that look at something as long as the server runs

    def __post_init__(self) -> None:
        self.sessions = Sessions(self.tokens, self.clock)
        self.reports = ReportCache(self.clock)
        self.hub = Hub(self._events, lambda: self.stores.store().events.last_id(), self._samples)

    @contextmanager
    def house(self) -> Iterator[AppContext]:
        """Have a house for one question."""
        house = self.housed(self.stores.store())
        try:
            yield house
        finally:
            house.finish()

    @contextmanager
    def opened(self, stop: StopRequest) -> Iterator[AppContext]:
        """Have a house for work of the server itself, which `stop` asks to end early."""
        with self.house() as house:
            house.stop = stop
            yield house

    @contextmanager
    def app(self) -> Iterator[LocalApp]:
        """Have the application for one question."""
        with LocalApp(lambda _sink, _stop: self.house(), environ=self.environ) as app:
            yield app

    def scoped(self, token: Token) -> Token:
        """Return a token with the services that it is for now: those of its tenant, if it is one's."""
        if not token.tenant:
            return token
        live = live_guests(self.stores.store())
        return token.of_guests([release.service for release in live if release.manifest.tenant == token.tenant])

    def stands(self, caller: Caller) -> bool:
        """Return whether somebody who was let through would be let through again."""
        if caller.session:
            return self.sessions.standing(caller.session)
        return self.tokens.standing(caller.token)

    def source(self, service: str) -> ManifestSource | None:
        """Return where the manifest of a service is; None when none is about it. Raise what `manifest` raises."""
        found = self.manifest(service)
        return found[0] if found else None

    def manifest(self, service: str) -> tuple[ManifestSource, Loaded] | None:
        """Return the manifest of a service, as the files say now; None when none is about it.

        Raise ManifestRefused when none is, and one of them cannot be read.
        """

        def read(source: ManifestSource) -> Loaded:
            return load(source.path, destination=source.destination, environ=self.environ)

        return self._first(read, lambda found: found.manifest.service == service, of_set=False)

    def release_file(self, name: str) -> tuple[ManifestSource, ReleaseFile] | None:
        """Return the release file of a set, as it says now; None when none is about it.

        Raise ManifestRefused when none is, and one of them cannot be read.
        """

        def read(source: ManifestSource) -> ReleaseFile:
            return read_release_file(source.path, self.environ)

        return self._first(read, lambda found: found.release == name, of_set=True)

    def _first(
        self, read: Callable[[ManifestSource], T], wanted: Callable[[T], bool], *, of_set: bool
    ) -> tuple[ManifestSource, T] | None:
        refused: ManifestRefused | None = None
        for source in self.sources:
            if not source.may_be(of_set=of_set):
                continue
            try:
                found = read(source)
            except ManifestRefused as error:
                refused = refused or error
                continue
            if wanted(found):
                return source, found
        if refused:
            raise refused
        return None

    def sample(self, rollout: int, service: str) -> Event | None:
        """Read the latest look of a rollout; None where no process drives it, or none is legible."""
        sample = None
        with suppress(json.JSONDecodeError, Refused):  # a foreign file, or of a store that is gone
            sample = live_sample.read(live_sample.file_of(self.stores.store().folder, rollout))
        return Event("sample", float(sample.pop("at")), service, rollout, sample) if sample else None

    def _events(self, after: int, limit: int) -> tuple[Event, ...]:
        return self.stores.store().events.since(after, limit)

    def _samples(self) -> dict[int, Event]:
        """Read the latest look of each rollout that a process drives."""
        store, found = self.stores.store(), {}
        for file in (store.folder / "recordings").glob("*.latest.json"):
            number = file.name.removesuffix(".latest.json")
            with suppress(json.JSONDecodeError, Refused):  # a foreign file, or of a store that is gone
                sample = live_sample.read(file) if number.isdigit() else None
                if sample:
                    at, before = float(sample.pop("at")), self.hub.samples.get(int(number))
                    service = before.service if before else store.rollouts.get(int(number)).service
                    found[int(number)] = Event("sample", at, service, int(number), sample)
        return found
