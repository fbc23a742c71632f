"""What several proxies do as one, and where they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from deployer.model import Live


def one(values: Mapping[str, Live]) -> Live:
    """Give the value that stands for all: the budget is that of all together.

    Where they differ, a change did not come to its end: the one that most of them have, among equals the one with the
    smaller share, and of an older rollout. None of them is then what the caller wrote last, and it sees that.
    """
    counted = Counter(replace(live, budget=0) for live in values.values())
    chosen = min(counted, key=lambda live: (-counted[live], live.share + live.baseline, live.rollout, live.stable))
    return replace(chosen, budget=sum(live.budget for live in values.values()))


def differing(values: Mapping[str, Live]) -> dict[str, str]:
    """Say what each proxy does; empty where all do the same."""
    if len({replace(live, budget=0) for live in values.values()}) < 2:
        return {}
    return {name: live.explain() for name, live in values.items()}
