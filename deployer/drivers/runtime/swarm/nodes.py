"""The nodes of the Swarm: their addresses, and the links to those whose engine is reached from here."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployer.core.errors import DriverFailed, HostsUnreachable
from deployer.drivers.runtime.docker.fleet_host import AT_ONCE, FleetHost
from deployer.drivers.runtime.swarm.options import Node
from deployer.transport.fanout import on_all


class Links:
    """The engines that are reached from here, by the nodes that they are; `addresses` are those of the inventory."""

    def __init__(self, engines: Sequence[FleetHost], addresses: Mapping[str, str]) -> None:
        self._engines, self._addresses = tuple(engines), addresses
        self._ids: dict[str, str] = {}  # of the node, by the name of the engine
        self._mutex = threading.Lock()

    def by_node(self) -> dict[str, FleetHost]:
        """Return the engines that respond and are nodes of a Swarm, by the id of the node."""
        came = on_all({engine.name: engine for engine in self._engines}, self.node_of, AT_ONCE)
        for error in came.failed.values():
            if not isinstance(error, HostsUnreachable):
                raise error
        found: dict[str, FleetHost] = {}
        for engine in self._engines:
            if node := came.ok.get(engine.name):
                found.setdefault(node, engine)  # of a node that is this host, too, the name of the inventory
        return found

    def node_of(self, engine: FleetHost) -> str:
        """Return the id of the node that an engine is; "" for one that is in no Swarm."""
        with self._mutex:
            known = self._ids.get(engine.name, "")
        if not known:
            known = engine.read(lambda _runtime: _node_id(engine))
            with self._mutex:
                self._ids[engine.name] = known
        return known

    def nodes(self, said: Sequence[Mapping[str, Any]]) -> dict[str, Node]:
        """Read the nodes, by id, from what a manager says of them."""
        with self._mutex:
            names = {node: name for name, node in reversed(self._ids.items()) if name}
        here = {self._ids.get("", "")} if len(said) == 1 else set()
        found = {}
        for each in said:
            name = names.get(each["ID"], "" if each["ID"] in here else str(each["Description"]["Hostname"]))
            address = self._addresses.get(name) or _address(each)
            found[each["ID"]] = Node(each["ID"], name, address, _ready(each), _lost(each))
        return found


@dataclass(frozen=True)
class Placing:
    """Where instances may stand: nodes that are ready, the links to some of them, and the nodes that are left out."""

    ready: Mapping[str, Node]
    links: Mapping[str, FleetHost]
    others: tuple[str, ...]

    @property
    def unreached(self) -> tuple[str, ...]:
        """Name the nodes whose engine is not reached from here: what they lack can only come from a registry."""
        return tuple(sorted(node.name or "this host" for id, node in self.ready.items() if id not in self.links))


def placing(nodes: Mapping[str, Node], links: Mapping[str, FleetHost], wanted: Collection[str]) -> Placing:
    """Return where instances may stand: on the `wanted` hosts, by name, or on any node where none are named.

    Raise DriverFailed where a host responds and is no node of this Swarm, or no node is ready.
    """
    strange = sorted(e.name for node, e in links.items() if node not in nodes and e.name in wanted)
    if strange:
        raise DriverFailed(f"{', '.join(strange)}: not a node of this Swarm", "`docker swarm join` on that host")
    chosen = {id for id, node in nodes.items() if node.name in wanted} if wanted else set(nodes)
    ready = {id: nodes[id] for id in chosen if nodes[id].ready}
    if not ready:
        names = ", ".join(sorted(nodes[id].name for id in chosen)) or ", ".join(wanted)
        raise DriverFailed(
            f"no node fits: none of {names} is ready and takes tasks",
            "`docker node ls`; see its state and availability",
        )
    return Placing(ready, {id: links[id] for id in ready if id in links}, tuple(sorted(set(nodes) - chosen)))


def _node_id(engine: FleetHost) -> str:
    with engine.engine.client("which node of a Swarm it is") as client:
        return str((client.info().get("Swarm") or {}).get("NodeID") or "")


def _address(node: Mapping[str, Any]) -> str:
    """Return where a node is reached; one that leads may not know its own address."""
    address = str(node.get("Status", {}).get("Addr") or "")
    if not address or ipaddress.ip_address(address).is_unspecified:
        address = str((node.get("ManagerStatus") or {}).get("Addr", "")).rpartition(":")[0].strip("[]")
    return address


def _ready(node: Mapping[str, Any]) -> bool:
    return bool(node["Status"]["State"] == "ready" and node["Spec"].get("Availability") == "active")


def _lost(node: Mapping[str, Any]) -> bool:
    """Return whether a new leader has heard of a node neither as one that runs tasks nor as a manager."""
    manager = node.get("ManagerStatus") or {}
    return bool(node["Status"]["State"] == "unknown" and manager.get("Reachability") == "unreachable")
