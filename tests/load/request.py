"""The account of one request."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Request:
    """One request and what became of it; `error` is empty when it was answered as it should be."""

    kind: str
    client: str  # which client of its kind
    start: float  # Unix seconds
    seconds: float
    status: int  # 0: no answer; messages of a WebSocket: 101
    version: str
    error: str
    method: str = "GET"

    @property
    def end(self) -> float:
        """When it was over, Unix seconds."""
        return self.start + self.seconds

    def dump(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, line: str) -> Request:
        """Read what `dump` gave."""
        return cls(**json.loads(line))

    def __str__(self) -> str:
        who = f"{self.kind} {self.client}, version {self.version or 'unknown'}"
        return f"{self.start:.3f} +{self.seconds:.3f} s, {who}, {self.method}: {self.error or self.status}"
