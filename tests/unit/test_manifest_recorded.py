"""A recorded manifest says the same as its models, and builds them only for what is no fact."""

from __future__ import annotations

import json
from functools import reduce
from typing import Any

import pytest

from deployer.manifest.models import Manifest
from deployer.manifest.recorded import EMPTY, FACTS, SECTIONS, recorded

MANIFESTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "all of it": {
        "replicas": 3,
        "update": ["a.yml", "b.yml"],
        "hooks": {"before": ["c.yml"], "after": ["d.yml"], "on_failure": ["e.yml"], "on_done": ["f.yml"]},
        "keep": {"warm": "2h", "releases": 7, "events": 9},
        "stop": {"drain": "1m", "grace": "1s"},
        "traffic": {"lease": "10s", "budget": 7, "handover": {"former": "5s"}},
    },
    "switched off": {"traffic": {"budget": False, "handover": False, "lease": 0}},
    "a team's proxy": {"traffic": {"haproxy": {"config": "/etc/haproxy/d", "socket": "/run/h.sock"}}},
    "tcp": {"traffic": {"mode": "tcp", "listen": "127.0.0.1:5000"}},
}


def made(given: dict[str, Any]) -> Manifest:
    return Manifest.model_validate({"service": "shop", "image": "shop:1", "port": 80, **given})


def refuse() -> Manifest:
    raise AssertionError("the models were built")


def value(manifest: Any, key: str) -> object:
    return reduce(lambda at, name: getattr(at, name, None), key.split("."), manifest)


@pytest.mark.parametrize("name", MANIFESTS)
@pytest.mark.parametrize("key", sorted((FACTS | EMPTY) - SECTIONS))
def test_a_fact_is_what_the_models_say(name: str, key: str) -> None:
    manifest = made(MANIFESTS[name])
    data = json.loads(json.dumps(manifest.record()))
    # That section has no facts of its own, nor has a list of hooks.
    whole = (key == "traffic.haproxy" or key in EMPTY) and value(manifest, key)
    load = (lambda: manifest) if whole else refuse
    assert value(recorded(data, load), key) == value(manifest, key)
    assert type(value(recorded(data, load), key)) is type(value(manifest, key)) or key == "traffic.haproxy"


def test_a_section_that_is_switched_off_is_none() -> None:
    known = recorded(json.loads(json.dumps(made(MANIFESTS["switched off"]).record())), refuse)
    assert (known.traffic.budget, known.traffic.handover) == (None, None)


def test_what_is_no_fact_comes_from_the_models() -> None:
    manifest = made({"health": {"http": "/up"}, "notify": {"to": []}})
    known = recorded(json.loads(json.dumps(manifest.record())), lambda: manifest)
    assert (known.health.kind, known.traffic.timeouts, known) == ("http", manifest.traffic.timeouts, manifest)
    with pytest.raises(AssertionError, match="built"):
        _ = recorded(manifest.record(), refuse).health


def test_the_record_of_a_record_is_that_record() -> None:
    data = made(MANIFESTS["all of it"]).record()
    assert recorded(data, refuse).record() == data
