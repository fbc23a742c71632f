"""The JSON Schema: valid itself, takes what the loader takes, refuses what it can see."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from deployer.manifest.models import Manifest
from deployer.manifest.reference import reference
from deployer.manifest.schema import schema

GOOD: dict[str, Any] = {"service": "shop", "image": "shop", "port": 8080}
VALIDATOR = Draft202012Validator(schema())


def test_it_is_a_schema_of_its_own_kind() -> None:
    made = schema()

    Draft202012Validator.check_schema(made)
    assert made["$schema"].endswith("2020-12/schema")
    assert made["$id"]
    assert json.loads(json.dumps(made)) == made


TAKEN_BY_BOTH: list[dict[str, Any]] = [
    {},
    {"secrets": ["A", "B"]},
    {"secrets": {"A": {"env": "B"}}},
    {"strategy": "canary"},
    {"strategy": {"canary": {"steps": [1]}}},
    {"strategy": {"canary": None}},
    {"keep": {"warm": "1h30m"}},
    {"keep": {"warm": 90}},
    {"limits": {"memory": "512m", "cpus": 1}},
    {"limits": {"memory": 536870912}},
    {"judge": {"errors": {"margin": "2x", "add": "0.1%", "max": 5}}},
    {"env": {"A": 1, "B": True, "C": "x", "D": 1.5}},
    {"version": 2.0},
    {"command": ["sleep", 1]},
    {"health": None},
    {"env": None},
    {"health": {"http": "/up", "status": 200}},
    {"traffic": {"domains": ["Shop.Example.com", "*.example.com"], "listen": "[::1]:80"}},
    {"user": 1000},
    {"freeze": ["Fri 16:00-Mon 08:00", "22:00-06:00"]},
]
REFUSED_BY_BOTH: list[dict[str, Any]] = [
    {"port": "8080"},
    {"replicas": 0},
    {"replicas": 1.5},
    {"read_only": "yes"},
    {"nonsense": 1},
    {"health": {"htp": "/up"}},
    {"health": "/up"},
    {"env": {"A-B": "x"}},
    {"env": {"A": None}},
    {"env": ["A=1"]},
    {"secrets": ["A-B"]},
    {"secrets": {"A": "value"}},
    {"strategy": {"a": {}, "b": {}}},
    {"strategy": 5},
    {"keep": {"warm": "soon"}},
    {"command": "./server"},
    {"smoke": [{}]},
    {"traffic": {"domains": ["https://x"]}},
    {"traffic": {"tls": {"certificates": []}}},
    {"judge": {"undecided": "maybe"}},
]


def accepts(values: dict[str, Any]) -> bool:
    try:
        Manifest.model_validate(values)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("more", TAKEN_BY_BOTH, ids=json.dumps)
def test_what_both_take(more: dict[str, Any]) -> None:
    assert VALIDATOR.is_valid({**GOOD, **more})
    assert accepts({**GOOD, **more})


@pytest.mark.parametrize("more", REFUSED_BY_BOTH, ids=json.dumps)
def test_what_both_refuse(more: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid({**GOOD, **more})
    assert not accepts({**GOOD, **more})


@pytest.mark.parametrize(
    "more",
    [{"replicas": "${N}"}, {"read_only": "${RO:-false}"}, {"runtime": "${R:?which}"}, {"keep": {"warm": "${W}"}}],
)
def test_a_variable_stands_for_any_single_value(more: dict[str, Any]) -> None:
    assert VALIDATOR.is_valid({**GOOD, **more})


@pytest.mark.parametrize("key", sorted(GOOD.keys() - {"port"}))
def test_what_is_required(key: str) -> None:
    assert not VALIDATOR.is_valid({k: v for k, v in GOOD.items() if k != key})
    assert not VALIDATOR.is_valid({**GOOD, key: None})


def test_every_key_is_described() -> None:
    made = schema()
    sections = [made, *(s for s in made["$defs"].values() if "properties" in s)]

    assert not [key for s in sections for key, value in s["properties"].items() if not value.get("description")]
    assert not [s["title"] for s in sections if not s.get("description")]


def test_the_reference_page_is_current() -> None:
    page = Path(__file__).parents[2] / "docs" / "manifest.md"

    assert page.read_text() == reference(), "run python -m deployer.manifest.reference > docs/manifest.md"


def test_the_reference_page_is_printed_by_its_command() -> None:
    command = [sys.executable, "-m", "deployer.manifest.reference"]

    assert subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout == reference()
