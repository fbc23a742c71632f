"""Two services that call each other, as processes: a client has one side in both, or is told where it is lost."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import pytest

from tests.live.chained import write_version
from tests.live.client import get
from tests.live.shop import Shop
from tests.services import require

pytestmark = [pytest.mark.live, pytest.mark.long("two services, each with a canary that lasts")]

SIDE = "X-Deployer-Side"


@dataclass
class Two:
    """A frontend that calls a backend, each with a manifest of its own, in one state folder."""

    frontend: Shop
    backend: Shop

    def version(self, shop: Shop, version: str, *, passes: bool = True) -> None:
        behind = self.backend.port if shop is self.frontend else 0
        write_version(shop.folder, version, behind, *(["passes"] if passes else []))

    def users(self, requests: int, threads: int = 6) -> Counter[str]:
        """Return what so many new clients got."""
        seen: Counter[str] = Counter()
        locked = threading.Lock()

        def run() -> None:
            mine = Counter(get(self.frontend.port).body for _ in range(requests // threads))
            with locked:
                seen.update(mine)

        several = [threading.Thread(target=run) for _ in range(threads)]
        for thread in several:
            thread.start()
        for thread in several:
            thread.join()
        return seen

    @contextmanager
    def canary(self, shop: Shop, version: str) -> Iterator[None]:
        """Have a candidate get its 10% meanwhile, and roll it back."""
        with shop.start("canary", "--version", version) as running:
            shop.wait(lambda status: status["share"] == 1000, f"{version} has its share")
            yield
            shop.deploy("abort", "--service", shop.name, "-m", "that is all")
            assert running.wait(120) == 6


@pytest.fixture
def two(state: Path) -> Iterator[Two]:
    require("haproxy")
    with ExitStack() as stack:
        shops = []
        for name in ("frontend", "backend"):
            (state / name).mkdir()
            shop = Shop(state / name, "process", None)
            shop.state = state / "state"
            shop.manifest |= {
                "replicas": 1,
                "strategy": {"canary": {"steps": [10], "for": "10m", "bake": "1s"}},
                "judge": {"requests": 5, "latency": False},
            }
            stack.callback(shop.close)
            shops.append(shop)
        made = Two(*shops)
        made.backend.manifest["traffic"]["chain"] = {"name": "shop", "callers": [made.frontend.name]}
        made.frontend.manifest["traffic"]["chain"] = "shop"
        for shop in (made.backend, made.frontend):
            shop.write()
            made.version(shop, "v1")
            made.version(shop, "v2")
            shop.deploy("bluegreen", "--bake", "0", "--version", "v1")
        yield made


def lost(shop: Shop) -> list[str]:
    """Return what the status says of a side that is lost."""
    return [problem for problem in shop.status()["problems"] if problem.startswith("side is lost")]


def test_no_answer_is_mixed_and_who_loses_the_side_is_named(two: Two) -> None:
    two.version(two.frontend, "v3", passes=False)
    with two.canary(two.backend, "v2"):
        with two.canary(two.frontend, "v2"):
            seen = two.users(3000)
            assert seen.keys() == {"v1-v1", "v2-v2"}, seen
            assert abs(seen["v2-v2"] - 300) <= 4.5 * sqrt(3000 * 0.1 * 0.9), seen
            forged = get(two.frontend.port, headers={SIDE: "candidate.drawn.1.1000.1.9999999999." + "0" * 32})
            assert forged.body in ("v1-v1", "v2-v2")
            assert lost(two.backend) == []
        assert {answer[:2] for answer in two.users(30)} == {"v1"}, "the frontend is rolled back"
        with two.canary(two.frontend, "v3"):
            seen = two.users(1500)
            assert seen["v3-v1"] > 0, "the release that loses it gets any backend"
            assert seen["v1-v2"] == 0, "the others keep it"
            two.backend.wait(lambda status: bool(lost_in(status)), "it is said")
            (text,) = lost(two.backend)
            assert f"between {two.frontend.name} and {two.backend.name}: " in text
            assert "instead of 10%" in text
    (told,) = history(two.backend, "side.lost")[-1:]
    assert told["without"] >= 20
    assert told["share"] == 1000
    assert told["candidate"] < told["requests"] * 0.05
    report = two.backend.deploy("report", "--service", two.backend.name, "--format", "md").stdout
    assert "side is lost between" in report


def lost_in(status: dict[str, Any]) -> list[str]:
    return [problem for problem in status["problems"] if problem.startswith("side is lost")]


def history(shop: Shop, kind: str) -> list[dict[str, Any]]:
    """Return the recorded events of a kind, of the newest rollout."""
    shown = shop.deploy("show", "--service", shop.name, "--output", "json").stdout
    return [each for line in shown.splitlines() for each in events_in(json.loads(line)) if each.get("event") == kind]


def events_in(data: Any) -> list[dict[str, Any]]:
    found = data.get("events", []) if isinstance(data, dict) else []
    return found if isinstance(found, list) else []
