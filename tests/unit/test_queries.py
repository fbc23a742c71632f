"""What `deploy status` and `deploy doctor` say is so: in order, at rest, held, gone, and when nobody answers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deployer.app import doctor, operations
from deployer.app.operations import AppContext
from deployer.app.status import status_of
from deployer.core.errors import DriverFailed
from deployer.model import Instance
from deployer.views import tables
from tests.house import house, request
from tests.memory import MemoryRuntime, World

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def shop(state: Path, world: World) -> Iterator[AppContext]:
    with house(state, world) as opened:
        yield opened


def deploy(shop: AppContext, version: str, strategy: str = "bluegreen", **more: object) -> None:
    operations.deploy(shop, request(version, strategy, REPOSITORY, **more))


def headline(shop: AppContext) -> str:
    return tables.render(status_of(shop, "shop"), shop.clock.now()).splitlines()[0]


# What nobody who asks a question waits for: models of the manifest, SDKs, and all that changes something
HEAVY = ("docker", "requests", "pydantic", "rich", "yaml", "deployer.engine.run", "deployer.judge.verdicts")


def test_a_question_imports_nothing_heavy(shop: AppContext, state: Path) -> None:
    deploy(shop, "1.0")
    code = (
        "import sys; from deployer.cli import main; code = main(sys.argv[1:]);"
        f"print('LOADED', sorted(set({HEAVY!r}) & set(sys.modules))); sys.exit(code)"
    )
    nowhere = {**os.environ, "DOCKER_HOST": f"unix://{state}/no-engine.sock"}
    asked = [sys.executable, "-c", code, "status", "--service", "shop", "--state", str(state)]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=True, env=nowhere)
    assert "no Docker engine" in done.stdout
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_nothing_to_go_back_to_is_not_proposed(shop: AppContext) -> None:
    deploy(shop, "1.0")
    assert status_of(shop, "shop").next == ""
    deploy(shop, "2.0")
    assert status_of(shop, "shop").next == "`deploy rollback` returns to the previous release"
    operations.rollback(shop, "shop")
    assert status_of(shop, "shop").next == "", "2.0 was left, and nothing was before 1.0"


def test_a_held_rollout_says_why_and_what_leads_on(shop: AppContext) -> None:
    deploy(shop, "1.0")
    deploy(shop, "2.0", "canary", options={"hold": True})

    assert "`deploy promote`" in status_of(shop, "shop").next
    assert "`deploy resume`" in status_of(shop, "shop").next


def test_an_undecided_rollout_says_what_is_missing(shop: AppContext, world: World) -> None:
    deploy(shop, "1.0")
    world.rate = 0.0
    deploy(shop, "2.0", "canary", options={"steps": [10]}, manifest={"judge": {"undecided": "hold"}})

    assert status_of(shop, "shop").next.startswith("inconclusive: r2 at 10% within 10 s: ")


def test_a_release_of_which_nothing_runs_is_not_called_live(shop: AppContext, world: World) -> None:
    deploy(shop, "1.0")
    for name, instance in world.instances.items():
        world.instances[name] = replace(instance, state="exited", exit_code=137)
    view = status_of(shop, "shop")

    assert headline(shop) == "shop  no release is live"
    assert view.problems == ("r1 should be live, but nothing of it runs: `deploy up` brings it back",)
    assert [f.remedy for f in doctor.examine(shop, None).findings if "exited" in f.text] == [
        "`deploy logs`, then `deploy up`"
    ] * 2


def test_an_engine_that_does_not_answer_says_nothing_about_its_instances(
    shop: AppContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(_self: MemoryRuntime, _service: str) -> tuple[Instance, ...]:
        raise DriverFailed("no engine answers", "start it")

    deploy(shop, "1.0")
    monkeypatch.setattr(MemoryRuntime, "instances", silent)
    view = status_of(shop, "shop")
    told = [(f.text, f.remedy) for f in doctor.examine(shop, None).findings if f.what == "shop"]

    assert headline(shop) == "shop  what is live could not be read"
    assert not view.read
    assert view.problems == ("no engine answers\n  → start it",)
    assert view.next == "`deploy doctor` says what is missing"
    assert told == [("no engine answers", "start it")], "nothing is said to be gone"
