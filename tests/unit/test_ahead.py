"""Results come in order, the next ones made meanwhile."""

import threading

import pytest

from rankwright.ahead import work_ahead


@pytest.mark.parametrize("count", [1, 2])
def test_next_items_are_made_while_the_caller_works(count: int) -> None:
    begun = {item: threading.Event() for item in range(5)}

    def work(item: int) -> int:
        begun[item].set()
        return item * 10

    results = work_ahead(work, range(5), count=count)
    assert next(results) == 0
    assert all(begun[item].wait(5) for item in range(1, count + 1))
    assert not begun[count + 1].is_set()
    assert list(results) == [10, 20, 30, 40]


def test_as_many_as_begun_are_worked_on_at_the_same_time() -> None:
    together = threading.Barrier(2)
    assert sorted(work_ahead(lambda item: together.wait(5), range(2), count=2)) == [0, 1]


@pytest.mark.parametrize(("items", "count"), [([1, 2, 3], 0), ([1], 2)])
def test_what_need_not_wait_is_done_by_the_caller(items: list[int], count: int) -> None:
    threads = list(work_ahead(lambda item: threading.current_thread(), items, count=count))
    assert threads == [threading.current_thread()] * len(items)


def test_of_no_items_there_are_no_results() -> None:
    assert list(work_ahead(str, [])) == []


@pytest.mark.parametrize("count", [0, 1, 2])
def test_error_of_an_item_is_raised_at_that_item(count: int) -> None:
    def work(item: int) -> int:
        if item == 2:
            raise ValueError("row 7")
        return item

    results = work_ahead(work, [1, 2, 3], count=count)
    assert next(results) == 1
    with pytest.raises(ValueError, match="row 7"):
        next(results)


def test_no_thread_is_left_behind_when_the_caller_stops() -> None:
    before = threading.active_count()
    results = work_ahead(str, range(100))
    assert next(results) == "0"
    assert threading.active_count() == before + 1
    results.close()
    assert threading.active_count() == before
