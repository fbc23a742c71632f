"""Who may write a live value: nobody whose token is older than that of the value that stands there.

A process that was stopped and overtaken in the middle of a change goes on with it, whatever the store says by then. So
each value has the token of the lock under which it was written, and whoever writes compares them where the value is, in
one turn with the write.
"""

from __future__ import annotations

from deployer.core.errors import LockLost
from deployer.model import Live


def refuse_older(service: str, live: Live, now: Live | None) -> None:
    """Raise LockLost when what is to be written is older than what stands there."""
    if now is not None and live.token < now.token:
        raise LockLost(
            f"{service}: what users get was set by a later owner of the lock (token {now.token}; this one has"
            f" {live.token}): this process was overtaken, and changes nothing of {service} any more",
            "`deploy status` shows what is live, and whether a rollout is left to `deploy resume` or `deploy abort`",
        )
