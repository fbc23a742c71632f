"""Tests of the wait for healthy instances: what is told of one that does not become healthy."""

from __future__ import annotations

import pytest

from deployer.core.clock import Deadline
from deployer.engine.health import Ill, await_health
from deployer.manifest.models import Manifest
from deployer.model import Instance
from tests.memory import FakeClock

INSTANCE = Instance("shop", "green", 2, 1, name="shop-r2-1", address="127.0.0.1:1", state="running", runtime_id="id")


class Probes:
    """Checks whose probes take time and see one thing after the other; the last one again and again."""

    def __init__(self, clock: FakeClock, seconds: float, *seen: str) -> None:
        self.clock, self.seconds, self.seen = clock, seconds, list(seen)

    def probe(self, manifest: Manifest, instance: Instance, deadline: Deadline) -> str:
        left = deadline.left()
        if not left:
            return "not asked: no time was left"
        self.clock.sleep(min(self.seconds, left))
        if self.seconds > left:
            return f"no response within {left:g} s"
        return self.seen.pop(0) if len(self.seen) > 1 else self.seen[0]

    def smoke(self, manifest: Manifest, base: str, headers: dict[str, str], deadline: Deadline) -> str:
        raise NotImplementedError


def awaited(seconds: float, *seen: str, rise: int = 2, timeout: str = "2s") -> Ill | None:
    clock = FakeClock()
    health = {"http": "/up", "interval": "1s", "timeout": timeout, "rise": rise}
    manifest = Manifest.model_validate({"service": "shop", "image": "shop:1", "port": 80, "health": health})
    return await_health(Probes(clock, seconds, *seen), manifest, lambda: (INSTANCE,), Deadline.after(clock, 5))


@pytest.mark.parametrize("seconds", [0.0, 0.3, 0.9, 1.5, 2.0])
def test_what_the_last_whole_probe_saw_is_told(seconds: float) -> None:
    assert awaited(seconds, "connection refused", "HTTP 404") == Ill(INSTANCE, "HTTP 404")


def test_too_few_passes_in_a_row_are_told_with_their_number() -> None:
    assert awaited(1.5, "HTTP 404", "", rise=3) == Ill(INSTANCE, "1 of 3 passes in a row")


def test_a_failure_that_came_in_time_ends_a_row_of_passes_also_shortly_before_the_deadline() -> None:
    assert awaited(0.0, "", "HTTP 503", "", "HTTP 503", timeout="9s") == Ill(INSTANCE, "HTTP 503")


def test_a_first_probe_without_time_says_so() -> None:
    assert awaited(9.0, "") == Ill(INSTANCE, "no response within 5 s")


def test_a_last_probe_that_is_cut_short_and_passes_counts() -> None:
    assert awaited(1.0, "HTTP 404", "HTTP 404", "", rise=1) is None


@pytest.mark.parametrize(
    ("health", "failures", "seconds"),
    [
        ({"http": "/up"}, 0, 1.0),
        ({"http": "/up"}, 3, 1.3),  # a start that takes 0.3 s is not waited for until the first interval is over
        ({"tcp": True}, 3, 1.3),
        ({"http": "/up"}, 30, 12.1),  # 2.1 s of quick probes, nine slow ones, and the second pass
        ({"command": ["true"]}, 3, 4.0),  # a command in an instance costs more than a probe
    ],
)
def test_an_instance_is_probed_quicker_until_it_first_passes(
    health: dict[str, object], failures: int, seconds: float
) -> None:
    clock = FakeClock()
    manifest = Manifest.model_validate(
        {"service": "shop", "image": "shop:1", "port": 80, "health": {"interval": "1s", "deadline": "1m", **health}}
    )
    probes = Probes(clock, 0.0, *["connection refused"] * failures, "")
    before = clock.monotonic()
    assert await_health(probes, manifest, lambda: (INSTANCE,), Deadline.after(clock, 60)) is None
    assert clock.monotonic() - before == pytest.approx(seconds)
