"""Both versions of the third-party application run, answer their health endpoint and can be told apart from outside."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import docker
import pytest
import requests

from deployer.core.clock import Deadline, SystemClock
from tests.lab import thirdparty

pytestmark = pytest.mark.live


def answers(base: str) -> bool:
    try:
        return requests.get(base + thirdparty.HEALTH, timeout=2).status_code == 200
    except requests.RequestException:
        return False


def check(base: str, version: str) -> None:
    Deadline.after(SystemClock(), 60).until(lambda: answers(base), f"pypiserver {version} on {base}")
    found = re.search(thirdparty.VERSION_PATTERN, requests.get(base + "/", timeout=30).text)
    assert found
    assert found[1] == version
    assert "hello" in requests.get(base + "/simple/", timeout=30).text


@pytest.mark.parametrize("version", thirdparty.VERSIONS)
def test_as_a_container(version: str, engine: docker.DockerClient, state: Path) -> None:
    with thirdparty.built(f"thirdparty-{state.name}:{version}", engine, version=version) as image:
        container = engine.containers.run(image, detach=True, ports={f"{thirdparty.PORT}/tcp": ("127.0.0.1", 0)})
        try:
            container.reload()
            published = container.ports[f"{thirdparty.PORT}/tcp"]
            assert published
            check(f"http://127.0.0.1:{published[0]['HostPort']}", version)
            container.stop(timeout=30)
            assert container.wait(timeout=30)["StatusCode"] == 0  # it ended itself on SIGTERM
        finally:
            container.remove(force=True)


@pytest.mark.parametrize("version", thirdparty.VERSIONS)
def test_as_a_process(version: str, state: Path, free_port: int) -> None:
    command = thirdparty.directory(state / "index", version)
    env = {"PORT": str(free_port), "HOST": "127.0.0.1", "PATH": "/usr/bin:/bin"}
    with (state / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=state / "index", env=env, stdout=log, stderr=log)
    try:
        check(f"http://127.0.0.1:{free_port}", version)
    finally:
        process.terminate()
        assert process.wait(30) == 0
