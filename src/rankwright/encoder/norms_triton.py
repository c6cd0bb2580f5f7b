"""Residual and layer norm as one Triton kernel: each row is read once and written once.

In: two tensors of rows. Out: the layer norm of their sum. Its plain twin is `F.layer_norm(x + residual, ...)`.
"""

import torch
import triton
from torch import Tensor
from triton import language as tl


def add_layer_norm(x_TD: Tensor, residual_TD: Tensor, weight_D: Tensor, bias_D: Tensor | None, eps: float) -> Tensor:
    """The layer norm of x + residual, in float32 inside; it has no backward pass.

    Args:
        x_TD: rows.
        residual_TD: likewise, of the same type.
        weight_D: what the normalised features are multiplied by.
        bias_D: what is added to them; None: nothing.
        eps: added to the variance.

    Returns:
        A tensor like x_TD.
    """
    rows, size = x_TD.shape
    x_TD, residual_TD = x_TD.contiguous(), residual_TD.contiguous()
    out_TD = torch.empty_like(x_TD)
    block = triton.next_power_of_2(size)
    warps = min(max(block // 256, 1), 16)
    if rows:
        _add_layer_norm[(rows,)](
            x_TD, residual_TD, weight_D, bias_D, out_TD, size, eps, BLOCK=block, HAS_BIAS=bias_D is not None,
            num_warps=warps,
        )  # fmt: skip
    return out_TD


@triton.jit
def _add_layer_norm(
    x, residual, weight, bias, out, size, eps, BLOCK: tl.constexpr, HAS_BIAS: tl.constexpr
):  # pragma: no cover
    """One row for each program."""
    start = tl.program_id(0).to(tl.int64) * size
    column = tl.arange(0, BLOCK)
    inside = column < size
    row = tl.load(x + start + column, mask=inside, other=0.0).to(tl.float32)
    row += tl.load(residual + start + column, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(row, axis=0) / size
    centred = tl.where(inside, row - mean, 0.0)
    variance = tl.sum(centred * centred, axis=0) / size
    normed = centred / tl.sqrt(variance + eps) * tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    if HAS_BIAS:
        normed += tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + start + column, normed, mask=inside)
