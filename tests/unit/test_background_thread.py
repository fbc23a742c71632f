"""Work in the background: it ends when it is asked to, and its errors reach whoever opened it."""

from __future__ import annotations

import threading

import pytest

from deployer.core.background import BackgroundThread, every


def test_the_work_goes_on_until_the_block_ends() -> None:
    looked = threading.Semaphore(0)
    with BackgroundThread("looks", every(0.001, looked.release)) as thread:
        for _ in range(3):
            assert looked.acquire(timeout=60)
    assert thread.over.is_set()
    assert not [t for t in threading.enumerate() if t.name == "looks"]


def test_what_ended_the_work_is_raised_by_the_end_of_the_block() -> None:
    thread = BackgroundThread("fails", _fails)
    with pytest.raises(ZeroDivisionError), thread:
        pass


def test_the_error_of_the_block_comes_first_and_names_that_of_the_work() -> None:
    ended = threading.Event()

    def work(_over: threading.Event) -> None:
        ended.set()
        _fails(_over)

    def block() -> None:
        with BackgroundThread("fails", work):
            assert ended.wait(60)
            raise KeyError("the block's own")

    with pytest.raises(KeyError) as raised:
        block()
    assert raised.value.__notes__ == ["before that, fails had ended: ZeroDivisionError('division by zero')"]


def test_check_says_at_once_what_ended_the_work() -> None:
    thread = BackgroundThread("fails", _fails)
    thread.start()
    thread.stop()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            thread.check()


def test_the_trace_of_what_ended_the_work_does_not_grow() -> None:
    thread = BackgroundThread("fails", _fails)
    thread.start()
    thread.stop()
    lengths = set()
    for _ in range(3):
        with pytest.raises(ZeroDivisionError) as raised:
            thread.check()
        names = [frame.name for frame in raised.traceback]
        assert names[-1] == "_fails"
        lengths.add(len(names))
    assert len(lengths) == 1


def test_one_that_never_began_can_be_stopped() -> None:
    BackgroundThread("never", _fails).stop()


def test_nobody_waits_longer_than_the_patience_for_work_that_does_not_end() -> None:
    let_go = threading.Event()

    def work(_over: threading.Event) -> None:
        let_go.wait(60)

    with BackgroundThread("stays", work, patience=0.01) as thread:
        pass
    assert thread.over.is_set()
    assert [t for t in threading.enumerate() if t.name == "stays"]
    let_go.set()


def _fails(_over: threading.Event) -> None:
    _ = 1 / 0
