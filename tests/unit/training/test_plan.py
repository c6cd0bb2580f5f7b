import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.errors import DataError
from rankwright.training.plan import BatchPlan, dropout_seed, number_texts


def rows_of(plan: BatchPlan, step: int) -> list[list[int]]:
    return [micro_batch.rows_B.tolist() for micro_batch in plan.micro_batches(step)]


@pytest.mark.parametrize("batches_per_step", [1, 2, 3, 100])
@pytest.mark.parametrize("num_rows", [1, 4, 23, 24])
def test_every_row_is_in_every_epoch_once(num_rows: int, batches_per_step: int) -> None:
    plan = BatchPlan(num_rows=num_rows, batch_size=4, batches_per_step=batches_per_step, num_epochs=2)
    steps = [rows_of(plan, step) for step in range(1, plan.num_steps + 1)]
    assert plan.num_steps == 2 * plan.steps_per_epoch
    for epoch in (0, 1):
        batches = [b for step in steps[epoch * plan.steps_per_epoch : (epoch + 1) * plan.steps_per_epoch] for b in step]
        assert sorted(row for batch in batches for row in batch) == list(range(num_rows))
        assert [len(batch) for batch in batches[:-1]] == [4] * (math.ceil(num_rows / 4) - 1)


def test_any_step_can_be_asked_for_alone_and_in_any_order() -> None:
    plan = BatchPlan(num_rows=23, batch_size=4, batches_per_step=2, num_epochs=3)
    in_order = [rows_of(plan, step) for step in range(1, 10)]
    alone = [
        rows_of(BatchPlan(num_rows=23, batch_size=4, batches_per_step=2, num_epochs=3), step) for step in (9, 4, 1)
    ]
    assert alone == [in_order[8], in_order[3], in_order[0]]
    assert [rows_of(plan, step) for step in (9, 4, 1)] == alone


def test_order_follows_seed_and_epoch() -> None:
    plans = [BatchPlan(num_rows=50, batch_size=50, seed=seed) for seed in (1, 1, 2)]
    assert rows_of(plans[0], 1) == rows_of(plans[1], 1)
    assert rows_of(plans[0], 1) != rows_of(plans[2], 1)
    assert rows_of(plans[0], 1) != rows_of(plans[0], 2)


@pytest.mark.parametrize(
    ("num_epochs", "max_steps", "expected"), [(1, -1, 3), (0.5, -1, 2), (2.5, -1, 8), (0.01, -1, 1), (1, 7, 7)]
)
def test_number_of_steps_is_that_of_transformers(num_epochs: float, max_steps: int, expected: int) -> None:
    plan = BatchPlan(num_rows=23, batch_size=4, batches_per_step=2, num_epochs=num_epochs, max_steps=max_steps)
    assert (plan.steps_per_epoch, plan.num_steps) == (3, expected)


def test_shares_are_parts_of_the_rows_of_the_step() -> None:
    plan = BatchPlan(num_rows=7, batch_size=4, batches_per_step=2)
    assert [micro_batch.share for micro_batch in plan.micro_batches(1)] == [4 / 7, 3 / 7]


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_processes_share_the_batches_and_have_as_many_passes(world_size: int) -> None:
    plan = BatchPlan(num_rows=22, batch_size=4, batches_per_step=4, num_epochs=1)
    for step in (1, 2):
        ranks = [plan.micro_batches(step, rank=rank, world_size=world_size) for rank in range(world_size)]
        assert len(set(map(len, ranks))) == 1
        real = [m for rank in ranks for m in rank if m.share]
        assert sorted(m.rows_B.tolist() for m in real) == sorted(rows_of(plan, step))
        assert sum(m.share for m in real) == pytest.approx(1)
        numbers = [m.number for rank in ranks for m in rank]
        assert len(set(numbers)) == len(numbers)


def test_pass_without_rows_of_its_own_has_no_share() -> None:
    plan = BatchPlan(num_rows=3, batch_size=4, batches_per_step=2)
    (idle,) = plan.micro_batches(1, rank=1, world_size=2)
    assert (len(idle.rows_B), idle.share) == (1, 0.0)


def test_texts_are_numbered_across_columns() -> None:
    assert number_texts([("q", "d"), ("d", "x", "q"), ("y", "y")]) == [(0, 1), (1, 2, 0), (3,)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 30)), min_size=1, max_size=60),
    st.integers(1, 8),
    st.integers(0, 3),
)
def test_no_text_is_twice_in_a_batch_and_no_row_twice_in_an_epoch(rows: list, batch_size: int, epoch: int) -> None:
    texts = [(f"q{query}", f"d{document}") for query, document in rows]
    plan = BatchPlan(num_rows=len(rows), batch_size=batch_size, text_numbers=number_texts(texts), num_epochs=4)
    first = epoch * plan.steps_per_epoch + 1
    batches = [plan.micro_batches(first + i) for i in range(plan.steps_per_epoch)]
    seen = [row for passes in batches for m in passes for row in m.rows_B.tolist()]
    assert len(seen) == len(set(seen)) == len(rows) - plan.num_left_out(epoch)
    for passes in batches:
        for m in passes:
            assert 1 <= len(m.rows_B) <= batch_size
            assert max(Counter(text for row in m.rows_B for text in texts[row]).values()) == 1


def test_few_rows_are_left_out_where_each_query_has_ten() -> None:
    texts = [(f"query {i // 10}", f"document {i}") for i in range(5000)]
    plan = BatchPlan(num_rows=5000, batch_size=32, text_numbers=number_texts(texts))
    left_out = [plan.num_left_out(epoch) for epoch in range(3)]
    assert max(left_out) < 25
    assert sum(map(len, rows_of(plan, 1))) == 32


def test_rows_that_must_be_left_out_differ_between_epochs() -> None:
    plan = BatchPlan(num_rows=8, batch_size=4, text_numbers=number_texts([("same", f"{i}") for i in range(8)]))
    epochs = [{row for step in (1, 2) for row in rows_of(plan, 2 * epoch + step)[0]} for epoch in range(5)]
    assert [len(rows) for rows in epochs] == [2] * 5
    assert len(set().union(*epochs)) > 2
    assert plan.num_left_out(0) == 6


def test_identity_changes_with_all_that_decides_batches() -> None:
    plan = BatchPlan(num_rows=8, batch_size=4)
    changed = [
        BatchPlan(num_rows=9, batch_size=4),
        BatchPlan(num_rows=8, batch_size=3),
        BatchPlan(num_rows=8, batch_size=4, batches_per_step=2),
        BatchPlan(num_rows=8, batch_size=4, seed=1),
        BatchPlan(num_rows=8, batch_size=4, num_epochs=4),
        BatchPlan(num_rows=8, batch_size=4, text_numbers=[(i,) for i in range(8)]),
    ]
    assert all(other.identity != plan.identity for other in changed)
    assert BatchPlan(num_rows=8, batch_size=4).identity == plan.identity


def test_no_rows_is_an_error() -> None:
    with pytest.raises(DataError, match="have no rows, but at least 1 is needed"):
        BatchPlan(num_rows=0, batch_size=4)


def test_dropout_seeds_are_all_different_and_fit_torch() -> None:
    seeds = [dropout_seed(*key) for key in np.ndindex(3, 20, 4)]
    assert len(set(seeds)) == 240
    assert 0 <= min(seeds)
    assert max(seeds) < 2**63
    assert dropout_seed(1, 2, 3) == dropout_seed(1, 2, 3)
