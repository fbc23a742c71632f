"""What people may be told of a rollout."""

from typing import Literal

Occasion = Literal[
    "started", "verdict", "approval", "paused", "detached", "done", "reverted", "needs-attention", "certificate"
]
