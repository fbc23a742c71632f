"""What `deploy release` prints, as plain frozen data."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.views.view import View


@dataclass(frozen=True)
class SetMemberView(View):
    """A service of a set: the release that the set brings it, and how its rollout (0 for none) is.

    `stable` is what is live of it now; `share` what its candidate has of the traffic, in basis points.
    """

    service: str
    release: int
    version: str
    rollout: int
    outcome: str
    step: str
    share: int
    stable: int


@dataclass(frozen=True)
class SetView(View):
    """A set; `outcome` is that of all of its rollouts, "" while one is in progress."""

    number: int
    name: str
    strategy: str
    outcome: str
    decided: str
    text: str
    started_at: float
    by: str
    message: str
    members: tuple[SetMemberView, ...] = ()
    live: bool = False
    next: str = ""


@dataclass(frozen=True)
class SetsView(View):
    """The sets of a name, the newest first."""

    name: str
    sets: tuple[SetView, ...] = ()
