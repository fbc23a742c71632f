"""Contexts of Docker's own client as names of engines; they are made by `docker context create` itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from deployer.core.errors import Refused
from deployer.drivers.runtime.docker import Engine
from deployer.transport import contexts
from tests.services import require
from tests.unit.test_manifest_examples import pem


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    require("buildx")
    made = {"DOCKER_CONFIG": str(tmp_path / "docker"), "PATH": "/usr/bin:/bin"}
    for name, endpoint in {
        "rootless": "host=unix:///run/user/1000/docker.sock",
        "staging": f"host=tcp://10.0.0.7:2376,ca={_certificate(tmp_path)}",
        "careless": "host=tcp://10.0.0.8:2376,skip-tls-verify=true",
    }.items():
        command = ["docker", "context", "create", name, "--docker", endpoint]
        subprocess.run(command, env=made, check=True, capture_output=True, timeout=120)
    return made


def _certificate(folder: Path) -> Path:
    file = folder / "ca.pem"
    file.write_text(pem(folder).read_text())  # the client reads it
    return file


def test_a_context_takes_the_place_of_its_name(environ: dict[str, str]) -> None:
    local = contexts.resolved({**environ, "DOCKER_CONTEXT": "rootless", "DOCKER_TLS_VERIFY": "1"})
    assert local == {**environ, "DOCKER_HOST": "unix:///run/user/1000/docker.sock"}

    far = contexts.resolved({**environ, "DOCKER_CONTEXT": "staging"})
    assert (far["DOCKER_HOST"], far["DOCKER_TLS_VERIFY"]) == ("tcp://10.0.0.7:2376", "1")
    assert "BEGIN CERTIFICATE" in (Path(far["DOCKER_CERT_PATH"]) / "ca.pem").read_text()


def test_docker_host_wins_and_the_default_context_is_none(environ: dict[str, str]) -> None:
    both = {**environ, "DOCKER_CONTEXT": "staging", "DOCKER_HOST": "unix:///here.sock"}
    assert contexts.resolved(both) == {**environ, "DOCKER_HOST": "unix:///here.sock"}
    assert contexts.resolved({**environ, "DOCKER_CONTEXT": "default"}) == environ


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("stagin", "there is no Docker context stagin\n  → did you mean staging?"),
        ("zzz", "there is no Docker context zzz\n  → known are careless, rootless, staging"),
        ("careless", "does not verify its engine"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(environ: dict[str, str], name: str, told: str) -> None:
    with pytest.raises(Refused) as refused:
        contexts.find(name, environ)
    assert told in str(refused.value)


def test_a_damaged_context_is_named(environ: dict[str, str], tmp_path: Path) -> None:
    for file in tmp_path.glob("docker/contexts/meta/*/meta.json"):
        file.write_text("{")
    with pytest.raises(Refused, match=r"rootless cannot be read: .*meta\.json"):
        contexts.find("rootless", environ)
    assert contexts.known(environ) == []


def test_the_engine_of_this_host_may_be_named_by_a_context(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", environ["DOCKER_CONFIG"])
    monkeypatch.setenv("DOCKER_CONTEXT", "rootless")
    engine = Engine()
    assert engine.address == "unix:///run/user/1000/docker.sock"
    with pytest.raises(Refused, match=r"no Docker engine at unix:///run/user/1000/docker\.sock"):
        engine.require()
    monkeypatch.setenv("DOCKER_CONTEXT", "nowhere")
    with pytest.raises(Refused, match="there is no Docker context nowhere"):
        engine.require()


def test_the_context_that_docker_uses_is_proposed_where_no_engine_is(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["docker", "context", "use", "staging"], env=environ, check=True, capture_output=True, timeout=120)
    assert json.loads((Path(environ["DOCKER_CONFIG"]) / "config.json").read_text())["currentContext"] == "staging"
    monkeypatch.setenv("DOCKER_CONFIG", environ["DOCKER_CONFIG"])
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    with pytest.raises(Refused) as refused:
        Engine().require()
    assert "DOCKER_CONTEXT=staging takes the same engine" in refused.value.hint
