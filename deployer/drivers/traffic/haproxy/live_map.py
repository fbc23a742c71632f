"""The live values at run time: written to every worker, read back from every worker."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed
from deployer.drivers.traffic.haproxy import budget, live_value
from deployer.drivers.traffic.haproxy.master import Gone, MasterSocket, Worker
from deployer.model import Live

# Seconds for the last answers of a worker that was replaced. Those of clients that are idle now are counted later, as
# long as it lives.
LAST_ANSWERS = 0.5
_FOUND = re.compile(r'found=yes.*value="([^"]*)"')


class LiveMap:
    """`state.map` as the workers have it."""

    def __init__(self, master: MasterSocket, path: Path) -> None:
        self._master = master
        self._path = path

    def get(self, worker: Worker, key: str, deadline: Deadline) -> str | None:
        """Ask a worker for a value; None when it has none."""
        reply = self._master.run(worker, f"get map {self._path} {key}", deadline)
        match = _FOUND.search(reply)
        return match[1] if match else None

    def _current(self, key: str, deadline: Deadline) -> dict[int, str | None]:
        """Ask every current worker for a value; give what each one has, by its process."""
        return self._master.undisturbed(
            lambda: {w.pid: self.get(w, key, deadline) for w in self._master.current(deadline)}, deadline
        )

    def read(self, service: str, deadline: Deadline) -> Live:
        """Ask every current worker. Raises DriverFailed when they differ, or when one does not know the service."""
        seen = self._current(service, deadline)
        values = set(seen.values())
        value = values.pop()
        if values or value is None:
            told = ", ".join(f"worker {pid}: {value or 'nothing'}" for pid, value in seen.items())
            raise DriverFailed(
                f"the proxy's workers do not agree about {service}: {told}", "`deploy doctor --fix` writes it again"
            )
        return live_value.decode(service, value)

    def write(self, service: str, live: Live, spent: int, deadline: Deadline, able: Callable[[Worker], bool]) -> None:
        """Write to every worker, then read back.

        Old workers are written to as well, since the connections they keep must follow. One that is not `able`, because
        it has no server of a side that is to get users, goes on with what it has: nothing can be attached to it.
        """
        for worker in self._master.workers(deadline):
            try:
                if not worker.old or (self.get(worker, service, deadline) is not None and able(worker)):
                    value = live_value.encode(live, self._before(worker, service, live, spent, deadline))
                    self._master.run(worker, self._setting(worker, service, value, deadline), deadline)
                    self._check(worker, service, value, deadline)
            except Gone:
                if not worker.old:
                    raise

    def spent(self, service: str, known: str, deadline: Deadline) -> int:
        """Return how many failed responses users saw in the rollout of `known`, the file's value: by every worker."""
        live = live_value.decode(service, known)
        if not live.budget and not live_value.spent(known):
            return 0  # nobody counts
        workers = []
        for worker in self._master.workers(deadline):
            before = self._own(worker, service, live.rollout, deadline)
            workers.append((before, budget.count(self._master, worker, service, live.rollout, deadline)))
        return max(live_value.spent(known), budget.total(workers))

    def carried(self, values: dict[str, str], deadline: Deadline) -> dict[str, str]:
        """Give the values of the file for workers to come: with what was spent until now."""
        services = (name for name in values if name != live_value.STRUCTURE)
        new = {
            s: live_value.encode(live_value.decode(s, values[s]), self.spent(s, values[s], deadline)) for s in services
        }
        return values | new

    @staticmethod
    def counting(values: dict[str, str]) -> bool:
        """Tell whether failed responses of a candidate are counted now."""
        lives = (live_value.decode(s, value) for s, value in values.items() if s != live_value.STRUCTURE)
        return any(live.share and live.budget for live in lives)

    def await_answers(self, deadline: Deadline) -> None:
        """Wait a moment until old workers have given the answers that they owe."""
        patience = Deadline.after(deadline.clock, min(LAST_ANSWERS, deadline.left()))

        def given() -> bool:
            old = (w for w in self._master.workers(deadline) if w.old)
            return not any(self._master.connections(w, deadline) for w in old)

        patience.wait(given, every=0.02)

    def values(self, deadline: Deadline) -> dict[str, str]:
        """Read all values as the current worker has them."""
        return self._master.undisturbed(lambda: self._all(self._master.current(deadline)[0], deadline), deadline)

    def hand_over(self, had: Mapping[str, str], since: Mapping[str, int], deadline: Deadline) -> None:
        """Let the new worker know what the one before it counted until its end, with the values that it `had`."""
        (worker, *_) = self._master.current(deadline)
        for service, value in had.items():
            now = None if service == live_value.STRUCTURE else self.get(worker, service, deadline)
            if now is None:
                continue
            reached = live_value.spent(value) + since.get(
                budget.key(service, live_value.decode(service, value).rollout), 0
            )
            if reached > live_value.spent(now):
                new = live_value.encode(live_value.decode(service, now), reached)
                self._master.run(worker, self._setting(worker, service, new, deadline), deadline)

    def _before(self, worker: Worker, service: str, live: Live, spent: int, deadline: Deadline) -> int:
        """Give what a worker is to add to its own count, so that no answer it counts meanwhile is lost or doubled."""
        if worker.old:
            return self._own(worker, service, live.rollout, deadline)
        return max(0, spent - budget.count(self._master, worker, service, live.rollout, deadline)) if spent else 0

    def _own(self, worker: Worker, service: str, rollout: int, deadline: Deadline) -> int:
        try:
            value = self.get(worker, service, deadline)
        except Gone:
            if worker.old:
                return 0
            raise
        if value is None or live_value.decode(service, value).rollout != rollout:
            return 0
        return live_value.spent(value)

    def _check(self, worker: Worker, service: str, value: str, deadline: Deadline) -> None:
        seen = self.get(worker, service, deadline)
        if seen != value:
            raise DriverFailed(
                f"{service}: {value} was written to worker {worker.pid}, {seen} was read back", "try again"
            )

    def structure(self, deadline: Deadline) -> str | None:
        """Give the name of the structure that all current workers have loaded; None when they differ."""
        names = set(self._current(live_value.STRUCTURE, deadline).values())
        return names.pop() if len(names) == 1 else None

    def settle(self, values: dict[str, str], deadline: Deadline) -> None:
        """After a start or reload: see that every current worker has what the file says, and mend what differs."""
        for worker in self._master.current(deadline):
            has = self._all(worker, deadline)
            if values and not has:
                raise DriverFailed(
                    f"worker {worker.pid} of the proxy did not load {self._path}",
                    "does the proxy's command line name the folder of our configuration? see `deploy doctor`",
                )
            for key, value in values.items():
                if has.get(key) != value:
                    self._master.run(worker, self._setting(worker, key, value, deadline), deadline)
            if (has := self._all(worker, deadline)) != values:
                raise DriverFailed(f"worker {worker.pid} of the proxy loaded {has}, not {values}", "try again")

    def _all(self, worker: Worker, deadline: Deadline) -> dict[str, str]:
        lines = (line.split(" ") for line in self._master.run(worker, f"show map {self._path}", deadline).splitlines())
        return {parts[1]: parts[2] for parts in lines if len(parts) == 3}

    def _setting(self, worker: Worker, service: str, value: str, deadline: Deadline) -> str:
        """Return the command that gives a worker a value."""
        verb = "add" if self.get(worker, service, deadline) is None else "set"
        return f"{verb} map {self._path} {service} {value}"
