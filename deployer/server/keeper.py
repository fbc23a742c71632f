"""The keeper as a loop, in the server and alone."""

from __future__ import annotations

from deployer.app.keeper.keeper import END_SECONDS, LOOK_SECONDS, Keeper, Opener
from deployer.engine import RolloutResult
from deployer.server.log import ServerLog
from deployer.server.loop import Loop


class KeeperLoop(Loop):
    """Looks at all services of a state folder as long as it runs."""

    def __init__(self, log: ServerLog, opened: Opener) -> None:
        failed = ("keeper.failed", "services cannot be looked after")
        super().__init__(log, "keeper", failed, LOOK_SECONDS, END_SECONDS)
        self._keeper = Keeper(opened, self._tell, self._tell_wake)

    def look(self) -> None:
        """Look once, and begin what is due; one that waits for another keeper says so once."""
        self._keeper.look()
        if self._keeper.waits:
            self.say("alone", "keeper.waits", "another keeper is at work: this one waits until it ends")
        else:
            self.forget("alone")

    def stop(self) -> None:
        """Look no more, and leave what is in progress for the next keeper."""
        super().stop()
        self._keeper.stop()

    def _tell_wake(self, service: str, text: str) -> None:
        self._log.say("keeper.woken", f"{service}: {text}", text=text, service=service)

    def _tell(self, service: str, text: str, ended: RolloutResult | None) -> None:
        known = {"outcome": ended.outcome, "exit": int(ended.exit), "rollout": ended.rollout} if ended else {}
        event = "keeper.adjusted" if ended else "keeper.waits"
        self._log.say(event, f"{service}: {text}", text=text, service=service, **known)
