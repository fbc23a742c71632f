"""Telling people elsewhere of rollouts, jobs and certificates: who, by which settings, and what is still owed.

The ending of a rollout, or of a run of a job, is owed from the transaction that records it until it was sent or given
up. A process that dies in between leaves it so; whoever next has the lock of the service, or looks what is due, tells
it instead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from deployer.core import later
from deployer.core.clock import Clock, Deadline, SystemClock
from deployer.core.errors import DeployError, Refused
from deployer.core.events import Event, Sink
from deployer.core.secret import SecretText, hide
from deployer.store import Claim, Lock, Rollout, Store
from deployer.store.vault import Vault

if TYPE_CHECKING:
    from deployer.drivers import notices
    from deployer.drivers.notices import Account, Notice, NoticePatience, Outbox
    from deployer.drivers.ports import Notifier
    from deployer.manifest.models import Recipient
    from deployer.store.jobs import JobRun
else:  # most services tell nobody
    notices = later.module("deployer.drivers.notices")


@dataclass(frozen=True)
class _Settings:
    """Who is told, with what they are reached by, and the page that a notice leads to."""

    to: tuple[Recipient, ...]
    secrets: Mapping[str, SecretText]
    link: str


@dataclass(frozen=True)
class _Subject:
    """What notices are about: a service, or a rollout, whose lock is needed to record what goes wrong."""

    service: str
    rollout: int = 0
    lock: Lock | None = None


class Announcer:
    """Makes a sink for each drive of a rollout that notifies people; it ends with the house."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        notifier: Notifier,
        sink: Sink,
        clock: Clock,
        patience: NoticePatience | None = None,
    ) -> None:
        self._store, self._vault, self._notifier, self._sink, self._clock = store, vault, notifier, sink, clock
        self._patience = patience or later.made(lambda: notices.NoticePatience())
        self._open: list[_Delivery] = []
        self._mutex = threading.Lock()

    def beside(self, lock: Lock, rollout: Rollout) -> Sink | None:
        """Return the sink of a drive: what the house looks at, and after it people elsewhere; None without these."""
        settings = self._settings(rollout.service)
        if not settings.to:
            return None
        subject = _Subject(rollout.service, rollout.number, lock)
        account = self._account(rollout, settings.link)
        account.follow(self._store.events.of(rollout.number))
        return _Listener(self._sink, account, self._ending(settings, subject), partial(self._failed, subject, ""))

    def settle(self, lock: Lock) -> None:
        """Report the endings that processes owe which died before they could."""
        for number in self._store.owed.of(lock.service):
            rollout = self._store.rollouts.get(number)
            try:
                self._settle(lock, rollout)
            except DeployError as error:  # the next one may know more; nobody's work is stopped by it
                self._failed(_Subject(lock.service, number, lock), "", rollout.outcome or "", str(error))

    def _settle(self, lock: Lock, rollout: Rollout) -> None:
        settings = self._settings(rollout.service)
        if not settings.to:  # nobody is told any more
            self._store.owed.settle(rollout.number)
            return
        account = self._account(rollout, settings.link)
        account.follow(self._store.events.of(rollout.number))
        ended = rollout.ended_at or self._clock.now()
        told = {"outcome": rollout.outcome, "exit": rollout.exit, "text": rollout.text}
        notice = account.see(Event("rollout.ended", ended, rollout.service, rollout.number, told))
        if notice is not None:
            self._ending(settings, _Subject(rollout.service, rollout.number, lock)).put(notice)

    def warn(self, service: str, text: str) -> None:
        """Notify those who want to hear of certificates that one ends soon."""
        self._tell(notices.Notice("certificate", self._clock.now(), service, text))

    def report(self, run: JobRun) -> None:
        """Notify those who want to hear of jobs how a run ended, if that is owed and no other process does so."""
        owed = self._store.jobs.notices
        telling = owed.telling(run.number)
        if not _try_take(telling):
            return
        if owed.is_owed(run.number):
            self._tell(self._notice(run), telling, partial(owed.settle, run.number))
        else:
            telling.let_go()

    def _tell(self, notice: Notice, telling: Claim | None = None, settle: Callable[[], None] = lambda: None) -> None:
        """Deliver a notice that is about no rollout, and the only one about its subject."""
        settings = self._settings(notice.service)
        if settings.to:
            self._deliver(settings, _Subject(notice.service), telling, settle).put(notice, last=True)
            return
        settle()
        if telling is not None:
            telling.let_go()

    def _notice(self, run: JobRun) -> Notice:
        release = self._store.releases.get(run.service, run.release)
        ended = run.ended_at or self._clock.now()
        return notices.Notice(
            "job-failed",
            ended,
            run.service,
            notices.sentence(
                run.text if run.exit is None else f"{run.text}: `deploy logs --job {run.job}` shows its output"
            ),
            release=run.release,
            version=release.version,
            by=notices.sentence(run.by),
            reason=notices.sentence(run.reason),
            job=notices.NoticeJob(run.job, run.number, run.outcome),
            seconds=max(0.0, round(ended - run.started_at, 3)),
            exit=run.exit,
        )

    def close(self) -> None:
        """Wait until all is sent, but not long; what is not is given up, and said."""
        with self._mutex:
            left = tuple(self._open)
        if not left:
            return
        deadline = Deadline.after(SystemClock(), self._patience.seconds)
        for delivery in left:
            delivery.close(deadline)

    # -- settings

    def _settings(self, service: str) -> _Settings:
        """Read them from the newest release: what was asked for last holds, also for a way back to an older one."""
        releases = self._store.releases.of(service)
        if not releases or not releases[0].manifest.notify.to:
            return _Settings((), {}, "")
        newest, notify = releases[0], releases[0].manifest.notify
        names = frozenset(name for recipient in notify.to for _, name in recipient.secrets())
        secrets: Mapping[str, SecretText] = {}
        # Without them each recipient is one that cannot be told, and that is said of each.
        with suppress(Refused):
            secrets = self._vault.load(service, newest.number, names)
        return _Settings(notify.to, secrets, notify.link or "")

    def _account(self, rollout: Rollout, link: str) -> Account:
        release = self._store.releases.get(rollout.service, rollout.release)
        facts = notices.RolloutFacts(
            release=rollout.release,
            version=release.version,
            strategy=rollout.strategy,
            by=rollout.started_by,
            reason=rollout.message,
            began=rollout.started_at,
            served=release.served,
        )
        return notices.Account(facts, link)

    # -- sending

    def _ending(self, settings: _Settings, subject: _Subject) -> _Delivery:
        """Deliver what is told of a rollout, whose ending is owed."""
        telling = self._store.owed.telling(subject.rollout)
        _try_take(telling)
        return self._deliver(settings, subject, telling, partial(self._store.owed.settle, subject.rollout))

    def _deliver(
        self, settings: _Settings, subject: _Subject, telling: Claim | None, settle: Callable[[], None]
    ) -> _Delivery:
        delivery = _Delivery(telling, settle, self._forget)
        for recipient in settings.to:
            send = partial(self._send, settings, recipient)
            failed = partial(self._given_up, subject, recipient.name)
            delivery.add(recipient, notices.Outbox(send, failed, delivery.done, pauses=self._patience.pauses))
        with self._mutex:
            self._open.append(delivery)
        return delivery

    def _send(self, settings: _Settings, recipient: Recipient, notice: Notice) -> None:
        self._notifier.send(recipient, notice, settings.secrets, Deadline.after(self._clock, notices.SEND_SECONDS))

    def _forget(self, delivery: _Delivery) -> None:
        with self._mutex:
            self._open.remove(delivery)

    def _given_up(self, subject: _Subject, name: str, notice: Notice, why: str) -> None:
        self._failed(subject, name, notice.kind, why)

    def _failed(self, subject: _Subject, name: str, about: str, why: str) -> None:
        data = {"to": name, "about": about, "text": hide(why)}
        event = Event("notify.failed", self._clock.now(), subject.service, subject.rollout, data)
        if subject.lock is not None:
            with suppress(DeployError):  # the lock was given back, or the store takes nothing: it is shown all the same
                event = self._store.events.add(subject.lock, event)
        self._sink(event)


