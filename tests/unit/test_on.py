"""`deploy --on`: addresses, what is said on both sides first, and every way in which there is no connection."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from deployer import __version__, start
from deployer.cli import main
from deployer.cli.lazy import COMMANDS
from deployer.cli.options import Common
from deployer.cli.strategies import builtin_commands
from deployer.client import orders, stream
from deployer.client import ssh as client_ssh
from deployer.client.control import Control
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import Exit, Refused
from deployer.core.files import first
from deployer.core.local_host import whoami
from deployer.planning.orders import Order
from deployer.server.log import ServerLog
from deployer.server.runs import START_SECONDS, Processes, Run, file_of, run_of
from deployer.server.stdio import _caller, _let_in, _Trusted
from deployer.server.tokens import Token
from deployer.store import Store
from deployer.transport import ssh
from deployer.transport.greeting import Greeting, Welcome, hello, read, refusal, welcome
from deployer.transport.timeouts import PATIENT
from tests.api import MANIFEST, Api
from tests.conftest import state_folder
from tests.forked import CLIENT, forking
from tests.house import Scene
from tests.ports import free_port
from tests.served import serving
from tests.server_runs import joined
from tests.unit.test_remote import ARGUMENTS, Told

URL = "ssh://ann@control/srv/shop"
Deploy = Callable[..., Told]


# -- addresses


@pytest.mark.parametrize(
    ("text", "host", "user", "port", "folder"),
    [
        ("ssh://control", "control", "", None, ""),
        ("ssh://control/", "control", "", None, ""),
        ("ssh://Control.example.com/srv/shop/", "Control.example.com", "", None, "/srv/shop"),
        ("ssh://ann@control:2222/srv/my%20shop", "control", "ann", 2222, "/srv/my shop"),
        ("ssh://ann.b-c@[fe80::1%25eth0]:22/~/shop", None, "ann.b-c", 22, "~/shop"),
        ("ssh://[::1]", "::1", "", None, ""),
    ],
)
def test_addresses_are_read(text: str, host: str | None, user: str, port: int | None, folder: str) -> None:
    if host is None:
        text, host = text.replace("%25", "%"), "fe80::1%eth0"
    found = Control.of(text, "--on")
    assert (found.host, found.user, found.port, found.folder) == (host, user, port, folder)


@pytest.mark.parametrize(
    "text",
    [
        "control",
        "http://control",
        "ssh://",
        "ssh:///srv",
        "ssh://ann:secret@control",
        "ssh://-oProxyCommand=id",
        "ssh://-l@control",
        "ssh://control:0",
        "ssh://control:65536",
        "ssh://control/a?b",
        "ssh://control/%0a",
        "ssh://[fe80::1",
        "ssh://control;id",
    ],
)
def test_addresses_that_are_refused(text: str) -> None:
    with pytest.raises(Refused, match="is not an address of a control host") as caught:
        Control.of(text, "--on")
    assert "secret" not in str(caught.value)


def test_the_command_line_of_ssh() -> None:
    control = Control.of("ssh://ann@control:2222/srv/shop", "--on", "-i 'my key' -J jump")
    line = ssh.line(control.there, PATIENT, *ssh.ALONE)
    assert line[0] == "ssh"
    assert line[-2:] == ["--", "control"]
    joined = shlex.join(line)
    for words in ("-T", "-i 'my key' -J jump", "-p 2222", "-l ann", "BatchMode=yes", "ServerAliveInterval=5"):
        assert words in joined
    assert "StrictHostKeyChecking" not in joined, "host keys are checked as ssh is told to"
    with pytest.raises(Refused, match="the options of ssh cannot be read"):
        Control.of("ssh://control", "--on", "-i 'open")


# -- what is said first


def test_greetings_are_understood_and_others_are_refused() -> None:
    greeting = Greeting("ann", "laptop", "/srv", "a.yml", "staging", "/var/s")
    assert Greeting.of(read(hello(greeting.data()), "the client")) == greeting
    answer = Welcome("/srv", "/srv/a.yml", "shop")
    assert Welcome.of(read(welcome(answer.data()), "it")) == answer
    assert Greeting.of({"protocol": 1, "by": "ann", "host": "m", "later": 1}).by == "ann"
    with pytest.raises(Refused, match="no such folder"):
        read(refusal(Refused("no such folder")), "it")
    for line, told in (
        (b"GET / HTTP/1.1\r\n", "does not greet as a deployer does"),
        (b'{"protocol": 1, "by": "ann"}', "does not say host"),
        (b'{"protocol": 1, "by": 7, "host": "m"}', "gives no text as by"),
        (b'{"protocol": 1, "by": "a\\nb", "host": "m"}', "gives no text as by"),
        (b'{"protocol": 2, "by": "ann", "host": "m"}', "the client is another version, which speaks protocol 2"),
    ):
        with pytest.raises(Refused, match=told):
            Greeting.of(read(line, "the client"))
    with pytest.raises(Refused, match=r"is deployer 9\.9, which speaks protocol 2, not 1"):
        read(b'deployer {"protocol": 2, "version": "9.9"}', "it")


def test_who_acts_elsewhere_is_named_with_their_own_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOYER_ACTOR", "ann")
    monkeypatch.setenv("DEPLOYER_HOSTNAME", "lap\x1btop")
    assert whoami() == "ann@lap?top"
    monkeypatch.delenv("DEPLOYER_HOSTNAME")
    assert whoami() == f"ann@{os.uname().nodename}"


# -- the command, with an ssh that has no network between its ends


@pytest.fixture
def api(state: Path) -> Iterator[Api]:
    made = Api(state)
    yield made
    made.close()


@pytest.fixture(scope="module")
def here() -> Iterator[str]:
    """Yield the command of a shell that does what `exec deploy serve --stdio` does, without its start-up."""
    with state_folder(Path("/tmp")) as folder, forking(folder / "far") as path:
        yield f"exec {shlex.quote(sys.executable)} -S -c {shlex.quote(CLIENT)} {path}"


@pytest.fixture
def far(state: Path, here: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the control host; `ssh` is a script in `bin`, which `plug` writes."""
    for name in ("DEPLOYER_SERVER", "DEPLOYER_TOKEN", "DEPLOYER_ON", "DEPLOYER_SSH_ARGS", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("here", "bin", "far"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("DEPLOYER_STATE", str(tmp_path / "never"))
    monkeypatch.setenv("DEPLOYER_ACTOR", "ann")
    monkeypatch.setattr(stream, "FIRST", 0.3)
    plug(tmp_path, f"export DEPLOYER_STATE={state}; {here}")
    return tmp_path / "far"


def plug(folder: Path, script: str) -> None:
    file = folder / "bin/ssh"
    file.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {folder}/asked\n{script}\n')
    file.chmod(0o755)


@pytest.fixture
def run(far: Path, capsys: pytest.CaptureFixture[str]) -> Deploy:
    def deploy(*arguments: str) -> Told:
        capsys.readouterr()
        code = main(arguments)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        assert not (far.parent / "never").exists(), "nothing is done in the state folder of this host"
        return Told(code, out, err)

    return deploy


def manifest(path: Path, **changes: Any) -> None:
    path.write_text(yaml.safe_dump({**MANIFEST, **changes}))


def on(far: Path, *arguments: str) -> tuple[str, ...]:
    return ("--on", f"ssh://ann@control{far}", *arguments)


def test_it_answers_as_at_home(far: Path, run: Deploy, state: Path) -> None:
    manifest(far / "deploy.yml")
    told = run(*on(far, "history"))
    assert (told.code, told.err.splitlines()[0]) == (2, "error: shop was never deployed"), told
    assert (far.parent / "asked").read_text().endswith(" -- control deploy serve --stdio\n")
    told = run(*on(far, "rollback", "-m", "why"))
    assert (told.code, "shop was never deployed" in told.err) == (2, True)
    told = run(*on(far, "history", "--state", str(state / "other"), "--service", "blog"))
    assert (told.code, "blog was never deployed" in told.err) == (2, True)
    assert (state / "other/deployer.db").exists()


def test_an_order_is_a_process_there_in_the_name_of_who_is_here(
    far: Path, run: Deploy, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.7 1 192.0.2.8 22")
    manifest(far / "deploy.yml", runtime="process", image="releases/{version}", command=["sh"])
    told = run(*on(far, "up", "--version", "7.0", "-m", "why"))
    assert told.code == Exit.REFUSED, told
    (file,) = (state / "server/runs").glob("*.json")
    found = Run.from_json(file.read_text())
    assert (found.by, found.origin) == ("ann", "--on, ssh from 192.0.2.7")
    assert (found.order.manifest, found.order.reason, found.exit) == (str(far / "deploy.yml"), "why", 2)


@pytest.mark.long("a process for each of nine orders")
def test_which_manifest_is_meant(far: Path, run: Deploy) -> None:
    up = ("up", "--version", "7.0")
    told = run(*on(far, *up))
    assert (told.code, "nothing was deployed at ssh://ann@control" in told.err) == (2, True)
    told = run(*on(far, *up, "--service", "shop"))
    assert f"has no deploy.yml in {far}" in told.err
    assert "-f FILE" in told.err
    manifest(far / "deploy.yml")
    assert "is for shop, not for blog" in run(*on(far, *up, "--service", "blog")).err
    shutil.copy(far / "deploy.yml", "deploy.yml")
    Path("deploy.yml").write_text(Path("deploy.yml").read_text() + "# changed\n")
    assert "differs from yours" in run(*on(far, *up)).err
    assert "is another one" not in run(*on(far, *up, "--service", "shop")).err
    assert "is another one" not in run(*on(far, *up, "-f", str(far / "deploy.yml"))).err
    manifest(Path("deploy.yml"), service="blog")
    told = run(*on(far, "rollback"))
    assert (told.code, "deploy.yml here is for blog" in told.err, "--service NAME" in told.err) == (2, True, True)
    (far / "deploy.yml").write_text("service: [")
    assert "cannot be read" in run(*on(far, "rollback", "-f", "deploy.yml")).err
    assert "was never deployed" in run(*on(far, "rollback", "--service", "shop")).err, "an emergency needs no manifest"
    told = run("--on", "ssh://control/nowhere/at/all", "status")
    assert (told.code, "/nowhere/at/all cannot be entered: No such file" in told.err) == (2, True)


@pytest.mark.parametrize("name", [*COMMANDS, *builtin_commands()])
def test_every_command_is_done_there_or_refused_with_what_to_type(far: Path, run: Deploy, name: str) -> None:
    plug(far.parent, "exit 127")
    told = run(*on(far, name, *ARGUMENTS.get(name, () if name in COMMANDS else ("--service", "shop"))))
    assert told.code == Exit.REFUSED
    if name not in COMMANDS or COMMANDS[name].served:
        assert "there is no `deploy` there" in told.err
        return
    assert told.err.startswith(f"error: deploy {name} works on the host where it is called, not through --on\n")
    assert f"ssh ann@control 'cd {far} && deploy {name}'" in told.err
    assert not (far.parent / "asked").exists()


@pytest.mark.parametrize(
    ("script", "told", "hint"),
    [
        (
            "echo 'a@b: Permission denied (publickey).' >&2; exit 255",
            "it refuses this user and key: a@b: P",
            "ssh-add",
        ),
        ("echo 'Host key verification failed.' >&2; exit 255", "its host key is not known", "compare the fingerprint"),
        (
            "echo 'Connection refused' >&2; exit 255",
            "cannot be reached: nothing listens for ssh there: C",
            "ssh ann@",
        ),
        ("echo 'sh: 1: deploy: not found' >&2; exit 127", "there is no `deploy` there: sh: 1:", "extra `server`"),
        ("echo 'Error: No such option: --stdio' >&2; exit 2", "deployer is too old there", "the same version"),
        ("echo 'error: the server needs fastapi' >&2; exit 2", "ended with 2: the server needs fastapi", "try `ssh"),
        ("exit 3", "`deploy serve --stdio` ended with 3", "try `ssh"),
        ('read line; echo \'deployer {"protocol": 2, "version": "9.9"}\'; cat', "deployer 9.9, which", "same version"),
        (
            "head -c 70000 /dev/zero | tr '\\0' 'x'; cat",
            "something else: a line without end: b'xxx",
            "it should be nothing",
        ),
    ],
)
def test_why_there_is_no_connection(far: Path, run: Deploy, script: str, told: str, hint: str) -> None:
    plug(far.parent, script)
    for command in (("status",), ("up", "--service", "shop")):
        found = run(*on(far, *command))
        assert (found.code, found.out) == (Exit.REFUSED, "")
        assert told in found.err
        assert hint in found.err


def test_a_command_that_says_nothing_is_given_up(far: Path, run: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_ssh, "PATIENT", replace(PATIENT, greet=0.3))
    plug(far.parent, "exec cat >/dev/null")
    assert "cannot be reached: no response within 0.3 s" in run(*on(far, "status")).err
    monkeypatch.setenv("PATH", str(far))
    assert "ssh cannot be started: it is not on PATH" in run(*on(far, "status")).err


def test_what_a_login_shell_prints_is_no_answer(far: Path, run: Deploy, state: Path, here: str) -> None:
    plug(far.parent, f"echo Welcome; echo; export DEPLOYER_STATE={state}; {here}")
    assert "was never deployed" in run(*on(far, "status", "--service", "shop")).err


def test_a_control_host_of_another_version_is_told_so(far: Path, run: Deploy, state: Path, here: str) -> None:
    older = "from deployer.server import stdio; stdio.VERSION = (b'x-deployer-version', b'9.9')"
    plug(far.parent, f"export DEPLOYER_STATE={state}; {here} {shlex.quote(older)}")
    told = run(*on(far, "status", "--service", "shop"))
    assert f"the server is deployer 9.9, this one is {__version__}" in told.err


# -- connections that break


@pytest.fixture
def left(far: Path, state: Path, here: str) -> Path:
    """Return a file with the processes of ssh; over there is a rollout that nobody drives any more."""
    scene = Scene(state)
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options={"percent": 10, "hold": True})
    with scene.house.store.database.transaction() as cursor:
        cursor.execute("update rollouts set outcome = '' where number = 2")
    scene.house.store.close()
    plug(
        far.parent,
        f"[ ! -e {far}/away ] || {{ echo 'connect: no route' >&2; exit 255; }}\n"
        f"echo $$ >> {far}/pids; export DEPLOYER_STATE={state} TMPDIR={far}/tmp; {here}",
    )
    (far / "tmp").mkdir()
    return far / "pids"


def cut(pids: Path, connections: int, away: Path | None = None) -> None:
    """Kill every ssh once there were so many; none gets through any more where `away` is a file."""
    deadline = Deadline.after(SystemClock(), 30)
    deadline.until(lambda: pids.exists() and len(pids.read_text().split()) >= connections, "the connections are there")
    if away is not None:
        away.touch()
    for pid in pids.read_text().split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


@pytest.mark.long("connections that break until they are given up", every_change=True)
def test_connections_that_break_are_made_again(
    far: Path, left: Path, run: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "GRACE_SECONDS", 8.0)
    cutter = threading.Thread(target=cut, args=(left, 3))
    cutter.start()
    told = run(*on(far, "watch", "--service", "shop"))
    cutter.join(30)
    assert len(left.read_text().split()) >= 5, f"they were made again: {told}"
    assert (told.code, "the process that ran rollout 2 is gone" in told.err) == (Exit.INTERNAL, True), told
    assert not list((far / "tmp").iterdir()), "those that were killed have left nothing"


@pytest.mark.long("a connection that breaks until it is given up", every_change=True)
def test_a_control_host_that_stays_away_is_told_with_what_to_do(
    far: Path, left: Path, run: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (stream, orders):
        monkeypatch.setattr(module, "PATIENCE", 1.5)

    cutter = threading.Thread(target=cut, args=(left, 3, far / "away"))
    cutter.start()
    told = run(*on(far, "watch", "--service", "shop"))
    cutter.join(30)
    assert told.code == Exit.NEEDS_PERSON, told
    assert "goes on" in told.err
    assert "connect: no route" in told.err or "the connection broke" in told.err


# -- options


def test_options_that_contradict_each_other(far: Path, run: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    both = run("--on", URL, "--server", "http://localhost:1", "status")
    assert (both.code, "--on and --server name two places" in both.err) == (2, True)
    assert "--ssh-args goes with --on" in run("--ssh-args", "-v", "status").err
    assert "--token-file goes with --server" in run("--on", URL, "--token-file", "x", "status").err
    monkeypatch.setenv("DEPLOYER_ON", URL)
    monkeypatch.setenv("DEPLOYER_SERVER", "http://localhost:1")
    assert "DEPLOYER_ON and DEPLOYER_SERVER name two places" in run("status").err
    plug(far.parent, "exit 127")
    assert "there is no `deploy` there" in run("--on", URL, "status").err, "what is typed goes before the environment"
    monkeypatch.delenv("DEPLOYER_SERVER")
    assert "unset DEPLOYER_ON" in run("doctor").err
    monkeypatch.setenv("DEPLOYER_ON", "control")
    assert "DEPLOYER_ON: 'control' is not an address" in run("status").err


def test_what_does_not_go_with_the_other_end(run: Deploy) -> None:
    told = run("serve", "--stdio", "--listen", "127.0.0.1:1", "--no-tls")
    assert (told.code, "--listen, --no-tls does not go with --stdio" in told.err) == (2, True)


def test_the_other_end_without_a_client_says_what_it_is_for(state: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deployer.start", "serve", "--stdio", "--state", str(state)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "this is what `deploy --on` calls" in json.loads(done.stdout.removeprefix("deployer "))["refused"]


def test_an_emergency_at_this_proxy_is_not_meant(far: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployer.emergency.first", lambda _arguments: pytest.fail("it moved users of this host"))
    monkeypatch.setattr(sys, "argv", ["deploy", "rollback", "--service", "shop"])
    monkeypatch.setenv("DEPLOYER_ON", "nonsense")
    assert start.main() == Exit.REFUSED


@pytest.mark.parametrize(
    ("on_cancel", "here", "there"), [("abort", False, False), ("detach", True, True), (None, False, True)]
)
def test_what_a_signal_does_where_nobody_is_asked(on_cancel: Any, here: bool, there: bool) -> None:
    assert Common(on_cancel=on_cancel).detaches == here
    assert Common(on_cancel=on_cancel, server=Control.of(URL, "--on")).detaches == there


# -- two at the other end at once, as where a connection broke in the middle of an order


def test_an_order_that_two_got_at_once_is_begun_once(state: Path) -> None:
    Store(state, SystemClock()).close()
    runners = [Processes(state, SystemClock(), os.environ, ServerLog()) for _ in range(2)]
    for key in range(5):
        name, together, got = run_of("ssh", str(key)), threading.Barrier(2), list[Run]()

        def give(runner: Processes, name: str = name, together: Any = together, got: Any = got) -> None:
            together.wait(20)
            got.append(runner.start(Order("promote", "shop"), "ann", "here", name))

        threads = [threading.Thread(target=give, args=(runner,)) for runner in runners]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert [one.id for one in got] == [name, name]
    joined(run_of("ssh", str(key)) for key in range(5))
    logs = list((state / "server/runs").glob("*.log"))
    assert len(logs) == 5, "a log is made by whoever begins it, and a second one would be refused"


def test_a_run_that_another_has_just_begun_is_not_taken_for_lost(state: Path) -> None:
    Store(state, SystemClock()).close()
    now = SystemClock().now()
    run = Run("0" * 16, Order("promote", "shop"), "ann", "here", now)
    file = file_of(state, run.id)
    file.parent.mkdir(parents=True)
    assert first(file, run.to_json())
    assert not first(file, "another")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]
    reader = Processes(state, SystemClock(), {}, ServerLog())
    assert reader.read("shop", run.id) == run
    file.write_text(replace(run, began_at=now - START_SECONDS - 1).to_json())
    found = reader.read("shop", run.id)
    assert found is not None
    assert found.outcome == "lost"


def test_whoever_came_by_ssh_stands_as_long_as_the_connection(state: Path) -> None:
    tokens = _Trusted(state, SystemClock())
    account = Token("ssh", "ann", "admin", (), "", 0.0, "ann")
    assert tokens.standing(account)
    assert not tokens.standing(replace(account, id="0"))


def test_whoever_came_by_ssh_is_named_and_has_no_role(api: Api) -> None:
    """Approval by a role is for tokens, which prove it."""
    api.scene.deploy("1.0")
    caller = _caller(Greeting("ann", "laptop"), {"SSH_CONNECTION": "192.0.2.7 1 192.0.2.8 22"})
    with serving(_let_in(api.routes(), caller), free_port()) as url:
        answer = requests.post(f"{url}/api/v1/services/shop/approve", json={"reason": "good"}, timeout=20)
    assert answer.headers["x-deployer-version"] == __version__
    (run,) = api.runner.runs.values()
    assert (run.order.action, run.order.role, run.by, run.origin) == (
        "approve",
        "",
        "ann",
        "--on, ssh from 192.0.2.7",
    )
