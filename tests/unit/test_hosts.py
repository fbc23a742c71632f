"""What a playbook is told, and what its events mean; no Ansible is started."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DriverFailed, Refused
from deployer.drivers.hosts import AnsiblePlaybooks
from deployer.drivers.hosts.environ import MARK, program, surroundings
from deployer.drivers.hosts.markers import end_marked, marked
from deployer.drivers.hosts.reports import HIDDEN, Course, slim
from deployer.drivers.hosts.run import reports
from deployer.drivers.hosts.variables import dump, twin, variables
from deployer.drivers.hosts.workspace import fill, forget_secrets, workspace
from deployer.manifest.models import Manifest
from deployer.manifest.sections import Twin
from deployer.model import Environment, Instance, Release

MANIFEST = Manifest.model_validate({"service": "shop", "image": "shop", "port": 8080})
RELEASE = Release("shop", 42, "2.0", "shop:2.0", "sha256:abc", MANIFEST, "hash")


def environment(count: int = 2) -> Environment:
    instances = tuple(
        Instance("shop", "green", 42, n, f"shop-r42-{n}", f"id{n}", f"127.0.0.1:2100{n}", "running")
        for n in range(1, count + 1)
    )
    return Environment("shop", "green", 42, instances)


class Unsafe(yaml.SafeLoader):
    """Reads `!unsafe` as text."""


Unsafe.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))  # type: ignore[arg-type]


def test_variables_name_the_release_and_its_instances() -> None:
    told = variables(RELEASE, environment(1), {"deployer_when": "on_done"}, Path("/opt/playbooks"))

    assert told == {
        "deployer_when": "on_done",
        "deployer_service": "shop",
        "deployer_release": 42,
        "deployer_version": "2.0",
        "deployer_colour": "green",
        "deployer_runtime": "docker",
        "deployer_image": "shop:2.0",
        "deployer_image_id": "sha256:abc",
        "deployer_instances": [
            {
                "name": "shop-r42-1",
                "index": 1,
                "address": "127.0.0.1:21001",
                "host": "127.0.0.1",
                "port": 21001,
                "runtime_id": "id1",
                "on": "localhost",
            }
        ],
        "deployer_playbooks": "/opt/playbooks",
    }


def test_variables_name_the_hosts_of_an_inventory() -> None:
    manifest = MANIFEST.model_copy(update={"hosts": "blue", "twin": Twin(hosts="green")})
    release = Release("shop", 42, "2.0", "shop:2.0", "sha256:abc", manifest, "hash")

    assert variables(release, None, {}, Path("/x"))["deployer_web"] == "blue:green"


def test_extra_variables_cannot_replace_ours() -> None:
    assert variables(RELEASE, None, {"deployer_service": "other"}, Path("/x"))["deployer_service"] == "shop"


def test_each_instance_is_a_host_of_the_group_twin() -> None:
    hosts = twin(environment(2))["all"]["children"]["twin"]["hosts"]

    assert list(hosts) == ["shop-r42-1", "shop-r42-2"]
    assert hosts["shop-r42-2"]["ansible_connection"] == "local"
    assert hosts["shop-r42-2"]["ansible_python_interpreter"] == sys.executable
    assert hosts["shop-r42-2"]["deployer_instance"]["address"] == "127.0.0.1:21002"
    assert twin(None) == {"all": {"children": {"twin": {"hosts": {}}}}}


def test_templates_are_marked_as_text_and_text_stays_text() -> None:
    data = {"a": "{{ lookup('pipe', 'id') }}", "b": ["{% x %}", {"c": "ü: y\n#"}], "v": "2.10", "n": 1, "t": True}

    text = dump(data)

    assert text.count("!unsafe") == 2
    assert '"2.10"' in text
    assert yaml.load(text, Loader=Unsafe) == data


def test_the_workspace_is_private_short_and_gone_afterwards(tmp_path: Path) -> None:
    (tmp_path / "group_vars").mkdir()
    with workspace() as folder:
        arguments = fill(folder, tmp_path, environment(), {"password": "hunter2"})
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert len(str(folder)) < 60
        assert arguments == ["-e", f"@{folder}/variables.yml"]
        assert stat.S_IMODE((folder / "variables.yml").stat().st_mode) == 0o600
        assert (folder / "inventory" / "group_vars").resolve() == tmp_path / "group_vars"
        forget_secrets(folder)
        assert not [f for f in folder.rglob("*") if f.is_file() and "hunter2" in f.read_text()]

    assert not folder.exists()
    assert (tmp_path / "group_vars").is_dir()  # the link went, not what it led to


def test_the_workspace_is_gone_after_a_failure_too() -> None:
    folders: list[Path] = []

    def fail() -> None:
        with workspace() as folder:
            folders.append(folder)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert not folders[0].exists()


def test_host_keys_are_checked_and_connections_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_SSH_EXTRA_ARGS", "-o ServerAliveInterval=1")
    given = surroundings(Path("/run/x"), tmp_path, Path("/v/bin/ansible-playbook"), "m")

    assert given["ANSIBLE_HOST_KEY_CHECKING"] == "True"
    assert given["ANSIBLE_SSH_EXTRA_ARGS"].startswith("-o ServerAliveInterval=1 -o ServerAliveInterval=5 ")
    assert given["PATH"].split(":")[0] == "/v/bin"
    assert given["ANSIBLE_CONFIG"] == "/run/x/ansible.cfg"

    (tmp_path / "ansible.cfg").touch()
    assert surroundings(Path("/run/x"), tmp_path, Path("/v/bin/a"), "m")["ANSIBLE_CONFIG"] == str(
        tmp_path / "ansible.cfg"
    )


def test_ansible_is_found_beside_this_python_even_if_not_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    assert program() == Path(sys.executable).parent / "ansible-playbook"


def test_missing_ansible_is_refused_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    with pytest.raises(Refused, match=r"(?s)need ansible-core .* pip install 'twin-deployer\[ansible\]'") as refused:
        program()
    assert "ansible-playbook is missing" in refused.value.message


def driver(folder: Path, inventory: Path | None = None) -> AnsiblePlaybooks:
    builtin = folder / "builtin"
    builtin.mkdir(exist_ok=True)
    (builtin / "warm-up.yml").touch()
    return AnsiblePlaybooks(folder, builtin, inventory, SystemClock())


def test_playbooks_of_the_user_come_before_built_in_ones(tmp_path: Path) -> None:
    playbooks = driver(tmp_path)
    assert playbooks.find("warm-up.yml") == tmp_path / "builtin" / "warm-up.yml"

    (tmp_path / "warm-up.yml").touch()
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "x.yml").touch()

    assert playbooks.find("warm-up.yml") == tmp_path / "warm-up.yml"
    assert playbooks.find("playbooks/x.yml") == tmp_path / "playbooks" / "x.yml"


def never(kind: str, **data: Any) -> None:
    raise AssertionError(f"nothing was to be told, but {kind} {data}")


def test_what_is_missing_is_refused_before_anything_runs(tmp_path: Path) -> None:
    deadline = Deadline.after(SystemClock(), 5)

    with pytest.raises(Refused, match=r"(?s)no playbook nope.yml in .*built in are warm-up.yml"):
        driver(tmp_path).play(RELEASE, environment(), ["warm-up.yml", "nope.yml"], {}, deadline, never)
    with pytest.raises(Refused, match="there is no inventory"):
        driver(tmp_path, tmp_path / "hosts.yml").play(RELEASE, None, ["warm-up.yml"], {}, deadline, never)


def event(kind: str, res: dict[str, Any] | None = None, stdout: str = "", **data: Any) -> dict[str, Any]:
    told = {"task": "migrate", "host": "h1", "task_action": "command", "task_args": "x", "res": res, **data}
    return {"event": kind, "uuid": "u", "stdout": stdout, "event_data": told}


@pytest.mark.parametrize(
    ("reported", "status", "message"),
    [
        (event("runner_on_ok", {"changed": False, "msg": "x"}), "ok", ""),
        (event("runner_on_ok", {"changed": True}), "changed", ""),
        (event("runner_on_ok", {"msg": "hello\n you"}, task_action="ansible.builtin.debug"), "ok", "hello you"),
        (event("runner_on_ok", {"censored": "…"}), "ok", HIDDEN),
        (event("runner_on_skipped", {"skip_reason": "Conditional result was False"}), "skipped", "Conditional result"),
        (event("runner_on_unreachable", {"msg": "no route"}), "unreachable", "no route"),
        (event("runner_on_failed", {"msg": "no such table"}), "failed", "no such table"),
        (event("runner_on_failed", {"msg": "oh"}, ignore_errors=True), "failed", "oh (ignored)"),
        (
            event("runner_on_failed", {"msg": "non-zero return code", "rc": 3, "stderr": "woe\n"}),
            "failed",
            "non-zero return code (rc 3): woe",
        ),
        (event("runner_on_failed", {"censored": "the output has been hidden"}), "failed", HIDDEN),
        (
            event("runner_on_failed", {"msg": "All items", "results": [{"msg": "a"}, {"failed": True, "msg": "b"}]}),
            "failed",
            "b",
        ),
        (event("runner_on_failed", {"msg": "All items", "results": [{"censored": "…"}]}), "failed", HIDDEN),
        (event("runner_on_failed", {}), "failed", "no message"),
        (
            event("runner_on_failed", {"msg": "x" * 4000 + "y" * 5000 + "the last line"}),
            "failed",
            f"{'x' * 250} … {'y' * 237}the last line",
        ),
        (
            event("runner_on_failed", {"msg": "non-zero return code", "rc": 1, "stderr": "x" * 9000 + "the last line"}),
            "failed",
            f"non-zero return code (rc 1): {'x' * 221} … {'x' * 237}the last line",
        ),
    ],
)
def test_ends_of_tasks(reported: dict[str, Any], status: str, message: str) -> None:
    (task,) = Course().take(slim(reported))

    assert (task.task, task.host, task.status) == ("migrate", "h1", status)
    assert task.message.startswith(message)
    assert message or not task.message
    assert len(task.message) <= 520


def test_only_what_is_used_leaves_the_worker() -> None:
    kept = slim(event("runner_on_ok", {"changed": True, "invocation": {"module_args": {"password": "hunter2"}}}))

    assert "hunter2" not in str(kept)
    assert slim({"event": "verbose", "stdout": ""}) == {}
    assert slim({"event": "runner_item_on_ok", "event_data": {}, "stdout": ""}) == {}
    assert slim({"event": "end", "stdout": "ok: [a]", "status": "successful"}) == {}, "our own last event is not theirs"
    assert slim({"event": "runner_on_ok", "event_data": "failed"}) == {"event": "runner_on_ok", "stdout": ""}


def course(*events: dict[str, Any]) -> Course:
    seen = Course()
    for one in events:
        list(seen.take(slim(one) or one))
    return seen


def test_trouble_is_the_task_that_failed_last_with_all_its_hosts() -> None:
    rescued = event("runner_on_failed", {"msg": "first"}, task="try")
    failed = [event("runner_on_failed", {"msg": "no such table"}, host=h) for h in ("h1", "h2")]
    ignored = event("runner_on_failed", {"msg": "never mind"}, task="later", ignore_errors=True)

    trouble = course(rescued, *failed, ignored).trouble()

    assert trouble == "task 'migrate' failed on h1 (and on h2): no such table"


def test_trouble_without_a_task_is_what_ansible_said() -> None:
    said = {"event": "verbose", "stdout": "[ERROR]: the playbook: x.yml could not be found\nOrigin: x"}

    assert course(said).trouble() == "[ERROR]: the playbook: x.yml could not be found"
    ended = course({"event": "end", "status": "failed", "rc": 4})
    assert ended.trouble() == "ansible-playbook ended with 4, status failed"


def test_an_unreachable_host_is_named() -> None:
    trouble = course(event("runner_on_unreachable", {"msg": "timed out"}, host="web1")).trouble()

    assert trouble == "task 'migrate': host web1 cannot be reached: timed out"


def test_only_the_last_lines_are_kept() -> None:
    seen = course(*({"event": "verbose", "stdout": f"line {n}\n\n"} for n in range(500)))

    assert len(seen.lines) == 40
    assert seen.lines[-1] == "line 499"


def test_a_worker_that_cannot_start_is_a_driver_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no module named deployer >&2\nexit 9\n")
    broken.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(broken))

    with pytest.raises(DriverFailed, match=r"ended unexpectedly \(exit code 9\)") as failed:
        list(reports({"big": "x" * 1_000_000}, "m", tmp_path / "log", Deadline.after(SystemClock(), 60)))

    assert failed.value.log == ("no module named deployer",)


def test_processes_are_found_and_ended_by_their_mark_in_whatever_session() -> None:
    mark = f"test-{os.getpid()}"
    script = "setsid sleep 60 & echo started; wait"
    with subprocess.Popen(
        ["/bin/sh", "-c", script], env={MARK: mark, "PATH": "/usr/bin:/bin"}, stdout=subprocess.PIPE
    ) as shell:
        assert shell.stdout is not None
        shell.stdout.readline()
        assert shell.pid in list(marked(mark))

        assert end_marked(mark) == ()

        assert shell.wait(60) == -signal.SIGKILL
    assert list(marked(mark)) == []
