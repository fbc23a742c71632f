"""The proxies that one command reaches: each by one channel, however many services and rollouts ask for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from deployer.core.clock import Clock
from deployer.core.host import Host
from deployer.drivers.traffic.haproxy import HAProxyTraffic
from deployer.drivers.traffic.haproxy.endpoint_files import Cards, card_of
from deployer.drivers.traffic.haproxy.proxy import home_in
from deployer.drivers.traffic.proxies.lost_proxies import LostProxies
from deployer.drivers.traffic.proxies.members import GroupMember, Members
from deployer.drivers.traffic.proxies.prompt_calls import longest_wait
from deployer.drivers.traffic.proxies.proxy_group import ProxyGroup
from deployer.drivers.traffic.proxies.remote_proxy import RemoteProxy
from deployer.emergency.endpoint import FOLDER, Far
from deployer.manifest.models import HAProxy
from deployer.manifest.traffic import TrafficSettings
from deployer.transport import ssh
from deployer.transport.timeouts import QUICK

# As the playbook setup.yml leaves it
PREPARED = HAProxy(config="/etc/haproxy/deployer.d", socket="/run/haproxy-master.sock")


class Proxies:
    """Makes the driver of several proxies; `close` ends every channel. Channels open when they are first used."""

    def __init__(self, clock: Clock, state: Path) -> None:
        self._clock, self._state = clock, state
        self._mutex = threading.Lock()
        self._far: dict[tuple[Host, HAProxy], RemoteProxy] = {}

    def several(self, hosts: Sequence[Host], traffic: TrafficSettings, chain_key: str = "") -> ProxyGroup:
        """Return the driver of the proxies of these hosts; one of them may be this host."""
        settings, terms = traffic.haproxy or PREPARED, traffic.proxies
        cards = Cards(self._state, "".join(self._card(host, settings).text() for host in hosts))
        lost = LostProxies(self._state, self._clock, terms.keep)
        each = {host.name: self._member(host, settings) for host in hosts}
        members = Members(each, self._clock, lost, terms.min, longest_wait(traffic.lease))
        return ProxyGroup(members, self._clock, cards, chain_key)

    def close(self) -> None:
        """End all channels."""
        with self._mutex:
            far, self._far = list(self._far.values()), {}
        for each in far:
            each.close()

    def _member(self, host: Host, settings: HAProxy) -> GroupMember:
        if host.connection == "local":
            return HAProxyTraffic(Path(settings.config), self._clock, existing=settings)
        with self._mutex:
            if (host, settings) not in self._far:
                self._far[host, settings] = RemoteProxy(host, settings, self._clock, self._control(host))
            return self._far[host, settings]

    def _card(self, host: Host, settings: HAProxy) -> Far:
        """Return how an emergency reaches a proxy: by a command that takes one for the shell there as its last word."""
        there = card_of(Path(settings.socket), home_in(Path(settings.config)))
        shared = ssh.shared(self._control(host))
        way = ["sh", "-c"] if host.connection == "local" else ssh.line(host, QUICK, *shared)
        return Far(host.name, way, there)

    def _control(self, host: Host) -> str:
        """Return the socket by which connections to a host are shared, beside the cards."""
        return ssh.shared_socket(self._state / FOLDER, host)
