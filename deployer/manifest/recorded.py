"""The manifest that a release recorded, made into models when more of it is asked for than a fact.

To build the models takes longer than most questions about a service, and than a rollback to a release that still runs;
what these need of the manifest is in the record itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING, Any, cast

from deployer.core.limits import PROXY_KEEP

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest

# Keys whose recorded value is what the model has: text, numbers or nothing.
FACTS = frozenset(
    {
        "service",
        "runtime",
        "port",
        "single",
        "hosts",
        "inventory",
        "migrate",  # where there is none
        "replicas",
        "scale",  # where there is none
        "swarm",  # where there is none
        "incus",  # where there is none
        "tenant",
        "traffic.mode",
        "traffic.tls",  # where there is none
        "traffic.chain",  # where there is none
        "traffic.proxies.hosts",
        "traffic.proxies.min",
        "traffic.proxies.keep",
        "traffic.haproxy",
        "traffic.handover",
        "traffic.handover.former",
        "traffic.handover.rolled_back",
        "traffic.budget",
        "traffic.budget.answers",
        "traffic.lease",
        "traffic.paused",
        "keep.warm",
        "keep.paused",
        "keep.releases",
        "keep.events",
        "stop.drain",
        "stop.grace",
    }
)
# Lists that are a fact while there is nothing in them: what would be in them is more than text.
EMPTY = frozenset(
    {
        "update",
        "notify.to",
        "hooks.before",
        "hooks.after",
        "hooks.on_failure",
        "hooks.on_done",
        "hooks.on_reverted",
        "hooks.on_paused",
        "hooks.on_needs_attention",
    }
)
# Sections of which there are facts
SECTIONS = frozenset(
    {"traffic", "traffic.budget", "traffic.handover", "traffic.proxies", "keep", "stop", "notify", "hooks"}
)


def recorded(record: dict[str, Any], load: Callable[[], Manifest]) -> Manifest:
    """Return the manifest of a record (`Manifest.record`); `load` makes its models, once, when they are needed."""
    return cast("Manifest", _Recorded(_Source(load), record))


class _Source:
    """The models of a record, made once."""

    def __init__(self, load: Callable[[], Manifest]) -> None:
        self._load = load
        self._manifest: Manifest | None = None

    @property
    def manifest(self) -> Manifest:
        if self._manifest is None:
            self._manifest = self._load()
        return self._manifest


class _Recorded:
    """The manifest or a section of it (`at`): its facts from the record, all else from the models."""

    def __init__(self, source: _Source, part: dict[str, Any], at: tuple[str, ...] = ()) -> None:
        self._source, self._part, self._at = source, part, at

    def record(self) -> dict[str, Any]:
        """Return the record, as `Manifest.record` does."""
        return self._part

    def _model(self) -> object:
        return reduce(getattr, self._at, cast("object", self._source.manifest))

    def __getattr__(self, name: str) -> object:
        value, place = self._part.get(name, ...), (*self._at, name)
        key = ".".join(place)
        if key == "traffic.proxies" and isinstance(value, str):  # a group alone
            value = {"hosts": value, "min": None, "keep": PROXY_KEEP}
        if key in SECTIONS and isinstance(value, dict):
            return _Recorded(self._source, value, place)
        if key in SECTIONS and value is False:  # switched off: None in the models
            return None
        if key in EMPTY and value == []:
            return ()
        if key in FACTS and (value is None or isinstance(value, str | int | float)):
            return value
        return getattr(self._model(), name)

    def __eq__(self, other: object) -> bool:
        return self._model() == (other._model() if isinstance(other, _Recorded) else other)

    def __hash__(self) -> int:
        return hash(self._model())

    def __repr__(self) -> str:
        return repr(self._model())
