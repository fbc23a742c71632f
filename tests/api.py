"""The HTTP API over a world in memory: the real application, with a runner that does what it is asked at once."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import yaml
from fastapi import FastAPI
from starlette.types import ASGIApp

from deployer.app.local import LocalApp
from deployer.core.errors import DeployError
from deployer.planning.orders import Order, StopRequest
from deployer.server.application import guarded, make_api
from deployer.server.context import ManifestSource, ServerContext, Stores
from deployer.server.guard import EntryRules, RequestLimits
from deployer.server.metrics import ServerMetrics
from deployer.server.run_process import answered
from deployer.server.runs import Run, same_order
from deployer.server.tokens import Role, Tokens
from deployer.store import Store
from tests.house import REPOSITORY, Scene, house
from tests.memory import World

HOST = "testserver"
MANIFEST = {
    "service": "shop",
    "image": "shop:1.0",
    "port": 8080,
    "replicas": 2,
    "strategy": {"canary": {"for": "10s", "bake": "5s"}},
    "judge": {"requests": 5},
}
QUICK = RequestLimits(rate=1e6, burst=1e6, stranger_rate=1e6, stranger_burst=1e6)


_made: list[FastAPI] = []


def _routes(desk: ServerContext) -> FastAPI:
    if not _made:
        _made.append(make_api(desk))
    return _made[0]


class Inline:
    """Carries each order out in the thread that gives it."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.runs: dict[str, Run] = {}
        self.orders: list[Order] = []
        self.slow = False  # what is asked is not done: it goes on

    def start(self, order: Order, by: str, origin: str, run: str = "") -> Run:
        json.dumps(order.to_dict())  # a process would get it so
        if run in self.runs:
            return same_order(self.runs[run], order)
        self.orders.append(order)
        return self._begun(Run(run or secrets.token_hex(8), order, by, origin, self.scene.world.clock.now()))

    def _begun(self, run: Run) -> Run:
        run = run if self.slow else self._done(run)
        self.runs[run.id] = run
        return run

    def _done(self, run: Run) -> Run:
        now, before = self.scene.world.clock.now(), len(self.scene.events)
        try:
            app = LocalApp(lambda _sink, _stop: nullcontext(self.scene.house))
            ending, plan = answered(app, run.order, self.scene.events.append, StopRequest())
        except DeployError as error:
            return replace(run, ended_at=now, exit=int(error.exit), text=error.message, hint=error.hint)
        return replace(
            run,
            ended_at=now,
            exit=int(ending.exit),
            outcome=ending.outcome,
            text=ending.text,
            rollout=ending.rollout or self._begun_since(before, run),
            plan=plan,
        )

    def _begun_since(self, before: int, run: Run) -> int:
        """Return the first rollout of a set that an order has begun, as a process would note it."""
        events = self.scene.events[before:] if run.order.set_name else []
        return next((event.rollout for event in events if event.rollout), 0)

    def read(self, service: str, run: str) -> Run | None:
        found = self.runs.get(run)
        return found if found and found.order.service == service else None


class Api:
    """The application, its world, and its tokens."""

    def __init__(self, folder: Path, limits: RequestLimits = QUICK, world: World | None = None) -> None:
        self.folder, self.limits = folder, limits
        self.scene = Scene(folder / "state", world)
        clock = self.scene.world.clock
        self.runner = Inline(self.scene)
        self.tokens = Tokens(folder / "state", clock)
        self.stores = Stores(lambda: Store(folder / "state", clock))
        self.manifest = folder / "deploy.yml"
        self.manifest.write_text(yaml.safe_dump(MANIFEST))
        (folder / "strategies").symlink_to(REPOSITORY / "strategies")
        self.desk = ServerContext(
            stores=self.stores,
            housed=lambda store: house(folder / "state", self.scene.world, store=store),
            tokens=self.tokens,
            runner=self.runner,
            clock=clock,
            environ=os.environ,
            sources=(ManifestSource(self.manifest),),
        )

    @cached_property
    def metrics(self) -> ServerMetrics:
        """What `/metrics` shows, without a request for it."""
        return ServerMetrics(self.desk)

    def app(self) -> ASGIApp:
        return guarded(self.routes(), self.desk, EntryRules((HOST,), self.limits))

    def routes(self) -> FastAPI:
        """Return the routes, made once for all tests, before this desk."""
        app = _routes(self.desk)
        app.state.desk, app.state.metrics = self.desk, self.metrics
        return app

    def token(self, role: Role = "admin", *services: str, lasts: float = 0.0) -> dict[str, str]:
        """Make a token; return the header that carries it."""
        _, text = self.tokens.create(f"{role}-{secrets.token_hex(4)}", role, services, lasts, "test")
        return {"Authorization": f"Bearer {text}"}

    def close(self) -> None:
        self.stores.close()
        self.scene.house.store.close()
