"""The edge to the Docker SDK: every error becomes one of ours, every call ends."""

from __future__ import annotations

import inspect
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker.errors
import pytest
import requests
import urllib3

from deployer.clock import Deadline, SystemClock
from deployer.drivers.runtime.docker import DockerRuntime
from deployer.drivers.runtime.docker.engine import Engine, translated
from deployer.errors import DeadlinePassed, DriverFailed, Refused
from deployer.manifest.models import Manifest

SDK_ERRORS = [error for _, error in inspect.getmembers(docker.errors, inspect.isclass) if issubclass(error, Exception)]
OTHERS = [
    requests.ConnectionError,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.ProtocolError,
    ConnectionResetError,
    BrokenPipeError,
]
MANIFEST = Manifest.model_validate({"service": "shop", "image": "shop:1", "port": 80})


def made(error: type[Exception]) -> Exception:
    """Make an instance of any exception class, whatever its constructor asks for."""
    instance = error.__new__(error)
    Exception.__init__(instance, "what the engine said")
    vars(instance).update(response=None, explanation="what the engine said", msg="what the engine said")
    vars(instance).update(name="x", param="x", command="x", image="x", exit_status=1, stderr=b"x", container="x")
    return instance


@pytest.mark.parametrize("error", [*SDK_ERRORS, *OTHERS], ids=lambda error: error.__name__)
def test_every_error_of_the_sdk_is_ours_at_the_edge(error: type[Exception]) -> None:
    with pytest.raises(DriverFailed, match="start shop-r1-1") as failed, translated("start shop-r1-1", "unix:///x", 5):
        raise made(error)
    assert failed.value.__cause__ is not None


@pytest.mark.parametrize(
    "error", [requests.ReadTimeout, requests.ConnectTimeout, urllib3.exceptions.ReadTimeoutError, TimeoutError]
)
def test_a_time_out_says_how_long_it_was(error: type[Exception]) -> None:
    with pytest.raises(DeadlinePassed, match="did not answer within 5 s"), translated("start", "unix:///x", 5):
        raise made(error)


def test_mistakes_of_our_own_are_not_hidden() -> None:
    with pytest.raises(KeyError), translated("start", "unix:///x", 5):
        raise KeyError("ours")


@contextmanager
def deaf_engine() -> Iterator[str]:
    """Listen, and never answer."""
    with tempfile.TemporaryDirectory(prefix="dp", dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/s")
        server.listen()
        yield f"unix://{folder}/s"


def silent(kind: str, **data: Any) -> None:
    """Take the place of the engine's `tell`."""


def within(seconds: float) -> Deadline:
    return Deadline.after(SystemClock(), seconds)


def test_a_deaf_engine_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with deaf_engine() as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        began = time.monotonic()
        with pytest.raises((DeadlinePassed, DriverFailed)), Engine().client("ping", 0.3):
            pytest.fail("connected to an engine that says nothing")
        assert time.monotonic() - began < 3


def test_a_missing_engine_is_refused_before_a_rollout_and_fails_within_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/socket")
    runtime = DockerRuntime(SystemClock(), "/state")
    with pytest.raises(Refused, match="no Docker engine answers at unix:///no/such/socket") as refused:
        runtime.resolve(MANIFEST, "shop:1", within(5), silent)
    assert "runtime: process" in refused.value.hint
    with pytest.raises(DriverFailed, match="/no/such/socket"):
        runtime.instances("shop")


def test_an_engine_of_another_user_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(timeout: float, version: str | None) -> docker.DockerClient:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(Refused, match="Permission denied") as refused:
        Engine(refuse).require()
    assert "group" in refused.value.hint


def test_docker_over_ssh_is_refused_with_the_way_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "ssh://web1")
    with pytest.raises(Refused, match="no time-outs") as refused:
        DockerRuntime(SystemClock(), "/state").resolve(MANIFEST, "shop:1", within(5), silent)
    assert "ssh -nNT" in refused.value.hint


def test_nothing_of_the_sdk_is_imported_before_it_is_needed() -> None:
    source = "import sys; import deployer.drivers.runtime.docker; sys.exit('docker' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", source], cwd=root, timeout=30).returncode == 0
