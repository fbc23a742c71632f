"""Hosts that are a Swarm, services on them, and what the proxy has of these while nodes and managers are lost."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.machines import Lab
from tests.machines.farm import WEB, Farm, lab_of_engines, live_farm
from tests.swarm import begin, client, ready
from tests.waiting import within


@contextmanager
def swarm_of_three() -> Iterator[Lab]:
    """Yield hosts that are a Swarm of managers, and one beside them from which is deployed."""
    with lab_of_engines() as made:
        begin([made[name].docker_url for name in WEB], [made[name].address for name in WEB])
        yield made


def mend(lab: Lab) -> None:
    """Have all nodes there, reached and ready, and take tasks."""
    lab.heal()
    for machine in lab.machines.values():
        if not machine.is_on():
            machine.start()
            machine.wait(90)
    with client(lab["web1"].docker_url) as asked:
        within(90).until(lambda: ready(asked) == len(WEB), "all nodes are ready again")
        for node in asked.nodes.list():
            if node.attrs["Spec"]["Availability"] != "active":
                node.update({**node.attrs["Spec"], "Availability": "active"})


@contextmanager
def farm_of_swarm(lab: Lab, state: Path) -> Iterator[Farm]:
    """Yield a service with version 1.0 live on the Swarm."""
    folder = state / "s"
    folder.mkdir()
    with live_farm(lab, folder, runtime="swarm") as made:
        yield made


def serving(farm: Farm, role: str = "") -> dict[str, str]:
    """Return the host of each instance that runs and that the proxy finds up; of all environments, or of a role."""
    there = [e for e in farm.status()["environments"] if role in ("", e["role"])]
    return {i["name"]: i["host"] for e in there for i in e["instances"] if i["state"] == "running" and i["up"]}


def running(farm: Farm, version: str) -> dict[str, str]:
    """Return the hosts of those of a version."""
    return {name: host for name, host in serving(farm).items() if name in farm.instances(version)}


def full_strength_without(farm: Farm, lost: str, instances: int, role: str = "") -> float:
    """Wait until all instances serve on other hosts; return how long that took, the last look at them included."""
    began = time.monotonic()
    within(120).until(
        lambda: len(there := serving(farm, role)) == instances and lost not in there.values(), "full strength elsewhere"
    )
    return time.monotonic() - began


def leader(lab: Lab) -> str:
    """Return the node that leads."""
    with client(lab["web1"].docker_url) as asked:
        (leads,) = [n for n in asked.nodes.list() if n.attrs.get("ManagerStatus", {}).get("Leader")]
        return str(leads.attrs["Description"]["Hostname"])


def part(lab: Lab, one: Iterable[str], others: Iterable[str]) -> None:
    """Let nothing come through between addresses of two sides."""
    beyond = tuple(others)
    for here in one:
        for there in beyond:
            lab.drop(f"ip saddr {here} ip daddr {there}")
            lab.drop(f"ip saddr {there} ip daddr {here}")


def hang(lab: Lab, *names: str) -> None:
    """Let the engines of hosts hang, and with them the managers; their containers go on."""
    for name in names:
        lab[name].run("sh", "-c", "kill -STOP $(cat /run/docker.pid)")


def go_on(lab: Lab) -> None:
    """Let them go on."""
    for name in WEB:
        lab[name].run("sh", "-c", "kill -CONT $(cat /run/docker.pid)")
