"""GitOps inside the server: follows branches, looks at once when a forge says so; rollouts are runs like any other."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deployer.app.gitops import BranchFollower, BranchSource, ManifestState, Repository
from deployer.app.operations import DeployRequest
from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DeployError, Detached, Exit, Locked, Refused
from deployer.core.secret import hide
from deployer.engine import RolloutResult
from deployer.planning.orders import Order
from deployer.server.context import ServerContext
from deployer.server.gitops_config import Followed, Follows, secret_of
from deployer.server.runs import Run
from deployer.server.webhooks import Hook

POLL_SECONDS = 0.2  # between two looks at a run
END_SECONDS = 10.0  # for a look that is in progress when the server ends
LEAST_SECONDS = 1.0  # between two looks at a repository, however often a forge calls
REFUSED_SECONDS = 600.0  # until a commit that a run refused is tried again
_AS_BEFORE = ("applied", "synced")  # the deploy was told when it ended


@dataclass
class _Branch:
    """One branch: what is followed, and how its agents are woken."""

    followed: Followed
    repository: Repository
    hook: Hook | None
    wake: list[threading.Event] = field(default_factory=list)


class Agents:
    """All branches that a server follows. What is wrong with the file is refused when they are made."""

    def __init__(self, follows: Follows, folder: Path, environ: Mapping[str, str], clock: Clock, base: Path) -> None:
        self._environ, self._base, self._clock = environ, base, clock
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._branches: dict[str, _Branch] = {}
        for one in follows.follow:
            repository = Repository(one.repository, one.branch, folder, clock, environ)
            given = secret_of(one, environ)
            self._branches[one.name] = _Branch(one, repository, Hook(*given, clock) if given else None)

    def hook(self, name: str) -> Hook | None:
        """Give the webhook of a branch; None where it has none."""
        branch = self._branches.get(name)
        return branch.hook if branch else None

    def poke(self, name: str) -> None:
        """Let the agents of a branch look at once."""
        for wake in self._branches[name].wake:
            wake.set()

    def start(self, desk: ServerContext) -> None:
        """Begin to follow."""
        for branch in self._branches.values():
            for manifest in branch.followed.manifests:
                wake = threading.Event()
                branch.wake.append(wake)
                agent = _ServedAgent(desk, branch, Path(manifest), self._environ, self._base, self._stop)
                name = f"gitops {branch.followed.name}"
                self._threads.append(threading.Thread(target=agent.follow, args=(wake,), name=name, daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Look no more, and wait until nobody looks; rollouts that are in progress go on."""
        self._stop.set()
        for branch in self._branches.values():
            for wake in branch.wake:
                wake.set()
        for thread in self._threads:
            thread.join(END_SECONDS)


class _ServedAgent:
    """Follows one manifest of a branch."""

    def __init__(
        self,
        desk: ServerContext,
        branch: _Branch,
        manifest: Path,
        environ: Mapping[str, str],
        base: Path,
        stop: threading.Event,
    ) -> None:
        one = branch.followed
        self._desk, self._name, self._every, self._stop = desk, one.name, one.every, stop
        keys = base / one.keys if one.keys else None
        self._source = BranchSource(
            branch.repository, manifest, one.destination, keys, one.drift, one.since, one.allow_rewind
        )
        self._environ = environ
        self._told: ManifestState | None = None
        self._refusal: tuple[Order, Deadline, Refused] | None = None

    def follow(self, wake: threading.Event) -> None:
        """Look, and again after a while, or when woken."""
        while not self._stop.is_set():
            wake.clear()  # before the look: what comes meanwhile is looked at again
            try:
                self._look()
            except Detached:
                return
            except Exception as error:  # noqa: BLE001 - a bug of ours must not end the following for good
                self._say("failed", f"internal error: {type(error).__name__}: {error}")
            self._stop.wait(LEAST_SECONDS)
            wake.wait(self._every)

    def _look(self) -> None:
        with self._desk.house() as house:
            state = BranchFollower(house, self._source, self._environ, self._deploy, self._resume).look(self._tell)
            self._tell(state)
            used = house.store.rollouts(state.service) if state.service else ()
            self._source.repository.prune([rollout.folder for rollout in used])

    def _deploy(self, request: DeployRequest) -> RolloutResult:
        order = Order(
            "start",
            request.loaded.manifest.service,
            request.message,
            manifest=str(request.loaded.folder / self._source.manifest.name),
            destination=self._source.destination,
            strategy=request.strategy,
        )
        if self._refusal and self._refusal[0] == order and not self._refusal[1].passed():
            raise self._refusal[2]
        try:
            return self._ordered(order)
        except Refused as error:  # by the run, the first that loads the strategy: not one more at each look
            self._refusal = (order, Deadline.after(self._desk.clock, REFUSED_SECONDS), error)
            raise

    def _resume(self, service: str, reason: str) -> RolloutResult:
        return self._ordered(Order("resume", service, reason))

    def _ordered(self, order: Order) -> RolloutResult:
        """Have it done by a process of its own, which outlives this server; wait for its end."""
        run: Run | None = self._desk.runner.start(order, "gitops", f"deploy serve, following {self._name}")
        number = run.id if run else ""
        while run is not None and run.open:
            if self._stop.wait(POLL_SECONDS):
                raise Detached(f"the server ends; {order.action} of {order.service} goes on")
            run = self._desk.runner.read(order.service, number)
        if run is None:
            raise Refused(f"the file of run {number} is gone", "see `deploy status`")
        if not run.outcome or run.outcome == "lost":
            kinds: dict[int | None, type[DeployError]] = {int(Exit.LOCKED): Locked, int(Exit.REFUSED): Refused}
            raise kinds.get(run.exit, DeployError)(run.text, run.hint)
        return RolloutResult(run.outcome, Exit(run.exit or 0), run.text, run.rollout)  # type: ignore[arg-type]

    def _tell(self, state: ManifestState) -> None:
        """Tell a state that is another one than before."""
        before, self._told = self._told, state
        if before == state or (before and before.commit == state.commit and (before.word, state.word) == _AS_BEFORE):
            return
        self._say(state.word, state.text, state)

    def _say(self, word: str, text: str, state: ManifestState | None = None) -> None:
        text = " ".join(hide(text).split())
        so = {"service": state.service, "commit": state.commit, "rollout": state.rollout} if state else {}
        words = f"gitops {self._name}: {self._source.manifest}: {word}: {text}"
        self._desk.log.say("gitops", words, name=self._name, manifest=str(self._source.manifest), state=word, **so)
