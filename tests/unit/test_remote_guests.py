"""`deploy --server URL evict`: guests at a server, on a world in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.app.evictions import eviction
from deployer.core.errors import Exit
from tests.api import Api
from tests.unit.test_remote import Deploy, api, here, run, server

__all__ = ["api", "here", "run"]  # fixtures


def test_guests_are_evicted_and_let_in_at_a_server_with_the_exit_codes_of_home(
    api: Api, run: Deploy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "tenants.yml"
    file.write_text("tenants: {acme: {cpus: 1, memory: 256m, services: 2}, beta: {cpus: 1, memory: 128m}}")
    monkeypatch.setenv("DEPLOYER_TENANTS", str(file))
    api.scene.deploy("1.0")
    for service, tenant in (("blog", "acme"), ("chat", "acme"), ("wiki", "beta")):
        api.scene.deploy("1.0", manifest={"service": service, "image": f"{service}:1", "tenant": tenant})

    def running() -> set[str]:
        return {each.service for each in api.scene.world.instances.values() if each.state == "running"}

    with server(api, monkeypatch, "operator"):
        told = run("evict", "acme", "--now", "--for", "2h", "-m", "we need it")
        assert (told.code, told.out) == (Exit.DONE, "blog: we need it: done\nchat: we need it: done\n")
        assert running() == {"shop", "wiki"}
        found = eviction(api.scene.house.store, "chat")
        assert found is not None
        assert (found.reason, found.until > found.at) == ("we need it", True)
        again = run("evict", "acme", "-m", "we need it")
        assert (again.code, again.err.splitlines()[0]) == (Exit.REFUSED, "error: no guest of acme runs")
        assert run("evict", "-m", "the rest").code == Exit.DONE
        assert running() == {"shop"}
        kinds = [event["event"] for event in run("evict", "--end", "--output", "json").events()]
        assert kinds.count("rollout.ended") == 3
        assert running() == {"shop", "blog", "chat", "wiki"}
        assert "error: no guest is evicted" in run("evict", "--end").err
