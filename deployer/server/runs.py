"""Runs: orders that are carried out by processes of their own, which outlive the server.

Each has a file that its process keeps up to date; whoever serves next reads the same files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from deployer.core import files
from deployer.core.clock import Clock
from deployer.core.errors import Exit, Refused
from deployer.planning.orders import Order
from deployer.server.log import ServerLog
from deployer.server.tokens import FOLDER
from deployer.supervisor.proc import Process

KEPT = 500  # files of runs that ended
MOST = 32  # processes at the same time
START_SECONDS = 30.0  # in which a process that another server started says who it is
_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Run:
    """An order, who gave it from where, and how far it is.

    `rollout` is 0 until one has begun; of an order for a set it is the first of its rollouts. `ended_at` 0 means that
    it goes on; `exit` is then None, `outcome` and `text` are empty. `pid` and `started` name its process, 0 before it
    has said so itself.
    """

    id: str
    order: Order
    by: str
    origin: str
    began_at: float
    pid: int = 0
    started: int = 0
    rollout: int = 0
    ended_at: float = 0.0
    exit: int | None = None
    outcome: str = ""
    text: str = ""
    hint: str = ""
    plan: dict[str, Any] | None = None  # of an order that asks for one: `PlanView`, and whether it is live already

    @property
    def open(self) -> bool:
        """Return whether it has no end yet."""
        return not self.ended_at

    def to_json(self) -> str:
        """Return it as its file has it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Run:
        """Read what `to_json` gave. Raises ValueError, TypeError or KeyError."""
        data: dict[str, Any] = json.loads(text)
        return cls(**{**data, "order": Order.from_dict(data["order"])})


class Runner(Protocol):
    """Carries orders out, and knows how far they are."""

    def start(self, order: Order, by: str, origin: str, run: str = "") -> Run:
        """Begin to carry an order out; one that was given before as `run` is not given again.

        Raises Refused when too much is in progress, and when `run` is another order.
        """
        ...

    def read(self, service: str, run: str) -> Run | None:
        """Return a run of a service, or with "" of a set; None when there is none of that id."""
        ...


def run_of(token: str, key: str) -> str:
    """Name the run of an order that a client may repeat: the same key of the same token is the same order."""
    return hashlib.sha256(f"{token}\0{key}".encode()).hexdigest()[:16]


def same_order(found: Run, order: Order) -> Run:
    """Return a run that was begun before. Raises Refused when it is another order."""
    if replace(found.order, allowed=[]) != replace(order, allowed=[]):  # who may: not what is asked
        raise Refused("this Idempotency-Key was used for another order", "a new order needs a new key")
    return found


def file_of(state: Path, run: str) -> Path:
    """Name the file of a run in a state folder."""
    return state / FOLDER / "runs" / f"{run}.json"


class Processes:
    """Carries each order out in a process of its own: `python -m deployer.server.run_process`."""

    def __init__(self, state: Path, clock: Clock, environ: Mapping[str, str], log: ServerLog) -> None:
        self._state, self._clock, self._environ, self._log = state, clock, environ, log
        self._mine: dict[str, subprocess.Popen[bytes]] = {}
        self._mutex = threading.Lock()

    def start(self, order: Order, by: str, origin: str, run: str = "") -> Run:
        """Begin to carry an order out; one that was given before as `run` is not given again.

        Raises Refused when too much is in progress, and when `run` is another order.
        """
        with self._mutex:
            before = self._load(run) if run else None
            if before is not None:
                return same_order(before, order)
            return self._begin(Run(run or secrets.token_hex(8), order, by, origin, self._clock.now()))

    def _begin(self, run: Run) -> Run:
        if len(self._mine) >= MOST:
            raise Busy(f"{MOST} orders are in progress", "try again when one of them has ended")
        path = file_of(self._state, run.id)
        files.folder(path.parent)
        self._prune(path.parent)
        if not files.first(path, run.to_json()):  # another process got the same order, again, a moment before
            return same_order(self._load(run.id) or run, run.order)
        self._mine[run.id] = process = self._spawn(run, path)
        self._say("run.began", run, pid=process.pid)
        threading.Thread(target=self._await, args=(run, process), name=f"run {run.id}", daemon=True).start()
        return run

    def read(self, service: str, run: str) -> Run | None:
        """Return a run of a service, or with "" of a set; None when there is none of that id."""
        if not _ID.fullmatch(run):
            return None
        mine = run in self._mine  # asked first: one that ends meanwhile has written it
        found = self._load(run)
        if found is None or found.order.service != service:
            return None
        starting = not found.pid and self._clock.now() - found.began_at < START_SECONDS
        if found.open and not mine and not starting and not Process(found.pid, found.started).alive():
            found = self._load(run) or found  # it may have ended between the two looks
            return found if not found.open else _lost(found, self._clock.now(), "its process is gone")
        return found

    def _spawn(self, run: Run, path: Path) -> subprocess.Popen[bytes]:
        environ = {**self._environ, "DEPLOYER_ACTOR": run.by, "DEPLOYER_ORIGIN": run.origin}
        log = files.new(path.with_suffix(".log"))
        try:
            return subprocess.Popen(
                [sys.executable, "-m", "deployer.server.run_process", str(self._state), run.id],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                start_new_session=True,  # no signal that is meant for the server reaches it
            )
        finally:
            os.close(log)

    def _await(self, run: Run, process: subprocess.Popen[bytes]) -> None:
        """Wait for the end of a process, and write it down where the process could not."""
        code = process.wait()
        found = self._load(run.id)
        if found is not None and found.open:
            ended = _lost(found, self._clock.now(), f"its process ended with {code} before it could say how")
            files.replace(file_of(self._state, run.id), ended.to_json())
            found = ended
        with self._mutex:
            del self._mine[run.id]
        if found is not None:
            so = {"rollout": found.rollout, "exit": found.exit, "outcome": found.outcome}
            self._say("run.ended", found, **so, seconds=round(found.ended_at - found.began_at, 3))

    def _say(self, event: str, run: Run, **more: Any) -> None:
        about = {"set": run.order.set_name} if run.order.set_name else {"service": run.order.service}
        self._log.say(event, run=run.id, action=run.order.action, **about, by=run.by, **more)

    def _load(self, run: str) -> Run | None:
        try:
            return Run.from_json(file_of(self._state, run).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise Refused(
                f"run {run} cannot be read: {type(error).__name__}: {error}", f"look at {file_of(self._state, run)}"
            ) from None

    def _prune(self, folder: Path) -> None:
        """Remove the oldest runs that ended, beyond those that are kept."""
        old = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]
        for path in old:
            if path.stem not in self._mine:
                path.with_suffix(".log").unlink(missing_ok=True)
                path.unlink(missing_ok=True)


class Busy(Refused):
    """More orders are in progress than this host should carry out at once."""


def _lost(run: Run, now: float, why: str) -> Run:
    text = f"{run.order.action} of {run.order.about}: {why}"
    hint = "its rollout, if it had begun one, is in progress: resume it or abort it; its share runs out by itself"
    return replace(run, ended_at=now, exit=int(Exit.INTERNAL), outcome="lost", text=text, hint=hint)
