"""What tenants have used, month by month: added up by the keeper in files of the state folder, for a bill."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from deployer.core import files
from deployer.core.errors import Refused
from deployer.drivers.ports.guests import GuestUse

FOLDER = "guests"  # in the state folder
LOOK_SECONDS = 60.0  # between two entries
GAP_SECONDS = 300.0  # longer than this nobody looked: memory is not counted for that time
_HOUR, _GIB = 3600.0, 1024.0**3


@dataclass
class Used:
    """What a tenant has used on a host in a month; `counter` and `at` are of the newest look at it."""

    cpu_seconds: float = 0.0
    memory_hours: float = 0.0  # GiB for an hour
    counter: float = 0.0
    at: float = 0.0

    def add(self, use: GuestUse, now: float) -> None:
        """Add what was used since the look before. A counter that is smaller began again."""
        if self.at:
            self.cpu_seconds += use.cpu - self.counter if use.cpu >= self.counter else use.cpu
            if now - self.at <= GAP_SECONDS:
                self.memory_hours += use.memory / _GIB * (now - self.at) / _HOUR
        self.counter, self.at = use.cpu, now


class GuestAccount:
    """The files of a state folder, one for each month (UTC)."""

    def __init__(self, state: Path) -> None:
        self._folder = state / FOLDER

    def add(self, use: Mapping[tuple[str, str], GuestUse], now: float) -> None:
        """Add what tenants use on hosts at a moment; looks that follow each other quickly are left out.

        Raise Refused where that cannot be written.
        """
        month = time.strftime("%Y-%m", time.gmtime(now))
        found = self.read(month)
        if not use or any(now < each.at + LOOK_SECONDS for each in found.values()):
            return
        before = self.read(time.strftime("%Y-%m", time.gmtime(now - GAP_SECONDS))) if not found else {}
        for key, each in use.items():
            former = before.get(key, Used())
            found.setdefault(key, Used(counter=former.counter, at=former.at)).add(each, now)
        rows = [{"tenant": tenant, "host": host, **asdict(each)} for (tenant, host), each in sorted(found.items())]
        try:
            files.folder(self._folder)
            files.replace(self._file(month), json.dumps(rows))
        except OSError as error:
            raise Refused(
                f"{self._file(month)} cannot be written: {error.strerror}",
                "what guests use is not counted until it can",
            ) from None

    def read(self, month: str) -> dict[tuple[str, str], Used]:
        """Return what was used in a month, such as 2026-11, by tenant and host. Raise Refused for a damaged file."""
        try:
            rows = json.loads(self._file(month).read_text(encoding="utf-8"))
            known = [f.name for f in fields(Used)]
            return {(row["tenant"], row["host"]): Used(**{name: row[name] for name in known}) for row in rows}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Refused(
                f"{self._file(month)} cannot be read: {error}", "move it away; it is counted from nothing then"
            ) from None

    def _file(self, month: str) -> Path:
        return self._folder / f"{month}.json"
