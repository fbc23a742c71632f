"""Following a branch of a Git repository: what its manifests say is what is live."""

from __future__ import annotations

from deployer.gitops.follower import Follower as Follower
from deployer.gitops.follower import Source as Source
from deployer.gitops.repository import Commit as Commit
from deployer.gitops.repository import Repository as Repository
from deployer.gitops.state import State as State
from deployer.gitops.telling import Status as Status
