"""One manifest of a branch: look, compare, deploy; and leave alone what is pinned, frozen, held or in other hands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from deployer.app import operations
from deployer.app.gitops.repository import Commit, Repository
from deployer.app.gitops.set_follower import BAD, SetFollower
from deployer.app.gitops.state import WORDS, ManifestState, Word, unfinished
from deployer.app.local import LocalApp
from deployer.app.operations import AppContext, DeployRequest
from deployer.app.operations.reconcile import write_down
from deployer.core.errors import DeployError, Detached, Exit, Locked, ManifestRefused, Refused
from deployer.manifest.freeze import frozen_until, local_time
from deployer.manifest.load import Loaded, load
from deployer.manifest.peek import set_of
from deployer.manifest.secrets import resolve_secrets
from deployer.model import Release
from deployer.planning.orders import Order, RolloutResult

Drift = Literal["repair", "tell"]
Bring = Callable[[Callable[[ManifestState], None]], ManifestState]


@dataclass(frozen=True)
class BranchSource:
    """What is followed: a manifest of a repository, by its path in it, and the destination laid over it ("" for none).

    A release file is followed as a set: a commit is one release of all services that it names.

    With `keys`, only commits that one of them signed are deployed, and of these only descendants of `since` (a commit)
    and, unless `allow_rewind`, of the one that was verified last. `drift` says what becomes of a service that is not as
    the commit says although it once was: `repair` or `tell`.
    """

    repository: Repository
    manifest: Path = Path("deploy.yml")
    destination: str = ""
    keys: Path | None = None
    drift: Drift = "repair"
    since: str = ""
    allow_rewind: bool = False


def here(house: AppContext, environ: Mapping[str, str], order: Order) -> RolloutResult:
    """Carry an order out in this process; what happens is told by `AppContext.sink`."""
    return LocalApp(lambda _sink, _stop: nullcontext(house), environ=environ).carry_out(order, house.sink, house.stop)


class BranchFollower:
    """Brings a service to what its manifest in Git says, a look at a time, by orders that `carry_out` gets."""

    def __init__(
        self,
        house: AppContext,
        source: BranchSource,
        environ: Mapping[str, str],
        carry_out: Callable[[Order], RolloutResult] | None = None,
    ) -> None:
        self._house, self._source, self._environ = house, source, environ
        self._carry_out = carry_out or partial(here, house, environ)

    def look(self, began: Callable[[ManifestState], None] = lambda _state: None) -> ManifestState:
        """Fetch, compare, deploy if need be; return where it stands then. `began` is told of a deploy before it.

        Trouble is a state; only `Detached` is raised, by a rollout that this process had to leave.
        """
        repository = self._source.repository
        try:
            commit = repository.fetch()
        except DeployError as error:
            return _state("failed", error)
        try:
            if self._source.keys:
                repository.verify(commit, self._source.keys, self._source.since, allow_rewind=self._source.allow_rewind)
            name, bring = self._followed(repository.files(commit), commit)
        except DeployError as error:
            return replace(_state("refused" if isinstance(error, Refused) else "failed", error), commit=commit.name)
        try:
            state = bring(began)
        except Detached:
            raise
        except Locked as error:
            state = _state("busy", error)
        except DeployError as error:
            state = _state("refused" if isinstance(error, Refused) else "failed", error)
        return replace(state, service=name, commit=commit.name)

    def _followed(self, folder: Path, commit: Commit) -> tuple[str, Bring]:
        """Return the service, or the set, that the file is about, and what brings it to what the file says."""
        file = folder / self._source.manifest
        if not file.resolve().is_relative_to(folder.resolve()):
            raise Refused(f"{self._source.manifest} is not in the repository", "a path below its root")
        if set_of(file):
            if self._source.destination:
                raise Refused(f"{self._source.manifest} is a release file, which has no destinations", "without it")
            group = SetFollower(self._house, file, commit, self._environ, self._carry_out)
            return group.name, partial(group.bring, self._source.drift)
        loaded = load(file, destination=self._source.destination, environ=self._environ)
        return loaded.manifest.service, partial(self._bring, loaded, commit)

    def _bring(self, loaded: Loaded, commit: Commit, began: Callable[[ManifestState], None]) -> ManifestState:
        service, store = loaded.manifest.service, self._house.store
        if (rollout := store.rollouts.in_progress(service)) is not None:
            if not rollout.outcome:  # else it is for a person
                self._carry_out(Order("resume", service, f"commit {commit.short} waits"))
                rollout = store.rollouts.in_progress(service)
            if rollout is not None:
                return unfinished(rollout, f"rollout {rollout.number}")
        else:
            write_down(self._house, service)  # a rollback that was made at the proxy alone: else it would be undone
        request = self._request(loaded, commit)
        # Its strategy may be code of the repository, which has no business here: whoever deploys loads it.
        proposal = operations.wanted(self._house, request)
        if proposal.same:
            return ManifestState("synced", f"{proposal.release.version} is live, as {commit.short} says")
        if pinned := self._pinned(proposal.release):
            return ManifestState("pinned", pinned, exit=Exit.VERDICT)
        if until := frozen_until(loaded.manifest.freeze, local_time(self._house.clock.now())):
            return ManifestState("frozen", f"{commit.short} waits for the end of the freeze, {until:%a %d %b %H:%M}")
        if self._source.drift == "tell" and (drifted := self._drifted(proposal.release, commit)):
            return ManifestState("drift", drifted, exit=Exit.CHANGES)
        began(ManifestState("busy", f"{request.strategy} of {proposal.release.version}", service, commit.name))
        ending = self._carry_out(self._order(request))
        return ManifestState(WORDS.get(ending.outcome, "failed"), ending.text, rollout=ending.rollout, exit=ending.exit)

    def _request(self, loaded: Loaded, commit: Commit) -> DeployRequest:
        return DeployRequest(
            loaded,
            loaded.manifest.strategy_name,
            {},
            message=f"{commit.short} {commit.subject}"[:200],
            secrets=lambda: resolve_secrets(loaded.manifest, loaded.folder, self._environ, where=loaded.where),
        )

    def _order(self, request: DeployRequest) -> Order:
        loaded = request.loaded
        return Order(
            "start",
            loaded.manifest.service,
            request.message,
            manifest=str(loaded.folder / self._source.manifest.name),
            destination=self._source.destination,
            strategy=request.strategy,
        )

    def _pinned(self, wanted: Release) -> str:
        """Return why the same thing is not tried again: users were taken off it. A person may, by `deploy up`."""
        for release in self._house.store.releases.of(wanted.service):
            alike = (release.config_hash, release.manifest) == (wanted.config_hash, wanted.manifest)
            if alike and release.status in BAD:
                happened = "was rolled back" if release.status == "rolled-back" else "failed its rollout"
                return (
                    f"{release.name} {happened}: it is not tried again until the manifest or its image changes, or a "
                    "person deploys it (`deploy up`)"
                )
            if alike:
                return ""
        return ""

    def _drifted(self, wanted: Release, commit: Commit) -> str:
        """Return a sentence if what this commit brought is no longer so; "" for a commit that was not deployed yet."""
        for release in self._house.store.releases.of(wanted.service):
            if release.git == commit.short and release.status == "good":
                return (
                    f"{wanted.service} is not as {commit.short} says: `deploy status` shows it, `deploy up` repairs it"
                )
        return ""


def _state(word: Word, error: DeployError) -> ManifestState:
    """Make an error a state; all problems of a manifest are in its text."""
    hint = "" if isinstance(error, ManifestRefused) or not error.hint else f" → {error.hint}"
    return ManifestState(word, f"{error.message}{hint}", exit=error.exit)
