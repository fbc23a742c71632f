"""What instances wrote last, as `deploy logs` prints it."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.views.data import View


@dataclass(frozen=True)
class InstanceLog(View):
    """The last lines of one instance, without the values of its secrets."""

    instance: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class UnreachableHost(View):
    """A host that gave no answer, and why; `host` is empty for this one."""

    host: str
    why: str


@dataclass(frozen=True)
class LogsView(View):
    """The last lines of each instance of a service that could be asked."""

    service: str
    instances: tuple[InstanceLog, ...]
    silent: tuple[UnreachableHost, ...] = ()
