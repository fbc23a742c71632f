"""What is imported or made when it is first needed: nobody who asks a question waits for an engine."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from threading import RLock
from types import ModuleType
from typing import Generic, TypeVar, cast

T = TypeVar("T")


def names(package: str, places: Mapping[str, str]) -> Callable[[str], object]:
    """Return the `__getattr__` of a package whose names are in the modules that `places` gives, by name."""

    def find(name: str) -> object:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found: object = getattr(importlib.import_module(places[name]), name)
        setattr(sys.modules[package], name, found)
        return found

    return find


def module(name: str) -> ModuleType:
    """Return a module that is imported when something of it is asked for."""
    return made(lambda: importlib.import_module(name))


def made(make: Callable[[], T]) -> T:
    """Return what `make` makes, once, when something of it is asked for, whichever thread asks first."""
    return cast("T", _Deferred(make))


class _Deferred(Generic[T]):
    def __init__(self, make: Callable[[], T]) -> None:
        self._make, self._lock = make, RLock()

    def __getattr__(self, name: str) -> object:
        if name == "_it":
            with self._lock:
                if "_it" not in vars(self):
                    self._it = self._make()
            return self._it
        return getattr(self._it, name)
