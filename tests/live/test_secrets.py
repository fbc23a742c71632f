"""Unmistakable secrets, and a search for them everywhere: good, bad, crashed, killed, held and rolled-back rollouts.

Where a value may stand: the environment or the files that the instance gets, the private file of the release, the spec
of the supervised process, and what the application itself writes to its own log. Nowhere else.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from deployer.manifest.notify import OCCASIONS
from deployer.supervisor import read_status
from tests.lab import registry
from tests.live.conftest import Make
from tests.live.searching import Search, Watch
from tests.live.shop import Shop
from tests.services import require

pytestmark = pytest.mark.live

MEMORY = Path("/dev/shm")
# The runner of playbooks writes its environment, which is that of the command, into a private file for a moment.
OF_ANSIBLE = {"artifacts/play/command": ("db", "prometheus", "header", "chat")}
PLANTS = {
    "event": "Events.add = told",
    "argument": "Vault.load = started",
    "file": "Vault.load = written",
    "stderr": "Vault.load = printed",
}
# Loaded by the interpreter before the command: a bug of ours, made to order.
CRASH = """
from deployer.store.rollouts import Rollouts
def fail(self, lock, plan, *rest):
    values = [file.read_text() for file in self._database.path.parent.glob("secrets/*/r*.json")]
    raise RuntimeError("planted bug: " + " ".join(values) + PLANTED)
Rollouts.begin = fail
"""
LEAK = """
import subprocess, sys
from dataclasses import replace
from deployer.store.events import Events
from deployer.store.vault import Vault
load, add = Vault.load, Events.add
def values(self, *rest):
    found = load(self, *rest)
    return found, [value.reveal() for value in found.values()]
def told(self, lock, event):
    texts = [file.read_text() for file in self._database.path.parent.glob("secrets/*/r*.json")]
    return add(self, lock, replace(event, data={**event.data, "leak": texts}))
def started(self, *rest):
    found, texts = values(self, *rest)
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)  # nobody waits for its end
    subprocess.Popen(["sh", "-c", "sleep 20; :", *texts], **quiet)
    return found
def written(self, *rest):
    found, texts = values(self, *rest)
    (self._folder.parent / "leak").write_text(" ".join(texts))
    return found
def printed(self, *rest):
    found, texts = values(self, *rest)
    sys.stderr.write(" ".join(texts))
    return found
