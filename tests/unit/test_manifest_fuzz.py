"""Whatever a file holds, loading it ends with a manifest or with ManifestRefused."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from deployer.core.errors import ManifestRefused, Problem
from deployer.manifest.load import load
from deployer.manifest.models import Manifest
from deployer.manifest.shape import sections
from deployer.manifest.words import _SAY

KEYS = sorted({key for _, section in sections() for key in section.model_fields})
SINGLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["${A}", "${", "$$", "200-399", "30s", "1x", "*:80", "/up", "docker", "10.0.0.0/8", "a b", "A=1"]),
)
VALUES = st.recursive(
    SINGLE,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
fuzz = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
GOOD: dict[str, Any] = {"service": "shop", "image": "shop:1", "port": 8080}


@pytest.fixture(scope="module")
def file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dp", dir="/tmp") as folder:
        yield Path(folder) / "deploy.yml"


def check_loading(file: Path, raw: bytes) -> None:
    file.write_bytes(raw)
    problems: tuple[Problem, ...] | None = None
    try:
        load(file, environ={"A": "x"})
    except ManifestRefused as refused:
        problems = refused.problems
        str(refused).encode()
    assert problems is None or (problems and all(problem.message for problem in problems))


@fuzz
@given(st.binary(max_size=200))
@example(b"%YAML 3.0\n---\na: 1")
@example(b"\xff\xfe\x00\x00")
@example(b'a: "\\x"')
@example(b"? ? ? ? :")
@example(b"- " * 5000)
@example(b"{" * 5000)
def test_any_bytes(file: Path, raw: bytes) -> None:
    check_loading(file, raw)


@fuzz
@given(st.text(alphabet=" \n-:?[]{},&*!|>'\"%@`#abc01~<$", max_size=60))
def test_any_text_that_looks_like_yaml(file: Path, text: str) -> None:
    check_loading(file, text.encode())


@fuzz
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6))
def test_any_values_under_known_keys(file: Path, values: dict[str, Any]) -> None:
    check_loading(file, yaml.safe_dump({**GOOD, **values}, allow_unicode=True).encode("utf-8", "surrogatepass"))


@fuzz
@given(st.data())
def test_every_error_of_a_value_has_words(data: st.DataObject) -> None:
    path, section = data.draw(st.sampled_from(list(sections())))
    key = data.draw(st.sampled_from(list(section.model_fields)))
    inner: Any = {key: data.draw(VALUES)}
    for name in reversed(path.split(".") if path else []):
        inner = {name.removesuffix("[]"): [inner] if name.endswith("[]") else inner}

    kinds: set[str] = set()
    try:
        Manifest.model_validate({**GOOD, **inner})
    except ValidationError as errors:
        kinds = {error["type"] for error in errors.errors()}
    assert kinds <= _SAY.keys()


@fuzz
@given(st.text(max_size=30))
def test_a_value_that_json_can_write_yaml_reads(file: Path, text: str) -> None:
    """Manifests that machines write are JSON, which is YAML."""
    file.write_text(json.dumps({**GOOD, "env": {"V": text.replace("$", "$$")}}))
    if "\0" in text:
        with pytest.raises(ManifestRefused):
            load(file, environ={})
    else:
        assert load(file, environ={}).manifest.env["V"] == text
