from __future__ import annotations

import threading

import pytest

from deployer.core.errors import DriverFailed, Refused, Unreachable
from deployer.transport.fanout import on_all, on_most

SECONDS = 20.0


def test_what_each_gave_and_why_others_failed_stand_in_their_order() -> None:
    def work(number: int) -> int:
        if number % 2:
            raise DriverFailed(f"{number} is odd")
        return number * 10

    answers = on_all({f"n{n}": n for n in range(5)}, work, limit=3)
    assert list(answers.ok.items()) == [("n0", 0), ("n2", 20), ("n4", 40)]
    assert [(key, error.message) for key, error in answers.failed.items()] == [("n1", "1 is odd"), ("n3", "3 is odd")]
    with pytest.raises(DriverFailed, match="1 is odd"):
        answers.all()
    assert on_all({1: 1, 2: 2}, str, limit=2).all() == {1: "1", 2: "2"}
    assert on_all({}, work, limit=2).all() == {}


@pytest.mark.parametrize("limit", [1, 2])
def test_an_error_that_is_given_as_an_answer_is_one(limit: int) -> None:
    answers = on_all({1: 1, 2: 2}, lambda number: Refused(f"{number}") if number == 1 else None, limit)
    assert not answers.failed
    assert [str(answer) for answer in answers.all().values()] == ["1", "None"]


def test_so_many_are_under_way_at_once_and_no_more() -> None:
    together, busy, most = threading.Barrier(3), [0], [0]
    mutex = threading.Lock()

    def work(_number: int) -> None:
        with mutex:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        together.wait(SECONDS)  # nobody goes on before three are there
        with mutex:
            busy[0] -= 1

    on_all({n: n for n in range(9)}, work, limit=3).all()
    assert most == [3]


def test_a_single_one_is_done_in_the_thread_that_asks() -> None:
    assert on_all({"a": 0}, lambda _item: threading.get_ident(), limit=9).all() == {"a": threading.get_ident()}
    assert set(on_all({1: 1, 2: 2}, lambda _n: threading.get_ident(), limit=1).all().values()) == {
        threading.get_ident()
    }


@pytest.mark.parametrize("limit", [1, 3])
def test_all_are_tried_whatever_fails_first(limit: int) -> None:
    tried: list[int] = []

    def work(number: int) -> None:
        tried.append(number)
        raise Unreachable(f"{number}") if number else Refused("0")

    with pytest.raises(Refused):
        on_all({n: n for n in range(3)}, work, limit).all()
    assert sorted(tried) == [0, 1, 2]


@pytest.mark.parametrize("limit", [1, 3])
def test_what_is_a_bug_is_raised_as_it_is(limit: int) -> None:
    with pytest.raises(ZeroDivisionError):
        on_all({n: n for n in range(3)}, lambda n: 1 // n, limit)


# -- when most have done it


def test_one_that_does_not_end_is_not_waited_for_once_enough_have() -> None:
    over = threading.Event()
    answers = on_most({"a": 0, "b": 60, "c": 0}, lambda wait: over.wait(wait) or "done", enough=2, seconds=0.05)
    over.set()
    assert answers.ok == {"a": "done", "c": "done"}
    assert str(answers.failed["b"]) == "b: no response within 0.05 s after others had responded"


def test_all_are_waited_for_while_too_few_have_done_it() -> None:
    asked, over = threading.Event(), threading.Event()

    def work(number: int) -> int:
        if number == 0:
            raise DriverFailed("no")
        if number == 2:
            asked.set()
            assert over.wait(SECONDS)
        return number

    found: list[object] = []
    asking = threading.Thread(target=lambda: found.append(on_most({n: n for n in range(3)}, work, 2, 0.0)))
    asking.start()
    assert asked.wait(SECONDS)
    assert found == []
    over.set()
    asking.join(SECONDS)
    (answers,) = found
    assert answers.ok == {1: 1, 2: 2}  # type: ignore[attr-defined]
    assert list(answers.failed) == [0]  # type: ignore[attr-defined]


def test_what_is_a_bug_is_raised_as_it_is_by_one_of_many() -> None:
    with pytest.raises(ZeroDivisionError):
        on_most({n: n for n in range(3)}, lambda n: 1 // n, 2, 20.0)
