"""Work on hosts by a playbook, one batch after the other: without users meanwhile where that is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from deployer.app.inventory import InventoryHosts
from deployer.app.operations.context import AppContext
from deployer.app.operations.drain import DrainTerms, refuse_unsparable, relieved
from deployer.core.clock import Deadline
from deployer.core.events import Event
from deployer.core.host import Host
from deployer.core.resources import builtin
from deployer.drivers.hosts.playbook_progress import PlaybookRun, PlaySummary, listed, roll
from deployer.store import AuditEntry


@dataclass(frozen=True)
class HostWork:
    """What is done to hosts: so many `at_once`, all where that is 0; with `terms`, without users meanwhile."""

    name: str
    playbook: str
    variables: Mapping[str, Any]
    at_once: int = 0
    terms: DrainTerms | None = None
    reason: str = ""

    def batches(self, hosts: Sequence[Host]) -> list[Sequence[Host]]:
        """Divide hosts."""
        size = self.at_once or len(hosts)
        return [hosts[n : n + size] for n in range(0, len(hosts), size)]


@dataclass
class Maintenance:
    """Does a work on the hosts that have a part in it; `tallies` are what the playbook did so far, by host."""

    house: AppContext
    hosts: InventoryHosts
    work: HostWork
    deadline: Deadline
    tallies: dict[str, PlaySummary] = field(default_factory=dict)

    def run(self) -> None:
        """Take one batch after the other, and record who did that to which hosts, and what became of it.

        Raise Refused, Locked or HostsUnreachable before anything changes, StepFailed when it fails on a host.
        """
        chosen = self.hosts.with_a_part()
        batches, done = self.work.batches(chosen), list[str]()
        if self.work.terms:
            refuse_unsparable(self.house, batches, self.work.terms)
        self._record("begun", f"{listed([h.name for h in chosen])} of {self.hosts.inventory}")
        try:
            for batch in batches:
                with relieved(self.house, batch, self.work.terms) if self.work.terms else nullcontext():
                    self._roll(batch)
                done += [h.name for h in batch]
        except BaseException as error:
            left = [h.name for h in chosen if h.name not in done]
            ended = f"{listed(done) or 'no host'} done; not done: {listed(left)}"
            self.house.tell("", ended)
            self._record("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", f"{ended}: {error}")
            raise
        self._record("done", listed(done))

    def _roll(self, batch: Sequence[Host]) -> None:
        """Run the playbook on a batch. Raise StepFailed when it fails on a host."""

        def tell(kind: str, **data: Any) -> None:
            self.house.sink(Event(kind, self.house.clock.now(), "", 0, data))

        hosts, playbook = self.hosts, builtin("playbooks") / self.work.playbook
        limit = ",".join(h.name for h in batch) if self.work.at_once else hosts.limit
        play = PlaybookRun(playbook, hosts.inventory, limit, self._variables(), hosts.folder)
        rolled = roll(play, self.deadline, tell)
        self.tallies |= rolled.tallies
        if rolled.failure:
            raise rolled.failure

    def _variables(self) -> dict[str, Any]:
        return {"deployer_web": self.hosts.web, "deployer_edge": self.hosts.edge, **self.work.variables}

    def _record(self, result: str, detail: str) -> None:
        self.house.store.audit.record(
            AuditEntry(f"hosts-{self.work.name}", "", result, detail=detail, reason=self.work.reason)
        )
