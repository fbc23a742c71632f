"""What only a Swarm has: nodes that take nothing, changes by other hands, secrets that are left, no Swarm at all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deployer.core.clock import SystemClock
from deployer.core.errors import DriverFailed, Refused
from deployer.drivers.runtime.swarm import SwarmRuntime, api
from deployer.drivers.runtime.swarm.options import NANO, moved
from deployer.drivers.runtime.swarm.runtime import SwarmOwner
from deployer.drivers.runtime.swarm.view import SwarmView
from deployer.manifest.models import Manifest
from tests import swarm
from tests.conformance.runtimes import SwarmBench, get, silent, wait_until_it_answers
from tests.services import require
from tests.waiting import within

pytestmark = [pytest.mark.live, pytest.mark.long("a Swarm of its own")]


@pytest.fixture
def bench(swarm_node: str) -> Iterator[SwarmBench]:
    made = SwarmBench(swarm_node)
    try:
        yield made
    finally:
        made.close()


def test_what_no_node_takes_is_named_and_leaves_nothing(bench: SwarmBench) -> None:
    nowhere = {"constraints": ["node.labels.disk==ssd"]}
    spec = bench.spec(bench.release(swarm=nowhere, secrets=["PASSWORD"]), PASSWORD="hunter2")
    with pytest.raises(DriverFailed, match=r"no node fits: no suitable node \(scheduling constraints"):
        bench.runtime.ensure(spec, within())
    assert bench.runtime.instances(bench.service) == ()
    with swarm.client(bench.socket) as engine:
        assert engine.secrets.list() == []


def test_a_reservation_that_no_node_has_free_is_named(bench: SwarmBench) -> None:
    with pytest.raises(DriverFailed, match="insufficient resources"):
        bench.runtime.ensure(bench.spec(bench.release(swarm={"reserve": {"memory": "4000g"}})), within())


def test_an_instance_that_another_hand_updated_is_told_and_made_again(bench: SwarmBench) -> None:
    spec = bench.spec(bench.release(), index=1)
    first = bench.runtime.ensure(spec, within())
    assert first.drift == ""
    with swarm.client(bench.socket) as engine:
        engine.services.get(first.runtime_id).update(env=["VERSION=9.9"])  # type: ignore[no-untyped-call]
    within().until(lambda: bool(bench.runtime.instances(bench.service)[0].drift), "the change shows")
    assert "by somebody else" in bench.runtime.instances(bench.service)[0].drift
    assert "Env" in bench.runtime.instances(bench.service)[0].drift

    second = bench.runtime.ensure(spec, within())
    wait_until_it_answers(second)
    assert second.drift == ""
    assert second.runtime_id != first.runtime_id
    assert get(second, "/version").text == "1.0\n"


def test_a_move_of_ours_is_no_change_by_another_hand(bench: SwarmBench) -> None:
    made = bench.runtime.ensure(bench.spec(bench.release(), index=1), within())
    with swarm.client(bench.socket) as engine:
        for moves in (1, 2):
            service = api.service(engine, made.name)
            assert service is not None
            api.update(engine, service, moved(service))
            (found,) = bench.runtime.instances(bench.service)
            assert (found.drift, found.runtime_id) == ("", made.runtime_id), moves
        engine.services.get(made.runtime_id).update(env=["VERSION=9.9"])  # type: ignore[no-untyped-call]
    assert "Env" in bench.runtime.instances(bench.service)[0].drift


def test_the_heartbeat_is_that_of_the_swarm(bench: SwarmBench) -> None:
    assert SwarmView("one", [swarm.link(bench.socket, "one")], (), {}).heartbeat() == swarm.HEARTBEAT / NANO


def test_secrets_whose_instance_is_gone_are_garbage(bench: SwarmBench) -> None:
    release = bench.release(secrets=["PASSWORD"])
    instance = bench.runtime.ensure(bench.spec(release, PASSWORD="hunter2"), within())
    assert bench.runtime.garbage([release]) == ()
    with swarm.client(bench.socket) as engine:
        engine.services.get(instance.runtime_id).remove()  # type: ignore[no-untyped-call]
        (left,) = bench.runtime.garbage([release])
        assert left.startswith("deployer-")
        within().until(lambda: left in bench.runtime.collect_garbage([release]), "nothing uses it any more")
        assert engine.secrets.list() == []


def test_a_service_of_somebody_else_is_never_touched(bench: SwarmBench) -> None:
    spec = bench.spec(bench.release())
    with swarm.client(bench.socket) as engine:
        taken = engine.services.create(bench.reference("1.0"), name=spec.name)  # type: ignore[no-untyped-call]
        with pytest.raises(DriverFailed, match="that deployer does not manage"):
            bench.runtime.ensure(spec, within())
        assert bench.runtime.foreign(bench.service) == (spec.name,)
        taken.remove()


def test_an_engine_that_is_in_no_swarm_is_refused() -> None:
    require("root", "dockerd")
    with swarm.own_engine() as engine:
        runtime = SwarmRuntime(SystemClock(), SwarmOwner("one"), [swarm.link(engine.socket, "one")])
        manifest = Manifest.model_validate({"service": "shop", "image": "shop", "port": 80, "runtime": "swarm"})
        with pytest.raises(Refused, match="the engine of this host is not part of a Swarm") as refused:
            runtime.resolve(manifest, "shop:1.0", within(), silent)
        assert "docker swarm init" in refused.value.hint
        assert runtime.list_all() == ()
        assert runtime.garbage([]) == ()
