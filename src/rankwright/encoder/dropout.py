"""Dropout whose mask is cheap to draw on a CPU, where torch's own is the largest cost of a training step.

In: a tensor and a seeded generator. Does: compares random bytes with a threshold. Out: the tensor, thinned and scaled.
"""

from typing import Any

import torch
from torch import Tensor


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(kept)
        ctx.scale = scale
        return torch.ops.aten.native_dropout_backward(x, kept, scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (kept,) = ctx.saved_tensors
        return torch.ops.aten.native_dropout_backward(grad, kept, ctx.scale), None, None


def cheap_dropout(x: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Inverted dropout at `rate`, rounded to the nearest 1/256 (0.1 acts as 26/256 = 0.1016).

    The scale is that of the rounded rate, so that the expectation is x.

    Args:
        x: any floating tensor.
        rate: share of the elements set to zero; 0 <= rate < 1.
        generator: a CPU generator; the mask is a function of its state alone, on every device.

    Returns:
        A tensor like x.
    """
    threshold = min(round(rate * 256), 255)
    words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= threshold
    return _Dropout.apply(x, kept.to(x.device), 256 / (256 - threshold))
