"""What all fuzz targets share: how they are found, what they may raise, where their seeds lie.

A target is a module of `targets/` with a function `check(data: bytes)`: it returns for every input, or raises. What it
raises is a finding. It may have

    SEEDS     files and folders of seeds, besides `corpus/NAME`
    WORDS     what its inputs are mutated with, besides WORDS of this module
    WEIGHT    its part of the inputs
    LONGEST   bytes of one input
    HANG      seconds that one input may take
    finish()  where many inputs are checked together: checks those that wait
"""

from __future__ import annotations

import hashlib
import importlib
import os
import pkgutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployer.core.errors import DeployError, Exit

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
FINDINGS = "FUZZ_FINDINGS"  # the folder for inputs that failed
PACKAGE = os.environ.get("FUZZ_TARGETS", "tests.fuzz.targets")
HANG = 20
LONGEST = 4096
# What a number, a text or a structure may be and seldom is; inputs are mutated with these, too
WORDS = tuple(
    word.encode()
    for word in (
        *("-1", "0", "1e999", "-1e999", "1e308", "5e-324", "NaN", "-Infinity", "9" * 20, "9" * 400, "1_0", "²", "٣"),
        *("null", "true", "[]", "{}", '""', "[[]]", '"\\ud800"', '"\\u0000"', "[" * 60, '{"a":' * 30),
        *("\r", "\n", "\t", "\x1b[2J", "\x85", "\u2028", "\u202e", "\ufeff", "..", "/", "-", "%[", "{{", "${A}"),
    )
)
LONGEST_MESSAGE = 100_000  # characters; all problems of a manifest are told at once


@dataclass(frozen=True)
class Target:
    """One target as its module describes it."""

    name: str
    check: Callable[[bytes], None]
    weight: int
    longest: int
    hang: int
    seeds: tuple[Path, ...]
    words: tuple[bytes, ...]
    finish: Callable[[], None]


def names() -> tuple[str, ...]:
    """Return the names of all targets."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(PACKAGE).__path__)))


def load(name: str) -> Target:
    """Import a target."""
    module = importlib.import_module(f"{PACKAGE}.{name}")
    places = (HERE / "corpus" / name, *getattr(module, "SEEDS", ()))
    return Target(
        name=name,
        check=module.check,
        weight=getattr(module, "WEIGHT", 1),
        longest=getattr(module, "LONGEST", LONGEST),
        hang=getattr(module, "HANG", HANG),
        seeds=tuple(file for place in places for file in _files(place)),
        words=(*WORDS, *getattr(module, "WORDS", ())),
        finish=getattr(module, "finish", _nothing),
    )


def _nothing() -> None:
    """What most targets have left to do in the end."""


def _files(place: Path) -> list[Path]:
    return sorted(f for f in place.rglob("*") if f.is_file()) if place.is_dir() else [place] if place.is_file() else []


@contextmanager
def refusals() -> Iterator[None]:
    """Let our own errors pass: bad input is refused with a sentence that can be written down, and with no trace."""
    try:
        yield
    except DeployError as error:
        if error.exit is Exit.INTERNAL:
            raise
        said(str(error))


def keep(data: bytes, name: str) -> Path:
    """Keep an input that failed, other than the one that is being tried."""
    folder = Path(os.environ.get(FINDINGS, tempfile.gettempdir()))
    place = folder / f"{name}-{hashlib.sha1(data).hexdigest()}"
    place.write_bytes(data)
    return place


def said(text: str) -> None:
    """Check that a text for people can be written."""
    text.encode()
    assert text.strip(), "an error without words"
    assert len(text) < LONGEST_MESSAGE, f"an error of {len(text)} characters"
