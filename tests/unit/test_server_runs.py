"""Orders as processes of their own, the event stream, tokens on the command line."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import click
import pytest
import yaml

from deployer.app import operations
from deployer.app.operations import AppContext
from deployer.cli import main
from deployer.cli.serve import serve
from deployer.core.clock import SystemClock
from deployer.core.errors import Exit, Refused
from deployer.core.events import Event
from deployer.manifest.models import Manifest
from deployer.planning.orders import Order
from deployer.server.context import ServerContext, Stores
from deployer.server.hub import POLL_SECONDS, Hub
from deployer.server.log import ServerLog
from deployer.server.reconciler import MOST_SECONDS, Reconciler
from deployer.server.runner import Address, Endpoint, ServerTls
from deployer.server.runs import MOST, Busy, Processes, Run, file_of, run_of
from deployer.server.tokens import Tokens
from deployer.store import Store
from deployer.store.actor import origin
from tests.house import REPOSITORY, Scene, house
from tests.memory import Crash
from tests.server_runs import joined

SECONDS = 30.0


@pytest.fixture
def runner(state: Path) -> Processes:
    Store(state, SystemClock()).close()
    return Processes(state, SystemClock(), os.environ, ServerLog())


def ended(runner: Processes, run: Run) -> Run:
    joined([run.id])
    found = runner.read(run.order.service, run.id)
    assert found is not None
    assert not found.open
    return found


# -- processes


def test_an_order_is_carried_out_by_a_process_that_tells_its_end(runner: Processes, state: Path) -> None:
    run = runner.start(Order("promote", "shop", "a reason"), "ann", "API, from 192.0.2.7, token 0")
    assert run.open
    told = ended(runner, run)
    assert told.pid not in (0, os.getpid())
    assert (told.exit, told.text) == (Exit.REFUSED, "shop has no rollout in progress")
    assert told.hint
    assert runner.read("blog", run.id) is None
    assert runner.read("shop", "../../tokens") is None
    for file in (state / "server/runs").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_later_server_reads_the_same_runs(runner: Processes, state: Path) -> None:
    told = ended(runner, runner.start(Order("promote", "shop"), "ann", "here"))
    assert Processes(state, SystemClock(), {}, ServerLog()).read("shop", told.id) == told


def test_an_order_that_is_repeated_is_carried_out_once(runner: Processes, state: Path) -> None:
    name = run_of("0123456789ab", "a key of the client")
    told = ended(runner, runner.start(Order("promote", "shop"), "ann", "here", name))
    assert told.id == name
    assert runner.start(Order("promote", "shop"), "ann", "here", name) == told
    later = Processes(state, SystemClock(), {}, ServerLog())
    assert later.start(Order("promote", "shop"), "ann", "here", name) == told
    with pytest.raises(Refused, match="used for another order"):
        later.start(Order("abort", "shop"), "ann", "here", name)


def test_a_process_acts_in_the_name_of_its_client() -> None:
    assert whoami({"DEPLOYER_ACTOR": "ann", "SUDO_USER": "root"}).startswith("ann@")
    assert origin({"DEPLOYER_ORIGIN": "API, from 192.0.2.7", "CI": "1"}) == "API, from 192.0.2.7"


def whoami(environ: dict[str, str]) -> str:
    told = subprocess.run(
        [sys.executable, "-c", "from deployer.core.local_host import whoami; print(whoami())"],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS,
    )
    return told.stdout.strip()


def test_a_process_that_is_killed_is_told_as_lost(runner: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    spawn = runner._spawn

    def stopped(run: Run, log: Path) -> subprocess.Popen[bytes]:
        process = spawn(run, log)
        process.send_signal(signal.SIGSTOP)  # else it may have ended before this test goes on
        return process

    monkeypatch.setattr(runner, "_spawn", stopped)
    run = runner.start(Order("promote", "shop"), "ann", "here")
    runner._mine[run.id].kill()
    told = ended(runner, run)
    assert (told.exit, told.outcome) == (Exit.INTERNAL, "lost")
    assert "ended with -9 before it could say how" in told.text
    assert "resume it or abort it" in told.hint


def test_a_run_of_a_server_and_a_process_that_are_gone_is_lost(runner: Processes, state: Path) -> None:
    run = Run("ab" * 8, Order("promote", "shop"), "ann", "here", 1.0, pid=2**22, started=1)
    path = file_of(state, run.id)
    path.parent.mkdir(parents=True)
    path.write_text(run.to_json())
    found = runner.read("shop", run.id)
    assert found is not None
    assert (found.open, found.outcome) == (False, "lost")
    path.write_text(replace(run, pid=os.getpid(), started=0).to_json())  # the pid is another's by now
    found = runner.read("shop", run.id)
    assert found is not None
    assert found.outcome == "lost"


def test_so_many_at_once_and_no_more(runner: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_mine", dict.fromkeys(map(str, range(MOST))))
    with pytest.raises(Busy):
        runner.start(Order("promote", "shop"), "ann", "here")


class Asked:
    """A runner that only keeps what it is asked."""

    def __init__(self) -> None:
        self.orders: list[tuple[str, str, str]] = []
        self.open = False

    def start(self, order: Order, by: str, origin: str, run: str = "") -> Run:
        self.orders.append((order.action, order.service, origin))
        self.last = Run("0" * 16, order, by, origin, 1.0)
        return self.last

    def read(self, service: str, run: str) -> Run | None:
        return self.last if self.open else replace(self.last, ended_at=2.0, exit=8)


@dataclass
class Cared:
    """A scene whose second rollout died, and what the server does about it."""

    scene: Scene
    asked: Asked
    caretaker: Reconciler

    def look(self, after: float = 0.0) -> int:
        """Let time pass, look; return how often it was gone on with so far."""
        self.scene.world.clock.sleep(after)
        self.caretaker.look()
        return len(self.asked.orders)

    def die(self) -> None:
        """Let a deploy be killed in the middle."""

        def die(what: str) -> None:
            if what == "before ensure shop-r2-2":
                raise Crash

        self.scene.world.tick = die
        with pytest.raises(Crash):
            self.scene.deploy("2.0", "canary")
        self.scene.world.tick = lambda _what: None


@pytest.fixture
def cared(state: Path) -> Iterator[Cared]:
    scene, asked = Scene(state), Asked()
    scene.deploy("1.0")
    made = Stores(lambda: Store(state, scene.world.clock))

    def housed(store: Store) -> AppContext:
        return house(state, scene.world, scene.events, store)

    tokens = Tokens(state, scene.world.clock)
    desk = ServerContext(made, housed, tokens, asked, scene.world.clock, {}, log=ServerLog(scene.world.clock))
    yield Cared(scene, asked, Reconciler(desk, "root"))
    made.close()
    scene.house.store.close()


def test_what_nobody_drives_is_gone_on_with_at_the_start(cared: Cared) -> None:
    cared.die()
    cared.scene.house.store.close()  # with the process that died
    assert cared.look() == 1
    assert cared.asked.orders == [("resume", "shop", "deploy serve, at its start")]


def test_what_is_held_waits_for_a_person(cared: Cared) -> None:
    cared.scene.deploy("2.0", "canary", options={"hold": True})
    assert cared.look() == cared.look(3600) == 0
    operations.stop(cared.scene.house, "shop")


def test_what_dies_later_is_found_and_one_that_is_left_or_only_hangs_is_not(cared: Cared) -> None:
    assert cared.look() == 0
    cared.die()
    store = cared.scene.house.store
    lock = store.locks.take("shop", "resume")
    assert cared.look() == cared.look(60) == cared.look(600) == 0, "its process lives, though it says nothing"
    store.events.add(lock, Event("rollout.detached", 0.0, "shop", 2, {}))
    store.locks.release(lock)
    assert cared.look(600) == cared.look(600) == 0, "it was told to leave it"
    lock = store.locks.take("shop", "resume")
    store.events.add(lock, Event("note", 0.0, "shop", 2, {}))
    assert cared.look(5) == 0, "somebody took it up"
    store.locks.close()  # and is killed
    assert cared.look(600) == 0, "another one may just be taking it up"
    assert cared.look(5) == 1
    assert cared.asked.orders == [("resume", "shop", "deploy serve, which looked again")]


def test_it_waits_for_the_proxy_and_the_pause_grows_up_to_its_end(
    cared: Cared, capsys: pytest.CaptureFixture[str]
) -> None:
    cared.die()
    cared.scene.world.silent_until = cared.scene.world.clock.now() + 40
    assert cared.look() == cared.look(11) == cared.look(21) == 0
    assert cared.look(41) == 1, "the proxy is there again"
    cared.asked.open = True
    assert cared.look(3600) == 1, "its run goes on"
    cared.asked.open = False
    assert cared.look() == 2
    looks = 1200
    assert looks * 5 / MOST_SECONDS - 2 <= [cared.look(5) for _ in range(looks)][-1] - 2 <= looks * 5 / MOST_SECONDS + 1
    said = capsys.readouterr().err
    assert said.count("rollout 2 of shop is in progress and waits: the proxy does not respond") == 1
    assert said.count("rollout 2 of shop was interrupted: continuing it") == 1


def test_it_looks_by_itself_and_ends(cared: Cared) -> None:
    cared.die()
    cared.caretaker.start()
    for _ in range(int(SECONDS / 0.01)):
        if cared.asked.orders:
            break
        threading.Event().wait(0.01)
    cared.caretaker.stop()
    assert len(cared.asked.orders) == 1


# -- the address


@pytest.mark.parametrize(
    ("text", "local", "names"),
    [
        ("127.0.0.1:80", True, {"127.0.0.1", "localhost", "[::1]"}),
        ("[::1]:8642", True, {"[::1]", "localhost", "127.0.0.1"}),
        ("localhost:1", True, {"localhost", "127.0.0.1", "[::1]"}),
        ("0.0.0.0:8642", False, set()),
        ("deploy.example.com:443", False, {"deploy.example.com"}),
    ],
)
def test_addresses(text: str, local: bool, names: set[str]) -> None:
    address = Address.of(text)
    assert (address.local, set(address.names)) == (local, names)


@pytest.mark.parametrize("text", ["", "8642", "host", "host:0", "host:65536", "a b:1", "host:x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        Address.of(text)


def test_a_certificate_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no")
    for name in ("cert.pem", "missing.pem"):
        with pytest.raises(Refused, match="cannot be used for TLS"):
            ServerTls(tmp_path / name, tmp_path / name).check()


@pytest.mark.parametrize(
    ("listen", "tls", "hosts", "url"),
    [
        ("127.0.0.1:8642", False, (), "http://127.0.0.1:8642/"),
        ("[::1]:8642", False, (), "http://[::1]:8642/"),
        ("127.0.0.1:8642", True, ("deploy.example.com",), "https://deploy.example.com:8642/"),
        ("0.0.0.0:443", True, ("deploy.example.com", "x"), "https://deploy.example.com:443/"),
        ("0.0.0.0:80", False, ("deploy.example.com",), "http://deploy.example.com:80/"),
        ("10.0.0.5:8642", True, (), "https://10.0.0.5:8642/"),
    ],
)
def test_the_address_that_is_printed_is_one_that_answers(
    listen: str, tls: bool, hosts: tuple[str, ...], url: str
) -> None:
    files = ServerTls(Path("cert.pem"), Path("key.pem")) if tls else None
    endpoint = Endpoint(Address.of(listen), files, hosts)
    assert endpoint.url == url
    assert urlsplit(url).netloc.rpartition(":")[0] in (*endpoint.address.names, *hosts)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--listen", "0.0.0.0:8642", "--no-tls"], "no name is known by which clients may call it"),
        (["--listen", "0.0.0.0:8642"], "would send their tokens unencrypted"),
        (["--cert", "x.pem"], "--cert and --key go together"),
        (["--listen", "nowhere"], "is not an address to listen on"),
        (["-f", "missing.yml"], "does not exist"),
    ],
)
def test_what_cannot_be_served_is_refused(
    state: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert main(["serve", "--state", str(state), *arguments]) == Exit.REFUSED
    assert told in capsys.readouterr().err


def test_the_unit_starts_what_there_is() -> None:
    unit = (REPOSITORY / "examples/server/deploy-serve.service").read_text()
    assert "\nKillMode=process\n" in unit, "else a restart of the server ends rollouts"
    (line,) = re.findall(r"^ExecStart=\S+/deploy serve (.*)$", unit, re.MULTILINE)
    parsed, _, _ = serve.make_parser(click.Context(serve)).parse_args(line.split())
    assert parsed["cert"]
    assert parsed["key"]


def test_the_compose_file_starts_what_there_is() -> None:
    folder = REPOSITORY / "examples/compose"
    services = yaml.safe_load((folder / "compose.yml").read_text())["services"]
    words = [re.sub(r"\$\{\w+:-(.*?)\}", r"\1", word) for word in services["deploy"]["command"]]
    assert words[0] == "serve"
    places = {volume.split(":")[-2 if volume.endswith(":ro") else -1] for volume in services["deploy"]["volumes"]}
    manifests = [word for word in words if word.startswith("-f")]
    parsed, _, _ = serve.make_parser(click.Context(serve)).parse_args(words[1:])
    assert parsed["listen"] == "0.0.0.0:8642"
    assert manifests == ["-f/srv/shop/deploy.yml"]
    assert {"/srv/shop", "/var/run/docker.sock", "/var/lib/deployer"} <= places
    haproxy = Manifest.model_validate(yaml.safe_load((folder / "shop/deploy.yml").read_text())).traffic.haproxy
    assert haproxy is not None
    proxy = services["haproxy"]["command"]
    assert f"{haproxy.socket},mode,600" in proxy
    assert proxy[-1] == haproxy.config, "ours is loaded last"
    assert haproxy.main == ("/etc/haproxy/haproxy.cfg",)
    assert {haproxy.config, str(Path(haproxy.socket).parent)} <= places


# -- the stream


class Events:
    """A store of events, and how often it was asked."""

    def __init__(self) -> None:
        self.all: list[Event] = []
        self.asked = 0
        self.samples: dict[int, Event] = {}

    def add(self, count: int = 1) -> None:
        for _ in range(count):
            self.all.append(Event("note", 0.0, "shop", 1, {}, len(self.all) + 1))

    def read(self, after: int, limit: int) -> tuple[Event, ...]:
        self.asked += 1
        return tuple(self.all[after : after + limit])

    def hub(self) -> Hub:
        return Hub(self.read, lambda: len(self.all), lambda: dict(self.samples))


async def take(hub: Hub, after: int, until: int, begun: Callable[[], None] = lambda: None) -> list[int]:
    """Read up to an id."""
    seen: list[int] = []
    async with asyncio.timeout(SECONDS):
        async for events, _ in hub.follow(after, 0.05):
            seen += [event.id for event in events]
            begun()
            if seen and seen[-1] >= until:
                return seen
    raise AssertionError(f"the stream ended after {seen}")


def test_a_listener_gets_everything_once_and_in_order() -> None:
    events = Events()
    events.add(1200)  # more than one read gives

    async def listen() -> list[list[int]]:
        hub = events.hub()
        begun = asyncio.Event()
        listeners = [asyncio.create_task(take(hub, after, 1203, begun.set)) for after in (0, 700, 1200, 1202)]
        await begun.wait()
        events.add(3)
        return list(await asyncio.gather(*listeners))

    assert asyncio.run(listen()) == [list(range(after + 1, 1204)) for after in (0, 700, 1200, 1202)]


def test_many_listeners_ask_the_store_no_more_than_one() -> None:
    events = Events()

    async def listen(many: int) -> int:
        hub = events.hub()
        events.asked, began = 0, time.monotonic()
        begun = [asyncio.Event() for _ in range(many)]
        after = len(events.all)
        listeners = [asyncio.create_task(take(hub, after, after + 5, event.set)) for event in begun]
        await asyncio.gather(*(event.wait() for event in begun))
        assert hub.listeners == many
        events.add(5)
        await asyncio.gather(*listeners)
        assert hub.listeners == 0
        assert events.asked <= 40 + (time.monotonic() - began) / POLL_SECONDS, "one asks, again and again, for all"
        return events.asked

    assert asyncio.run(listen(500)) < 500


def test_closing_ends_all_streams_and_trouble_is_told() -> None:
    events = Events()

    async def closed() -> list[list[Event]]:
        hub = events.hub()
        asyncio.get_running_loop().call_later(0.1, hub.close)
        return [got async for got, _ in hub.follow(0, SECONDS)]

    assert not any(asyncio.run(closed()))

    def broken(_after: int, _limit: int) -> tuple[Event, ...]:
        raise Refused("the store is gone")

    async def failed() -> None:
        async for _ in Hub(broken, lambda: 0, dict).follow(0, SECONDS):
            pass

    with pytest.raises(Refused, match="the store is gone"):
        asyncio.run(failed())


def test_a_sample_wakes_those_who_listen() -> None:
    events = Events()

    async def sampled() -> Event:
        hub = events.hub()
        fresh = {1: Event("sample", 1.0, "shop", 1, {"spent": 3})}
        asyncio.get_running_loop().call_later(0.3, events.samples.update, fresh)
        async with asyncio.timeout(SECONDS):
            async for _, samples in hub.follow(0, SECONDS):
                if 1 in samples:
                    return samples[1]
        raise AssertionError("the stream ended")

    assert asyncio.run(sampled()).data == {"spent": 3}


# -- tokens on the command line


@pytest.fixture
def deploy(state: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main([*arguments, "--state", str(state)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_a_token_from_its_making_to_its_end(state: Path, deploy: Callable[..., tuple[int, str, str]]) -> None:
    tokens = Tokens(state, SystemClock())
    made = deploy("token", "create", "ci", "--role", "operator", "--service", "shop", "--expires", "30d")
    text = made[1].strip()
    found = tokens.find(text)
    assert found is not None
    assert (found.name, found.role, found.services) == ("ci", "operator", ("shop",))
    assert found.expires_at - found.created_at == 30 * 86400
    assert "operator of shop, until " in made[2]
    assert deploy("token", "create", "ci")[0] == Exit.REFUSED
    (row,) = json.loads(deploy("token", "list", "--output", "json")[1])["tokens"]
    assert (row["id"], row["state"]) == (found.id, "valid")
    listed = deploy("token", "list")[1]
    assert text[-20:] not in listed
    assert "hash" not in json.dumps(row)
    assert deploy("token", "revoke", "ci")[1] == f"revoked {found.id} (ci)\n"
    assert tokens.find(text) is None
    assert not tokens.standing(found)
    assert deploy("token", "revoke", "ci")[0] == Exit.REFUSED
    assert deploy("token", "list")[1].startswith("no tokens")
    assert "revoked" in deploy("token", "list", "--all")[1]
    deeds = json.loads(deploy("audit", "--output", "json")[1])["records"]
    assert [(d["action"], d["service"]) for d in deeds] == [("token revoke", ""), ("token create", "shop")]
    assert text not in json.dumps(deeds)


@pytest.mark.parametrize(
    "arguments", [["two words"], ["-x"], ["ann", "--expires", "soon"], ["ann", "--role", "king"], ["a" * 61]]
)
def test_what_is_no_token_is_refused(deploy: Callable[..., tuple[int, str, str]], arguments: list[str]) -> None:
    assert deploy("token", "create", *arguments)[0] == Exit.REFUSED


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"tokens": 2, "all": []}', '{"tokens": 1, "all": [{"id": 1}]}'])
def test_a_file_of_tokens_that_cannot_be_read_opens_nothing(state: Path, text: str) -> None:
    tokens = Tokens(state, SystemClock())
    _, made = tokens.create("ann", "admin", (), 0.0, "test")
    tokens.path.write_text(text)
    with pytest.raises(Refused, match="cannot be read"):
        tokens.find(made)
