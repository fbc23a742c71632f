"""The live values at run time: written to every worker, read back from every worker."""

from __future__ import annotations

import re
from pathlib import Path

from deployer.clock import Deadline
from deployer.drivers.traffic.haproxy import state
from deployer.drivers.traffic.haproxy.master import Gone, Master, Worker
from deployer.errors import DriverFailed
from deployer.model import Live

_FOUND = re.compile(r'found=yes.*value="([^"]*)"')


class LiveMap:
    """`state.map` as the workers have it."""

    def __init__(self, master: Master, path: Path) -> None:
        self._master = master
        self._path = path

    def get(self, worker: Worker, key: str, deadline: Deadline) -> str | None:
        """Ask a worker for a value; None when it has none."""
        reply = self._master.run(worker, f"get map {self._path} {key}", deadline)
        match = _FOUND.search(reply)
        return match[1] if match else None

    def read(self, service: str, deadline: Deadline) -> Live:
        """Ask every worker. Raises DriverFailed when they differ, or when a current one does not know the service."""
        seen = {
            w: v for w in self._master.workers(deadline) for v in [self._ask(w, service, deadline)] if v is not None
        }
        values = set(seen.values())
        if len(values) == 1 and any(not w.old for w in seen):
            return state.decode(service, values.pop())
        told = ", ".join(f"worker {w.pid}: {v}" for w, v in seen.items()) or "no worker knows it"
        raise DriverFailed(
            f"the proxy's workers do not agree about {service}: {told}", "`deploy resume` writes it anew"
        )

    def write(self, service: str, live: Live, deadline: Deadline) -> None:
        """Write to every worker, also to old ones: the connections they keep must follow too. Then read back."""
        value = state.encode(live)
        for worker in self._master.workers(deadline):
            if worker.old and self._ask(worker, service, deadline) is None:
                continue  # it is from before the service, and serves nobody of it
            try:
                self._put(worker, service, value, deadline)
            except Gone:
                if not worker.old:
                    raise
        seen = self.read(service, deadline)
        if seen != live:
            raise DriverFailed(f"{service}: {value} was written, {state.encode(seen)} was read back", "try again")

    def structure(self, deadline: Deadline) -> str | None:
        """Give the name of the structure that all current workers have loaded; None when they differ."""
        names = {self.get(worker, state.STRUCTURE, deadline) for worker in self._master.current(deadline)}
        return names.pop() if len(names) == 1 else None

    def settle(self, values: dict[str, str], deadline: Deadline) -> None:
        """After a start or reload: see that every current worker has what the file says, and mend what differs."""
        for worker in self._master.current(deadline):
            has = self._all(worker, deadline)
            for key, value in values.items():
                if has.get(key) != value:
                    self._put(worker, key, value, deadline)
            if (has := self._all(worker, deadline)) != values:
                raise DriverFailed(f"worker {worker.pid} of the proxy loaded {has}, not {values}", "try again")

    def _all(self, worker: Worker, deadline: Deadline) -> dict[str, str]:
        lines = (line.split(" ") for line in self._master.run(worker, f"show map {self._path}", deadline).splitlines())
        return {parts[1]: parts[2] for parts in lines if len(parts) == 3}

    def _put(self, worker: Worker, service: str, value: str, deadline: Deadline) -> None:
        verb = "add" if self.get(worker, service, deadline) is None else "set"
        self._master.run(worker, f"{verb} map {self._path} {service} {value}", deadline)

    def _ask(self, worker: Worker, service: str, deadline: Deadline) -> str | None:
        try:
            return self.get(worker, service, deadline)
        except Gone:
            if worker.old:
                return None
            raise
