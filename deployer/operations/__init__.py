"""What people and pipelines ask for: deploy, promote, abort, pause, resume, roll back, take down.

Each function either drives the rollout itself or, when a living process drives it, leaves a wish and follows that one's
events. They know no terminal and no concrete driver: the CLI (and later the server) calls them with a `House`.
"""

from deployer.engine import Ending
from deployer.operations.adopting import Survey, adopt, survey
from deployer.operations.deploying import Proposal, Request, deploy, propose
from deployer.operations.house import House
from deployer.operations.leaving import down, rollback
from deployer.operations.wishes import follow, pause, promote, resume, stop

__all__ = [
    "Ending",
    "House",
    "Proposal",
    "Request",
    "Survey",
    "adopt",
    "deploy",
    "down",
    "follow",
    "pause",
    "promote",
    "propose",
    "resume",
    "rollback",
    "stop",
    "survey",
]
