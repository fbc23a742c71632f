"""What each address may account for, so that a few addresses cannot decide about a release.

An address may give one failure, and beyond that no more than 1.2 times its part of all responses would make of all
failures; so with each kind of response that is no page. Which side an answer came from plays no role, nor does what
comes later: what is left out is the same for both sides, and the coins of what remains are as fair as before. Gateways
that fail as often as they ask lose little of that. Addresses that together send half of the traffic can give 1.5
failures for each one of the others, and 2.5 each.

What a client chooses once it knows its side is no coin: it could fail, ask for what is not there, or leave, on that
side only. Of each kind of these an address may give one. The candidate's count only from addresses that come after
STRANGERS others, so that as many addresses can add no more to the candidate than is left out of what its users get.
"""

from __future__ import annotations

from array import array
from collections import defaultdict

from deployer.core.response_kinds import NUMBER
from deployer.drivers.traffic.haproxy.rules import ROLLS

# 1.2, as whole numbers; with less, gateways that send alike could not keep pace with each other.
PART, OF = 6, 5
STRANGERS = 100
FAILURE = NUMBER  # as a kind of response
# An address that sends more than two of three answers is a gateway with many clients behind it. Half an attacker's
# traffic does not look like that by chance after so many answers.
GATEWAY, SURE = 2 / 3, 50


_DIGITS = (8, 32)  # of an address in a line: IPv4, IPv6
_LONGEST = 15  # digits of a number; a line that was cut may run into the next one


class Addresses:
    """The addresses of one service in one rollout, by number: 8 MB, and 4 MB for each kind that is no page.

    Addresses with the same number count as one.
    """

    def __init__(self) -> None:
        self._answers = array("I", bytes(4 * ROLLS))
        self._gave: dict[int, array[int]] = {}  # by kind
        self._gave_all: defaultdict[int, int] = defaultdict(int)
        self._later = array("I", bytes(4 * ROLLS))  # kinds, a bit for each
        self._all = 0
        self._strangers: defaultdict[int, set[int]] = defaultdict(set)  # by kind

    def answer(self, address: int, kind: int | None = None) -> bool:
        """Count an answer, of a kind if it is no page; return whether it may be evidence."""
        self._answers[address] += 1
        self._all += 1
        if kind is None:
            return True
        gave = self._gave.get(kind)
        if gave is None:
            gave = self._gave[kind] = array("I", bytes(4 * ROLLS))
        if OF * gave[address] * self._all > PART * self._answers[address] * (self._gave_all[kind] + 1):
            return False
        gave[address] += 1
        self._gave_all[kind] += 1
        return True

    def later(self, address: int, kind: int, *, asked: bool) -> bool:
        """Return whether a response counts whose client knew its side.

        `asked` says that it is stable's, or that stable answered what the candidate had failed.
        """
        if self._all >= SURE and self._answers[address] > GATEWAY * self._all:
            return True
        strangers = self._strangers[kind]
        if not asked and address not in strangers and len(strangers) < STRANGERS:
            strangers.add(address)
        if self._later[address] >> kind & 1 or (not asked and address in strangers):
            return False
        self._later[address] |= 1 << kind
        return True


def number_of(text: bytes) -> int | None:
    """Read a roll or the number of an address."""
    return number if text.isdigit() and len(text) <= _LONGEST and (number := int(text)) < ROLLS else None


def address_number(text: bytes) -> int | None:
    """Return the number of an address: that of a chain, or one that nobody can foresee: Python hashes by a secret."""
    return hash(text) % ROLLS if len(text) in _DIGITS else number_of(text)
