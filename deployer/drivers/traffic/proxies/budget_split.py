"""What of a budget each proxy gets: what it has spent, and an equal part of what is left."""

from __future__ import annotations

from collections.abc import Mapping


def divided(budget: int, spent: Mapping[str, int]) -> dict[str, int]:
    """Divide a budget; the parts add up to it, and none is 0, which would be no budget at all.

    Raises ValueError for a budget smaller than the number of proxies.
    """
    if budget < len(spent):
        raise ValueError(f"a budget of {budget} cannot be divided among {len(spent)} proxies")
    left = max(0, budget - sum(spent.values()))
    each, more = divmod(left, len(spent))
    parts = {name: mine + each + (place < more) for place, (name, mine) in enumerate(sorted(spent.items()))}
    # What was spent beyond the budget, and the 1 for each that would have nothing, is taken where most is.
    parts = {name: max(1, part) for name, part in parts.items()}
    while (over := sum(parts.values()) - budget) > 0:
        most = max(parts, key=lambda name: parts[name])
        parts[most] -= max(1, min(over, parts[most] - 1) // len(parts))
    return {name: parts[name] for name in spent}
