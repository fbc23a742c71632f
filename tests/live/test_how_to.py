"""The how-to pages for newcomers, typed as they are: secrets, the firewall, assets of two versions, from Kamal."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml

from tests.documents import REPOSITORY, blocks
from tests.lab import image
from tests.live.outside import outside
from tests.live.shop import DEPLOY, Shop
from tests.live.test_docs import environment, follow, typed
from tests.live.test_from_compose import answers
from tests.load import Load, Options
from tests.ports import free_port
from tests.services import require

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("docs")]

DOCS = REPOSITORY / "docs"
SECRETS = {"sops": "postgres://value-of-sops", "pass": "value-of-pass", "vault": "value-of-vault"}
OF_NEW_CONNECTIONS = Options(kinds=("fresh", "slow"), rate=60)


def manifest(page: str) -> dict[str, Any]:
    """Return the manifest of a page: its first block of YAML that says more than `traffic`."""
    (made,) = (yaml.safe_load(b.text) for b in blocks(DOCS / page) if b.language == "yaml" and "image:" in b.text)
    return dict(made)


def block(page: str, mark: str) -> str:
    return next(b.text for b in blocks(DOCS / page) if mark in b.marks)


@pytest.fixture
def shop_image(state: Path, engine: docker.DockerClient) -> Iterator[str]:
    require("haproxy", "gcc")
    name = f"docs-{state.name[-8:]}"
    with image.built(f"{name}:latest", engine, version="1.0"):
        yield name


@pytest.mark.long("a first deploy, as the page has it")
def test_secrets_come_from_their_programs_and_are_never_shown(
    state: Path, shop_image: str, engine: docker.DockerClient
) -> None:
    made = {**manifest("secrets.md"), "image": shop_image, "traffic": {"listen": f"127.0.0.1:{free_port()}"}}
    (state / "deploy.yml").write_text(yaml.safe_dump(made))
    stand_ins = state / "bin"
    stand_ins.mkdir()
    for secret in made["secrets"].values():
        if "command" in secret:  # prints the value only if it is asked as the page asks it
            program, *words = secret["command"]
            file = stand_ins / program
            file.write_text(f'#!/bin/sh\n[ "$*" = {shlex.quote(" ".join(words))} ] && echo {SECRETS[program]}\n')
            file.chmod(0o755)
    page = typed("docs/secrets.md")
    with environment(state) as env:
        env["PATH"] = f"{stand_ins}:{env['PATH']}"
        printed = follow("docs/secrets.md", page[:-1], state, env, {})
        (instance,) = engine.containers.list(filters={"ancestor": f"{shop_image}:latest"})
        inspected = json.dumps(instance.attrs)
        inside = b"".join(instance.get_archive("/run/secrets/DATABASE_URL")[0])
        printed += follow("docs/secrets.md", page[-1:], state, env, {})
    assert SECRETS["sops"].encode() in inside
    everything = "\n".join(printed)
    assert [v for v in (*SECRETS.values(), "a-token-for-the-api") if v in everything] == []
    assert [v for v in SECRETS.values() if v in inspected] == []


def test_the_rules_of_the_firewall_are_rules(state: Path) -> None:
    require("nft", "root")
    (state / "rules").write_text(block("firewall.md", "nft"))
    checked = subprocess.run(["nft", "-c", "-f", state / "rules"], capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stderr


def test_instances_listen_where_the_page_says(process_shop: Shop) -> None:
    env = {**process_shop.environment(), "DEPLOYER_STATE": str(process_shop.state)}
    env["PATH"] = f"{Path(DEPLOY).parent}:{env['PATH']}"
    page = typed("docs/firewall.md")
    follow("docs/firewall.md", page, process_shop.folder, env, {"shop …": f"{process_shop.name} …"})


@pytest.mark.long("two releases whose assets are in one folder")
def test_the_assets_of_both_releases_end_in_one_folder(process_shop: Shop) -> None:
    """The command of the page, with the folders of the test in place of those of an image."""
    ((step,),) = (m["update"] for m in [manifest_with("sessions.md", "update")])
    shared = process_shop.folder / "shared"
    shared.mkdir()
    for version in ("1.0", "2.0"):
        assets = process_shop.folder / "assets" / version
        assets.mkdir(parents=True)
        (assets / f"app-{version}.js").write_text(version)
        swap = {"/app/public/assets/.": f"{assets}/.", "/assets": str(shared)}
        command = [swap.get(word, word) for word in step["run"]]
        if version != "1.0":
            process_shop.version(version)
        process_shop.write(update=[{**step, "run": command}], env={"ASSETS": str(shared)})
        process_shop.deploy("bluegreen", "--bake", "0", "--version", version)
        assert {file.name for file in shared.iterdir()} >= {f"app-{version}.js"}
    assert {file.name for file in shared.iterdir()} == {"app-1.0.js", "app-2.0.js"}


def manifest_with(page: str, key: str) -> dict[str, Any]:
    (made,) = (data for b in blocks(DOCS / page) if b.language == "yaml" and key in (data := yaml.safe_load(b.text)))
    return dict(made)


@pytest.mark.long("a port that is taken over under load")
def test_the_ports_of_kamal_are_taken_over_without_downtime(
    state: Path, shop_image: str, engine: docker.DockerClient
) -> None:
    require("root", "iptables")
    kamal, public, ours = f"{shop_image}-kamal-proxy", free_port(), free_port()
    swap = {"--dport 80": f"--dport {public}", "--to-ports 8080": f"--to-ports {ours}", "kamal-proxy": kamal}
    text = block("from-kamal.md", "takeover")
    for old, new in swap.items():
        assert old in text
        text = text.replace(old, new)
    made = {key: value for key, value in manifest("from-kamal.md").items() if key not in ("mounts", "secrets")}
    made |= {"image": shop_image, "port": 8080, "traffic": {"listen": f"*:{ours}"}, "health": {"http": "/health"}}
    (state / "deploy.yml").write_text(yaml.safe_dump(made))
    with (
        image.built(f"{kamal}:1", engine, version="0.9", env={"DRAIN": "3000"}),
        environment(state) as env,
        outside(state.name, public, text.splitlines()) as users,
    ):
        # What stands for Kamal's proxy and the app behind it: a container that has the public port.
        former = engine.containers.run(f"{kamal}:1", name=kamal, detach=True, ports={"8080/tcp": ("0.0.0.0", public)})
        try:
            answers(f"http://127.0.0.1:{public}/health")
            with Load(users.url, OF_NEW_CONNECTIONS, users.inside) as load:
                load.until(lambda now: now.answered > 100, "the load has started")
                for line in text.splitlines():
                    done = subprocess.run(
                        ["bash", "-ec", line], cwd=state, env=env, capture_output=True, text=True, timeout=120
                    )
                    assert done.returncode == 0, done.stdout + done.stderr
                    load.mark(line[:20])
                seen = load.counters().answered
                load.until(lambda now: now.answered > seen + 200, "requests after it", 30)
                report = load.stop()
        finally:
            former.remove(force=True)
    assert report.failed == 0, report.text()
    assert set(report.by_version) == {"0.9", "1.0"}
