"""Health checks of instances and smoke tests of the candidate, asked directly over sockets."""

from deployer.drivers.checks.direct import DirectChecks
from deployer.drivers.checks.statuses import Statuses

__all__ = ["DirectChecks", "Statuses"]
