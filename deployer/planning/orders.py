"""What is asked to be done with a service, and how it ended, as plain data that commands, server and clients share."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

from deployer.core.errors import Exit

if TYPE_CHECKING:
    from deployer.model import Outcome

Choice = Literal["detach", "abort", "stay"]  # what becomes of a rollout when its command is asked to stop
Action = Literal[
    "start",
    "plan",
    "approve",
    "promote",
    "abort",
    "pause",
    "resume",
    "rollback",
    "drain",
    "scale",
    "contract",
    "down",
    "release-lock",
    "run",
    "evict",
    "admit",
]

# The occasions of adjustments between rollouts: the keeper found it so, a person wants another size or a contract,
# nobody came for a while, a guest has to go or may come back
KEEP, SCALE, CONTRACT, SLEEP, EVICT, ADMIT = "keep", "scale", "contract", "sleep", "evict", "admit"
OCCASIONS = (KEEP, SCALE, CONTRACT, SLEEP, EVICT, ADMIT)


@dataclass
class StopRequest:
    """A request to end a command early: once `asked` is set, its rollout is rolled back, or with `detach` left."""

    asked: threading.Event = field(default_factory=threading.Event)
    detach: bool = False


@dataclass(frozen=True)
class Order:
    """One thing to be done with a service, or with a set of them (`set_name`); the other fields belong to the actions.

    `start` and `plan` take the path of a manifest with its destination, the strategy ("" for the manifest's), and
    what `deploy STRATEGY` takes; `fingerprint` is that of the manifest that is meant, "" for whatever lies there;
    `dirty` also builds changes that are not committed; `bundle` is a file to deploy from instead of a manifest, signed
    by one of the keys in `signers`, or `unsigned` for this reason, with secrets that `identity` opens and
    `data` that is kept or overwritten where some is here already. `rollback` takes `to` (0: the last good release),
    `again` (also when users were brought back lately) and `force`, which `promote` takes, too; `approve` takes
    `refuse` and the `role` of who says so; what is asked of a rollout in progress takes its `number` (0: whichever);
    `run` takes the `job`; `scale` takes the `instances` on each host (0: as many as the manifest says) and for how many
    `seconds` (0: until another word); `contract` takes `drop` (also remove what is kept warm). `evict` is for a guest
    that has to go, `now` or with its time, and for how many `seconds` (0: until `admit`). For a set, `manifest` is
    its release file, and `versions` are by service, with "" for all others. `allowed` are the services that the set may
    have, or of which rollouts may be turned (none: all), and `tenant` is whose guests alone may be deployed ("": any).
    """

    action: Action
    service: str = ""
    reason: str = ""
    manifest: str = ""
    destination: str = ""
    fingerprint: str = ""
    strategy: str = ""
    version: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    replace: bool = False
    override_freeze: str = ""
    dirty: bool = False
    bundle: str = ""
    signers: str = ""
    unsigned: str = ""
    identity: str = ""
    data: str = ""
    to: int = 0
    again: bool = False
    force: bool = False
    refuse: bool = False
    number: int = 0
    role: str = ""
    job: str = ""
    instances: int = 0
    seconds: float = 0.0
    drop: bool = False
    now: bool = False
    set_name: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    allowed: list[str] = field(default_factory=list)
    tenant: str = ""

    @property
    def about(self) -> str:
        """The service, or the set, in words."""
        return f"the set {self.set_name}" if self.set_name else self.service

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave. Raises TypeError for other fields."""
        return cls(**data)


@dataclass(frozen=True)
class RolloutResult:
    """How an order or a drive of a rollout ended, with its exit code and one sentence."""

    outcome: Outcome
    exit: Exit
    text: str
    rollout: int

    @classmethod
    def at_once(cls, text: str) -> Self:
        """Return that an order is done, for which no rollout was needed."""
        return cls("done", Exit.DONE, text, 0)


UNFOLLOWED = RolloutResult("paused", Exit.DONE, "no longer following; the release goes on", 0)
