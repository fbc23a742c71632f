"""Clients that keep their side, as far as the judge needs to know them: by the roll of their cookie.

Whether a client got the candidate was a throw only once: when its roll first met a boundary. What it gets later is no
news about chance. So for each roll the highest boundary is kept under which it was seen, two bytes, whoever comes.
"""

from __future__ import annotations

from array import array

from deployer.drivers.traffic.haproxy.rules import ROLLS
from deployer.model import FULL

_PER_BP = ROLLS // FULL


class ClientTracker:
    """The clients of one service, or of one of its routes, in one rollout: 6 MB, made when the first one comes."""

    def __init__(self) -> None:
        self._seen = array("H", bytes(2 * ROLLS))  # basis points
        self._had = array("I", bytes(4 * ROLLS))  # kinds of responses, a bit for each

    def coin(self, roll: int, share: int, baseline: int) -> float | None:
        """Return the probability with which this answer's client was to get the candidate; None if that is no news.

        The candidate has the rolls below the share, the baseline those above it, else stable has all the rest. Below a
        boundary that a client has met before, its side is known; the others are what is left to chance.
        """
        met, boundary, end = self._seen[roll], share + baseline, _end(share, baseline)
        if met >= boundary:
            return None
        self._seen[roll] = boundary
        if not met * _PER_BP <= roll < end * _PER_BP:
            return None
        to_candidate, to_other = max(0, share - met), end - max(share, met)
        return _thrown(to_candidate, to_candidate + to_other)

    def first_of_kind(self, roll: int, kind: int, share: int, baseline: int) -> float | None:
        """Note that a client got a response of a kind; return the probability of the candidate if it is its first one.

        Where releases are alike, who fails first has nothing to do with the roll: all rolls of both sides count.
        """
        end = _end(share, baseline)
        if self._had[roll] >> kind & 1 or roll >= end * _PER_BP:
            return None
        self._had[roll] |= 1 << kind
        return _thrown(share, end)


def _end(share: int, baseline: int) -> int:
    """Return the end of the rolls that are compared."""
    return share + baseline if baseline else FULL


def _thrown(part: int, whole: int) -> float | None:
    """Return the probability; None where there was only one side to fall on."""
    return part / whole if 0 < part < whole else None
