"""Batches for inference: whatever the lengths, each text is in exactly one batch, and no batch is over the budget."""

from collections.abc import Iterator

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rankwright.text import plan_batches
from rankwright.text.batches import TOKENS_PER_BATCH

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


def cost_of(lengths: list[int], sizes: list[int]) -> int:
    longest = [lengths[start] for start in np.cumsum([0, *sizes[:-1]])]
    return sum(TOKENS_PER_BATCH + size * length for size, length in zip(sizes, longest, strict=True))


def all_plans(num: int) -> Iterator[list[int]]:
    if num == 0:
        yield []
    for size in (1, 2, 4, 8):
        if size <= num:
            yield from ([size, *rest] for rest in all_plans(num - size))


@given(st.lists(st.integers(0, 600), min_size=1, max_size=9), st.integers(1, 3000))
def test_no_plan_of_powers_of_two_costs_less(lengths: list[int], budget: int) -> None:
    lengths = sorted(lengths, reverse=True)

    def fits(sizes: list[int]) -> bool:
        starts = np.cumsum([0, *sizes[:-1]])
        return all(n == 1 or n * max(1, lengths[at]) <= budget for n, at in zip(sizes, starts, strict=True))

    found = [len(rows) for rows in plan_batches(lengths, batch_tokens=budget, powers_of_two=True)]
    assert cost_of(lengths, found) == min(cost_of(lengths, p) for p in all_plans(len(lengths)) if fits(p))


def test_a_long_text_is_not_padded_to_by_short_ones() -> None:
    batches = plan_batches([500, 20, 20, 20, 20], batch_tokens=4096, powers_of_two=True)
    assert [rows.tolist() for rows in batches] == [[0], [1, 2, 3, 4]]


def test_known_batches() -> None:
    batches = plan_batches(np.array([3, 10, 4, 3, 1]), batch_tokens=10)
    assert [rows.tolist() for rows in batches] == [[1], [2, 0], [3, 4]]
    assert [rows.tolist() for rows in plan_batches([2] * 7, batch_tokens=14, powers_of_two=True)] == [
        [0, 1, 2, 3],
        [4, 5],
        [6],
    ]
    assert np.concatenate(plan_batches([5, 9] * 40, batch_tokens=90)).tolist() == [*range(1, 80, 2), *range(0, 80, 2)]
    assert plan_batches([], batch_tokens=10) == []
