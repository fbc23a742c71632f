"""`deploy hosts list` and `check` on machines that are fit, off, cut off, strangers."""

from __future__ import annotations

import shlex
import signal
import subprocess
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from tests.documents import REPOSITORY
from tests.lab.machines import Lab
from tests.machines.conftest import DEPLOY, deploy, deploy_json
from tests.waiting import within

pytestmark = pytest.mark.live
CHECK = ("hosts", "check", "--within", "120")  # with the time that a login takes on a busy host


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
    assert [(m["name"], m["groups"]) for m in limited["hosts"]] == [("web2", ["web"])]


def test_the_groups_of_the_manifest_are_those_that_need_an_engine(lab: Lab, inventory: Path) -> None:
    folder = inventory.parent
    hosts = inventory / "hosts"
    hosts.write_text(hosts.read_text().replace("[web]", "[shop_blue]\nweb1\n[shop_green]\nweb2\n[any]"))
    lines = ("service: shop", "image: shop:1", "port: 8080", "inventory: inventory", "hosts: shop_blue")
    (folder / "deploy.yml").write_text("\n".join((*lines, "twin: {hosts: shop_green}", "")))

    found = deploy_json(folder, *CHECK, "--limit", "any")

    assert [{what for what, _ in findings(row, "ok")} >= {"engine"} for row in found["hosts"]] == [True, True]


def test_check_tells_the_versions_of_machines_that_are_fit(lab: Lab, inventory: Path, tmp_path: Path) -> None:
    found = deploy_json(tmp_path, *CHECK, "-i", str(inventory), "--limit", "web")

    for row in found["hosts"]:
        assert findings(row) == [], row
        assert {what for what, _ in findings(row, "ok")} == {"system", "engine", "disk", "clock"}
        assert (
            "engine",
            f"Docker {lab[row['name']].run('docker', 'version', '-f', '{{.Server.Version}}').stdout.strip()}",
        ) in (findings(row, "ok"))


def test_a_machine_that_is_down_is_reported_within_the_deadline_beside_those_that_are_fit(
    lab: Lab, inventory: Path, tmp_path: Path
) -> None:
    chosen = ("-i", str(inventory), "--limit")
    began = time.monotonic()
    deploy(tmp_path, *CHECK, *chosen, "web")
    least = time.monotonic() - began
    lab.cut("web1")

    began = time.monotonic()
    (alone,) = deploy_json(tmp_path, "hosts", "check", "--within", "4", *chosen, "web1", expect=8)["hosts"]
    assert time.monotonic() - began < 4 + 8 + 3 * least  # on a busy host, to start takes its time, too
    found = deploy_json(tmp_path, *CHECK, *chosen, "web", expect=8)

    assert findings(alone)[0][0] == "reach"
    assert 3 < alone["seconds"] < 6 + least
    rows = {row["name"]: row for row in found["hosts"]}
    assert findings(rows["web1"])[0][0] == "reach"
    assert findings(rows["web2"]) == []


def test_a_machine_that_hangs_is_reported_within_the_deadline(lab: Lab, inventory: Path, tmp_path: Path) -> None:
    lab["web2"].freeze()

    said = deploy(tmp_path, "hosts", "check", "-i", str(inventory), "--limit", "web2", "--within", "3", expect=8)

    assert "✗ web2" in said.stdout
    assert "reach: it does not respond" in said.stdout


def test_a_stranger_is_refused_and_the_remedy_named(lab: Lab, inventory: Path, tmp_path: Path) -> None:
    former = lab.known_hosts.read_text()
    web1, web2, *others = former.splitlines(keepends=True)
    swapped = [f"{web1.split()[0]} {' '.join(web2.split()[1:])}\n", *others]  # web1 has another key, web2 none
    lab.known_hosts.write_text("".join(swapped))
    try:
        found = deploy_json(tmp_path, *CHECK, "-i", str(inventory), "--limit", "web", expect=8)
    finally:
        lab.known_hosts.write_text(former)

    rows = {row["name"]: row["findings"][0] for row in found["hosts"]}
    assert rows["web1"]["text"] == "its host key has changed"
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
        found = deploy_json(tmp_path, *CHECK, "-i", str(inventory), "--limit", "web", expect=8)
    finally:
        lab["web1"].run("mv", "/usr/sbin/haproxy.away", "/usr/sbin/haproxy")
        lab["web1"].run("systemctl", "start", "docker.socket", "docker.service")
        lab["web1"].wait()

    rows = {row["name"]: row for row in found["hosts"]}
    assert findings(rows["web2"]) == [("reach", "it refuses this user and key")]
    assert [what for what, _ in findings(rows["web1"])] == ["engine", "proxy"]


def test_a_limit_that_means_nothing_is_refused(lab: Lab, inventory: Path, tmp_path: Path) -> None:
    said = deploy(tmp_path, "hosts", "list", "-i", str(inventory), "--limit", "wbe1", expect=2).stderr

    assert "has no group or host wbe1" in said
    assert "did you mean web1" in said


def test_an_interrupted_setup_leaves_nothing_running(lab: Lab, inventory: Path, tmp_path: Path) -> None:
    command = [DEPLOY, "hosts", "setup", "-i", str(inventory), "--limit", "web1", "--yes"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as setup:
        assert setup.stderr is not None
        assert "Ask what it is" in setup.stderr.readline()
        assert running(inventory)

        setup.send_signal(signal.SIGINT)

        assert "interrupted" in setup.stderr.read()
        assert setup.wait(60) == 6
    within().until(lambda: running(inventory) == [], "nothing of it runs")  # what is killed takes a moment to be gone


def running(inventory: Path) -> list[str]:
    """Return the command lines of Ansible's that name the inventory."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it has ended
        if any(word.endswith("ansible-playbook") for word in words) and str(inventory) in words:
            found.append(" ".join(words))
    return found


def test_the_commands_of_the_page_work_with_the_inventory_of_the_page(lab: Lab, tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "machines.md").read_text()
    block = page.partition("    # inventories/production/hosts.yml\n")[2].partition("\n\n")[0]
    folder = tmp_path / "inventories" / "production"
    folder.mkdir(parents=True)
    (folder / "hosts.yml").write_text(textwrap.dedent(block))
    (tmp_path / "deploy.yml").write_text(
        "service: shop\nimage: shop:1\nport: 8080\ninventory: inventories/production\n"
    )
    key = f"ansible_ssh_private_key_file: {lab.key}\nansible_ssh_common_args: {lab.ssh_args}\n"
    for name in ("web1", "web2", "edge1"):
        variables = folder / "host_vars" / f"{name}.example.com.yml"
        variables.parent.mkdir(exist_ok=True)
        variables.write_text(f"ansible_host: {lab[name].address}\n{key}")
    commands = page.partition("## From bare to fit\n")[2].partition("\n## ")[0].splitlines()
    asked = [shlex.split(line, comments=True)[1:] for line in commands if line.startswith("    deploy ")]
    assert [" ".join(words) for words in asked] == [
        "hosts list",
        "hosts check",
        "hosts setup --user root",
        "hosts check",
    ]

    assert "deploy@" in deploy(tmp_path, *asked[0]).stdout
    assert "setup --user root" in deploy(tmp_path, *asked[1], expect=8).stdout
    deploy(tmp_path, *asked[2], "--yes")
    assert "3 hosts, all fit" in deploy(tmp_path, *asked[3]).stdout
