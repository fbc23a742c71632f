from __future__ import annotations

import threading

from deployer.core.events import Event
from deployer.views.queued_sink import QueuedSink


def note(text: str) -> Event:
    return Event("note", 0.0, "shop", 1, {"text": text})


def test_events_are_written_in_order_and_all_before_the_end() -> None:
    seen: list[Event] = []
    with QueuedSink(seen.append) as view:
        for number in range(500):
            view(note(str(number)))
    assert [event.data["text"] for event in seen] == [str(number) for number in range(500)]


def test_a_stream_that_blocks_does_not_hold_the_rollout() -> None:
    gate, seen = threading.Event(), []

    def blocked(event: Event) -> None:
        assert gate.wait(60)
        seen.append(event)

    with QueuedSink(blocked) as view:
        for number in range(100):
            view(note(str(number)))  # would never come back if it waited
        assert not seen
        gate.set()
    assert len(seen) == 100


def test_a_reader_that_left_ends_the_writing_and_nothing_else() -> None:
    calls = []

    def broken(event: Event) -> None:
        calls.append(event)
        raise BrokenPipeError

    with QueuedSink(broken) as view:
        view(note("a"))
        view(note("b"))
    assert len(calls) == 1
    assert isinstance(view.broken, BrokenPipeError)