def _try_take(telling: Claim) -> bool:
    """Take the lock of a notice; return False where another process has it."""
    try:
        return telling.try_take()
    except OSError:  # told by two then, which is better than by nobody
        return True


class _Listener:
    """Shows an event, and lets people elsewhere know what it is worth to them."""

    def __init__(self, sink: Sink, account: Account, delivery: _Delivery, broken: Callable[[str, str], None]) -> None:
        self._sink, self._delivery, self._broken = sink, delivery, broken
        self._account: Account | None = account

    def __call__(self, event: Event) -> None:
        """Take an event; what goes wrong in telling it is not the rollout's business."""
        self._sink(event)
        if self._account is None:
            return
        try:
            notice = self._account.see(event)
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            self._account = None
            self._broken(
                event.kind, f"internal error: {type(error).__name__}: no more notifications about this rollout"
            )
            return
        if notice is not None:
            self._delivery.put(notice)


class _Delivery:
    """The outboxes of one subject, one for each recipient, and the lock that says that they are not done.

    `settle` hears that nothing is owed any more, `forget` that the last outbox is through.
    """

    def __init__(self, telling: Claim | None, settle: Callable[[], None], forget: Callable[[_Delivery], None]) -> None:
        self._telling, self._settle, self._forget = telling, settle, forget
        self._boxes: list[tuple[Recipient, Outbox]] = []
        self._mutex = threading.Lock()
        self._busy = 0
        self._complete = False  # the last was put in: nothing is owed once the outboxes are empty

    def add(self, recipient: Recipient, box: Outbox) -> None:
        """Add a recipient, before anything is put in."""
        self._busy += 1
        self._boxes.append((recipient, box))

    def put(self, notice: Notice, *, last: bool = False) -> None:
        """Take a notice for those who want it; an ending is the last."""
        for recipient, box in self._boxes:
            if notice.kind in recipient.events:
                box.put(notice)
        if last or notice.kind in notices.ENDINGS:
            self._complete = True
            self._finish()

    def close(self, deadline: Deadline) -> None:
        """Wait until the deadline, and give up what is left."""
        self._finish()
        for _, box in self._boxes:
            box.close(deadline.left())

    def _finish(self) -> None:
        for _, box in self._boxes:
            box.finish()

    def done(self) -> None:
        """Hear that one of the outboxes will send nothing more."""
        with self._mutex:
            self._busy -= 1
            last = not self._busy
        if not last:
            return
        if self._complete:
            with suppress(DeployError):  # told once more then, which is better than not at all
                self._settle()
        if self._telling is not None:
            self._telling.let_go()
        self._forget(self)  # last: whoever closes the house waits for nothing that is forgotten
