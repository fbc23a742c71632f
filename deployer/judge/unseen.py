"""What could not have been seen: the highest failure rate that what was answered does not rule out.

A step whose time is over without a proof has found no regression, which is not the same as none. The exact upper limit
of Clopper and Pearson says what is left: the rate at which so few failures, or fewer, come in 5 of 100 such samples.
Without a failure that is 1 - 0.05^(1/n), about 3/n: the rule of three.

Sources: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
Biometrika 26 (1934); Hanley and Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 249 (1983).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

CONFIDENCE = 0.95
_STEPS = 50  # bisections: below the precision of what is printed
_MOST_TERMS = 10_000
_TINY = 1e-300


@dataclass(frozen=True)
class Unseen:
    """So many of the candidate's responses failed, or of its clients where they keep their side."""

    failed: int
    of: int
    clients: bool

    @property
    def rate(self) -> float:
        """The highest failure rate that is not ruled out."""
        return highest_rate(self.failed, self.of)

    def values(self) -> dict[str, float]:
        """Return it as a field of a verdict."""
        return {"unseen": float(f"{self.rate:.3g}")}


def highest_rate(failed: int, of: int) -> float:
    """Return the upper limit of Clopper and Pearson for the rate, one-sided, with a confidence of 95%."""
    if failed >= of:
        return 1.0
    if not failed:
        return -math.expm1(math.log(1 - CONFIDENCE) / of)
    low, high = failed / of, 1.0
    for _ in range(_STEPS):
        rate = (low + high) / 2
        low, high = (rate, high) if at_most(failed, of, rate) > 1 - CONFIDENCE else (low, rate)
    return high


def at_most(failed: int, of: int, rate: float) -> float:
    """Return the probability of so many failures or fewer, at a rate above `failed / of`.

    It is the regularised incomplete beta function, by the continued fraction of Lentz (DLMF 8.17.22); the work does not
    grow with the counts as a sum over them would.
    """
    a, b, x = float(of - failed), failed + 1.0, 1 - rate
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x or _TINY) + b * math.log(rate)
    c, d = 1.0, 1 / _off_zero(1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, _MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _off_zero(1 + term * d)
            c = _off_zero(1 + term / c)
            fraction *= c * d
        if abs(c * d - 1) < 1e-12:
            break
    return math.exp(front) * fraction / a


def _off_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
