"""What load is put on a service."""

from __future__ import annotations

import json
import ssl
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

KINDS = ("fresh", "busy", "sticky", "post", "paused", "slow", "websocket")
PLANNED = "planned"  # by a file, and so in no mix


@dataclass(frozen=True)
class Options:
    """The mix; the defaults suit the test app and leave most of two cores to the deploy.

    `rate` is the sum of fresh, busy, sticky and post requests a second; paused, slow and websocket come on top (about
    ten a second). A kind that the service cannot answer is left out of `kinds`. With a `plan` there is the kind
    "planned", whose requests come at the moments of that file, whatever became of those before.
    """

    kinds: tuple[str, ...] = KINDS
    rate: float = 120.0
    host: str = ""  # Host header; empty: host and port of the URL
    headers: dict[str, str] = field(default_factory=dict)
    ca: str = ""  # PEM file to trust for https
    path: str = "/"
    slow_path: str = "/slow?ms=3000"
    post_path: str = "/echo"
    websocket_path: str = "/ws"
    busy: int = 4  # keep-alive connections without long pauses
    posters: int = 2  # keep-alive connections that send bodies
    body: int = 2048  # bytes of a body
    clients: int = 20  # clients with a cookie jar
    sticky_posts: float = 0.0  # part of their requests that send a body
    burst: tuple[float, float] = (1.0, 1.0)  # seconds of a period, and the part of it into which all of it falls
    paused: int = 8  # keep-alive connections with pauses of ...
    pause: tuple[float, float] = (0.3, 3.0)  # ... seconds, drawn evenly
    slow: int = 4  # slow requests in flight at any time
    plan: str = ""  # path of a file with a line for each request: seconds since the load began, and a path
    websockets: int = 1
    message_every: float = 0.2  # seconds between the messages of a WebSocket
    websocket_may_move: bool = False  # an orderly close (1001, 1012) is no failure: connect again
    websocket_may_be_cut: bool = False  # nor is one without a goodbye, as the proxy makes it when it hands users over
    timeout: float = 10.0  # seconds a request may take
    fail_from: int = 400  # the lowest status that counts as a failure
    version_header: str = "X-Version"
    version_pattern: str = ""  # where there is no such header: regular expression, its first group is the version

    def __post_init__(self) -> None:
        if unknown := set(self.kinds) - {*KINDS, PLANNED}:
            raise ValueError(f"unknown kinds of load: {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
        if (PLANNED in self.kinds) != bool(self.plan):
            raise ValueError(f"the kind {PLANNED} and a plan go together: {self.kinds}, plan {self.plan!r}")
        if self.burst[0] <= 0 or not 0 < self.burst[1] <= 1:
            raise ValueError(f"burst {self.burst}: expected seconds above 0 and a part of them, above 0 and up to 1")

    def dump(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Options:
        """Read what `dump` gave."""
        record = json.loads(text)
        tuples = {key: tuple(record[key]) for key in ("kinds", "pause", "burst")}
        return cls(**{**record, **tuples})


@dataclass(frozen=True)
class Target:
    """Where the load goes."""

    address: str
    port: int
    host: str  # Host header
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, url: str, options: Options) -> Target:
        """Take a URL apart; its path is not used."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not a base URL: {url!r}; expected http://host:port or https://host:port")
        tls = ssl.create_default_context(cafile=options.ca or None) if parts.scheme == "https" else None
        port = parts.port or (443 if tls else 80)
        return cls(parts.hostname, port, options.host or parts.netloc, tls)

    @property
    def name(self) -> str:
        """The host without a port, which TLS asks for."""
        return urlsplit(f"//{self.host}").hostname or self.address
