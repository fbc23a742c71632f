"""Walks a stored plan: what the journal says is done is not done twice, and there is one way back."""

from typing import TYPE_CHECKING

from deployer import later

if TYPE_CHECKING:
    from deployer.engine.run import Run
    from deployer.engine.walk import abort, drive
    from deployer.orders import Ending

__all__ = ["Ending", "Run", "abort", "drive"]

__getattr__ = later.names(
    __name__,
    {
        "Run": "deployer.engine.run",
        "abort": "deployer.engine.walk",
        "drive": "deployer.engine.walk",
        "Ending": "deployer.orders",
    },
)
