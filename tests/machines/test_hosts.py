"""`deploy hosts list` and `check` on machines that are fit, off, cut off, strangers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.lab.machines import Lab
from tests.machines.conftest import deploy, deploy_json

pytestmark = pytest.mark.live


def findings(row: dict[str, Any], *levels: str) -> list[tuple[str, str]]:
    return [(f["what"], f["text"]) for f in row["findings"] if f["level"] in (levels or ("warn", "bad"))]


def test_list_shows_the_machines_of_the_manifests_inventory(lab: Lab, inventory: Path) -> None:
    folder = inventory.parent
    (folder / "deploy.yml").write_text("service: shop\nimage: shop:1\nport: 8080\ninventory: inventory\n")

    lines = deploy(folder, "hosts", "list").stdout.splitlines()
    limited = deploy_json(folder, "hosts", "list", "--limit", "web:!web1")

    assert [line.split() for line in lines[1:3]] == [
        ["edge1", lab["edge1"].address, f"root@{lab['edge1'].address}", "edge"],
        ["edge2", lab["edge2"].address, f"root@{lab['edge2'].address}", "edge"],
    ]
    assert [(m["name"], m["groups"]) for m in limited["machines"]] == [("web2", ["web"])]


def test_check_tells_the_versions_of_machines_that_are_fit(lab: Lab, inventory: Path, tmp_path: Path) -> None:
    found = deploy_json(tmp_path, "hosts", "check", "-i", str(inventory), "--limit", "web")

    for row in found["machines"]:
        assert findings(row) == [], row
        assert {what for what, _ in findings(row, "ok")} == {"system", "engine", "disk", "clock"}
        assert (
            "engine",
            f"Docker {lab[row['name']].run('docker', 'version', '-f', '{{.Server.Version}}').stdout.strip()}",
        ) in (findings(row, "ok"))


def test_a_machine_that_is_down_is_reported_within_the_deadline_beside_those_that_are_fit(
    lab: Lab, inventory: Path, tmp_path: Path
) -> None:
    lab.cut("web1")
    began = time.monotonic()

    found = deploy_json(tmp_path, "hosts", "check", "-i", str(inventory), "--limit", "web", "--within", "4", expect=8)

    assert time.monotonic() - began < 4 + 8  # and the time to start, and to read the inventory, on a busy machine
    rows = {row["name"]: row for row in found["machines"]}
    assert findings(rows["web1"])[0][0] == "reach"
    assert 3 < rows["web1"]["seconds"] < 6
    assert findings(rows["web2"]) == []


def test_a_machine_that_hangs_is_reported_within_the_deadline(lab: Lab, inventory: Path, tmp_path: Path) -> None:
    lab["web2"].freeze()

    said = deploy(tmp_path, "hosts", "check", "-i", str(inventory), "--limit", "web2", "--within", "3", expect=8)

    assert "✗ web2" in said.stdout
    assert "reach: it does not answer" in said.stdout


def test_a_stranger_is_refused_and_the_remedy_named(lab: Lab, inventory: Path, tmp_path: Path) -> None:
    former = lab.known_hosts.read_text()
    web1, web2, *others = former.splitlines(keepends=True)
    swapped = [f"{web1.split()[0]} {' '.join(web2.split()[1:])}\n", *others]  # web1 has another key, web2 none
    lab.known_hosts.write_text("".join(swapped))
    try:
        found = deploy_json(tmp_path, "hosts", "check", "-i", str(inventory), "--limit", "web", expect=8)
    finally:
        lab.known_hosts.write_text(former)

    rows = {row["name"]: row["findings"][0] for row in found["machines"]}
    assert rows["web1"]["text"] == "its host key is another one than before"
    assert f"ssh-keygen -R {lab['web1'].address}" in rows["web1"]["remedy"]
    assert rows["web2"]["text"] == "its host key is not known"


def test_a_wrong_user_an_engine_that_is_stopped_and_a_proxy_that_is_missing_are_told_apart(
    lab: Lab, inventory: Path, tmp_path: Path
) -> None:
    hosts = inventory / "hosts"
    text = hosts.read_text().replace("[edge]\n", f"[edge]\nweb1 ansible_host={lab['web1'].address}\n")
    hosts.write_text(text.replace("web2 ", "web2 ansible_user=nobody-we-know "))
    lab["web1"].run("systemctl", "stop", "docker.socket", "docker.service")
    lab["web1"].run("mv", "/usr/sbin/haproxy", "/usr/sbin/haproxy.away")
    try:
        found = deploy_json(tmp_path, "hosts", "check", "-i", str(inventory), "--limit", "web", expect=8)
    finally:
        lab["web1"].run("mv", "/usr/sbin/haproxy.away", "/usr/sbin/haproxy")
        lab["web1"].run("systemctl", "start", "docker.socket", "docker.service")
        lab["web1"].wait()

    rows = {row["name"]: row for row in found["machines"]}
    assert findings(rows["web2"]) == [("reach", "it lets nobody in with this user and key")]
    assert [what for what, _ in findings(rows["web1"])] == ["engine", "proxy"]


def test_a_limit_that_means_nothing_is_refused(lab: Lab, inventory: Path, tmp_path: Path) -> None:
    said = deploy(tmp_path, "hosts", "list", "-i", str(inventory), "--limit", "wbe1", expect=2).stderr

    assert "has no group or machine wbe1" in said
    assert "did you mean web1" in said
