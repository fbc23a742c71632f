"""Confidence bands for pictures. Verdicts do not come from them."""

from __future__ import annotations

import math
from statistics import NormalDist


def wilson(errors: int, answers: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the band of an error rate: Wilson's score interval, for one look at a fixed number of answers.

    It is not made for many looks: of many bands in one picture some miss the truth. Without answers it is (0, 1).
    """
    if not answers:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate, spread = errors / answers, z * z / answers
    centre = (rate + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(rate * (1 - rate) / answers + spread / (4 * answers))
    # What is 0 or 1 in exact arithmetic is so here too.
    return max(0.0, centre - half) if errors else 0.0, min(1.0, centre + half) if errors < answers else 1.0
