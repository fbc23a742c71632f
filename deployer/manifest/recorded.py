"""The manifest that a release recorded, made into models when more of it is asked for than a fact.

To build the models takes longer than most questions about a service; which runtime it has runs in the record itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest

# Keys whose recorded value is what the model has: text, or nothing.
FACTS = frozenset({"service", "runtime", "hosts", "inventory", "traffic.mode", "traffic.proxies", "traffic.haproxy"})
SECTIONS = frozenset({"traffic"})  # of which there are facts, too


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

    def __init__(self, source: _Source, part: dict[str, Any], at: str = "") -> None:
        self._source, self._part, self._at = source, part, at

    def _model(self) -> object:
        return getattr(self._source.manifest, self._at) if self._at else self._source.manifest

    def __getattr__(self, name: str) -> object:
        value = self._part.get(name, ...)
        if not self._at and name in SECTIONS and isinstance(value, dict):
            return _Recorded(self._source, value, name)
        if f"{self._at}.{name}".lstrip(".") in FACTS and (value is None or isinstance(value, str)):
            return value
        return getattr(self._model(), name)

    def __eq__(self, other: object) -> bool:
        return self._model() == (other._model() if isinstance(other, _Recorded) else other)

    def __hash__(self) -> int:
        return hash(self._model())

    def __repr__(self) -> str:
        return repr(self._model())
