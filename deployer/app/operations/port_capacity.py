"""Room for instances: ports enough for the most that a plan has standing at the same time."""

from __future__ import annotations

from collections.abc import Container
from itertools import islice

from deployer.app.operations.context import AppContext
from deployer.app.operations.execution import port_usable
from deployer.core.errors import Refused
from deployer.model import Instance, Observed
from deployer.planning.plan import Plan
from deployer.planning.steps import Remove, Start


def refuse_crowded(house: AppContext, plan: Plan, observed: Observed) -> None:
    """Raise Refused when there are fewer free ports than the plan needs; nothing is handed out."""
    wanted = most_at_once(plan, observed, house.ports)
    free = (p for p in house.ports if not house.store.ports.is_held(p) and port_usable(p))
    found = len(list(islice(free, wanted)))
    if found < wanted:
        raise Refused(
            f"{plan.service} needs {wanted} more port{'s' * (wanted != 1)}, but of {house.ports[0]}-{house.ports[-1]}"
            f" only {found} {'is' if found == 1 else 'are'} free",
            "widen DEPLOYER_PORTS, e.g. 21000-28999",
        )


def most_at_once(plan: Plan, observed: Observed, ports: Container[int]) -> int:
    """Count the ports that a plan needs at its fullest moment, beyond those of `ports` that instances have now.

    An instance at another port, handed out when other ones were set, gives none of these back.
    """
    here = (observed.blue, observed.green, observed.baseline)
    standing: dict[str, int] = {e.colour: sum(_has_one(i, ports) for i in e.instances) for e in here if e is not None}
    now = most = sum(standing.values())
    for step in plan.forward:
        if isinstance(step, Start):
            standing[step.colour] = max(standing.get(step.colour, 0), step.instances)
        elif isinstance(step, Remove):
            standing[step.colour] = min(standing.get(step.colour, 0), step.keep)
        most = max(most, sum(standing.values()))
    return most - now


def _has_one(instance: Instance, ports: Container[int]) -> bool:
    port = instance.address.rpartition(":")[2]
    return port.isdecimal() and int(port) in ports