"""


class Stage:
    """A service full of secrets, what was searched of its commands, and the numbers that guard it."""

    def __init__(self, shop: Shop, search: Search, source: str) -> None:
        self.shop, self.search = shop, search
        self.environ = {**shop.environment(), "TMPDIR": str(shop.folder / "tmp"), "NEEDLE_DB": search.plant("db")}
        self.environ |= {"NEEDLE_PROM": search.plant("prometheus"), "NEEDLE_HEADER": search.plant("header")}
        chat = f"{source}/told".replace("http://", f"json://ann:{quote(search.plant('chat'), safe='')}@")
        self.environ["NEEDLE_CHAT"] = f"{chat}?rto=2&cto=2"
        for name in ("api", "printed", "hook-key"):
            (shop.folder / name).write_text(f"{search.plant(name)}\n")
        (shop.folder / "hook").write_text(f"{source}/told?token={quote(search.plant('hook'), safe='')}")
        (shop.folder / "tmp").mkdir(mode=0o700)
        self._playbook()
        shop.write(
            secrets={
                "DB_PASSWORD": {"env": "NEEDLE_DB", "deliver": "env"},
                "API_KEY": {"file": "api"},
                "PRINTED": {"command": ["sh", "-c", "cat printed; cat printed >&2"]},
                "PROM": {"env": "NEEDLE_PROM", "deliver": "none"},
                "HEADER": {"env": "NEEDLE_HEADER", "deliver": "none"},
                "CHAT": {"env": "NEEDLE_CHAT", "deliver": "none"},
                "HOOK": {"command": ["sh", "-c", "cat hook"], "deliver": "none"},
                "HOOK_KEY": {"file": "hook-key", "deliver": "none"},
            },
            notify={
                "to": [
                    {"name": "chat", "apprise": "CHAT", "events": list(OCCASIONS)},
                    {"name": "hook", "webhook": "HOOK", "key": "HOOK_KEY", "events": list(OCCASIONS)},
                ]
            },
            judge={
                "requests": 0,
                "metrics": [
                    self._metric("guarded", prometheus=source, query="up", auth={"user": "ann", "password": "PROM"}),
                    self._metric("page", http=f"{source}/page", auth={"header": {"X-Api-Key": "HEADER"}}),
                ],
            },
            update=["prepare.yml"],
            strategy={"canary": {"steps": [50], "for": "1500ms", "bake": "0s"}},
        )

    @staticmethod
    def _metric(name: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "max": 100, "interval": "300ms", "timeout": "2s", **more}

    def _playbook(self) -> None:
        """Write a playbook that uses a value out of Ansible's own vault, with the vault's password in a file."""
        folder = self.shop.folder
        (folder / "vault").write_text(self.search.plant("vault-password"))
        kept = self.search.plant("vaulted")
        (folder / "group_vars").mkdir()
        told = f"kept: {json.dumps(kept)}\n"
        program = str(Path(sys.executable).with_name("ansible-vault"))
        sealed = subprocess.run(
            [program, "encrypt", "--vault-password-file", str(folder / "vault"), "-"],
            input=told,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        ).stdout
        (folder / "group_vars" / "all.yml").write_text(sealed)
        (folder / "prepare.yml").write_text(
            "- hosts: twin\n  gather_facts: false\n  tasks:\n"
            "    - name: Use what is kept\n      no_log: true\n"
            "      ansible.builtin.assert: {that: kept | length > 20, success_msg: '{{ kept }}'}\n"
            "    - name: Say something\n      ansible.builtin.debug: {msg: prepared}\n"
        )
        self.environ["ANSIBLE_VAULT_PASSWORD_FILE"] = str(folder / "vault")

    def version(self, version: str, *, last_words: bool = False) -> None:
        """Make a version; one with `last_words` prints all its secrets, and ends."""
        self.shop.version(version)
        if last_words and self.shop.kind == "process":
            run = self.shop.folder / "releases" / version / "run"
            run.write_text('echo "db=$DB_PASSWORD"; cat "$API_KEY_FILE" "$PRINTED_FILE" >&2; exit 3\n')

    def deploy(self, *arguments: str, expect: int, **environ: str) -> str:
        """Run a command and search all that it prints."""
        done = subprocess.run(
            self.shop.command(*arguments),
            cwd=self.shop.folder,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        said = f"{done.stdout}\n{done.stderr}"
        self.search.look(f"what `deploy {' '.join(arguments)}` prints", said)
        assert done.returncode == expect, f"deploy {' '.join(arguments)}: {done.returncode}\n{said}"
        return said

    def look_at_the_proxy(self) -> None:
        """Search the surroundings of what lives long, and learn the token of the preview route."""
        state = self.shop.state
        self.search.also("preview token", (state / "proxy" / "preview.token").read_text().strip())
        folders = [state / "proxy" / "process", *(state / "processes").glob("*")]
        for folder in folders:
            status = read_status(folder)
            if status is None:
                continue
            for pid in filter(None, (status.supervisor_pid, status.pid if folder.name == "process" else 0)):
                self.search.look(f"the environment of {folder.name}", Path(f"/proc/{pid}/environ").read_bytes())

    def look_at_containers(self) -> None:
        """Search what the engine tells of each container; the variable that an instance must get may stand there."""
        if self.shop.client is None:
            return
        for name in self.shop.containers():
            told = json.dumps(self.shop.client.api.inspect_container(name), default=str)
            self.search.look(f"docker inspect {name}", told, ["db"])

    def look_at_files(self) -> None:
        """Search all that is left: the state folder, reports, and what lies about in folders for temporary files."""
        delivered = ("db", "api", "printed")
        allowed = {
            "secrets/*/r*.json": (*delivered, "prometheus", "header", "chat", "hook", "hook-key"),
            "processes/*/spec.json": ("db",),
            "processes/*/secrets/*": delivered,
            "processes/*/log": delivered,
            "proxy/preview.token": ("preview token",),
        }
        self.search.look_below(self.shop.state, allowed)
        for folder in (self.shop.folder / "reports", self.shop.folder / "tmp", MEMORY):
            self.search.look_below(folder)


@contextmanager
def source(search: Search) -> Iterator[str]:
    """Serve a number to who knows password or header; repeat both to whom it refuses, now and then to everybody."""

    class Handler(BaseHTTPRequestHandler):
        asked = 0

        def do_GET(self) -> None:
            type(self).asked += 1
            key = self.headers.get("X-Api-Key", "")
            sent = self.headers.get("Authorization", "").removeprefix("Basic ")
            password = base64.b64decode(sent).decode().partition(":")[2]
            good = search.values["header"] == key or search.values["prometheus"] == password
            if not good or self.asked % 3 == 1:
                return self._answer(403, f"not {key}{password}, nor {sent}")
            if self.path.startswith("/api"):
                data = {"resultType": "vector", "result": [{"metric": {}, "value": [1, "1"]}]}
                return self._answer(200, json.dumps({"status": "success", "data": data}))
            return self._answer(200, "1")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.startswith("/told"):
                search.look("what people elsewhere are told", body)
                return self._answer((200, 403, 500)[len(body) % 3], f"not {self.path}, {self.headers}")
            self.do_GET()
            return None

        def _answer(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(params=["docker", "process"])
def stage(request: pytest.FixtureRequest, make_shop: Make) -> Iterator[Stage]:
    require("ansible")
    search = Search()
    shop = make_shop(request.param)
    with source(search) as url:
        yield Stage(shop, search, url)


def planted(stage: Stage, code: str, name: str = "site") -> dict[str, str]:
    """Write code that is run before every command; return the variable that makes it so."""
    folder = stage.shop.folder / name
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": str(folder)}


def rollouts(stage: Stage) -> None:
    """Good, held, bad, crashed, killed, and rolled back; a look at what lives in between."""
    shop = stage.shop
    for version in ("1.0", "2.0", "3.0"):
        stage.version(version)
    stage.version("4.0", last_words=True)
    stage.deploy("up", "--version", "1.0", expect=0)
    stage.look_at_the_proxy()
    for output in ("text", "json", "plain"):
        stage.deploy("plan", "canary", "--version", "2.0", "--output", output, expect=0)
    stage.deploy("canary", "--version", "2.0", "--output", "json", expect=0)
    stage.look_at_containers()
    stage.deploy("rollback", expect=0)
    stage.deploy("canary", "--version", "3.0", "--hold", "--output", "plain", expect=0)
    look_everywhere(stage)
    stage.deploy("promote", expect=0)
    bad(stage)
    crashed(stage)
    killed(stage)
    stage.deploy("rollback", "--to", "1", "--force", "-m", "to the first one, which is cold", expect=0)
    look_everywhere(stage)
    stage.deploy("down", "-y", "--service", shop.name, expect=0)
    stage.look_at_files()


def bad(stage: Stage) -> None:
    """A release that says all that it knows, and ends."""
    shop = stage.shop
    if shop.kind == "docker":
        shop.write(command=["env", "DB_PASSWORD"])
    said = stage.deploy("bluegreen", "--version", "4.0", expect=4)
    assert "***" in said, "it was said, and hidden"
    if shop.kind == "docker":
        shop.manifest.pop("command")
        shop.write()


def crashed(stage: Stage) -> None:
    """A bug of ours with the values in its words, with the trace for the developer."""
    site = planted(stage, CRASH.replace("PLANTED", "''"))
    said = stage.deploy("canary", "--version", "2.0", expect=1, DEPLOYER_DEBUG="1", **site)
    assert "Traceback" in said
    assert "planted bug: " in said
    assert "***" in said


def killed(stage: Stage) -> None:
    """A command that ends in the middle, and another that goes on."""
    shop = stage.shop
    shop.write(strategy={"canary": {"steps": [50], "for": "60s", "bake": "0s"}})
    with subprocess.Popen(
        shop.command("canary", "--version", "2.0"),
        cwd=shop.folder,
        env=stage.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as canary:
        shop.wait(lambda s: s["share"] == 5000, "users are on the candidate")
        stage.look_at_containers()
        canary.kill()
        out, err = canary.communicate(timeout=60)
        stage.search.look("what the killed command printed", out + err)
    stage.look_at_files()
    stage.deploy("abort", "-m", "its driver died", expect=0)


def look_everywhere(stage: Stage) -> None:
    """Ask everything that can be asked, in every form."""
    service = ("--service", stage.shop.name)
    for output in ("text", "json", "plain"):
        for command in ("status", "history", "releases", "show", "logs"):
            stage.deploy(command, *service, "--output", output, expect=0)
        stage.deploy("audit", *service, "--output", output, expect=0)
    (stage.shop.folder / "reports").mkdir(exist_ok=True)
    for suffix in ("html", "json", "xml", "md"):
        stage.deploy("report", *service, "-o", f"reports/r.{suffix}", expect=0)
    stage.deploy("audit", "export", "-o", "reports/audit.jsonl", expect=0)
    stage.look_at_containers()
    stage.look_at_files()


@pytest.mark.long("every command, while all processes are looked at")
@pytest.mark.crowd  # it looks at all processes all the time
def test_a_secret_stands_nowhere_but_where_it_must(stage: Stage) -> None:
    with Watch(stage.search, [stage.shop.folder / "tmp", MEMORY], OF_ANSIBLE) as watch:
        rollouts(stage)

    assert watch.looks > 50  # at all processes; on a busy machine they take their time
    assert stage.search.places > 500
    assert stage.search.found == [], "\n".join(sorted(set(stage.search.found)))


@pytest.mark.parametrize("stage", ["docker"], indirect=True)
def test_the_password_of_a_registry_stands_nowhere(stage: Stage, tmp_path: Path) -> None:
    """The engine asks for it: what `docker login` left is sent to the engine, and to nobody else."""
    shop, search = stage.shop, stage.search
    search.also("registry", registry.PASSWORD)
    search.also("registry login", base64.b64encode(f"{registry.USER}:{registry.PASSWORD}".encode()).decode())
    shop.version("1.0")
    with registry.running() as served, Watch(search, [shop.folder / "tmp", MEMORY], OF_ANSIBLE):
        shop.write(image=f"{served.host}/shop")
        served.login(tmp_path)
        stage.deploy("up", "--version", "none", expect=2, DOCKER_CONFIG=str(tmp_path))
        (tmp_path / "config.json").unlink()
        stage.deploy("up", "--version", "none", expect=2, DOCKER_CONFIG=str(tmp_path))
    stage.look_at_files()
    assert search.found == []


@pytest.mark.long("a deploy while all processes are looked at", every_change=("event-process",))
@pytest.mark.parametrize("stage", ["process"], indirect=True)
@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_leak_is_found(stage: Stage, plant: str) -> None:
    stage.version("1.0")
    site = planted(stage, f"{LEAK}\n{PLANTS[plant]}\n")
    with Watch(stage.search, [stage.shop.folder / "tmp"], {}):
        stage.deploy("up", "--version", "1.0", expect=0, **site)
    stage.look_at_files()

    where = {"event": "deployer.db", "argument": "arguments of a process", "file": "state/leak", "stderr": "prints"}
    found = [place for place in stage.search.found if where[plant] in place]
    assert {"db", "api", "printed", "prometheus", "header"} <= {place.split(" in ")[0] for place in found}, found
