"""Playbooks, really run by Ansible on this host."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed, StepFailed
from deployer.drivers.hosts.workspace import workspace
from tests.live.playbook_stage import CLOCK, Stage, stage
from tests.waiting import within

__all__ = ["stage"]  # a fixture

pytestmark = pytest.mark.live

SECRET = "hunter2-swordfish"


def test_tasks_run_once_per_instance_or_once_and_are_told_as_they_end(stage: Stage) -> None:
    stage.write("group_vars/twin.yml", "greeting: hello")
    stage.write(
        "playbooks/update.yml",
        """
        - hosts: twin
          gather_facts: false
          tasks:
            - name: Each
              ansible.builtin.debug:
                msg: "{{ greeting }} {{ deployer_instance.address }}"
            - name: Touch
              ansible.builtin.file: {path: "OUT/{{ inventory_hostname }}", state: touch, mode: "0600"}
            - name: Skipped
              ansible.builtin.command: /bin/false
              when: deployer_colour == "blue"
        - hosts: localhost
          gather_facts: false
          tasks:
            - name: Wait until one was told
              ansible.builtin.wait_for: {path: OUT/told, timeout: 100}
            - name: Once
              ansible.builtin.copy:
                dest: OUT/vars.json
                mode: "0600"
                content: "{{ {'instances': deployer_instances, 'version': deployer_version, 'extra': note} | to_json }}"
        """.replace("OUT", str(stage.folder)),
    )

    def tell(kind: str, **data: Any) -> None:
        (stage.folder / "told").touch()
        stage.tell(kind, **data)

    stage.play("playbooks/update.yml", seconds=180, tell=tell, note="{{ lookup('pipe', 'id') }}")

    hosts = ("shop-r42-1", "shop-r42-2")
    assert sorted(stage.ends()) == sorted(
        [("Wait until one was told", "localhost", "ok"), ("Once", "localhost", "changed")]
        + [
            (task, host, s)
            for task, s in (("Each", "ok"), ("Touch", "changed"), ("Skipped", "skipped"))
            for host in hosts
        ]
    )
    each = {t["host"]: t["message"] for t in stage.told if t["task"] == "Each"}
    assert each == {"shop-r42-1": "hello 127.0.0.1:21001", "shop-r42-2": "hello 127.0.0.1:21002"}
    assert all(t["playbook"] == "playbooks/update.yml" for t in stage.told)
    assert all((stage.folder / host).exists() for host in hosts)
    seen = json.loads((stage.folder / "vars.json").read_text())
    assert seen["version"] == "2.0"
    assert [i["runtime_id"] for i in seen["instances"]] == ["id1", "id2"]
    assert seen["extra"] == "{{ lookup('pipe', 'id') }}"  # text, never a template


def test_a_failed_task_is_named_and_stops_the_rest(stage: Stage) -> None:
    stage.write(
        "update.yml",
        """
        - hosts: localhost
          gather_facts: false
          tasks:
            - name: may fail
              ansible.builtin.command: /bin/false
              ignore_errors: true
            - name: rescued
              block:
                - name: tried
                  ansible.builtin.fail: {msg: try}
              rescue:
                - name: saved
                  ansible.builtin.debug: {msg: saved}
            - name: migrate
              ansible.builtin.shell: "echo no such table >&2; exit 3"
            - name: never
              ansible.builtin.debug: {msg: never}
        """,
    )
    stage.write(
        "second.yml", "- {hosts: localhost, gather_facts: false, tasks: [{name: second, ansible.builtin.debug: }]}"
    )

    with pytest.raises(StepFailed) as failed:
        stage.play("update.yml", "second.yml")

    assert failed.value.message == (
        "playbook update.yml: task 'migrate' failed on localhost: non-zero return code (rc 3): no such table"
    )
    assert any("fatal: [localhost]: FAILED!" in line for line in failed.value.log)
    assert stage.ends()[-1] == ("migrate", "localhost", "failed")


def test_what_no_log_hides_is_never_told(stage: Stage) -> None:
    stage.write(
        "update.yml",
        """
        - hosts: localhost
          gather_facts: false
          tasks:
            - name: quiet
              ansible.builtin.command: echo {{ password }}
              no_log: true
            - name: quiet loop
              ansible.builtin.shell: "echo {{ password }}; exit {{ item }}"
              loop: [0, 1]
              no_log: true
        """,
    )

    with pytest.raises(StepFailed) as failed:
        stage.play("update.yml", password=SECRET)

    assert failed.value.message.endswith("task 'quiet loop' failed on localhost: (hidden: no_log)")
    assert SECRET not in json.dumps(stage.told) + str(failed.value) + "\n".join(failed.value.log)


def test_variables_are_not_on_any_command_line(stage: Stage) -> None:
    stage.write(
        "update.yml",
        """
        - hosts: localhost
          gather_facts: false
          tasks:
            - name: look
              ansible.builtin.shell: "(cat /proc/[0-9]*/cmdline; find MEM -type f | xargs cat) > OUT 2> /dev/null; true"
        """.replace("OUT", str(stage.folder / "out")).replace("MEM", str(stage.folder.parent / "m")),
    )

    stage.play("update.yml", password=SECRET)

    seen = (stage.folder / "out").read_bytes()
    assert b"ansible-playbook" in seen
    assert SECRET.encode() not in seen


SLEEPER = """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: slow
      ansible.builtin.shell: "echo $$ > OUT; setsid sleep 600 & sleep 600"
