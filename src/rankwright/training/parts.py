"""A batch whose loss sees all of it, and which is encoded in parts, so that memory holds one part at a time.

In: a batch, its forward pass and its loss. Does: encodes the parts without keeping what they compute; takes the
gradient of the loss by their outputs; encodes each again, with the same dropout, and passes its share of the gradient
back. Out: the gradients that one pass would give, for one forward pass more.

Source:
    Gao et al. 2021, GradCache, https://arxiv.org/abs/2101.06983
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from rankwright.text import TokenBatch, plan_batches


def backward_in_parts(
    forward: Callable[[TokenBatch, int], Tensor],
    backward: Callable[[Tensor], Tensor],
    tokens: TokenBatch,
    seed: int,
    *,
    part_tokens: int | None,
    hold: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Tensor:
    """Add the gradients of a batch to the parameters.

    Args:
        forward: texts and the seed of their dropout to a row for each text; equal seeds drop the same.
        backward: from the rows of all texts to their loss, whose gradient it passes back.
        tokens: B texts.
        seed: of the batch.
        part_tokens: padded tokens that are encoded at a time; None: all.
        hold: a context in which gradients are not yet shared between processes.

    Returns:
        What `backward` gave.
    """
    places = [] if part_tokens is None else plan_batches(tokens.lengths_B, batch_tokens=part_tokens)
    if len(places) <= 1:
        return backward(forward(tokens, seed))
    parts = [(tokens.select(own), (seed + number) % (1 << 63)) for number, own in enumerate(places)]
    order_B = torch.from_numpy(np.concatenate(places))
    with torch.no_grad():
        encoded = torch.cat([forward(part, part_seed) for part, part_seed in parts])
    rows = torch.empty_like(encoded)
    rows[order_B] = encoded
    loss = backward(rows.requires_grad_())
    assert rows.grad is not None
    gradients = rows.grad[order_B].split([len(own) for own in places])
    for number, ((part, part_seed), gradient) in enumerate(zip(parts, gradients, strict=True), start=1):
        with hold() if number < len(parts) else nullcontext():
            forward(part, part_seed).backward(gradient)
    return loss
