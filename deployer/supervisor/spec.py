"""What a supervisor runs: a program, its environment, and how it is ended, kept as `spec.json` in its folder."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from deployer.core import files
from deployer.core.digest import sha256
from deployer.core.errors import DriverFailed, Refused

FILE = "spec.json"


@dataclass(frozen=True)
class ProcessSpec:
    """A program, its surroundings and how it is ended.

    `env` is the whole environment, nothing is inherited. `log` gets stdout and stderr. `grace` is the time in seconds
    between `stop_signal` and SIGKILL. With `restart` the program is started again whenever it ends. `address` is where
    it is to listen, `server` what the proxy of `card` calls it (BACKEND/SERVER).
    """

    argv: tuple[str, ...]
    cwd: str
    log: str
    env: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold secrets
    stop_signal: str = "SIGTERM"
    grace: float = 10.0
    restart: bool = True
    address: str = ""
    server: str = ""
    card: str = ""

    def __post_init__(self) -> None:
        if not self.argv:
            raise Refused("nothing to run: argv is empty")
        if self.stop_signal not in signal.Signals.__members__:
            raise Refused(f"{self.stop_signal!r} is not a signal of this host", "write it like SIGTERM or SIGINT")

    def to_json(self) -> str:
        """Return the text of `spec.json`; equal specs give equal text."""
        return json.dumps({**asdict(self), "env": dict(self.env)}, sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str) -> ProcessSpec:
        """Read the text of `spec.json`. Raises ValueError, TypeError or KeyError for any other text."""
        data = json.loads(text)
        spec = cls(**{**data, "argv": tuple(data["argv"])})
        places = (spec.cwd, spec.log, spec.address, spec.server, spec.card)
        texts = (*spec.argv, *places, spec.stop_signal, *spec.env, *dict(spec.env).values())
        if not all(isinstance(text, str) for text in texts) or not 0 <= spec.grace < math.inf:
            raise ValueError("not a program with its surroundings")
        return spec

    @property
    def digest(self) -> str:
        """Name of exactly this spec."""
        return sha256(self.to_json().encode())

    @property
    def signal(self) -> signal.Signals:
        """The stop signal as a number."""
        return signal.Signals[self.stop_signal]


def load(folder: Path) -> ProcessSpec:
    """Read the spec of a folder. Raises FileNotFoundError, and DriverFailed for a damaged one."""
    text = (folder / FILE).read_bytes()
    try:
        return ProcessSpec.from_json(text.decode())
    except (ValueError, TypeError, KeyError, RecursionError, Refused) as error:
        raise DriverFailed(
            f"{folder / FILE} cannot be read: {type(error).__name__}",
            f"end what runs there by hand, then remove {folder}",
        ) from None


def save(folder: Path, spec: ProcessSpec) -> None:
    """Write the spec of a folder."""
    files.replace(folder / FILE, spec.to_json())
