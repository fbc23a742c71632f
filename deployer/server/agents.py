"""GitOps inside the server: follows branches, looks at once when a forge says so; rollouts are runs like any other."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployer.app.gitops import BranchAgent, BranchSource, ManifestState, Repository
from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DeployError, Detached, Exit, Locked, Refused
from deployer.core.secret import hide
from deployer.planning.orders import Order, RolloutResult
from deployer.server.context import ServerContext
from deployer.server.gitops_config import Followed, Follows, secret_of
from deployer.server.runs import Run
from deployer.server.webhooks import Hook

POLL_SECONDS = 0.2  # between two looks at a run
END_SECONDS = 10.0  # for a look that is in progress when the server ends
LEAST_SECONDS = 1.0  # between two looks at a repository, however often a forge calls
REFUSED_SECONDS = 600.0  # until a commit that a run refused is tried again


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
        """Return the webhook of a branch; None where it has none."""
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
                one = branch.followed
                agent = _ServedAgent(desk, one.name, self.source(one.name, manifest), self._environ, self._stop)
                thread = threading.Thread(target=agent.follow, args=(one.every, wake), name=f"gitops {one.name}")
                thread.daemon = True
                self._threads.append(thread)
        for thread in self._threads:
            thread.start()

    def source(self, name: str, manifest: str) -> BranchSource:
        """Return what is followed of a branch."""
        branch = self._branches[name]
        one = branch.followed
        keys = self._base / one.keys if one.keys else None
        return BranchSource(
            branch.repository, Path(manifest), one.destination, keys, one.drift, one.since, one.allow_rewind
        )

    def stop(self) -> None:
        """Look no more, and wait until nobody looks; rollouts that are in progress go on."""
        self._stop.set()
        for branch in self._branches.values():
            for wake in branch.wake:
                wake.set()
        for thread in self._threads:
            thread.join(END_SECONDS)


class _ServedAgent:
    """Follows one manifest of a branch; what is new is brought out by runs."""

    def __init__(
        self,
        desk: ServerContext,
        name: str,
        source: BranchSource,
        environ: Mapping[str, str],
        stop: threading.Event,
    ) -> None:
        self._desk, self._name, self._manifest, self._stop = desk, name, str(source.manifest), stop
        runs = _RunOrders(desk, f"deploy serve, following {name}", stop)
        self.agent = BranchAgent(source, environ, desk.house, self._tell, runs.carry_out)

    def follow(self, every: float, wake: threading.Event) -> None:
        """Look, and again after a while, or when woken."""
        while not self._stop.is_set():
            wake.clear()  # before the look: what comes meanwhile is looked at again
            try:
                self.agent.look()
            except Detached:
                return
            except Exception as error:  # noqa: BLE001 - a bug of ours must not end the following for good
                self._say("failed", f"internal error: {type(error).__name__}: {error}")
            self._stop.wait(LEAST_SECONDS)
            wake.wait(every)

    def _tell(self, state: ManifestState) -> None:
        about = {"service": state.service, "commit": state.commit, "rollout": state.rollout}
        self._say(state.word, state.text, **about)

    def _say(self, word: str, text: str, **about: Any) -> None:
        text = " ".join(hide(text).split())
        words = f"gitops {self._name}: {self._manifest}: {word}: {text}"
        self._desk.log.say("gitops", words, name=self._name, manifest=self._manifest, state=word, text=text, **about)


class _RunOrders:
    """Has orders carried out by processes of their own, which outlive this server, and waits for their end."""

    def __init__(self, desk: ServerContext, origin: str, stop: threading.Event) -> None:
        self._desk, self._origin, self._stop = desk, origin, stop
        self._refusal: tuple[Order, Deadline, Refused] | None = None

    def carry_out(self, order: Order) -> RolloutResult:
        """Return the ending of an order; one that was refused is not tried at each look."""
        if self._refusal and self._refusal[0] == order and not self._refusal[1].passed():
            raise self._refusal[2]
        try:
            return self._carried_out(order)
        except Refused as error:  # by the run, the first that loads the strategy
            self._refusal = (order, Deadline.after(self._desk.clock, REFUSED_SECONDS), error)
            raise

    def _carried_out(self, order: Order) -> RolloutResult:
        run: Run | None = self._desk.runner.start(order, "gitops", self._origin)
        number = run.id if run else ""
        while run is not None and run.open:
            if self._stop.wait(POLL_SECONDS):
                raise Detached(f"the server ends; {order.action} of {order.about} goes on")
            run = self._desk.runner.read(order.service, number)
        if run is None:
            raise Refused(f"the file of run {number} is gone", "see `deploy status`")
        if not run.outcome or run.outcome == "lost":
            kinds: dict[int | None, type[DeployError]] = {int(Exit.LOCKED): Locked, int(Exit.REFUSED): Refused}
            raise kinds.get(run.exit, DeployError)(run.text, run.hint)
        return RolloutResult(run.outcome, Exit(run.exit or 0), run.text, run.rollout)  # type: ignore[arg-type]
