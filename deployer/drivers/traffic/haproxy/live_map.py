"""The live values at run time: written to every worker, read back from every worker."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed
from deployer.drivers.traffic.haproxy import budget, live_value
from deployer.drivers.traffic.haproxy.master import Gone, MasterSocket, Worker
from deployer.model import Live, moved_at_proxy

# Seconds for the last answers of a worker that was replaced. Those of clients that are idle now are counted later, as
# long as it lives.
LAST_ANSWERS = 0.5
_FOUND = re.compile(r'found=(?:yes.*value="([^"]*)"|no)')


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

    def seen(self, key: str, deadline: Deadline) -> dict[int, str | None]:
        """Ask every current worker for a value; return what each one has, by its process."""
        return self._master.undisturbed(
            lambda: {w.pid: self.get(w, key, deadline) for w in self._master.current(deadline)}, deadline
        )

    def read(self, service: str, deadline: Deadline) -> Live:
        """Ask every current worker. Raises DriverFailed when they differ, or when one does not know the service."""
        return self.agreed(service, self.seen(service, deadline))

    @staticmethod
    def agreed(service: str, seen: Mapping[int, str | None]) -> Live:
        """Return the value that all current workers have. Raise DriverFailed when they differ, or one has none."""
        values = set(seen.values())
        value = values.pop()
        if values or value is None:
            told = ", ".join(f"worker {pid}: {value or 'nothing'}" for pid, value in seen.items())
            raise DriverFailed(
                f"the proxy's workers do not agree about {service}: {told}", "`deploy doctor --fix` writes it again"
            )
        return live_value.decode(service, value)

    def write(
        self,
        service: str,
        live: Live,
        spent: int,
        deadline: Deadline,
        able: Callable[[Worker], bool],
        had: Mapping[int, str | None],
    ) -> str:
        """Write to every worker, and read back; return "", or the value of an emergency that came in between.

        Old workers are written to as well, since the connections they keep must follow. One that is not `able`, because
        it has no server of a side that is to get users, goes on with what it has: nothing can be attached to it.

        An emergency does not wait for the lock of the folder, and this process may be stopped at any moment. So it is
        compared what workers `had` when the write was decided with what it replaced; an emergency's value is put back.
        """
        for worker in self._master.workers(deadline):
            try:
                before = had[worker.pid] if worker.pid in had else self.get(worker, service, deadline)
                if worker.old and (before is None or not able(worker)):
                    continue
                value = live_value.encode(live, self._before(worker, service, live, spent, deadline))
                replaced = self._replace(worker, service, value, deadline, new=before is None)
                if before and replaced and _moved(service, before, replaced, live):
                    self._replace(worker, service, replaced, deadline)
                    return replaced
            except Gone:
                if not worker.old:
                    raise
        return ""

    def _replace(
        self, worker: Worker, service: str, value: str, deadline: Deadline, *, new: bool = False
    ) -> str | None:
        """Write a value to a worker and read it back; return what it had until that very moment.

        All is one line to the master, which a worker carries out even if this process is stopped meanwhile.
        """
        get, to = f"get map {self._path} {service}", f"@!{worker.pid} "
        put = f"{'add' if new else 'set'} map {self._path} {service} {value}"
        reply = self._master.run(worker, f"{get}; {to}{put}; {to}{get}", deadline)
        said = [match[1] for match in _FOUND.finditer(reply)]
        if "Can't find the target" in reply:
            raise Gone(worker)
        if len(said) != 2 or said[1] != value:
            there = said[1] if len(said) == 2 else reply.strip()
            raise DriverFailed(
                f"{service}: {value} was written to worker {worker.pid}, {there} was read back", "try again"
            )
        return said[0]

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
        """Return the values of the file for workers to come: with what was spent until now."""
        services = (name for name in values if name != live_value.STRUCTURE)
        new = {
            s: live_value.encode(live_value.decode(s, values[s]), self.spent(s, values[s], deadline)) for s in services
        }
        return values | new

    @staticmethod
    def counting(values: dict[str, str]) -> bool:
        """Return whether failed responses of a candidate are counted now."""
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
        """Return what a worker is to add to its own count, so that no answer it counts meanwhile is lost or doubled."""
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

    def structure(self, deadline: Deadline) -> str | None:
        """Return the name of the structure that all current workers have loaded; None when they differ."""
        names = set(self.seen(live_value.STRUCTURE, deadline).values())
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


def _moved(service: str, before: str, replaced: str, live: Live) -> bool:
    """Return whether an emergency made one value of the other, and moved users to elsewhere than `live` does."""
    was, now = live_value.understood(service, before), live_value.understood(service, replaced)
    if was is None or now is None or not moved_at_proxy(was, now):
        return False
    return (now.stable, now.share, now.baseline) != (live.stable, live.share, live.baseline)
