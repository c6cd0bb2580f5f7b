"""Batches for inference: whatever the lengths, each text is in exactly one batch, and no batch is over the budget."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rankwright.text import plan_batches

LENGTHS = st.lists(st.integers(0, 600), max_size=80)
BUDGETS = st.integers(1, 2000)
MOST = st.none() | st.integers(1, 20)


@given(LENGTHS, BUDGETS, MOST, st.booleans())
def test_each_text_is_in_exactly_one_batch(lengths: list[int], budget: int, most: int | None, powers: bool) -> None:
    batches = plan_batches(lengths, batch_tokens=budget, max_texts=most, powers_of_two=powers)
    assert sorted(i for rows in batches for i in rows.tolist()) == list(range(len(lengths)))
    assert all(len(rows) for rows in batches)


@given(LENGTHS, BUDGETS, MOST, st.booleans())
def test_no_batch_is_over_the_budget(lengths: list[int], budget: int, most: int | None, powers: bool) -> None:
    for rows in plan_batches(lengths, batch_tokens=budget, max_texts=most, powers_of_two=powers):
        longest = max(lengths[i] for i in rows)
        assert len(rows) == 1 or len(rows) * longest <= budget
        assert most is None or len(rows) <= most
        assert not powers or len(rows).bit_count() == 1


@given(LENGTHS, BUDGETS, MOST, st.booleans())
def test_the_longest_come_first(lengths: list[int], budget: int, most: int | None, powers: bool) -> None:
    batches = plan_batches(lengths, batch_tokens=budget, max_texts=most, powers_of_two=powers)
    in_order = [lengths[i] for rows in batches for i in rows]
    assert in_order == sorted(lengths, reverse=True)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=40), BUDGETS)
def test_a_batch_is_closed_only_where_the_next_text_does_not_fit(lengths: list[int], budget: int) -> None:
    batches = plan_batches(lengths, batch_tokens=budget)
    for rows in batches[:-1]:
        assert (len(rows) + 1) * max(lengths[i] for i in rows) > budget


def test_known_batches() -> None:
    batches = plan_batches(np.array([3, 10, 4, 3, 1]), batch_tokens=10)
    assert [rows.tolist() for rows in batches] == [[1], [2, 0], [3, 4]]
    assert [rows.tolist() for rows in plan_batches([2] * 7, batch_tokens=14, powers_of_two=True)] == [
        [0, 1, 2, 3],
        [4, 5],
        [6],
    ]
    assert plan_batches([], batch_tokens=10) == []
