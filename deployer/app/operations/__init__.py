"""What people and pipelines ask for: deploy, approve, promote, abort, pause, resume, roll back, take down.

Each function either runs the rollout itself or, when another process runs it, leaves a control request and follows that
process's events. They know no terminal and no concrete driver: the CLI and the server call them with an `AppContext`.
"""

from typing import TYPE_CHECKING

from deployer.core import later

if TYPE_CHECKING:
    from deployer.app.operations.adoption import Survey, adopt, survey
    from deployer.app.operations.approvals import Gate, approve, gate_of
    from deployer.app.operations.connections import drain_connections
    from deployer.app.operations.context import AppContext
    from deployer.app.operations.control import follow, pause, promote, resume, stop
    from deployer.app.operations.deploy_request import DeployRequest
    from deployer.app.operations.deployment import DeployPlan, deploy, propose, wanted
    from deployer.app.operations.drain import DrainTerms, refuse_unsparable, relieved
    from deployer.app.operations.late_rollback import brought_back
    from deployer.app.operations.rollbacks import down, rollback
    from deployer.engine import RolloutResult

__all__ = [
    "AppContext",
    "DeployPlan",
    "DeployRequest",
    "DrainTerms",
    "Gate",
    "RolloutResult",
    "Survey",
    "adopt",
    "approve",
    "brought_back",
    "deploy",
    "down",
    "drain_connections",
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
        "RolloutResult": "deployer.engine",
        "Survey": "deployer.app.operations.adoption",
        "adopt": "deployer.app.operations.adoption",
        "survey": "deployer.app.operations.adoption",
        "Gate": "deployer.app.operations.approvals",
        "approve": "deployer.app.operations.approvals",
        "gate_of": "deployer.app.operations.approvals",
        "DeployPlan": "deployer.app.operations.deployment",
        "DeployRequest": "deployer.app.operations.deploy_request",
        "deploy": "deployer.app.operations.deployment",
        "propose": "deployer.app.operations.deployment",
        "wanted": "deployer.app.operations.deployment",
        "AppContext": "deployer.app.operations.context",
        "brought_back": "deployer.app.operations.late_rollback",
        "drain_connections": "deployer.app.operations.connections",
        "down": "deployer.app.operations.rollbacks",
        "rollback": "deployer.app.operations.rollbacks",
        "DrainTerms": "deployer.app.operations.drain",
        "refuse_unsparable": "deployer.app.operations.drain",
        "relieved": "deployer.app.operations.drain",
        "follow": "deployer.app.operations.control",
        "pause": "deployer.app.operations.control",
        "promote": "deployer.app.operations.control",
        "resume": "deployer.app.operations.control",
        "stop": "deployer.app.operations.control",
    },
)
