"""Sessions of the page: a browser that has shown a token gets an opaque cookie, which opens the same for a while.

They live in the memory of the server and end with it; what they open ends with the token, too.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

from deployer.core.clock import Clock
from deployer.server.tokens import Token, Tokens

IDLE_SECONDS = 3600.0  # without a request
LONGEST_SECONDS = 12 * 3600.0
MOST = 1000


@dataclass
class Session:
    """What a cookie opens: a token. Whatever changes something must say `csrf`, which only our own page knows."""

    id: str
    token: Token
    ends: float  # on the monotonic clock
    used: float
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32))


class Sessions:
    """The sessions of a server. The cookie itself is kept nowhere, only its hash."""

    def __init__(self, tokens: Tokens, clock: Clock) -> None:
        self._tokens, self._clock = tokens, clock
        self._open: OrderedDict[str, Session] = OrderedDict()  # the one used last at the end

    def begin(self, text: str) -> str | None:
        """Return the cookie of a new session, for the text of a token; None when that is none that stands."""
        token = self._tokens.find(text)
        if token is None:
            return None
        cookie, now = secrets.token_urlsafe(32), self._clock.monotonic()
        session = Session(_hash(cookie), token, now + LONGEST_SECONDS, now)
        self._open[session.id] = session
        if len(self._open) > MOST:
            self._open.popitem(last=False)
        return cookie

    def find(self, cookie: str) -> Session | None:
        """Return the session of a cookie, which is used by this; None when it is over. Raises what tokens raise."""
        session = self._open.get(_hash(cookie))
        if session is None or not self.standing(session):
            return None
        session.used = self._clock.monotonic()
        self._open.move_to_end(session.id)
        return session

    def standing(self, session: Session) -> bool:
        """Return whether a session that was found before is still open."""
        now = self._clock.monotonic()
        if now < min(session.ends, session.used + IDLE_SECONDS) and self._tokens.standing(session.token):
            return session.id in self._open
        self.end(session)
        return False

    def end(self, session: Session) -> None:
        """Close a session."""
        self._open.pop(session.id, None)


def _hash(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
