"""Walks a stored plan: what the journal says is done is not done twice, and there is one way back."""

from typing import TYPE_CHECKING

from deployer.core import later

if TYPE_CHECKING:
    from deployer.engine.run import Drive
    from deployer.engine.walk import abort, drive
    from deployer.planning.orders import RolloutResult

__all__ = ["Drive", "RolloutResult", "abort", "drive"]

__getattr__ = later.names(
    __name__,
    {
        "Drive": "deployer.engine.run",
        "abort": "deployer.engine.walk",
        "drive": "deployer.engine.walk",
        "RolloutResult": "deployer.planning.orders",
    },
)
