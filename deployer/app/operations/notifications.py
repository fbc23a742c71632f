"""Telling people elsewhere of the rollouts that this process drives: who, by which settings, and what is still owed.

An ending is owed from the transaction that records it until it was sent or given up (`store.owed`). A process that dies
in between leaves it so; whoever next has the lock of the service tells it instead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from deployer.core.clock import Clock, Deadline, SystemClock
from deployer.core.errors import DeployError, Refused
from deployer.core.events import Event, Sink
from deployer.core.filelock import FileLock
from deployer.core.secret import SecretText, hide
from deployer.drivers.notices import (
    END_SECONDS,
    ENDINGS,
    PAUSES,
    SEND_SECONDS,
    Account,
    Notice,
    NotSent,
    Outbox,
    RolloutFacts,
)
from deployer.drivers.ports import Notifier
from deployer.store import Lock, Rollout, Store
from deployer.store.vault import Vault

if TYPE_CHECKING:
    from deployer.manifest.models import Recipient


@dataclass(frozen=True)
class _Settings:
    """Who is told, with what they are reached by, and the page that a notice leads to."""

    to: tuple[Recipient, ...]
    secrets: Mapping[str, SecretText]
    link: str


@dataclass(frozen=True)
class NoticePatience:
    """How long the end of a drive waits for notices, in seconds, and the pauses between attempts to send one."""

    seconds: float = END_SECONDS
    pauses: tuple[float, ...] = PAUSES


class Announcer:
    """Gives each drive of a rollout a sink that tells people elsewhere; it ends with the house."""

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
        self._patience = patience or NoticePatience()
        self._open: list[_Delivery] = []
        self._mutex = threading.Lock()

    def beside(self, lock: Lock, rollout: Rollout) -> Sink | None:
        """Return the sink of a drive: what the house looks at, and after it people elsewhere; None without these."""
        settings = self._settings(rollout.service)
        if not settings.to:
            return None
        account = self._account(rollout, settings.link)
        account.follow(self._store.events.of(rollout.number))
        delivery = self._deliver(settings, rollout, lock)
        return _Listener(self._sink, account, delivery, partial(self._broken, lock, rollout))

    def settle(self, lock: Lock) -> None:
        """Tell the endings that processes owe which died before they could."""
        for number in self._store.owed.of(lock.service):
            rollout = self._store.rollouts.get(number)
            try:
                self._settle(lock, rollout)
            except DeployError as error:  # the next one may know more; nobody's work is stopped by it
                self._failed(lock, rollout, "", rollout.outcome or "", str(error))

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
            self._deliver(settings, rollout, lock).put(notice)

    def warn(self, service: str, text: str) -> None:
        """Tell those who want to hear of certificates that one ends soon; who cannot be told is said."""
        settings, now = self._settings(service), self._clock.now()
        notice = Notice("certificate", now, service, text)
        for recipient in (each for each in settings.to if notice.kind in each.events):
            try:
                self._send(settings, recipient, notice)
            except NotSent as error:
                data = {"to": recipient.name, "about": notice.kind, "text": hide(str(error))}
                self._sink(Event("notify.failed", now, service, 0, data))

    def close(self) -> None:
        """Wait until all is sent, but not long; what is not is given up, and said."""
        deadline = Deadline.after(SystemClock(), self._patience.seconds)
        with self._mutex:
            left = tuple(self._open)
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
        facts = RolloutFacts(
            release=rollout.release,
            version=release.version,
            strategy=rollout.strategy,
            by=rollout.started_by,
            reason=rollout.message,
            began=rollout.started_at,
            served=release.served,
        )
        return Account(facts, link)

    # -- sending

    def _deliver(self, settings: _Settings, rollout: Rollout, lock: Lock) -> _Delivery:
        telling = self._store.owed.telling(rollout.number)
        with suppress(OSError):  # told by two then, which is better than by nobody
            telling.try_take()
        delivery = _Delivery(telling, partial(self._store.owed.settle, rollout.number), self._forget)
        for recipient in settings.to:
            send = partial(self._send, settings, recipient)
            failed = partial(self._given_up, lock, rollout, recipient.name)
            delivery.add(recipient, Outbox(send, failed, delivery.done, pauses=self._patience.pauses))
        with self._mutex:
            self._open.append(delivery)
        return delivery

    def _send(self, settings: _Settings, recipient: Recipient, notice: Notice) -> None:
        self._notifier.send(recipient, notice, settings.secrets, Deadline.after(self._clock, SEND_SECONDS))

    def _forget(self, delivery: _Delivery) -> None:
        with self._mutex:
            self._open.remove(delivery)

    def _given_up(self, lock: Lock, rollout: Rollout, name: str, notice: Notice, why: str) -> None:
        self._failed(lock, rollout, name, notice.kind, why)

    def _broken(self, lock: Lock, rollout: Rollout, event: Event, why: str) -> None:
        self._failed(lock, rollout, "", event.kind, why)

    def _failed(self, lock: Lock, rollout: Rollout, name: str, about: str, why: str) -> None:
        data = {"to": name, "about": about, "text": hide(why)}
        event = Event("notify.failed", self._clock.now(), rollout.service, rollout.number, data)
        with suppress(DeployError):  # the lock was given back, or the store takes nothing: it is shown all the same
            event = self._store.events.add(lock, event)
        self._sink(event)


class _Listener:
    """Shows an event, and lets people elsewhere know what it is worth to them."""

    def __init__(self, sink: Sink, account: Account, delivery: _Delivery, broken: Callable[[Event, str], None]) -> None:
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
            self._broken(event, f"internal error: {type(error).__name__}: no more notifications about this rollout")
            return
        if notice is not None:
            self._delivery.put(notice)


class _Delivery:
    """The outboxes of one drive of a rollout, one for each recipient, and the lock that says that they are not done.

    `settle` hears that nothing is owed any more, `forget` that the last outbox is through.
    """

    def __init__(self, telling: FileLock, settle: Callable[[], None], forget: Callable[[_Delivery], None]) -> None:
        self._telling, self._settle, self._forget = telling, settle, forget
        self._boxes: list[tuple[Recipient, Outbox]] = []
        self._mutex = threading.Lock()
        self._busy = 0
        self._complete = False  # an ending was put in: nothing is owed once the outboxes are empty

    def add(self, recipient: Recipient, box: Outbox) -> None:
        """Add a recipient, before anything is put in."""
        self._busy += 1
        self._boxes.append((recipient, box))

    def put(self, notice: Notice) -> None:
        """Take a notice for those who want it; an ending is the last."""
        for recipient, box in self._boxes:
            if notice.kind in recipient.events:
                box.put(notice)
        if notice.kind in ENDINGS:
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
        self._telling.let_go()
        self._forget(self)  # last: whoever closes the house waits for nothing that is forgotten
