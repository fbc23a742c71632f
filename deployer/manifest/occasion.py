"""What people may be told of a service."""

from typing import Literal

Occasion = Literal[
    "started",
    "verdict",
    "approval",
    "paused",
    "detached",
    "done",
    "reverted",
    "needs-attention",
    "certificate",
    "job-failed",
]
