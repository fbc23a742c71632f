"""What people and pipelines ask for: deploy, approve, promote, abort, pause, resume, roll back, take down.

Each function either drives the rollout itself or, when a living process drives it, leaves a wish and follows that one's
events. They know no terminal and no concrete driver: the CLI (and later the server) calls them with a `House`.
"""

from typing import TYPE_CHECKING

from deployer import later

if TYPE_CHECKING:
    from deployer.engine import Ending
    from deployer.operations.adopting import Survey, adopt, survey
    from deployer.operations.approving import Gate, approve, gate_of
    from deployer.operations.deploying import Proposal, Request, deploy, propose, wanted
    from deployer.operations.house import House
    from deployer.operations.late import brought_back
    from deployer.operations.leaving import down, rollback
    from deployer.operations.relief import Terms, refuse_unsparable, relieved
    from deployer.operations.wishes import follow, pause, promote, resume, stop

__all__ = [
    "Ending",
    "Gate",
    "House",
    "Proposal",
    "Request",
    "Survey",
    "Terms",
    "adopt",
    "approve",
    "brought_back",
    "deploy",
    "down",
    "follow",
    "gate_of",
    "pause",
    "promote",
    "propose",
    "refuse_unsparable",
    "relieved",
    "resume",
    "rollback",
    "stop",
    "survey",
    "wanted",
]

__getattr__ = later.names(
    __name__,
    {
        "Ending": "deployer.engine",
        "Survey": "deployer.operations.adopting",
        "adopt": "deployer.operations.adopting",
        "survey": "deployer.operations.adopting",
        "Gate": "deployer.operations.approving",
        "approve": "deployer.operations.approving",
        "gate_of": "deployer.operations.approving",
        "Proposal": "deployer.operations.deploying",
        "Request": "deployer.operations.deploying",
        "deploy": "deployer.operations.deploying",
        "propose": "deployer.operations.deploying",
        "wanted": "deployer.operations.deploying",
        "House": "deployer.operations.house",
        "brought_back": "deployer.operations.late",
        "down": "deployer.operations.leaving",
        "rollback": "deployer.operations.leaving",
        "Terms": "deployer.operations.relief",
        "refuse_unsparable": "deployer.operations.relief",
        "relieved": "deployer.operations.relief",
        "follow": "deployer.operations.wishes",
        "pause": "deployer.operations.wishes",
        "promote": "deployer.operations.wishes",
        "resume": "deployer.operations.wishes",
        "stop": "deployer.operations.wishes",
    },
)
