"""Plans as data: one JSON file a case, `{manifest, strategy, options, observed, plan}`; no Python to add one.

`hosts` and `twin` name those of the inventory on which both releases stand.

`UPDATE_GOLDEN=1` rewrites the plans; read the difference before you commit it.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployer.core.host import Host
from deployer.manifest.models import Manifest
from deployer.model import PLACES, Environment, Instance, Live, Observed, Release
from deployer.planning.plan import Plan
from deployer.planning.sets import with_meetings
from deployer.planning.strategy import load

REPOSITORY = Path(__file__).parents[2]
SETS = sorted((Path(__file__).parent / "sets").glob("*.json"))
CASES = sorted((Path(__file__).parent / "plans").glob("*.json"))
BASE = {"service": "shop", "image": "shop:1", "port": 8080, "health": {"http": "/up"}}


def release(number: int, manifest: Manifest, case: dict[str, Any]) -> Release:
    made = Release("shop", number, f"{number}.0", f"shop:{number}", f"sha256:{number}", manifest, f"hash{number}")
    return replace(made, hosts=hosts(case.get("hosts", [])), twin=hosts(case.get("twin", [])))


def hosts(names: list[str]) -> tuple[Host, ...]:
    return tuple(Host(name, f"192.0.2.{n}", "ssh", name) for n, name in enumerate(names, 1))


def environment(colour: str, number: int, count: int) -> Environment:
    instances = tuple(
        Instance("shop", colour, number, n, f"shop-r{number}-{n}", f"id{n}", f"127.0.0.1:{21000 + n}", "running")  # type: ignore[arg-type]
        for n in range(1, count + 1)
    )
    return Environment("shop", colour, number, instances)  # type: ignore[arg-type]


def observed(case: dict[str, Any], manifest: Manifest) -> Observed:
    data = case.get("observed")
    if data is None:
        return Observed("shop", None, None)
    environments = {c: environment(c, *data[c]) for c in PLACES if c in data}
    stable = release(environments[data["stable"]].release, manifest, case)
    blue, green, baseline = (environments.get(place) for place in PLACES)
    return Observed("shop", Live(data["stable"]), stable, blue, green, baseline)


def plan_of(case: dict[str, Any]) -> Plan:
    manifest = Manifest.model_validate({**BASE, **case.get("manifest", {})})
    strategy = load(case["strategy"], REPOSITORY / "nowhere")
    options = strategy.parse(case.get("options", {}))
    return strategy.make(observed(case, manifest), release(9, manifest, case), options)


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_plan(path: Path) -> None:
    case = json.loads(path.read_text())
    plan = plan_of(case)
    assert Plan.from_json(plan.to_json()) == plan
    if os.environ.get("UPDATE_GOLDEN"):
        case["plan"] = json.loads(plan.to_json())
        path.write_text(json.dumps(case, indent=1) + "\n")
    assert json.loads(plan.to_json()) == case["plan"]


@pytest.mark.parametrize("path", SETS, ids=lambda p: p.stem)
def test_plans_of_a_set(path: Path) -> None:
    case = json.loads(path.read_text())
    plans = {name: replace(plan_of(member), service=name) for name, member in case["members"].items()}
    made = with_meetings(plans, case["groups"])
    assert all(Plan.from_json(plan.to_json()) == plan for plan in made.values())
    assert all(plan.problem() == "" for plan in made.values())
    gates = {name: [step.explain() for step in plan.forward] for name, plan in made.items()}
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(json.dumps({**case, "forward": gates}, indent=1) + "\n")
        case["forward"] = gates
    assert gates == case["forward"]


def test_there_are_cases_for_every_built_in_strategy() -> None:
    covered = {json.loads(p.read_text())["strategy"] for p in CASES}
    assert covered == {p.stem for p in (REPOSITORY / "strategies").glob("*.py")}
