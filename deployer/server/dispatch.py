"""The doing of an order for a client, with what is to be shown of it besides its ending."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployer.app import queries
from deployer.app.operations import AppContext
from deployer.app.operations.dispatch import perform, proposed
from deployer.core.errors import Exit
from deployer.planning.orders import Order, RolloutResult


def carry_out(
    house: AppContext, order: Order, environ: Mapping[str, str]
) -> tuple[RolloutResult, dict[str, Any] | None]:
    """Do it; give how it ended, and the plan that was asked for. Raises what the operations raise."""
    if order.action != "plan":
        return perform(house, order, environ), None
    found = proposed(house, order, environ)
    view = queries.explain(found)
    text = f"{view.version} is live already: nothing to deploy" if found.same else f"{view.strategy} of {view.version}"
    return RolloutResult("done", Exit.DONE, text, 0), {"same": found.same, **view.to_dict()}
