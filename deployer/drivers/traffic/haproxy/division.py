"""How the users of a service are divided: the live value in the file and at every worker, and what follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import TakenBack
from deployer.drivers.traffic.haproxy import live_value
from deployer.drivers.traffic.haproxy.layout import Home
from deployer.drivers.traffic.haproxy.live_map import LiveMap
from deployer.drivers.traffic.haproxy.places import Places
from deployer.drivers.traffic.turns import refuse_older
from deployer.model import FULL, Live, Place, taken_back

if TYPE_CHECKING:
    from deployer.manifest.models import TrafficSettings
    from deployer.model import Waiting


class Division:
    """The live values of services. Whoever writes holds the lock of the folder, and the proxy answers."""

    def __init__(self, home: Home, live: LiveMap, places: Places, clock: Clock) -> None:
        self._home = home
        self._live = live
        self._places = places
        self._clock = clock

    def write(self, service: str, live: Live, given: Live | None, deadline: Deadline) -> None:
        """Write the value to file and to every worker, and read it back.

        Raise LockLost, changing nothing, when a later owner of the lock has written, and TakenBack when the share that
        was `given` is ended, or an emergency moves users meanwhile.
        """
        had, values = self._live.seen(service, deadline), live_value.load(self._home.state)
        now = live_value.decode(service, values[service]) if service in values else None
        refuse_older(service, live, now)
        if given and given.share and taken_back(given, self._live.agreed(service, had)):
            raise _taken_back(service)
        if not self._moves_nobody(now, live):
            self._places.refuse_nowhere(service, live, deadline)
        spent = self._live.spent(service, values[service], deadline) if now and now.rollout == live.rollout else 0
        live_value.save(self._home.state, {**values, service: live_value.encode(live, spent)})
        able = self._places.able
        moved = self._live.write(
            service, live, spent, deadline, lambda worker: able(worker, service, live, deadline), had
        )
        if moved:
            live_value.save(self._home.state, {**values, service: moved})
            raise _taken_back(service)

    def spent(self, service: str, deadline: Deadline) -> tuple[str, int]:
        """Return the value in the file, and how many failed responses of its candidate users have seen."""
        value = live_value.load(self._home.state)[service]
        return value, self._live.spent(service, value, deadline)

    def keep_spent(self, service: str, value: str, spent: int) -> None:
        """Write how much was spent into the value that the file had then."""
        values = live_value.load(self._home.state)
        if values.get(service) == value:  # else somebody has changed it, and counted meanwhile
            live = live_value.decode(service, value)
            live_value.save(self._home.state, {**values, service: live_value.encode(live, spent)})

    def share(self, service: str) -> int:
        """Return the share in force, from the file that the proxy runs by."""
        value = live_value.load(self._home.state).get(service)
        if value is None:
            return 0
        live = live_value.decode(service, value)
        return 0 if live.budget and live_value.spent(value) >= live.budget else self._in_force(live)

    def waiting(self, service: str, entry: TrafficSettings, deadline: Deadline) -> Waiting | None:
        """Count what waits for a response on both sides while a coin sends requests to them; None if nothing does.

        Not where clients may choose their side: those who did are among what is in flight.
        """
        from deployer.model import Waiting

        value, share = live_value.load(self._home.state).get(service), self.share(service)
        if value is None or not 0 < share < FULL or entry.force.header or entry.force.cookie or entry.force.networks:
            return None
        if entry.chain and entry.chain.callers:  # by the share of whoever drew their side, which may be another one
            return None
        live = live_value.decode(service, value)
        places: tuple[Place, Place] = ("baseline" if live.baseline else live.stable, live.candidate)
        of = self._places.waiting(service, places, deadline)
        # The coin of a sticky tcp service is tossed once for an address, however many connections it has.
        stable, candidate = (len(set(c) if entry.mode == "tcp" and entry.sticky else c) for c in of)
        p = share / (share + live.baseline if live.baseline else FULL)
        return Waiting(p, stable, candidate) if stable or candidate else None

    def _moves_nobody(self, now: Live | None, live: Live) -> bool:
        """Return whether every user stays where he is: a lease is renewed, or a share that is 0 is made 0."""
        if now is None or now.stable != live.stable or self._in_force(now) != live.share:
            return False
        return live.baseline in (0, now.baseline)

    def _in_force(self, live: Live) -> int:
        return 0 if live.lease and live.lease <= self._clock.now() else live.share


def _taken_back(service: str) -> TakenBack:
    return TakenBack(f"{service}: users were taken off the candidate at the proxy", "`deploy history` shows by whom")
