"""Waiting until instances are healthy: the gate of a rollout, hosts that come back, and repairs wait alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployer.core.clock import Deadline
from deployer.drivers.ports import Checks
from deployer.model import Instance

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest


# Until an instance has passed its first probe, and for so many seconds, probes that cost next to nothing come quicker:
# most instances begin to listen a moment after their start.
QUICK, QUICKLY = 0.1, 2.0


@dataclass(frozen=True)
class Ill:
    """An instance that did not become healthy in time, and why, as its last probe saw it."""

    instance: Instance
    why: str


def await_health(
    checks: Checks,
    manifest: Manifest,
    look: Callable[[], Sequence[Instance]],
    deadline: Deadline,
    told: Callable[[int, int], None] = lambda _ready, _of: None,
) -> Ill | None:
    """Wait until all that `look` gives passed `passes` probes in a row. Return one that had not at the deadline.

    After each round `told` hears how many have, and of how many. What `look` raises ends the wait.

    A failure of a probe that the deadline cut short says something about the time, not about the instance: it counts
    only where nothing else was seen.
    """
    health = manifest.health
    passed: dict[str, int] = {}
    seen: dict[str, str] = {}
    cheap = health.kind in ("http", "tcp")
    quick = Deadline.after(deadline.clock, QUICKLY if cheap else 0)

    while True:
        instances = look()
        for instance in instances:
            short_of_time = deadline.left() < health.timeout
            problem = checks.probe(manifest, instance, deadline)
            if problem and short_of_time and deadline.passed() and instance.name in seen:
                continue
            seen[instance.name] = problem
            passed[instance.name] = 0 if problem else passed.get(instance.name, 0) + 1
        ill = [i for i in instances if passed[i.name] < health.passes]
        told(len(instances) - len(ill), len(instances))
        if not ill:
            return None
        if deadline.passed():
            name = ill[0].name
            return Ill(ill[0], seen[name] or f"{passed[name]} of {health.passes} passes in a row")
        coming = any(passed[i.name] == 0 for i in ill) and not quick.passed()
        pause = min(health.interval, QUICK) if coming else health.interval
        deadline.clock.sleep(min(pause, max(deadline.left(), 0.001)))
