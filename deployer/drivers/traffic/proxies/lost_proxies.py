"""The lost proxies of a group, as they are written down: see `deployer.emergency.lost`, which writes the same file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from deployer.core.clock import Clock
from deployer.core.errors import DriverFailed
from deployer.drivers.traffic.haproxy import live_value
from deployer.emergency import lost
from deployer.model import Live, LostProxy

T = TypeVar("T")


class LostProxies:
    """What is known of lost proxies, by service; instances are kept for one for `keep` seconds."""

    def __init__(self, state: Path, clock: Clock, keep: float) -> None:
        self._state, self._clock, self._keep = str(state), clock, keep

    def of(self, service: str, names: Collection[str]) -> dict[str, LostProxy]:
        """Return those of a service that have these names."""
        found, _ = self._kept(service, lambda: lost.read(self._state, service))
        return {name: self._proxy(service, one) for name, one in found.items() if name in names}

    def add(self, service: str, name: str, values: Iterable[Live], why: str) -> None:
        """Write that a proxy is lost, and which values it may have."""
        texts, now = [live_value.encode(live) for live in values], self._clock.now()
        self._kept(service, lambda: lost.add(self._state, service, name, texts, why, now))

    def remove(self, service: str, names: Collection[str]) -> None:
        """Write that proxies have what the others have."""

        def edit(found: dict[str, lost.Lost], before: str) -> tuple[dict[str, lost.Lost], str]:
            return {name: one for name, one in found.items() if name not in names}, before

        self._kept(service, lambda: lost.change(self._state, service, edit))

    @contextmanager
    def changing(self, service: str, before: Live | None, now: Live) -> Iterator[None]:
        """Write down, while a change of who gets users is made, what it replaces: this process may not see its end."""
        if before is None or set(before.used) == set(now.used):
            yield
            return
        self._before(service, live_value.encode(before))
        yield
        self._before(service, "")

    def _before(self, service: str, text: str) -> None:
        self._kept(service, lambda: lost.change(self._state, service, lambda found, _before: (found, text)))

    def _kept(self, service: str, do: Callable[[], T]) -> T:
        try:
            return do()
        except ValueError as error:
            raise DriverFailed(f"{lost.path(self._state, service)} is damaged: {error}", "remove it") from None
        except OSError as error:
            raise DriverFailed(f"{error.filename}: {error.strerror}", "is the disk of this host full?") from None

    def _proxy(self, service: str, one: lost.Lost) -> LostProxy:
        values = tuple(live_value.decode(service, text) for text in one.values)
        return LostProxy(one.name, one.why, one.since, values, one.since + self._keep)
