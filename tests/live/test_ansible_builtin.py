"""The playbooks that come with the deployer, through the driver and by ansible-playbook alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docker
import pytest

from deployer.core.errors import StepFailed
from deployer.core.resources import builtin
from deployer.model import Environment, Instance, Release
from tests.lab import image
from tests.live.playbook_stage import RELEASE, Stage, environment, stage
from tests.ports import free_port
from tests.services import require

__all__ = ["stage"]  # a fixture

pytestmark = pytest.mark.live


class Site(BaseHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012 -- each server gets a subclass with its own
    posted: list[Any] = []  # noqa: RUF012
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self._answer(500 if self.path == "/broken" else 200)

    def do_POST(self) -> None:
        self.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer(204)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        return


@contextmanager
def site(port: int = 0) -> Iterator[tuple[str, type[Site]]]:
    handler = type("Handler", (Site,), {"asked": [], "posted": []})
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", handler
        finally:
            server.shutdown()
            thread.join()


def test_warm_up_requests_every_path_in_rounds_from_every_instance(stage: Stage) -> None:
    stage.write("group_vars/twin.yml", "warm_up_paths: [/, /search]\nwarm_up_rounds: 3\n")

    with site() as (one, asked_one), site() as (two, asked_two):
        stage.play("warm-up.yml", twin=environment(one, two))

    assert asked_one.asked == asked_two.asked == ["/", "/search"] * 3
    assert sorted((t["host"], t["status"]) for t in stage.told) == [("shop-r42-1", "ok"), ("shop-r42-2", "ok")]


def test_a_playbook_of_the_user_may_import_a_built_in_one(stage: Stage) -> None:
    stage.write(
        "playbooks/warm.yml",
        """
        - name: Warm up as we like it
          ansible.builtin.import_playbook: "{{ deployer_playbooks }}/warm-up.yml"
          vars:
            warm_up_paths: [/cart]
            warm_up_rounds: 2
        """,
    )

    with site() as (address, asked):
        stage.play("playbooks/warm.yml", twin=environment(address))

    assert asked.asked == ["/cart", "/cart"]


def test_warm_up_stops_at_what_would_break_for_users(stage: Stage) -> None:
    stage.write("group_vars/twin.yml", "warm_up_paths: [/broken]\n")

    with site() as (address, _), pytest.raises(StepFailed, match=r"GET http://.*/broken: HTTP 500, expected 200"):
        stage.play("warm-up.yml", twin=environment(address))


def test_wait_http_waits_for_an_instance_that_comes_late(stage: Stage) -> None:
    port = free_port()
    stage.write("group_vars/twin.yml", "wait_http_path: /up\n")
    done = threading.Event()

    def late() -> None:
        time.sleep(1.5)  # the lateness that is waited for
        with site(port):
            done.wait(30)

    thread = threading.Thread(target=late)
    thread.start()
    try:
        stage.play("wait-http.yml", twin=environment(f"127.0.0.1:{port}"))
    finally:
        done.set()
        thread.join()

    assert [t["status"] for t in stage.told] == ["ok"]


def test_wait_http_gives_up(stage: Stage) -> None:
    stage.write("group_vars/twin.yml", "wait_http_timeout: 1\n")

    with pytest.raises(StepFailed, match=r"wait-http\.yml: task 'Request /' failed on shop-r42-1: .*refused"):
        stage.play("wait-http.yml", twin=environment(f"127.0.0.1:{free_port()}"))


def test_notify_posts_the_outcome_and_never_shows_where(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    with site() as (address, seen):
        monkeypatch.setenv("NOTIFY_URL", f"http://{address}/hook-token")
        stage.play("notify.yml", twin=None, deployer_when="on_reverted", deployer_rollout="{{ 1 + 1 }}")

    assert seen.posted == [
        {
            "text": "shop 2.0: reverted",
            "service": "shop",
            "release": 42,
            "version": "2.0",
            "outcome": "reverted",
            "rollout": "{{ 1 + 1 }}",
        }
    ]
    assert "hook-token" not in json.dumps(stage.told)


def process_release() -> Release:
    manifest = RELEASE.manifest.model_validate(
        {"service": "shop", "image": ".", "port": 8080, "runtime": "process", "command": ["./server"]}
    )
    return Release("shop", 42, "2.0", ".", "sha256:abc", manifest, "hash")


def test_migrate_runs_once_with_the_environment_of_the_process(stage: Stage, tmp_path: Path) -> None:
    stage.write(
        "group_vars/twin.yml",
        """
        migrate_command: [/bin/sh, -c, 'echo "$DATABASE $DEPLOYER_INSTANCE $PWD" >> migrated']
        """,
    )
    name = f"shop-r42-{os.getpid()}"
    instance = Instance("shop", "green", 42, 1, name, name, "127.0.0.1:21001", "running")
    second = Instance("shop", "green", 42, 2, f"{name}-b", f"{name}-b", "127.0.0.1:21002", "running")
    env = {"DEPLOYER_INSTANCE": name, "DATABASE": "db=1", "PATH": "/usr/bin:/bin"}
    running = subprocess.Popen(["/bin/sleep", "600"], cwd=tmp_path, env=env)
    try:
        stage.play("migrate.yml", twin=Environment("shop", "green", 42, (instance, second)), release=process_release())
    finally:
        running.kill()
        running.wait()

    assert (tmp_path / "migrated").read_text() == f"db=1 {name} {tmp_path}\n"


def test_migrate_says_what_it_needs(stage: Stage) -> None:
    with pytest.raises(StepFailed, match=r"migrate\.yml needs migrate_command, a list; set it in group_vars/twin\.yml"):
        stage.play("migrate.yml")


@pytest.mark.long("a playbook in a container")
def test_migrate_runs_in_the_container(stage: Stage, engine: docker.DockerClient) -> None:
    require("gcc")
    if shutil.which("docker") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("the docker program is not installed")
    reference = f"dp-playbooks:{os.getpid()}"
    with image.built(reference, engine, version="7") as identity:
        container = engine.containers.run(identity, detach=True, name=f"dp-playbooks-{os.getpid()}")
        try:
            program = json.dumps([*container.attrs["Config"]["Entrypoint"], "env", "VERSION"])
            stage.write("group_vars/twin.yml", f"migrate_command: {program}")
            instance = Instance("shop", "green", 42, 1, "shop-r42-1", str(container.id), "127.0.0.1:21001", "running")
            stage.play("migrate.yml", twin=Environment("shop", "green", 42, (instance,)))
            assert stage.ends()[-1] == ("Run the command", "shop-r42-1", "changed")

            failing = json.dumps([*container.attrs["Config"]["Entrypoint"], "cat", "/no/such/file"])
            stage.write("group_vars/twin.yml", f"migrate_command: {failing}")
            with pytest.raises(StepFailed, match="task 'Run the command' failed on shop-r42-1: non-zero return code"):
                stage.play("migrate.yml", twin=Environment("shop", "green", 42, (instance,)))
        finally:
            container.remove(force=True)


@pytest.mark.parametrize("name", ["wait-http.yml", "warm-up.yml"])
def test_built_in_playbooks_run_alone(name: str, tmp_path: Path) -> None:
    require("ansible")
    with site() as (address, seen):
        hosts = {"a": {"ansible_connection": "local", "deployer_instance": {"address": address}}}
        (tmp_path / "hosts.yml").write_text(json.dumps({"twin": {"hosts": hosts}}))
        run = subprocess.run(
            [
                Path(sys.executable).parent / "ansible-playbook",
                "-i",
                tmp_path / "hosts.yml",
                builtin("playbooks") / name,
            ],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    assert run.returncode == 0, run.stdout + run.stderr
    assert seen.asked
