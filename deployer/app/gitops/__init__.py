"""Following a branch of a Git repository: what its manifests say is what is live."""

from __future__ import annotations

from deployer.app.gitops.agent import BranchAgent as BranchAgent
from deployer.app.gitops.follower import BranchFollower as BranchFollower
from deployer.app.gitops.follower import BranchSource as BranchSource
from deployer.app.gitops.repository import Commit as Commit
from deployer.app.gitops.repository import Repository as Repository
from deployer.app.gitops.state import ManifestState as ManifestState
from deployer.app.gitops.status_report import CommitStatus as CommitStatus
