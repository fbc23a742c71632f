"""Undoing what was begun and did not come to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def undone(undo: Callable[[], object]) -> Iterator[None]:
    """Where the block fails, by Ctrl-C too, undo what it has begun and raise its error.

    Trouble with the undoing must not hide that error: it is a note of it. What undoes has a deadline of its own.
    """
    try:
        yield
    except BaseException as first:
        try:
            undo()
        except Exception as error:  # noqa: BLE001 - whatever it is, the first error says what went wrong
            first.add_note(f"what was begun is left: {type(error).__name__}: {error}")
        raise
