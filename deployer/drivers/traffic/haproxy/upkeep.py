"""What keeps one proxy right beside a rollout."""

from __future__ import annotations

from collections.abc import Mapping

from deployer.core.clock import Deadline
from deployer.drivers.ports import NOTHING, Traffic
from deployer.drivers.traffic.alone import AloneUpkeep
from deployer.drivers.traffic.haproxy import reload, spec
from deployer.drivers.traffic.haproxy.inspection import examined
from deployer.drivers.traffic.haproxy.parts import Parts
from deployer.drivers.traffic.haproxy.waker_process import WakerProcess
from deployer.model import Live


class HAProxyUpkeep(AloneUpkeep):
    """Makes files and workers agree; servers and users come to where they should be as in a rollout."""

    def __init__(self, traffic: Traffic, parts: Parts) -> None:
        self._traffic, self._parts = traffic, parts

    def repair(self, service: str, deadline: Deadline, lost: Mapping[str, Live] = NOTHING) -> None:
        """Make files and workers agree: the files are what holds, or what the proxy does where they are lost.

        What an emergency did at the proxy holds too. Of a service whose value both have lost, it is that of `lost`. A
        proxy of ours that does not respond is started again. Raises DriverFailed, moving nobody, when users would be
        sent where no server is up.
        """
        with self._parts.home.locked(deadline):
            reload.revive(self._parts.proxy, self._parts.live, lost, deadline)
            reload.fill(self._parts.proxy, self._parts.live, lost, deadline)
            wanted, moves = examined(self._parts, deadline).wanted(service)
            if moves:
                self._parts.places.refuse_nowhere(service, wanted, deadline)
            reload.repair(self._parts.proxy, self._parts.live, deadline)
            missing = examined(self._parts, deadline).missing(spec.require(self._parts.home.services, service))
        for place, servers in missing.items():
            self._traffic.attach(service, place, servers, deadline)
        self._traffic.set_traffic(service, wanted, deadline)
        if self._parts.facts(service).asleep():
            WakerProcess(self._parts.home).ensure(deadline)
        self._parts.cards.write(service)
