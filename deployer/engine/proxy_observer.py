"""The proxies that a rollout goes on without: what they may still serve, and until when."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deployer.core.errors import DeployError
from deployer.model import Colour, LostProxy, Place

if TYPE_CHECKING:
    from deployer.core.events import Tell
    from deployer.drivers.ports import Traffic

UNKNOWN = "it is not known which proxies are lost"


@dataclass
class ProxyObserver:
    """Looks which proxies are lost; each is told once, and once more when it is back."""

    traffic: Traffic
    service: str
    tell: Tell
    named: Callable[[Colour], str]  # the release in a colour
    known: dict[str, LostProxy] = field(default_factory=dict)
    looks: Iterator[int] = field(default_factory=itertools.count)
    newest: int = -1  # look that `known` is from
    mutex: threading.Lock = field(default_factory=threading.Lock)  # the engine looks, and its pulse

    def look(self) -> tuple[LostProxy, ...]:
        """Return the lost ones, and tell what has changed."""
        number = next(self.looks)
        # Not while the mutex is held: a driver that hangs must not keep the pulse from renewing the lease.
        now = {proxy.name: proxy for proxy in self.traffic.lost(self.service)}
        with self.mutex:
            if number < self.newest:  # another look began later and has ended
                return tuple(now.values())
            self.newest = number
            fallen = [proxy for name, proxy in now.items() if name not in self.known]
            back = [name for name in self.known if name not in now]
            self.known = now
        for proxy in fallen:
            text = f"{proxy.name} is lost: {proxy.why}; going on without it: {self.serves(proxy)}"
            self.tell("proxy.lost", proxy=proxy.name, text=text)
        for name in back:
            self.tell("proxy.back", proxy=name, text=f"{name} is back, and serves what the others serve")
        return tuple(now.values())

    def report(self) -> None:
        """Report what has changed, if that can be found out: nothing that was done hangs on it."""
        try:
            self.look()
        except DeployError as error:
            self.tell("note", text=f"{UNKNOWN}: {error}")

    def until(self, place: Place) -> float:
        """Return until when a lost proxy may send users to a place; 0 where none does."""
        return max((proxy.sends_to(place) for proxy in self.look()), default=0.0)

    def sending_to(self, place: Place) -> str:
        """Name the lost proxies that may send users to a place."""
        return ", ".join(proxy.name for proxy in self.look() if proxy.sends_to(place))

    def serves(self, proxy: LostProxy) -> str:
        """Return what users of a lost proxy get until it is back."""
        everyone = dict.fromkeys(self.named(live.stable) for live in proxy.values)
        parts = {self.named(live.candidate): live.lease for live in proxy.values if live.share}
        if not everyone:
            return "it serves nothing of this service"
        shares = "".join(f", and {release} to a part of them {_end(lease)}" for release, lease in parts.items())
        return f"it serves {' or '.join(everyone)} to its users until it is back{shares}"

    def summary(self) -> str:
        """Return, for the end of a rollout, which are lost, as the end of a sentence; "" where none is."""
        try:
            return "".join(f"; {proxy.name} is lost: {self.serves(proxy)}" for proxy in self.look())
        except DeployError as error:
            return f"; {UNKNOWN}: {error}"

    def keeps(self, colour: Colour) -> bool:
        """Return whether a lost proxy is known to send users to a colour, and nothing ends that before it is back."""
        return any(
            live.stable == colour or (live.share and live.candidate == colour and not live.lease)
            for proxy in self.known.values()
            for live in proxy.values
        )


def _end(lease: int) -> str:
    return (
        f"until {time.strftime('%H:%M:%S', time.localtime(lease))}, when the lease ends" if lease else "without an end"
    )
