"""Walks a stored plan: what the journal says is done is not done twice, and there is one way back."""

from deployer.engine.run import Run
from deployer.engine.walk import abort, drive
from deployer.orders import Ending

__all__ = ["Ending", "Run", "abort", "drive"]
