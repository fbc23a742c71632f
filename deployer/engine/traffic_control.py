"""How many users the candidate of a drive has: one value at the proxy, read back, and kept alive by its lease."""

from __future__ import annotations

import threading
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed, NoServerUp, TakenBack
from deployer.engine.budget_tracker import BudgetTracker
from deployer.model import Live, other, taken_back

if TYPE_CHECKING:
    from deployer.core.events import Tell
    from deployer.drivers.ports import Traffic
    from deployer.manifest.models import TrafficSettings
    from deployer.planning.steps import Share
    from deployer.store import Rollout

AGAIN = 0.2  # seconds until servers that the proxy found down are looked at again


class TrafficControl:
    """Sets the candidate's share of the users, and takes it away; the engine and its pulse both do.

    `given` is what this drive wrote last. On the way back (`safe`) it is written whatever the proxy has: that is the
    same direction as an emergency's. Of a release that is not `served` nothing is told: no user is moved.
    """

    def __init__(
        self,
        traffic: Traffic,
        rollout: Rollout,
        settings: TrafficSettings,
        clock: Clock,
        tell: Tell,
        *,
        served: bool,
    ) -> None:
        self._traffic, self._rollout, self._clock, self._served = traffic, rollout, clock, served
        self._tell = tell if served else _untold
        self._lease, self._paused = settings.lease, settings.paused
        self.spending = BudgetTracker(settings.budget, traffic, rollout.service, self._tell)
        self.mutex = threading.RLock()
        self.given: Live | None = None
        self.kept_until = 0  # the end of the share of a rollout that is paused: nobody renews its lease
        self.safe = rollout.phase == "back"

    def read(self) -> Live | None:
        """Return what the proxy has now."""
        return self._traffic.read(self._rollout.service)

    # -- the share

    def give(self, step: Share, deadline: Deadline) -> None:
        """Set the shares of the candidate and of the baseline; lost proxies are tried before, if any."""
        if step.share or step.baseline:
            self._traffic.retry_lost(self._rollout.service, deadline)
        live = Live(
            stable=other(self._rollout.plan.colour),
            share=step.share,
            lease=self._lease_end() if step.leased and step.share else 0,
            rollout=self._rollout.number,
            budget=self.spending.grant if step.share else 0,
            baseline=step.baseline,
        )
        self.write(live, deadline)
        if live.lease and live.lease <= self._clock.now():  # the write took longer than the lease: nobody got any
            self.renew_lease()

    def write(self, live: Live, deadline: Deadline) -> None:
        """Move the users, and tell it. Raise TakenBack when an emergency has ended their share of the candidate.

        Where they are to go the proxy may find no server up for a moment, as after its start or that of the engine: it
        is asked again until the deadline. So it is where each of several proxies has less time than that, and too few
        were ready in it.

        Where all get the same, lost proxies are tried afterwards. That is never done while the mutex is held: the lease
        is renewed at the others meanwhile.
        """
        while True:
            try:
                self._put(live, deadline)
                break
            except NoServerUp as error:
                if deadline.left() <= AGAIN:
                    raise DeadlinePassed(f"{error.message}; not within {deadline.seconds:g} s", error.hint) from error
            except DeadlinePassed:
                if deadline.left() <= AGAIN:
                    raise
            self._clock.sleep(AGAIN)
        said = asdict(live)
        del said["rollout"], said["token"]  # each event names the one, and nobody is told of the other
        self._tell("traffic.changed", **said)
        if not live.share and not live.baseline:
            self._traffic.retry_lost(self._rollout.service, deadline)

    def _put(self, live: Live, deadline: Deadline) -> None:
        with self.mutex:
            self._traffic.set_traffic(self._rollout.service, live, deadline, None if self.safe else self.given)
            self.given = live
            self.spending.limit = live.budget
            now = self.read()
        if taken_back(live, now):
            raise TakenBack("users were taken off the candidate at the proxy, just as it got them")
        if now != live:
            raise DriverFailed(f"the proxy said that it took {live}, and has {now}", "see `deploy doctor`")

    def is_taken_back(self) -> bool:
        """Return whether an emergency command has taken the users off the candidate at the proxy."""
        if not self.given or not self.given.share:
            return False
        try:
            return taken_back(self.given, self.read())
        except DriverFailed:
            return False  # whoever needs the proxy next finds out, with the patience that is right there

    def end_share(self) -> bool:
        """Let the share that this drive gave end now, as if its lease were over; return whether there was one.

        The share itself stays in the value: one that is gone was taken away by a person. A value that somebody else
        has written since is left alone.
        """
        with self.mutex:
            live = self.read()
            if live is None or live != self.given or not live.share:
                return False
            self._put(replace(live, lease=int(self._clock.now()) - 1), Deadline.after(self._clock, 10))
        return True

    # -- what an earlier drive left

    def look_back(self) -> Live | None:
        """Return what an earlier drive of the rollout left in the proxy; report what the proxy ended since."""
        live = self.read()
        if live is None or live.rollout != self._rollout.number:
            return None
        self._tell_lease_over(live)
        self.spending.adopt(live)
        self.spending.tell_over()
        return live

    def take_up(self, reached: Share) -> None:
        """Restore the share that a resumed rollout had reached: its lease may have run out meanwhile.

        What an earlier drive gave is compared with running: an emergency has taken the users back if the share is gone,
        which raises TakenBack. One whose budget is spent stays as it is: nobody would get the candidate now.
        """
        live = self.look_back()
        if live is not None:
            self.given = replace(live, stable=other(self._rollout.plan.colour), share=reached.share)
        if not self.spending.over:
            self.give(reached, Deadline.after(self._clock, reached.deadline))

    # -- the lease

    def renew_lease(self) -> None:
        """Prolong a leased share and let its budget follow what the candidate answered; nothing to do for any other.

        A budget that is spent already stays so: more would give the candidate users again.
        """
        with self.mutex:
            live = self.read()
            if not live or not live.share or live.rollout != self._rollout.number:
                return
            fresh = replace(live, lease=live.lease and self._lease_end(), budget=self.spending.grant)
            if fresh == live or self.spending.over:
                return
            self._tell_lease_over(live)
            self._put(fresh, Deadline.after(self._clock, 5))

    def keep_share(self) -> None:
        """Let the share last for as long as the manifest says of a paused rollout, whoever lives."""
        self.kept_until = int(self._clock.now() + self._paused)
        self._set_lease()

    def told(self, share: int) -> dict[str, int]:
        """Return what an event tells of the share: nothing where no user is."""
        return {"share": share} if self._served else {}

    def begin_lease(self) -> None:
        """Let a share that was kept run out soon again: from now on it is for a process to keep."""
        self.kept_until = 0
        self._set_lease()

    def running_out(self) -> str:
        """Return what becomes of the share when this process ends now; "" where nothing does."""
        given = bool(self.given and self.given.share)
        return f"its share runs out by itself within {self._lease:g} s" if given and self._lease else ""

    def _set_lease(self) -> None:
        with self.mutex:
            live = self.read()
            if live and live.share and live.rollout == self._rollout.number:
                self._tell_lease_over(live)
                self._put(replace(live, lease=self._lease_end()), Deadline.after(self._clock, 10))

    def _lease_end(self) -> int:
        """Return the moment at which a share given now runs out by itself; 0 when leases are off.

        Of a rollout that is paused it is fixed: no process has to live until then.

        The proxy compares whole seconds. Rounded down, so that users are back within the lease; but one of less than
        two seconds is not over before it can be renewed.
        """
        if self.kept_until:
            return self.kept_until
        now = self._clock.now()
        return max(int(now + self._lease), int(now) + 2) if self._lease else 0

    def _tell_lease_over(self, live: Live) -> None:
        """Report when the lease of the share has run out: users were on stable since."""
        if live.share and live.lease and live.lease <= self._clock.now():
            self._tell("lease.over", share=live.share, seconds=round(self._clock.now() - live.lease, 3))


def _untold(_kind: str, **_data: Any) -> None:
    """Report nothing."""
