"""The occasions of which people may be told: `notify.on` of a manifest."""

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
