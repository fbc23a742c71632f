"""What people ask of a drive while it goes on: to abort, to pause, to promote, or to leave it where it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deployer.core.errors import Aborted, Detached, Exit, TakenBack
from deployer.emergency import record
from deployer.store import DEPLOYER, PROMOTIONS, WORDS

if TYPE_CHECKING:
    from deployer.core.events import Tell
    from deployer.store import ControlRequest, Lock, Rollout, Store


class Hold(Exception):
    """The rollout stops here and waits for a person; not an error."""

    def __init__(self, exit_code: Exit, text: str, by: str = DEPLOYER, *, again: int | None = None) -> None:
        super().__init__(text)
        self.exit = exit_code
        self.text = text
        self.by = by
        self.again = again  # the step whose time is over, and begins again when somebody resumes


@dataclass
class Controls:
    """Reads the requests of people, and keeps what they change for the rest of the drive."""

    store: Store
    rollout: Rollout
    lock: Lock
    tell: Tell
    stop_asked: threading.Event = field(default_factory=threading.Event)  # a signal came
    detach: Callable[[], bool] = lambda: False  # whether a signal leaves the rollout where it is
    hurry: bool = False  # `deploy promote`: watches and holds are passed
    forced: bool = False  # … and what people were to approve, too
    by: str = ""  # who asked for either of these; "" is who runs this process
    heard: ControlRequest | None = None  # the request that ends this drive: marked as taken with what comes of it
    approved: bool = False  # `deploy resume` of a hold: its approval is given, watches are not passed

    @property
    def promoted_by(self) -> str:
        """Who promotes: a person, where one asked for it."""
        return self.by if self.hurry else DEPLOYER

    def look_at_signals(self, left: str) -> None:
        """Raise Aborted, or Detached where a signal leaves the rollout as it is; `left` says what becomes of that."""
        if not self.stop_asked.is_set():
            return
        if not self.detach():
            raise Aborted("aborted by a signal to this process")
        raise Detached(
            f"rollout {self.rollout.number} is left where it is, by a signal to this process" + (left and f"; {left}"),
            "`deploy resume` goes on, `deploy abort` rolls it back",
        )

    def look(self) -> None:
        """See what people ask. Raise Aborted or Hold; a promotion makes the rest pass without waiting."""
        request = self.store.requests.next(self.rollout.number)
        if request is None:
            return
        reason = f": {request.reason}" if request.reason else ""
        self.tell("note", text=f"{WORDS.get(request.kind, request.kind)} asked by {request.by}{reason}")
        if request.kind in PROMOTIONS:
            self.store.requests.take(self.lock, request)
            self._promote_for(request)
            return
        self.heard = request
        if request.kind == "abort":
            raise Aborted(f"aborted by {request.by}{reason}", by=request.by)
        raise Hold(Exit.DONE, f"paused by {request.by}{reason}; `deploy resume` goes on", request.by)

    def recall(self) -> None:
        """Go on with the promotion that an earlier drive of the rollout was asked for."""
        if promotion := self.store.requests.promotion(self.rollout.number):
            self._promote_for(promotion)

    def _promote_for(self, request: ControlRequest) -> None:
        """Pass all that is left to wait for; what people are to approve only if that was said."""
        self.hurry, self.forced, self.by = True, request.kind == "force", request.by

    def awaits_end(self) -> str:
        """Return who waits for the end of this rollout, or nothing: past the commit point they cannot ask for more."""
        if self.stop_asked.is_set():
            return "a signal asked this process to end"
        request = self.store.requests.next(self.rollout.number)
        if request is None:
            return ""
        self.store.requests.take(self.lock, request)
        return f"{request.by} waits for the end of this rollout"

    def taken_back(self) -> TakenBack:
        """Return the error that says who took the users off the candidate at the proxy, and why."""
        noted = record.read(str(self.store.folder), self.rollout.service)
        if noted is None:
            return TakenBack("aborted: users were taken off the candidate at the proxy")
        reason = f": {noted.reason}" if noted.reason else ""
        return TakenBack(f"aborted by {noted.by}{reason}", by=noted.by)
