"""Packed batches: rows in any order, positions, and what truncation cost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankwright.text import TokenBatch, Truncation
from rankwright.text.tokens import pack

ROWS = st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=8)


def rows_of(batch: TokenBatch, values_T: np.ndarray) -> list[list[int]]:
    """The values of each text, read with the offsets."""
    return [values_T[a:b].tolist() for a, b in zip(batch.starts_B1[:-1], batch.starts_B1[1:], strict=True)]


@given(ROWS)
def test_packing_keeps_every_text(ids: list[list[int]]) -> None:
    types = [[i % 2 for i in row] for row in ids]
    batch = pack(ids, types)
    assert rows_of(batch, batch.ids_T) == ids
    assert batch.type_ids_T is not None
    assert rows_of(batch, batch.type_ids_T) == types
    assert len(batch) == len(ids)
    assert batch.num_tokens == sum(map(len, ids))
    assert batch.lengths_B.tolist() == [len(row) for row in ids]


@given(ROWS, st.data())
def test_selected_rows_are_those_texts_in_that_order(ids: list[list[int]], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(ids) - 1), max_size=10))
    types = [[i % 2 for i in row] for row in ids]
    selected = pack(ids, types, position_ids_start=1, prompt_length=2).select(rows)
    expected = pack([ids[i] for i in rows], [types[i] for i in rows], position_ids_start=1, prompt_length=2)
    for name in ("ids_T", "position_ids_T", "starts_B1", "type_ids_T"):
        actual, wanted = getattr(selected, name), getattr(expected, name)
        assert actual.tolist() == wanted.tolist(), name
        assert actual.dtype == wanted.dtype == np.int32, name
    assert selected.prompt_length == 2


def test_a_batch_without_types_is_selected_without_types() -> None:
    assert pack([[5, 6], [7]], None).select([1]).type_ids_T is None


def test_positions_count_from_zero_in_each_text() -> None:
    assert pack([[5, 6, 7], [], [8, 9]], None).position_ids_T.tolist() == [0, 1, 2, 0, 1]


def test_positions_count_from_behind_the_pad_id_and_leave_a_literal_pad_out() -> None:
    pad = 1
    batch = pack([[0, 5, pad, 6, 2], [0, pad, pad, 2]], None, position_ids_start=pad)
    # As in transformers: the count of tokens that are not padding, plus the pad id; padding gets the pad id itself.
    assert batch.position_ids_T.tolist() == [2, 3, 1, 4, 5, 2, 1, 1, 3]


def test_positions_of_roberta_are_those_of_transformers() -> None:
    import torch
    from transformers.models.roberta.modeling_roberta import RobertaEmbeddings

    rows = np.random.default_rng(0).integers(0, 4, size=(6, 12))  # the pad id 1 is a quarter of them
    expected = RobertaEmbeddings.create_position_ids_from_input_ids(torch.from_numpy(rows), padding_idx=1)
    batch = pack(rows.tolist(), None, position_ids_start=1)
    assert batch.position_ids_T.reshape(rows.shape).tolist() == expected.tolist()


def test_no_texts_are_an_empty_batch() -> None:
    batch = pack([], [])
    assert (len(batch), batch.num_tokens, batch.starts_B1.tolist()) == (0, 0, [0])


def test_reports_of_truncation_add_up() -> None:
    assert Truncation(3, 1, 10) + Truncation(4, 2, 5) == Truncation(7, 3, 15)
    least = Truncation(1, 1, 2, at_least=True)
    assert least + Truncation() == Truncation() + least == least


@pytest.mark.parametrize("name", ["ids_T", "starts_B1", "prompt_length"])
def test_a_batch_cannot_be_changed(name: str) -> None:
    with pytest.raises(AttributeError, match="cannot assign"):
        setattr(pack([[1]], None), name, 0)
