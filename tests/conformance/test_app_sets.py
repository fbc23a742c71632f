"""What every `App` promises of sets (deployer/app/interface.py), tried on each one: locally, by HTTP, and by ssh."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from deployer.app.interface import App
from deployer.app.local import LocalApp, at
from deployer.client.address import DeployServer
from deployer.client.control import Control
from deployer.client.http_app import HttpApp
from deployer.client.ssh_app import SshApp
from deployer.core.errors import DeployError, Exit
from deployer.manifest.target import Target
from deployer.planning.orders import Action, Order, StopRequest
from tests.conformance.apps import SSHD_PATH
from tests.conformance.test_app import Told, plain
from tests.live.pairs import PAIR, paired
from tests.live.serving import server, token
from tests.live.shop import Shop
from tests.live.sshd import sshd
from tests.ports import free_port
from tests.services import require

pytestmark = pytest.mark.live


class SetBench:
    """Two services in one state folder, their release file, and everything through which they can be asked for."""

    def __init__(self, shops: tuple[Shop, ...]) -> None:
        self.home = shops[0]
        self.file = self.home.folder / "release.yml"

    @contextmanager
    def local(self) -> Iterator[App]:
        with LocalApp(at(self.home.state), Target(file=self.file, named=True)) as app:
            yield app

    @contextmanager
    def http(self) -> Iterator[App]:
        port = free_port()
        os.environ["DEPLOYER_TOKEN"] = token(self.home, "operator", *(f"--service={name}" for name in PAIR))
        try:
            with (
                server(self.home, port, "-f", "release.yml"),
                HttpApp.open(DeployServer.of(f"http://127.0.0.1:{port}", "--server"), Target(set_name="pair")) as app,
            ):
                yield app
        finally:
            del os.environ["DEPLOYER_TOKEN"]

    @contextmanager
    def ssh(self) -> Iterator[App]:
        require("sshd", "root")
        environ = {"PATH": SSHD_PATH, "DEPLOYER_STATE": str(self.home.state)}
        with sshd(self.home.folder, environ) as way:
            control = Control.of(f"{way.address}{self.home.folder}", "--on", way.args)
            with SshApp.reach(control, Target(file=Path("release.yml"), named=True)) as app:
                yield app


WAYS: dict[str, Callable[[SetBench], AbstractContextManager[App]]] = {
    "local": SetBench.local,
    "http": SetBench.http,
    "ssh": SetBench.ssh,
}


@pytest.fixture
def bench(state: Path) -> Iterator[SetBench]:
    require("haproxy")
    with paired(state, judge={"requests": 1, "undecided": "proceed"}) as shops:
        yield SetBench(shops)


@pytest.mark.long("two services released, rolled back, paused and aborted by each way")
@pytest.mark.parametrize("way", WAYS)
def test_a_set_is_asked_for_in_every_way(bench: SetBench, way: str) -> None:
    with WAYS[way](bench) as app, bench.local() as here:

        def order(action: Action, **more: Any) -> Order:
            return Order(action, set_name=app.sets.meant(), manifest=str(bench.file), **more)

        def asked(action: Action, **more: Any) -> tuple[Exit, str, str, Told]:
            told = Told()
            ending = app.carry_out(order(action, **more), told, StopRequest())
            return ending.exit, ending.outcome, ending.text, told

        assert app.sets.meant() == "pair"
        fast: dict[str, Any] = {"strategy": "bluegreen", "options": {"bake": "0s"}}
        planned = app.sets.plan(order("plan", versions={"": "1.0"}, **fast))
        assert [(each.plan.service, each.same) for each in planned] == [(name, False) for name in PAIR]
        code, outcome, text, told = asked("start", versions={"": "1.0"}, **fast)
        assert (code, outcome) == (Exit.DONE, "done")
        assert text == "set 1 (pair) is live: backend r1 (1.0), frontend r1 (1.0)"
        ended = told.events[-1]
        assert (ended.kind, ended.data["text"], set(ended.data["rollouts"])) == ("set.ended", text, set(PAIR))
        for number in ended.data["rollouts"].values():
            recorded = [event.kind for event in here.events(number) if event.kind not in ("sample", "note")]
            passing = ("step.progress",)
            assert told.kinds(number) == [kind for kind in recorded if kind not in passing]
        code, _, text, _ = asked("start", versions={"": "1.0"}, **fast)
        assert (code, text) == (Exit.DONE, "all of pair is live already: nothing to do")
        held: dict[str, Any] = {"strategy": "canary", "options": {"percent": 10, "hold": True}}
        code, outcome, _, _ = asked("start", versions={"": "2.0"}, **held)
        assert (code, outcome) == (Exit.DONE, "paused")
        assert [member.share for member in app.sets.status("pair").members] == [1000, 1000]
        code, outcome, text, _ = asked("abort", reason="enough seen")
        assert (code, outcome) == (Exit.DONE, "reverted")
        assert "enough seen" in text
        code, _, text, _ = asked("start", versions={"": "2.0"}, **fast)
        assert (code, text.partition(":")[0]) == (Exit.DONE, "set 3 (pair) is live")
        code, outcome, text, _ = asked("rollback", reason="slow", again=True)
        assert (code, text) == (Exit.DONE, "set 4 (pair) is live: backend r1 (1.0), frontend r1 (1.0)")
        assert plain(app.sets.status("pair")) == plain(here.sets.status("pair"))
        assert plain(app.sets.history("pair", 2)) == plain(here.sets.history("pair", 2))
        assert app.sets.names() == ("pair",)
        with pytest.raises(DeployError, match="no release of pair is in progress") as caught:
            app.sets.follow("pair", Told(), StopRequest())
        assert caught.value.exit is Exit.REFUSED
