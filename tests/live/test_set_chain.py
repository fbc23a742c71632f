"""Three services that call each other, released together under load: each answer is of one release in all of them.

`CHAIN_ROUNDS=200` has so many releases made, which is not for every run.
"""

from __future__ import annotations

import http.client
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.live.chained import write_version
from tests.live.client import get
from tests.live.shop import Shop
from tests.services import require

pytestmark = [pytest.mark.live]

ROUNDS = int(os.environ.get("CHAIN_ROUNDS", "3"))
INSIDE_OUT = ("mailer", "backend", "frontend")
CALLERS: dict[str, list[str]] = {"mailer": ["backend"], "backend": ["frontend"], "frontend": []}
QUICK = {"canary": {"steps": [25], "for": "1s", "bake": "500ms"}}


class Client:
    """Asks on a connection of its own each time, or on one that it keeps and opens again when the proxy closed it."""

    def __init__(self, port: int, *, keeps: bool) -> None:
        self._port, self._keeps = port, keeps
        self._open: http.client.HTTPConnection | None = None

    def ask(self) -> tuple[int, str]:
        if not self._keeps:
            answer = get(self._port)
            return answer.status, answer.body
        kept, self._open = self._open, None
        connection = kept or http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("GET", "/")
            response = connection.getresponse()
            said = response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if kept is None or not isinstance(error, http.client.RemoteDisconnected | ConnectionError):
                raise
            return self.ask()
        self._open = connection
        return response.status, said

    def close(self) -> None:
        if self._open is not None:
            self._open.close()


@dataclass
class Users:
    """Clients that ask the entry without a pause, and what they were answered."""

    port: int
    answers: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def _run(self, keeps: bool) -> None:
        with closing(Client(self.port, keeps=keeps)) as client:
            while not self._over.is_set():
                try:
                    status, said = client.ask()
                except (OSError, http.client.HTTPException) as error:
                    status, said = 0, repr(error)
                with self._mutex:
                    if status == 200:
                        self.answers[said] += 1
                    else:
                        self.failed.append(f"{status} {said}")

    @contextmanager
    def asking(self, threads: int = 6) -> Iterator[Users]:
        running = [threading.Thread(target=self._run, args=(bool(n % 2),)) for n in range(threads)]
        for thread in running:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in running:
                thread.join()

    @property
    def mixed(self) -> dict[str, int]:
        return {answer: count for answer, count in self.answers.items() if len(set(answer.split("-"))) > 1}


@dataclass
class Three:
    """A frontend, a backend and a mailer in one state folder, and their release file."""

    shops: dict[str, Shop]

    @property
    def entry(self) -> Shop:
        return self.shops["frontend"]

    def version(self, version: str, *words: str, of: str = "") -> None:
        """Make a version of all services; the one that it is `of` has words of its own."""
        behind = {"frontend": self.shops["backend"].port, "backend": self.shops["mailer"].port}
        for name, shop in self.shops.items():
            write_version(shop.folder, version, behind.get(name, 0), "passes", *(words if name == of else ()))


@pytest.fixture
def three(state: Path) -> Iterator[Three]:
    require("haproxy")
    made = Three({})
    try:
        for name in INSIDE_OUT:
            folder = state / name
            folder.mkdir()
            shop = made.shops[name] = Shop(folder, "process", None)
            shop.name, shop.state = name, state / "state"
            strict = {"callers": CALLERS[name], "without_side": "stable"} if CALLERS[name] else {}
            shop.manifest["traffic"]["chain"] = {"name": "shop", **strict}
            shop.write(service=name, replicas=1, judge={"requests": 5, "latency": False})
        services = {name: f"../{name}" for name in INSIDE_OUT}
        file = {"release": "shop", "services": services, "strategy": QUICK}
        (made.entry.folder / "release.yml").write_text(yaml.safe_dump(file))
        made.version("v1")
        made.entry.deploy("release", "up", "--version", "v1")
        assert get(made.entry.port).body == "v1-v1-v1"
        yield made
    finally:
        for shop in made.shops.values():
            shop.close()


@pytest.mark.long("three services, some releases")
def test_no_answer_is_mixed_in_releases_aborts_and_rollbacks(three: Three) -> None:
    """The first round has smoke tests, which the candidates of all three answer."""
    entry = three.entry
    with Users(entry.port).asking() as users:
        for n in range(2, ROUNDS + 2):
            version = f"v{n}"
            three.version(version)
            entry.write(smoke=[{"get": "/", "body": "-".join([version] * 3)}])
            entry.deploy("release", "up", "--version", version)
            assert get(entry.port).body == "-".join([version] * 3)
            if n % 3 == 0:
                entry.deploy("release", "rollback", "--again")
                entry.deploy("release", "up", "--version", version)
            if n % 3 == 1:
                three.version(f"{version}x")
                entry.write(smoke=[])
                with entry.start("release", "canary", "--for", "60s", "--version", f"{version}x") as running:
                    entry.wait(lambda status: status["share"] == 2500, "it has its share")
                    entry.deploy("release", "abort", "-m", "that is all")
                    assert running.wait(120) == 6
            print(f"round {n - 1}: {sum(users.answers.values())} answers, mixed {users.mixed}")
    assert users.failed == []
    assert users.mixed == {}
    assert len(users.answers) > ROUNDS


@pytest.mark.long("three services, one release that is rolled back")
def test_a_third_service_that_is_bad_takes_all_back_and_users_see_nothing(three: Three) -> None:
    three.version("v2", "fails", of="mailer")
    with Users(three.entry.port).asking() as users:
        ending = three.entry.deploy("release", "canary", "--steps", "25", "--for", "20s", "--version", "v2", expect=3)
    assert "was rolled back: mailer: r2 " in ending.stdout, ending.stdout
    assert "; backend, frontend were rolled back with it" in ending.stdout
    assert users.failed == []
    assert users.answers["v1-v1-v1"]
    shielded = {"v2-v2-v1"}  # its candidate failed, and stable answered instead
    assert set(users.mixed) <= shielded, users.answers
    assert get(three.entry.port).body == "v1-v1-v1"
