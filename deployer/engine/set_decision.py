"""What was decided of a set, as one of its rollouts obeys it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.core.errors import Exit, StepFailed

if TYPE_CHECKING:
    from deployer.store import Store
    from deployer.store.sets import ReleaseSet


def refuse_turned(store: Store, group: ReleaseSet, service: str) -> None:
    """Raise StepFailed when a set goes back, for one of its services: with the cause, and the exit code of that."""
    group = store.sets.get(group.number)
    if group.decided != "back" or group.culprit == service:
        return
    error = StepFailed(
        f"{group.culprit}, in the same set ({group.number}, {group.name}), was rolled back: {group.cause}",
        f"`deploy show` of {group.culprit} has the details",
    )
    error.exit = Exit(group.exit)
    raise error
