"""Certificates that are due: the server has them ordered, at its start and from then on.

What failed is said once, until something else is to be said; when it is tried again is decided with each look.
"""

from __future__ import annotations

from deployer.app.attendance import CERTIFICATES, Attendance
from deployer.app.certificates import warn
from deployer.app.operations.certificates import DomainResult, renew
from deployer.server.context import ServerContext
from deployer.server.loop import Loop

LOOK_SECONDS = 600.0  # between two looks; the shortest pause after a failed order is as long
# For a look that is in progress: an order that is cut off counts as failed, and nothing is lost by it
END_SECONDS = 2.0


class Renewals(Loop):
    """Looks after the certificates of all services."""

    def __init__(self, desk: ServerContext) -> None:
        failed = ("certificate", "certificates cannot be looked after")
        super().__init__(desk.log, "certificates", failed, LOOK_SECONDS, END_SECONDS)
        self._desk = desk
        self._attendance = Attendance(CERTIFICATES)

    def look(self) -> None:
        """Look once: order what is due, and notify of what ends soon; others see that this server does."""
        self._attendance.begin(self._desk.stores.store())
        with self._desk.house() as house:
            for one in renew(house):
                if self.stopping:
                    return
                self._tell(one)
            warn(house)

    def stop(self) -> None:
        """Look no more."""
        super().stop()
        self._attendance.end()

    def _tell(self, one: DomainResult) -> None:
        if one.state == "kept":
            self.forget(one.domain)
        else:
            self.say(one.domain, "certificate", one.sentence, domain=one.domain, service=one.service)
