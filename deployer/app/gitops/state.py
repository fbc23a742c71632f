"""Where a manifest stands after a look: one word, a sentence, and whether it is what Git says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from deployer.core.errors import Exit

if TYPE_CHECKING:
    from deployer.store import Rollout

Word = Literal["synced", "applied", "pinned", "busy", "paused", "drift", "frozen", "refused", "failed"]
WORDS: dict[str, Word] = {"done": "applied", "paused": "paused"}  # of how a deploy ended; else it failed
_OPEN: frozenset[Word] = frozenset({"busy", "paused", "frozen"})
_GOOD: frozenset[Word] = frozenset({"synced", "applied"})


@dataclass(frozen=True)
class ManifestState:
    """`exit` is that of the deploy, where there was one, or of everything in its way."""

    word: Word
    text: str
    service: str = ""
    commit: str = ""
    rollout: int = 0
    exit: Exit = Exit.DONE

    @property
    def status(self) -> Literal["success", "pending", "failure"]:
        """Return it as Git hosts know it of a commit."""
        return "success" if self.word in _GOOD else "pending" if self.word in _OPEN else "failure"


def unfinished(rollout: Rollout, what: str) -> ManifestState:
    """Return where a manifest stands with a rollout in progress, `what` in words."""
    if not rollout.outcome:
        return ManifestState("busy", f"{what} is in progress")
    # It was held, or is stuck: for a person.
    word: Word = "paused" if rollout.outcome == "paused" else "failed"
    return ManifestState(word, f"{what} is {rollout.outcome}: {rollout.text}")
