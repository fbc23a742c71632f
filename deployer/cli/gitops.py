"""`deploy gitops`: follow a branch, so that what is merged is what is live."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from deployer.app.gitops import BranchAgent, BranchSource, CommitStatus, ManifestState, Repository
from deployer.app.gitops.follower import Drift
from deployer.cli.options import Common, common
from deployer.cli.output import open_view
from deployer.cli.session import house, signals
from deployer.cli.values import duration
from deployer.core.clock import SystemClock
from deployer.core.errors import Detached, Exit
from deployer.planning.orders import StopRequest

if TYPE_CHECKING:
    from deployer.core.events import Event, Sink

_LOOK = 0.5  # seconds in which a signal is seen


@dataclass(frozen=True)
class GitopsOptions:
    """What `deploy gitops` takes besides the repository."""

    branch: str
    manifests: Sequence[Path]
    every: float
    once: bool
    keys: Path | None
    since: str
    allow_rewind: bool
    drift: Drift
    on_status: str
    webhook: str

    def __post_init__(self) -> None:
        if self.keys is None and (self.since or self.allow_rewind):
            raise click.UsageError("--since and --allow-rewind go with --keys")

    def sources(self, repository: Repository, destination: str) -> list[BranchSource]:
        """Return what is followed of a repository."""
        return [
            BranchSource(repository, path, destination, self.keys, self.drift, self.since, self.allow_rewind)
            for path in self.manifests
        ]


@click.command("gitops")
@common("destination")
@click.argument("url")
@click.option("--branch", default="main", show_default=True, help="The branch.")
@click.option(
    "-f",
    "--file",
    "manifests",
    type=click.Path(path_type=Path),
    multiple=True,
    default=(Path("deploy.yml"),),
    show_default="deploy.yml",
    help="A manifest, or a release file, by its path in the repository; may be repeated.",
)
@click.option(
    "--every",
    callback=lambda _ctx, _param, value: duration(value),
    metavar="TIME",
    default="30s",
    show_default=True,
    help="Time between checks.",
)
@click.option("--once", is_flag=True, help="Check once, deploy if needed, and exit with the code of the deploy.")
@click.option(
    "--keys",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Deploy only commits that are signed by a key in FILE: SSH (allowed_signers) or OpenPGP (armoured).",
)
@click.option("--since", metavar="COMMIT", default="", help="With --keys: only descendants of this commit (40 digits).")
@click.option(
    "--allow-rewind",
    is_flag=True,
    help="With --keys: also deploy commits that do not descend from the last verified one.",
)
@click.option(
    "--drift",
    type=click.Choice(get_args(Drift)),
    default="repair",
    show_default=True,
    help="What to do on drift: repair it, or only report it.",
)
@click.option(
    "--on-status",
    metavar="COMMAND",
    default="",
    help="Command to run when a commit's status changes; gets DEPLOYER_STATUS and others.",
)
@click.option(
    "--webhook", metavar="URL", default="", help="POST each status change to URL, signed with $DEPLOYER_WEBHOOK_SECRET."
)
def gitops(common: Common, url: str, **given: Any) -> int:
    """Follow a branch of a Git repository and deploy its manifests whenever they change.

    A release that was rolled back is not tried again until its manifest or image changes. If it is stopped during a
    rollout, the rollout keeps its share until the lease ends; the next start continues it.
    """
    options = GitopsOptions(**given)
    clock = SystemClock()
    repository = Repository(url, options.branch, common.state.expanduser().absolute() / "gitops", clock, os.environ)
    status = CommitStatus(options.on_status, options.webhook, os.environ, clock)
    stop = threading.Event()
    with _view(common) as sink, signals(stop):
        agents = [
            _Follower(common, source, status, sink, stop)
            for source in options.sources(repository, common.destination or "")
        ]
        if options.once:
            return max(agent.once() for agent in agents)
        return _all(agents, options.every, stop)


class _Follower:
    """Follows one manifest, and tells what is new to a view and to whoever asked for the status of commits."""

    def __init__(
        self, common: Common, source: BranchSource, status: CommitStatus, sink: Sink, stop: threading.Event
    ) -> None:
        self._source, self._status, self._sink, self._stop = source, status, sink, stop
        left = StopRequest(stop, detach=True)
        self._agent = BranchAgent(source, os.environ, lambda: house(common, sink, left), self._tell)

    def once(self) -> int:
        """Look once; return the exit code."""
        try:
            return int(self._agent.look().exit)
        except Detached as error:
            self._note(self._agent.told.service if self._agent.told else "", error.message)
            return int(error.exit)

    def follow(self, every: float) -> None:
        """Look until a signal comes."""
        while not self._stop.is_set():
            self.once()
            self._stop.wait(every)

    def _tell(self, state: ManifestState) -> None:
        self._note(state.service, f"{self._source.manifest}: {state.word}: {state.text}")
        trouble = self._status.tell(state, Path.cwd()) if state.commit else ""
        if trouble:
            self._note(state.service, f"the status could not be reported: {trouble}")

    def _note(self, service: str, text: str) -> None:
        from deployer.core.events import Event
        from deployer.core.secret import hide

        self._sink(Event("note", SystemClock().now(), service, 0, {"text": hide(text)}))


def _all(agents: Sequence[_Follower], every: float, stop: threading.Event) -> int:
    """Follow all manifests at once until a signal comes, or until one of them meets a bug of ours."""
    sys.stderr.write(f"following {len(agents)} manifest{'s' if len(agents) > 1 else ''}; Ctrl-C ends it\n")
    with ThreadPoolExecutor(len(agents), thread_name_prefix="gitops") as pool:
        running = [pool.submit(agent.follow, every) for agent in agents]
        while not stop.is_set() and not any(future.done() for future in running):
            wait(running, timeout=_LOOK, return_when="FIRST_COMPLETED")
        stop.set()
    for future in running:
        future.result(timeout=0)  # it is done; a bug of ours comes out here
    return int(Exit.DONE)


@contextmanager
def _view(common: Common) -> Iterator[Sink]:
    """Open a view for events of several services: lines, one at a time."""
    mutex = threading.Lock()
    with open_view("json" if common.output == "json" else "plain") as sink:

        def one_at_a_time(event: Event) -> None:
            with mutex:
                sink(event)

        yield one_at_a_time
