"""What several proxies do as one, and where they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from deployer.model import Live, moved_at_proxy


def one(values: Mapping[str, Live]) -> Live:
    """Return the value that stands for all: the budget is that of all together.

    Where they differ, what an emergency did at any of them wins: whoever was moved by it is not moved again. Else a
    change did not come to its end: the value that most of them have, among equals the one with the smaller share.
    """
    counted = Counter(replace(live, budget=0) for live in values.values())
    moved = [live for live in counted if any(moved_at_proxy(before, live) for before in counted)]
    chosen = min(
        moved or counted, key=lambda live: (-counted[live], live.share + live.baseline, live.rollout, live.stable)
    )
    return replace(chosen, budget=sum(live.budget for live in values.values()), token=newest(values))


def newest(values: Mapping[str, Live]) -> int:
    """Return the greatest token among values: whoever was overtaken since they were read is refused with it."""
    return max((live.token for live in values.values()), default=0)


def joining(values: Mapping[str, Live]) -> Live:
    """Return the value that stands for all, for a proxy that begins to serve.

    The budget is with the others until it is divided again: where there is one, the first failed response ends it here.
    """
    found = one(values)
    return replace(found, budget=min(1, found.budget))


def differing(values: Mapping[str, Live]) -> dict[str, str]:
    """Return what each proxy does; empty where all do the same."""
    if len({replace(live, budget=0) for live in values.values()}) < 2:
        return {}
    return {name: live.explain() for name, live in values.items()}
