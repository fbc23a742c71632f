"""A release file of a branch: a commit is one release of all services that it names, or of none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from deployer.app import operations, sets
from deployer.app.gitops.repository import Commit
from deployer.app.gitops.state import WORDS, ManifestState, unfinished
from deployer.app.operations import AppContext
from deployer.app.operations.deployment import Wanted
from deployer.app.operations.reconcile import write_down
from deployer.core.errors import Exit
from deployer.manifest.freeze import frozen_until, local_time
from deployer.manifest.release_file import read
from deployer.planning.orders import Order, RolloutResult
from deployer.planning.plan import ROLLBACK
from deployer.planning.steps import named
from deployer.store import Rollout

BAD = frozenset({"rolled-back", "failed"})


class SetFollower:
    """Brings a set of services to what its release file says at a commit. Raise ManifestRefused for a wrong file."""

    def __init__(
        self,
        house: AppContext,
        file: Path,
        commit: Commit,
        environ: Mapping[str, str],
        carry_out: Callable[[Order], RolloutResult],
    ) -> None:
        self.name = read(file, environ).release
        message = f"{commit.short} {commit.subject}"[:200]
        self._order = Order("start", set_name=self.name, reason=message, manifest=str(file))
        # Its strategies may be code of the repository, which has no business here: whoever deploys loads them.
        self._request = sets.request_of(self._order, environ, also=lambda _manifest, _folder: ())
        self._house, self._commit, self._carry_out = house, commit, carry_out

    def bring(self, drift: str, began: Callable[[ManifestState], None]) -> ManifestState:
        """Release the set if need be; return where it stands then. `began` is told of a release before it."""
        if (waits := self._in_progress()) is not None:
            return waits
        services = [request.loaded.manifest.service for request in self._request.requests]
        for service in services:
            write_down(self._house, service)  # a rollback that was made at the proxy alone: else it would be undone
        found = {s: operations.wanted(self._house, r) for s, r in zip(services, self._request.requests, strict=True)}
        news = [service for service, each in found.items() if not each.same]
        short = self._commit.short
        if not news:
            return ManifestState("synced", f"all of {self.name} is live, as {short} says")
        if pinned := self._pinned(found):
            return ManifestState("pinned", pinned, exit=Exit.VERDICT)
        now = local_time(self._house.clock.now())
        ends = (frozen_until(request.loaded.manifest.freeze, now) for request in self._request.requests)
        if until := max(filter(None, ends), default=None):
            return ManifestState("frozen", f"{short} waits for the end of the freeze, {until:%a %d %b %H:%M}")
        if drift == "tell" and self._brought_before(news):
            other = f"{named(tuple(news))} is not as {short} says"
            text = f"{other}: `deploy release status` shows it, `deploy release up` repairs it"
            return ManifestState("drift", text, exit=Exit.CHANGES)
        began(ManifestState("busy", f"{self._request.strategy} of {named(tuple(news))}", self.name, self._commit.name))
        ending = self._carry_out(self._order)
        return ManifestState(WORDS.get(ending.outcome, "failed"), ending.text, exit=ending.exit)

    def _in_progress(self) -> ManifestState | None:
        """Go on with a release of the set whose process is gone; return what has to end first, None for nothing."""
        opened = self._opened()
        if opened and all(title and not rollout.outcome for title, rollout in opened):  # else for a person
            self._carry_out(Order("resume", set_name=self.name, reason=f"commit {self._commit.short} waits"))
            opened = self._opened()
        if not opened:
            return None
        title, rollout = opened[0]
        if title:
            return unfinished(rollout, f"{title}: rollout {rollout.number} of {rollout.service}")
        return ManifestState("busy", f"{rollout.service} is in progress by itself: rollout {rollout.number}")

    def _opened(self) -> list[tuple[str, Rollout]]:
        """Return the rollouts in progress, those that rest first, each with the title of its set: "" for another."""
        store, found = self._house.store, list[tuple[str, Rollout]]()
        for request in self._request.requests:
            if (rollout := store.rollouts.in_progress(request.loaded.manifest.service)) is not None:
                group = store.sets.of_rollout(rollout.number)
                found.append((group.title if group and group.name == self.name else "", rollout))
        return sorted(found, key=lambda each: not each[1].outcome)

    def _pinned(self, found: Mapping[str, Wanted]) -> str:
        """Return why the same is not tried again: users were taken off it. A person may, by `deploy release up`."""
        releases = self._house.store.releases
        wanted = {service: (each.release.config_hash, each.release.manifest) for service, each in found.items()}
        for group in self._house.store.sets.of(self.name):
            brought = {member.service: releases.get(member.service, member.release) for member in group.members}
            if group.strategy == ROLLBACK or {s: (r.config_hash, r.manifest) for s, r in brought.items()} != wanted:
                continue
            bad = tuple(member.service for member in group.moved if brought[member.service].status in BAD)
            if not bad:
                return ""
            return (
                f"{group.title} was rolled back ({named(bad)}): it is not tried again until a manifest or an image"
                " changes, or a person releases it (`deploy release up`)"
            )
        return ""

    def _brought_before(self, news: list[str]) -> bool:
        """Return whether this commit has brought what is no longer so."""
        releases = self._house.store.releases
        good = (r for service in news for r in releases.of(service) if r.status == "good")
        return any(release.git == self._commit.short for release in good)
