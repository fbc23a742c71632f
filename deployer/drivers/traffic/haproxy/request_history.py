"""How many requests a proxy's earlier workers counted: each reload begins with a worker that has counted nothing.

Written before a reload, so that the traffic of a service is that of the last hour, whatever was reloaded meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from deployer.core.clock import Deadline
from deployer.drivers.traffic.haproxy import layout
from deployer.drivers.traffic.haproxy.proxy import Proxy
from deployer.drivers.traffic.haproxy.servers import Servers

KEPT_SECONDS = 3600.0  # of counting; what is older fades


@dataclass(frozen=True)
class RequestCount:
    """Requests of a backend, and for how long they were counted."""

    requests: float = 0.0
    seconds: float = 0.0

    def followed_by(self, later: RequestCount) -> RequestCount:
        """Return both together, as those of the kept time at most."""
        requests, seconds = self.requests + later.requests, self.seconds + later.seconds
        kept = min(1.0, KEPT_SECONDS / seconds) if seconds else 1.0
        return RequestCount(requests * kept, seconds * kept)


def load(place: layout.Home) -> dict[str, RequestCount]:
    """Return what was counted before the current workers, by backend; nothing where that cannot be read."""
    try:
        return {
            name: RequestCount(*map(float, one)) for name, one in json.loads(layout.read(place.counted) or "{}").items()
        }
    except (ValueError, TypeError, AttributeError):  # an estimate: it begins again
        return {}


def keep(running: Proxy, backends: Collection[str], deadline: Deadline) -> None:
    """Write what was counted so far of these backends. The caller holds the lock of the folder."""
    before, now = load(running.home), running.master.undisturbed(lambda: _counted(running, deadline), deadline)
    kept = {name: before.get(name, RequestCount()).followed_by(now[name]) for name in backends if name in now}
    text = json.dumps({name: [round(one.requests, 1), round(one.seconds, 1)] for name, one in kept.items()})
    layout.write(running.home.counted, text)


def together(before: Mapping[str, RequestCount], backends: Sequence[str]) -> RequestCount:
    """Return what was counted before of a service, on all of its backends."""
    known = [before[name] for name in backends if name in before]
    return RequestCount(sum(one.requests for one in known), max((one.seconds for one in known), default=0.0))


def _counted(running: Proxy, deadline: Deadline) -> dict[str, RequestCount]:
    """Read what the current workers have counted, by backend."""
    servers, found = Servers(running.master), dict[str, RequestCount]()
    for worker in running.master.current(deadline):
        seconds = float(servers.uptime(worker, deadline))
        for name, requests in servers.served_by_all(worker, deadline).items():
            found[name] = RequestCount(found.get(name, RequestCount()).requests + requests, seconds)
    return found
