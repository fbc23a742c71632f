"""One manifest of a branch, followed look by look; what is new is told once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial

from deployer.app.gitops.follower import BranchFollower, BranchSource, here
from deployer.app.gitops.state import ManifestState
from deployer.app.operations.context import AppContext
from deployer.planning.orders import Order, RolloutResult

_AS_BEFORE = ("applied", "synced")  # the deploy was told when it ended


class BranchAgent:
    """Looks at a manifest in the state folder that `opened` gives, and tells states by `tell`."""

    def __init__(
        self,
        source: BranchSource,
        environ: Mapping[str, str],
        opened: Callable[[], AbstractContextManager[AppContext]],
        tell: Callable[[ManifestState], None],
        carry_out: Callable[[Order], RolloutResult] | None = None,
    ) -> None:
        self._source, self._environ, self._opened, self._tell = source, environ, opened, tell
        self._carry_out = carry_out
        self.told: ManifestState | None = None

    def look(self) -> ManifestState:
        """Look once, and bring out what is new by `carry_out`, or in this process; return where the manifest stands.

        Raise Detached where a rollout had to be left.
        """
        with self._opened() as house:
            carry_out = self._carry_out or partial(here, house, self._environ)
            state = BranchFollower(house, self._source, self._environ, carry_out).look(self._tell_new)
            self._tell_new(state)
            used = (rollout for one in house.store.services.all() for rollout in house.store.rollouts.of(one.name))
            self._source.repository.prune([rollout.folder for rollout in used])
        return state

    def _tell_new(self, state: ManifestState) -> None:
        """Report a state that differs from the one before."""
        before, self.told = self.told, state
        if before == state or (before and before.commit == state.commit and (before.word, state.word) == _AS_BEFORE):
            return
        self._tell(state)
