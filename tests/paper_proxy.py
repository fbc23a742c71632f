"""A proxy on paper, one of several: it does what it is told, raises what the test says, or says nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from deployer.core import errors
from deployer.core.clock import Deadline
from deployer.core.errors import TakenBack
from deployer.drivers.ports import NOTHING, Drift
from deployer.drivers.traffic.haproxy.request_stream import Feed
from deployer.drivers.traffic.haproxy.spec import configured
from deployer.drivers.traffic.turns import refuse_older
from deployer.manifest.models import Manifest
from deployer.model import INITIAL, Live, Place, Release, Server, Waiting, taken_back
from deployer.planning.certificates import ServedCertificate

MANIFEST = Manifest.model_validate({"service": "shop", "image": "shop:1", "port": 80})
RELEASE = Release("shop", 2, "2.0", "shop:2", "sha", MANIFEST, "hash")
BLUE = Live("blue", rollout=7)


class PaperStream:
    """The requests of a proxy on paper; it breaks when the proxy fails `check_stream`."""

    def __init__(self, paper: Paper) -> None:
        self._paper = paper

    def check(self) -> None:
        self._paper._do("check_stream")

    def share(self) -> int:
        return self._paper.live.share if self._paper.live else 0

    def waiting(self) -> Waiting | None:
        return None


class Paper:
    """A proxy on paper. `fails` says what a call raises, by its name, and `hangs` how long it says nothing."""

    def __init__(self, name: str, live: Live | None = BLUE) -> None:
        self.name, self.live = name, live
        self.fails: dict[str, errors.DeployError] = {}
        self.hangs: dict[str, threading.Event] = {}  # calls that say nothing before an event
        self.down: set[Place] = set()
        self.calls: list[str] = []
        self.spends = 0
        self.gives = 0  # requests at once, to an instance
        self.joined: str | None = None
        self.text = configured(None, "shop", MANIFEST, None).model_dump_json()
        self.keys: list[str] = []
        self.chain_keys: set[str] = set()
        self.feeds: list[Feed] = []
        self.installed: list[str] = []

    def _do(self, name: str) -> None:
        self.calls.append(name)
        if name in self.hangs:
            assert self.hangs[name].wait(60)
        if name in self.fails:
            raise self.fails[name]

    def check(self, manifest: Manifest, deadline: Deadline) -> None:
        self._do("check")

    def configure(
        self, release: Release, place: Place | None, deadline: Deadline, key: str = "", chain_key: str = ""
    ) -> None:
        self.chain_keys.add(chain_key)
        self.keys.append(key)
        self._do("configure")
        self.live = self.live or INITIAL

    def read(self, service: str, patience: float | None = None) -> Live | None:
        self._do("read")
        return self.live

    def set_traffic(self, service: str, live: Live, deadline: Deadline, given: Live | None = None) -> None:
        self._do("set_traffic")
        refuse_older(service, live, self.live)
        if taken_back(given, self.live):
            raise TakenBack(f"{self.name}: users were taken off")
        self.live = live

    def introduce(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        self._do("introduce")

    def attach(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        self._do("attach")

    def drain(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> int:
        self._do("drain")
        return 2

    def detach(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> None:
        self._do("detach")

    def servers(self, service: str, place: Place) -> tuple[tuple[Server, bool], ...]:
        self._do("servers")
        return ((Server(f"{place}-1", "10.0.0.1:80", self.gives), place not in self.down),)

    def preview(self, service: str) -> tuple[str, dict[str, str]]:
        return f"http://{self.name}", {}

    def spent(self, service: str) -> int:
        self._do("spent")
        return self.spends

    @contextmanager
    def stream(self, service: str, feed: Feed) -> Iterator[PaperStream]:
        self._do("stream")
        self.feeds.append(feed)
        yield PaperStream(self)

    def forget(self, service: str, deadline: Deadline) -> None:
        self._do("forget")
        self.live = None

    def services(self) -> tuple[str, ...]:
        return ("shop",) if self.live else ()

    def drift(self, service: str) -> tuple[Drift, ...]:
        self._do("drift")
        return ()

    def repair(self, service: str, deadline: Deadline, lost: Mapping[str, Live] = NOTHING) -> None:
        self._do("repair")
        if self.fails.pop("read", None):  # its files and its workers have lost the value
            self.live = lost[service]

    def spec(self, service: str) -> str | None:
        self._do("spec")
        return self.text if self.live else None

    def install(self, given: Sequence[ServedCertificate], deadline: Deadline) -> None:
        self._do("install")
        self.installed += [one.domain for one in given]

    @property
    def certificates(self) -> Paper:
        return self

    inspection = upkeep = membership = certificates

    def shown(self, service: str) -> dict[str, dict[str, str]]:
        return {}

    def join(self, service: str, text: str, live: Live, deadline: Deadline) -> None:
        self._do("join")
        self.joined, self.live = text, live
