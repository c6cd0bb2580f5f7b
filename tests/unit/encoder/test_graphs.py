"""The rooms of recorded graphs: padding changes no text, and is bounded. What needs a GPU is in tests/gpu."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rankwright import BiEncoder
from rankwright.encoder.graphs_cuda import padded, room_for
from rankwright.encoder.inputs_torch import PackedInputs, flat_inputs
from rankwright.text.tokens import pack
from tests.texts import CORPUS


@given(st.lists(st.integers(0, 600), min_size=1, max_size=40))
def test_a_room_is_larger_than_its_batch_and_not_by_much(lengths: list[int]) -> None:
    batch = pack([[7] * length for length in lengths], None)
    room = room_for(batch)
    assert room.texts > len(batch)
    assert room.tokens > max(batch.num_tokens, room.texts)
    assert room.tokens <= max(batch.num_tokens, room.texts) * 1.25 + 32
    assert room.longest >= max(lengths)
    filled = padded(batch, room)
    assert (filled.num_tokens, len(filled)) == (room.tokens, room.texts)
    assert filled.starts_B1[: len(batch) + 1].tolist() == batch.starts_B1.tolist()
    assert (np.diff(filled.starts_B1) >= 0).all()
    assert (filled.starts_B1[:-1] < room.tokens).all(), "the first token of each text is one of the batch"


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens"])
def test_padding_in_a_room_changes_no_text(tiny: Any, pooling: str) -> None:
    model = BiEncoder(tiny.bi_encoder("bert", pooling=(pooling,)), device="cpu", engine="torch", dtype="float32")
    batch = model.tokenize(list(CORPUS[:5]))
    module, room = model.trainable().eval(), room_for(batch)
    filled = padded(batch, room)
    inputs = PackedInputs.from_flat(
        torch.from_numpy(flat_inputs(filled)),
        num_tokens=room.tokens,
        longest=room.longest,
        lengths_B=filled.lengths_B,
        prompt_length=0,
    )
    with torch.inference_mode():
        torch.testing.assert_close(module(inputs)[: len(batch)], module(batch), rtol=1e-5, atol=1e-6)
