"""Undoing what was begun and did not come to its end, and cleaning up: the first error is the one that is raised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deployer.core.errors import DeployError


@contextmanager
def undone(undo: Callable[[], object]) -> Iterator[None]:
    """Where the block fails, by Ctrl-C too, undo what it has begun and raise its error.

    Trouble with the undoing must not hide that error: it is said behind it. What undoes has a deadline of its own.
    """
    try:
        yield
    except BaseException as first:
        try:
            undo()
        except Exception as error:  # noqa: BLE001 - whatever it is, the first error says what went wrong
            left = error.message if isinstance(error, DeployError) else f"{type(error).__name__}: {error}"
            if isinstance(first, DeployError):
                first.message += f"; what was begun is left: {left}"
            else:
                first.add_note(f"what was begun is left: {left}")
        raise


@contextmanager
def afterwards(clean_up: Callable[[], object]) -> Iterator[None]:
    """Clean up after the block. Raise the error of that; where the block fails, its error, as `undone` does."""
    with undone(clean_up):
        yield
    clean_up()
