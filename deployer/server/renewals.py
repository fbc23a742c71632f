"""Certificates that are due: the server has them ordered, at its start and from then on.

What failed is said once, until something else is to be said; when it is tried again is decided with each look.
"""

from __future__ import annotations

import threading

from deployer.app.certificates import warn
from deployer.app.operations.certificates import DomainResult, renew
from deployer.core.errors import DeployError
from deployer.server.context import ServerContext

LOOK_SECONDS = 600.0  # between two looks; the shortest pause after a failed order is as long
END_SECONDS = (
    2.0  # for a look that is in progress: an order that is cut off counts as failed, and nothing is lost by it
)


class Renewals:
    """Looks after the certificates of all services."""

    def __init__(self, desk: ServerContext, every: float = LOOK_SECONDS) -> None:
        self._desk, self._every = desk, every
        self._said: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._care, name="certificates", daemon=True)

    def start(self) -> None:
        """Look at once, then again and again."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(END_SECONDS)

    def _care(self) -> None:
        while True:
            try:
                self.look()
            except DeployError as error:
                self._say("", error.message, "")
            if self._stop.wait(self._every):
                return

    def look(self) -> None:
        """Look once: order what is due, and notify of what ends soon."""
        with self._desk.house() as house:
            for one in renew(house):
                if self._stop.is_set():
                    return
                self._tell(one)
            warn(house)

    def _tell(self, one: DomainResult) -> None:
        if one.state == "kept":
            self._said.pop(one.domain, None)
            return
        self._say(one.domain, one.sentence, one.service)

    def _say(self, about: str, text: str, service: str) -> None:
        if self._said.get(about) != text:
            self._said[about] = text
            self._desk.log.say("certificate", text, domain=about, service=service)
