"""Groups for attention: every text is in one group, at its own rows, with padding behind it only."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankwright.encoder.packing import AttentionGroups, group_by_length

LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=20)


def starts(lengths: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)])


def groups_of(groups: AttentionGroups) -> list[np.ndarray]:
    """Packed row numbers of each group, (texts, length)."""
    sizes = np.cumsum([texts * length for texts, length in groups.shapes])
    parts = np.split(groups.gather_P, sizes[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, groups.shapes, strict=True)]


@given(LENGTHS)
def test_each_text_is_in_one_group_at_its_own_rows(lengths: list[int]) -> None:
    groups, starts_B1 = group_by_length(starts(lengths)), starts(lengths)
    assert sorted(np.concatenate(groups.texts).tolist()) == list(range(len(lengths)))
    for rows, texts, own in zip(groups_of(groups), groups.texts, groups.lengths, strict=True):
        assert own.tolist() == [lengths[i] for i in texts]
        for row, i in zip(rows, texts, strict=True):
            assert row[: lengths[i]].tolist() == list(range(starts_B1[i], starts_B1[i + 1]))


@given(LENGTHS)
def test_gathering_back_undoes_gathering(lengths: list[int]) -> None:
    groups = group_by_length(starts(lengths))
    assert groups.gather_P[groups.scatter_T].tolist() == list(range(sum(lengths)))


@given(LENGTHS, st.sampled_from([1.0, 1.15, 2.0]))
def test_lengths_of_a_group_differ_by_the_ratio_at_most(lengths: list[int], ratio: float) -> None:
    groups = group_by_length(starts(lengths), ratio=ratio)
    for (_, length), own in zip(groups.shapes, groups.lengths, strict=True):
        assert own.max() == length
        assert own.min() * ratio >= length


@given(LENGTHS, st.integers(1, 5000))
def test_no_group_has_more_scores_than_allowed_but_a_text_alone(lengths: list[int], most: int) -> None:
    for texts, length in group_by_length(starts(lengths), ratio=4, max_scores=most).shapes:
        assert texts == 1 or texts * length * length <= most


@pytest.mark.parametrize("ratio", [1.0, 1.15])
def test_texts_of_equal_length_are_one_group_in_order_without_padding(ratio: float) -> None:
    groups = group_by_length(starts([5, 9] * 40), ratio=ratio)
    assert groups.shapes == [(40, 9), (40, 5)]
    assert np.concatenate(groups.texts).tolist() == [*range(1, 80, 2), *range(0, 80, 2)]
    assert groups.gather_P[:18].tolist() == [*range(5, 14), *range(19, 28)]


def test_no_texts_are_no_groups() -> None:
    assert group_by_length(np.array([0])).shapes == []
