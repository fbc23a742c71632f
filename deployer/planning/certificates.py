"""Certificates: when one is renewed, when an order is tried again, and what is worth a warning. Pure.

Times are Unix seconds. What is drawn (the jitter) is drawn from the certificate itself, so that every look, by whatever
process, comes to the same time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

DAY = 86400.0
WARN_DAYS = (14, 7, 3)
FIRST_PAUSE = 600.0  # after a failed order; doubled with each
LONGEST_PAUSE = 6 * 3600.0
LEAST_LEFT = 1 / 12  # of the life: whatever the authority suggests, a renewal begins with so much left


@dataclass(frozen=True)
class CertificateFacts:
    """What a certificate says of itself."""

    names: tuple[str, ...]
    issuer: str
    serial: str  # hexadecimal
    begins: float
    ends: float

    @property
    def life(self) -> float:
        """How long it is valid in all."""
        return max(0.0, self.ends - self.begins)


@dataclass(frozen=True)
class ServedCertificate:
    """What a proxy needs to serve a domain: key with chain, and the thumbprint of the account that proves the domain.

    A placeholder never replaces what a proxy has.
    """

    domain: str
    account: str
    pem: str = field(repr=False)
    placeholder: bool = False


@dataclass(frozen=True)
class Suggestion:
    """When the authority would like a certificate renewed (RFC 9773), from `start` to `end`, and when to ask it again.

    An `end` of 0: it does not say.
    """

    start: float = 0.0
    end: float = 0.0
    ask_again: float = 0.0


@dataclass(frozen=True)
class OrderHistory:
    """What is remembered of orders for a domain: how many failed one after the other, and why the last one did.

    Where none could be made, `why` says that: it does not count.
    """

    failures: int = 0
    last: float = 0.0  # when the last one began
    wait_until: float = 0.0  # the authority wants none before
    why: str = ""
    hint: str = ""
    warned: int = 0  # days of the last warning
    suggestion: Suggestion = Suggestion()


def renewal_at(facts: CertificateFacts, suggestion: Suggestion = Suggestion()) -> float:
    """Return the time to renew a certificate: as the authority suggests, else with a third of its life left."""
    drawn = _drawn(facts.serial)
    if not suggestion.end:
        return facts.ends - facts.life / 3 - drawn * facts.life / 30
    wanted = suggestion.start + drawn * max(0.0, suggestion.end - suggestion.start)
    return min(wanted, facts.ends - facts.life * LEAST_LEFT)


def order_at(facts: CertificateFacts | None, history: OrderHistory) -> float:
    """Return the time of the next order; 0 for at once. Without a certificate (a placeholder) it is due at once."""
    due = renewal_at(facts, history.suggestion) if facts else 0.0
    if not history.failures:
        return max(due, history.wait_until)
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(history.failures - 1, 10))
    return max(due, history.wait_until, history.last + pause)


def begun(history: OrderHistory, now: float) -> OrderHistory:
    """Return the history with an order that begins now: it counts as failed until it has succeeded.

    So an order whose process is killed is not repeated at once.
    """
    return replace(history, failures=history.failures + 1, last=now, why="its process ended", hint="")


def failed(history: OrderHistory, why: str, hint: str, wait_until: float = 0.0) -> OrderHistory:
    """Return the history of an order that began, with why it came to nothing."""
    return replace(history, why=why, hint=hint, wait_until=wait_until)


def warning(facts: CertificateFacts, now: float, *, renewed: bool = False, overdue: bool = False) -> int:
    """Return the days (14, 7 or 3) within which a certificate ends, for a warning; 0 for none.

    One that is `renewed` by itself is worth a warning only when that is `overdue`. One whose life is short warns in the
    last third of it only.
    """
    if renewed and not overdue:
        return 0
    left = facts.ends - now
    return min((days for days in WARN_DAYS if left < min(days * DAY, facts.life / 3)), default=0)


def _drawn(seed: str) -> float:
    """Return a number from 0 to 1 that belongs to a seed."""
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:6]) / 2**48