"""


@dataclass(frozen=True)
class Overrun(Deadline):
    """A time that is over once a task has begun, however long that took: who asks after its start waits for a file."""

    begun: Path

    def left(self) -> float:
        if (self.begun.parent / "starts").exists():
            within(120).until(self.begun.exists, "the task starts")
            return 0.0
        return super().left()


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def of_session(word: str) -> list[int]:
    """Return the pids of processes whose environment holds the word."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and word.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return [pid for pid in found if pid != os.getpid() and running(pid)]


@pytest.mark.long("a playbook until its deadline", every_change=True)
def test_the_deadline_ends_the_playbook_and_all_that_it_started(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    word = f"sleeper-{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setenv("DP_TEST", word)
    touched = f"{{path: {stage.folder / 'starts'}, state: touch, mode: '0600'}}"
    first = f"    - {{name: first, ansible.builtin.file: {touched}}}\n"
    slow = SLEEPER.replace("OUT", str(stage.folder / "pid")).replace("    - name: slow", f"{first}    - name: slow")
    stage.write("update.yml", slow)
    began = time.monotonic()

    with pytest.raises(DeadlinePassed) as late:
        stage.play("update.yml", deadline=Overrun(CLOCK, CLOCK.monotonic() + 300, 6, stage.folder / "pid"))

    assert late.value.message == "playbook update.yml: not finished within 6 s, while task 'slow' ran"
    assert time.monotonic() - began < 300, "it would have taken ten minutes"
    assert (stage.folder / "pid").exists()  # it had really started
    assert of_session(word) == []


def test_whoever_stops_listening_ends_the_playbook(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    word = f"listener-{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setenv("DP_TEST", word)
    stage.write(
        "update.yml",
        SLEEPER.replace("    - name: slow", "    - {name: first, ansible.builtin.debug: }\n    - name: slow"),
    )

    def interrupted(kind: str, **data: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage.play("update.yml", tell=interrupted)

    assert of_session(word) == []


def test_a_killed_deployer_takes_its_playbook_with_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    word = f"killed-{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setenv("DP_TEST", word)
    started = stage.folder / "pid"
    stage.write("update.yml", SLEEPER.replace("OUT", str(started)))
    with workspace() as kept:
        program = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
import deployer.drivers.hosts.workspace as w
w._base = lambda: {str(kept)!r}
from tests.live.playbook_stage import Stage
Stage(Path({str(stage.folder)!r})).play("update.yml", seconds=600)
"""
        deployer = subprocess.Popen([sys.executable, "-c", program])
        within(120).until(started.exists, "the task starts")
        before = of_session(word)
        deployer.send_signal(signal.SIGKILL)
        deployer.wait()
        within(60).until(lambda: not of_session(word), "everything of the playbook ends")

        assert len(before) > 3
        within(60).until(lambda: not [p for p in kept.iterdir() if p.name.startswith("dp")], "its folder goes")


def test_a_playbook_that_cannot_be_read_says_so(stage: Stage) -> None:
    stage.write("broken.yml", "- hosts: localhost\n  tasks: [{nonsense: }]\n")

    with pytest.raises(StepFailed, match=r"playbook broken\.yml: \[ERROR\]"):
        stage.play("broken.yml")
    assert stage.told == []


def test_a_play_that_matches_nobody_is_a_failed_update_but_an_idle_hook(stage: Stage) -> None:
    stage.write("update.yml", "- {hosts: twinn, gather_facts: false, tasks: [{name: x, ansible.builtin.debug: }]}")

    with pytest.raises(StepFailed, match=r"(?s)update\.yml: no task ran on any host.*twin \(the instances\)"):
        stage.play("update.yml")

    stage.play("update.yml", twin=None)
    assert stage.ends() == [("", "", "skipped")]


def test_the_config_beside_the_manifest_is_obeyed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.write("elsewhere.cfg", "[defaults]\nroles_path = /nowhere\n")
    monkeypatch.setenv("ANSIBLE_CONFIG", str(stage.folder / "elsewhere.cfg"))
    stage.write("ansible.cfg", "[defaults]\nroles_path = shared\n")
    stage.write("shared/greet/tasks/main.yml", "- {name: from the role, ansible.builtin.debug: }")
    stage.write("playbooks/update.yml", "- {hosts: localhost, gather_facts: false, roles: [greet]}")

    stage.play("playbooks/update.yml")

    assert stage.ends() == [("from the role", "localhost", "ok")]
