"""What is asked of one proxy beside a rollout: nothing is changed by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from deployer.core import later
from deployer.core.clock import Deadline
from deployer.core.errors import Refused
from deployer.drivers.ports import Drift, TrafficLayer
from deployer.drivers.traffic.haproxy.parts import Parts
from deployer.model import Load, MeasuredTraffic, Place

if TYPE_CHECKING:
    from deployer.drivers.traffic.haproxy import examination, reload, spec, waker_process
    from deployer.manifest.models import Manifest
else:  # `deploy status` needs none of them
    _NAMES = ("examination", "reload", "spec", "waker_process")
    examination, reload, spec, waker_process = (
        later.module(f"deployer.drivers.traffic.haproxy.{name}") for name in _NAMES
    )


class HAProxyInspection:
    """Whether it can do what a manifest says, what passes through it, and whether it agrees with its files."""

    def __init__(self, traffic: TrafficLayer, parts: Parts) -> None:
        self._traffic, self._parts = traffic, parts

    def check(self, manifest: Manifest, deadline: Deadline) -> None:
        """Raise Refused when `configure` could not do what the manifest says; proxy and files stay as they are."""
        try:
            with self._parts.home.locked(deadline):
                reload.try_out(self._parts.proxy, self._parts.live, manifest, deadline)
        except OSError as error:
            raise Refused(
                f"{error.filename or self._parts.home.root}: {error.strerror}", "see `deploy doctor`"
            ) from None

    def services(self) -> tuple[str, ...]:
        """Name the services that the proxy's files know, sorted; nothing is asked or started."""
        return tuple(sorted(spec.load_all(self._parts.home.services)))

    def load(self, service: str) -> Mapping[Place, Load]:
        """Return what is open at each place, at every worker, and what of it waits for an instance."""
        if not self._parts.facts(service).there:
            return {}
        deadline = self._parts.soon()
        self._parts.proxy.ready(deadline)
        return self._parts.places.load(service, self._parts.facts(service).places, deadline)

    def measured(self, service: str) -> MeasuredTraffic | None:
        """Return how many requests come; None when the proxy does not know the service, or counts since just now."""
        if not self._parts.facts(service).there:
            return None
        deadline = self._parts.soon()
        self._parts.proxy.ready(deadline)
        return self._parts.places.measured(service, self._parts.facts(service).places, deadline)

    def reachable(self) -> tuple[TrafficLayer, Mapping[str, str]]:
        """Return itself: it is the only one."""
        return self._traffic, {}

    def drift(self, service: str) -> tuple[Drift, ...]:
        """Compare the files with what they should be, and every worker with the files; nothing is changed."""
        if not self._parts.home.services.is_dir():
            return ()
        deadline = self._parts.soon()
        with self._parts.home.reading(deadline):
            self._parts.proxy.ready(deadline)
            found = tuple(examined(self._parts, deadline).drift(service))
        readable = all(fault.repairable for fault in found)
        if (
            readable
            and self._parts.facts(service).asleep()
            and not waker_process.WakerProcess(self._parts.home).answers()
        ):
            found = (*found, Drift(f"{service} is asleep, and the waker, which would start it, does not respond"))
        if readable and self._parts.facts(service).there and not self._parts.cards.right(service):
            return (*found, Drift(f"the emergency card of {service} is missing or wrong: going back takes longer"))
        return found


def examined(parts: Parts, deadline: Deadline) -> examination.Examination:
    """Return what compares the files of a proxy with what runs."""
    return examination.Examination(parts.proxy, parts.live, parts.servers, deadline)
