"""Undoing what was begun: nothing is left, and the first error is the one that is heard."""

from __future__ import annotations

from typing import Any
from unittest import mock

import docker.errors
import pytest
import requests

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed
from deployer.core.undo import afterwards, undone
from deployer.drivers.jobs import JobSpec
from deployer.drivers.runtime.docker.creation import create
from deployer.drivers.runtime.docker.engine import Engine
from deployer.drivers.runtime.docker.jobs import DockerJobs
from deployer.manifest.models import Manifest
from deployer.model import Release
from tests.memory import FakeClock


@pytest.mark.parametrize("error", [ValueError("first"), KeyboardInterrupt()])
def test_what_fails_is_undone(error: BaseException) -> None:
    calls: list[str] = []
    with pytest.raises(type(error)) as raised, undone(lambda: calls.append("undone")):
        raise error
    assert raised.value is error
    assert calls == ["undone"]


def test_what_succeeds_is_kept() -> None:
    calls: list[str] = []
    with undone(lambda: calls.append("undone")):
        pass
    assert calls == []


def test_trouble_with_the_undoing_is_a_note_of_the_first_error() -> None:
    def undo() -> None:
        raise OSError("the disk is gone")

    with pytest.raises(ValueError, match="first") as raised, undone(undo):
        raise ValueError("first")
    assert raised.value.__notes__ == ["what was begun is left: OSError: the disk is gone"]


def test_people_are_told_what_is_left() -> None:
    def undo() -> None:
        raise DriverFailed("the record is still there", "remove it")

    with pytest.raises(DriverFailed) as raised, undone(undo):
        raise DriverFailed("the order failed", "try again")
    assert str(raised.value) == ("the order failed; what was begun is left: the record is still there\n  → try again")


def test_what_cleans_up_does_so_once_and_hides_no_error() -> None:
    calls: list[str] = []

    def clean_up() -> None:
        calls.append("cleaned up")
        raise OSError("the disk is gone")

    with afterwards(lambda: calls.append("after the block")):
        calls.append("block")
    with pytest.raises(OSError, match="the disk is gone"), afterwards(clean_up):
        pass
    with pytest.raises(ValueError, match="first") as raised, afterwards(clean_up):
        raise ValueError("first")

    assert calls == ["block", "after the block", "cleaned up", "cleaned up"]
    assert raised.value.__notes__ == ["what was begun is left: OSError: the disk is gone"]


def test_a_container_without_its_network_is_removed_and_the_network_is_named() -> None:
    client: Any = mock.MagicMock()
    client.networks.get.side_effect = docker.errors.NotFound("network backend not found")
    container = client.containers.create.return_value
    container.remove.side_effect = docker.errors.APIError("the engine is ending")

    with pytest.raises(docker.errors.NotFound, match="network backend not found"):
        create(client, {"image": "shop:1"}, ["backend"], {})

    container.remove.assert_called_once_with(force=True, v=True)


def test_a_run_whose_start_got_no_response_in_time_is_removed() -> None:
    client: Any = mock.MagicMock()
    container = client.containers.create.return_value
    container.start.side_effect = requests.Timeout()
    engine = Engine(lambda _timeout, _version: client, "tcp://engine.example.com")
    manifest = Manifest.model_validate(
        {
            "service": "shop",
            "image": "shop:1",
            "port": 80,
            "schedule": {"nightly": {"cron": "@daily", "command": ["x"]}},
        }
    )
    spec = JobSpec(Release("shop", 1, "1", "shop:1", "sha256:1", manifest, "h"), "nightly", 5)

    with pytest.raises(DeadlinePassed, match="did not respond"):
        DockerJobs(engine, "first", mock.MagicMock()).start(spec, Deadline.after(FakeClock(), 5))

    container.remove.assert_called_once_with(force=True, v=True)
