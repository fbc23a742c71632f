"""Releases that must never meet a user, or must leave at once: exit codes, last words, nothing left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.shop import Shop
from tests.load import Load, Options

pytestmark = pytest.mark.live

QUIET = Options(rate=60, kinds=("fresh", "busy", "sticky", "post"))
MIGRATE = """\
- hosts: localhost
  gather_facts: false
  tasks:
    - name: add the column
      ansible.builtin.command: {command}
      changed_when: true
"""


@pytest.mark.long("a release that crashes, on each runtime")
def test_the_last_lines_of_a_crashed_instance_are_shown(shop: Shop) -> None:
    shop.version("2.0", {"EXIT": "3"})
    events = shop.events("canary", "--version", "2.0", expect=4)
    failed = next(e for e in events if e["event"] == "step.failed")
    assert any("2.0" in line or "exit" in line.lower() for line in failed["log"]), failed


@pytest.mark.long("a rollout with a playbook")
def test_a_failed_update_playbook(process_shop: Shop) -> None:
    shop = process_shop
    (shop.folder / "migrate.yml").write_text(MIGRATE.format(command="/bin/false"))
    shop.write(update=["migrate.yml"])
    shop.version("2.0")
    events = shop.events("canary", "--version", "2.0", expect=4)
    tasks = [e for e in events if e["event"] == "task"]
    assert ("add the column", "failed") in [(t["task"], t["status"]) for t in tasks]
    ended = next(e for e in events if e["event"] == "rollout.ended")
    assert "add the column" in ended["text"]
    assert "localhost" in ended["text"]
    assert shop.instances("2.0") == []


@pytest.mark.long("a rollout with a playbook, on an engine")
def test_a_good_update_playbook_sees_the_twin(docker_shop: Shop) -> None:
    shop = docker_shop
    note = shop.folder / "seen"
    (shop.folder / "note.yml").write_text(
        "- hosts: twin\n  gather_facts: false\n  tasks:\n"
        "    - name: note the twin\n      ansible.builtin.lineinfile:\n"
        f"        path: {note}\n        create: true\n        mode: '0600'\n"
        "        line: '{{ inventory_hostname }} {{ deployer_version }}'\n      throttle: 1\n"
    )
    shop.write(update=["note.yml"])
    shop.version("2.0")
    shop.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    assert sorted(note.read_text().splitlines()) == [f"{shop.name}-r2-1 2.0", f"{shop.name}-r2-2 2.0"]


@pytest.mark.long("a canary whose instance dies late")
def test_a_candidate_that_dies_while_it_is_watched(shop: Shop) -> None:
    shop.version("2.0")
    with Load(shop.url, QUIET) as load:
        load.until(lambda now: now.answered > 30, "the load runs")
        with shop.start("canary", "--percent", "10", "--for", "60s", "--version", "2.0") as canary:
            shop.wait(lambda s: s["share"] == 1000, "the canary has its share")
            for instance in shop.instances("2.0"):
                kill(shop, instance)
            assert canary.wait(timeout=180) in (3, 4), (
                "by the judge or by who looks after the instances, whoever is first"
            )
        report = load.stop()
    assert report.failed <= 8, report.text()  # requests in flight on the killed instances, none afterwards
    assert shop.instances("2.0") == []


def kill(shop: Shop, name: str) -> None:
    if shop.client is not None:
        shop.client.containers.get(name).kill()
        return
    import json
    import os
    import signal

    status = json.loads((Path(shop.state) / "processes" / name / "status.json").read_text())
    os.kill(status["pid"], signal.SIGKILL)


@pytest.mark.long("a canary with a playbook, under load", every_change=True)
def test_a_migration_that_breaks_stable_pauses_the_rollout_and_says_so(process_shop: Shop) -> None:
    """The candidate is fine, and looks even better beside a stable release that its migration broke."""
    shop = process_shop
    broken = shop.folder / "migrated"
    shop.live("1.1", {"ERR": "0.07", "ERR_WHILE": str(broken)})
    (shop.folder / "migrate.yml").write_text(MIGRATE.format(command=f"touch {broken}"))
    shop.write(update=["migrate.yml"], strategy={"canary": {"steps": [{"share": 10, "for": "60s"}, 50]}})
    shop.version("2.0")
    with Load(shop.url, Options(rate=100, kinds=("fresh", "busy"), fail_from=600)) as load:
        load.until(lambda now: now.answered > 100, "the load runs")
        told = shop.told("canary", "--version", "2.0", expect=7)
        held = told.one("rollout.paused")["text"]
        assert "stable became worse after step " in held, told.text()
        assert "(migrate.yml): since " in held
        shop.deploy("promote")
        went_back = shop.deploy("rollback")
        load.stop()
    assert (
        "playbooks or commands may have run since r2 was live (migrate.yml with r3)"
        in went_back.stdout + went_back.stderr
    )
