"""Each of pydantic's errors that a manifest can cause has words of ours, without regexes and without secrets."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from deployer.manifest.models import Manifest
from deployer.manifest.tree import Position, Table, literal, node_at, spell, unspell
from deployer.manifest.validate import check
from deployer.manifest.words import _SAY, Wrong, explain

GOOD: dict[str, Any] = {"service": "shop", "image": "shop", "port": 8080}
TABLE: dict[str, tuple[dict[str, Any], str, str]] = {
    "missing": ({"mounts": [{"source": "a"}]}, "mounts[0].target", "is missing"),
    "extra_forbidden": ({"portt": 1}, "portt", "is not a key of a manifest → did you mean `port`?"),
    "string_type": ({"health": {"body": None, "host": ["a"]}}, "health.host", "must be text, not a list"),
    "int_type": ({"replicas": "two"}, "replicas", "must be a whole number, not 'two'"),
    "float_type": ({"limits": {"cpus": "two"}}, "limits.cpus", "must be a number, not 'two' → remove the quotes"),
    "finite_number": ({"keep": {"warm": float("inf")}}, "keep.warm", "must be a number that is not infinite"),
    "bool_type": ({"read_only": "on"}, "read_only", "must be true or false, not text → write true"),
    "greater_than_equal": ({"health": {"rise": 0}}, "health.rise", "must be at least 1, not 0"),
    "greater_than": ({"health": {"timeout": 0}}, "health.timeout", "must be more than 0s, not 0"),
    "less_than_equal": ({"keep": {"releases": 5000}}, "keep.releases", "must be at most 1000, not 5000"),
    "less_than": ({"judge": {"alpha": 0.9}}, "judge.alpha", "must be less than 0.5, not 0.9"),
    "tuple_type": ({"networks": "backend"}, "networks", "must be a list, not text → write [backend]"),
    "dict_type": ({"env": ["A=1"]}, "env", "must be keys with values, not a list → write NAME: value on each line"),
    "model_type": ({"stop": "10s"}, "stop", "must be keys with values, not text → its keys: signal, grace, drain"),
    "literal_error": (
        {"traffic": {"mode": "tpc"}},
        "traffic.mode",
        "must be http or tcp, not 'tpc' → did you mean `tcp`",
    ),
    "value_error": (
        {"user": "a b"},
        "user",
        "must be a user or user:group, by name or number, not 'a b' → e.g.",
    ),
    "string_too_long": ({"health": {"http": "/" * 2000}}, "health.http", "is longer than 1024 characters"),
    "string_too_short": ({"judge": {"metrics": [{"name": "a", "query": ""}]}}, "judge.metrics[0].query", "has no text"),
    "too_long": ({"traffic": {"routes": ["/a"] * 9}}, "traffic.routes", "has 9 entries, 8 at most are allowed"),
    "too_short": ({"command": []}, "command", "needs at least 1 entry"),
}


def test_the_table_is_complete() -> None:
    assert TABLE.keys() == _SAY.keys()


@pytest.mark.parametrize("kind", TABLE)
def test_words(kind: str) -> None:
    values, path, told = TABLE[kind]

    with pytest.raises(ValidationError) as errors:
        Manifest.model_validate({**GOOD, **values})
    (error,) = errors.value.errors()
    root = literal(values, Position("deploy.yml", 1))
    node = node_at(root, unspell(path))
    words = explain(Wrong(error["type"], error["loc"], error.get("ctx", {}), error["input"], node, error["msg"]))

    assert (error["type"], spell(error["loc"])) == (kind, path)
    assert f"{words.message} → {words.hint}".startswith(told)
    assert not set("^\\") & set(words.message + words.hint), "no regex is ever shown"


@pytest.mark.parametrize("key", ["env", "secrets"])
def test_what_might_be_secret_is_never_repeated(key: str) -> None:
    for value in ("hunter2", ["hunter2"], {"TOKEN": ["hunter2"]}, {"TOKEN": {"command": "hunter2"}}):
        root = literal({**GOOD, key: value}, Position("deploy.yml", 1))
        assert isinstance(root, Table)

        checked = check(root)

        assert checked.problems or (key, value) == ("secrets", ["hunter2"])
        assert "hunter2" not in str(checked.problems)


def test_paths_are_read_as_they_are_written() -> None:
    for path in (("a",), ("a", "b"), ("a", 0, "b"), ("smoke", 12), ()):
        assert unspell(spell(path)) == path
