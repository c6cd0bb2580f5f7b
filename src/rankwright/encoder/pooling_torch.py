"""Pooling of a packed batch: one vector for each text, by torch, without a loop over texts.

In: token states of packed tokens. Out: vectors, in float32 where they are sums. Letters: T tokens, B texts, D features.
"""

import torch
from torch import Tensor

from rankwright.encoder.inputs_torch import PackedInputs


def pool(x_TD: Tensor, inputs: PackedInputs, mode: str, *, skip: int) -> Tensor:
    """One vector for each text.

    Args:
        x_TD: token states.
        inputs: the batch.
        mode: of `POOLING_MODES`.
        skip: how many first tokens of each text are left out.

    Returns:
        (B, D). A text of which no token is left gets what sentence-transformers gives it.
    """
    starts_B, ends_B = inputs.starts_B1[:-1], inputs.starts_B1[1:]
    firsts_B = torch.minimum(starts_B + skip, ends_B)
    is_empty_B = firsts_B == ends_B
    if mode == "cls":
        return x_TD[torch.where(is_empty_B, starts_B, firsts_B)]
    if mode == "lasttoken":
        return x_TD[ends_B - 1] * ~is_empty_B[:, None]
    num_B = (ends_B - firsts_B).float()
    if mode == "weightedmean":
        x_TD = x_TD.float() * _place_in_text(x_TD, inputs)[:, None]
        weight_B = num_B * (2 * skip + 1 + num_B) / 2  # skip + 1 to skip + num
        return _reduce(x_TD, inputs, "sum", skip) / weight_B.clamp(min=1e-9)[:, None]
    if mode == "max":
        return _reduce(x_TD, inputs, "max", skip)
    divisor_B = num_B.clamp(min=1e-9)
    return _reduce(x_TD, inputs, "sum", skip) / (divisor_B if mode == "mean" else divisor_B.sqrt())[:, None]


def _place_in_text(x_TD: Tensor, inputs: PackedInputs) -> Tensor:
    """1 for the first token of each text, 2 for the next, ..."""
    place_T = torch.arange(len(x_TD), dtype=torch.int32, device=x_TD.device)
    text_T = torch.searchsorted(inputs.starts_B1[1:], place_T, right=True, out_int32=True)
    return (place_T - inputs.starts_B1[text_T] + 1).float()


def _reduce(x_TD: Tensor, inputs: PackedInputs, how: str, skip: int) -> Tensor:
    offsets = inputs.starts_B1
    if skip:  # each text in two parts, of which the second one counts
        firsts_B = torch.minimum(offsets[:-1] + skip, offsets[1:])
        offsets = torch.cat([torch.stack([offsets[:-1], firsts_B], dim=1).flatten(), offsets[-1:]])
    # unsafe: the offsets are not read back for a check, which would wait for the device
    reduced = torch.segment_reduce(x_TD.float(), how, offsets=offsets, unsafe=True)
    return reduced[1::2] if skip else reduced
