"""Proxies without users for a while, because something is done to their hosts: users reach the others meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from deployer.app.operations.context import AppContext
from deployer.app.operations.execution import hands
from deployer.core.clock import Deadline
from deployer.core.errors import DeployError, Refused
from deployer.core.host import Host
from deployer.planning.steps import named
from deployer.store import Lock

BACK_SECONDS = 120.0  # for a host that was started again, and its proxy, to respond
ENTRY_SECONDS = 10.0  # to open the entries again
LOOK_SECONDS = 0.5


def fronted(house: AppContext, hosts: Sequence[Host]) -> tuple[str, ...]:
    """Name the services whose users reach them by proxies on these hosts."""
    names = {host.name for host in hosts}
    return tuple(s.name for s in house.store.services.all() if s.stable and names & set(_proxies(house, s.name)))


def _proxies(house: AppContext, service: str) -> list[str]:
    named_ones = (release.proxies for release in house.store.releases.of(service) if release.proxies)
    return [host.name for host in next(named_ones, ())]


class ProxyLeave:
    """The proxies of one service that take no users while something is done to their hosts."""

    def __init__(
        self, house: AppContext, service: str, names: Collection[str], *, downtime: bool, lock: Lock | None = None
    ) -> None:
        self._house, self._service, self._downtime = house, service, downtime
        self._every = _proxies(house, service)
        self._going = tuple(name for name in self._every if name in names)
        self._out = False
        self._release = house.store.releases.of(service)[0]
        drivers = house.drivers(self._release)
        self._drivers = hands(house, lock, drivers) if lock else drivers

    def refuse(self) -> None:
        """Raise Refused when a rollout is open, or when no other proxy would be left for the users."""
        rollout = self._house.store.rollouts.in_progress(self._service)
        if rollout is not None:
            raise Refused(
                f"rollout {rollout.number} of {self._service} is in progress: nothing was done to {named(self._going)}",
                "`deploy resume`, `deploy promote` or `deploy abort` first",
            )
        away = {*self._going, *(proxy.name for proxy in self._drivers.traffic.lost(self._service))}
        _, silent = self._drivers.inspection.reachable()
        if not self._downtime and not set(self._every) - away - set(silent):
            raise Refused(
                f"{named(self._going)} cannot be taken out of rotation: {self._service} has no other proxy that"
                " responds and is up to date",
                "one host at a time, a second proxy, or `deploy doctor --fix`; or --allow-downtime, with downtime",
            )

    def go(self) -> None:
        """Have them take no new connections, and wait until no request is open there."""
        if len(self._every) == len(self._going):  # to be asked until the end is better than nobody to ask
            self._tell(f"{named(self._going)} keep their users: there is no other proxy")
            return
        self._tell(f"the proxy of {named(self._going)} takes no new connections")
        patience = self._release.manifest.stop.drain
        self._out = True
        still = self._drivers.upkeep.take_out(self._going, Deadline.after(self._house.clock, patience))
        self._tell(f"{still} requests are still open after {patience:g} s" if still else "no request is open any more")

    def come_back(self) -> tuple[str, ...]:
        """Have them take users again, once they respond and do what the others do; return what is not so."""
        problem = ""

        def fit() -> bool:
            nonlocal problem
            problem = self._problem()
            return not problem

        if not Deadline.after(self._house.clock, BACK_SECONDS).wait(fit, every=LOOK_SECONDS):
            return (problem,)
        if self._out:
            self._tell(f"the proxy of {named(self._going)} takes users again")
        return ()

    def come_back_if_fit(self) -> None:
        """Have them take users again if they can, after something went wrong; report it when they cannot."""
        if problem := self._problem():
            self._tell(f"it stays out of its users' way: {problem}")

    def _problem(self) -> str:
        """Bring them back; return why that did not work."""
        soon = Deadline.after(self._house.clock, ENTRY_SECONDS)
        try:
            self._drivers.upkeep.bring_back(self._service, soon)
            faults = [
                drift.text
                for drift in self._drivers.inspection.drift(self._service)
                if drift.text.startswith(self._going)
            ]
            if faults:
                return faults[0]
            self._drivers.upkeep.put_back(self._going, soon)
        except DeployError as error:
            return error.message
        return ""

    def _tell(self, text: str) -> None:
        self._house.tell(self._service, text)
