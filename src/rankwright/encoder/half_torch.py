"""Autocast on a GPU in one go: all parameters are cast at once, and everything computes in half precision.

`torch.autocast` casts each weight, and each input of a layer, by a kernel of its own, forwards and backwards: most of
the kernels of a small model's step. Here norms add up in float32 inside their kernel, as attention does, and gradients
reach the float32 parameters.

In: a module with float32 parameters. Out: its parameters in half precision, by name.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def half_precision(module: nn.Module) -> Iterator[None]:
    """In place of autocast on a GPU: within it the module's parameters are copies in half precision.

    Gradients flow through the copies. `torch.func.functional_call` would do the same, in the time of all layers of a
    small model. Parameters that are sharded or quantised are left to autocast.

    Args:
        module: whose parameters; no other thread may use it meanwhile.

    Yields:
        Nothing.
    """
    places = [
        (own._parameters, name) for own in module.modules() for name, p in own._parameters.items() if p is not None
    ]
    originals = [parameters[name] for parameters, name in places]
    if not all(type(p) is nn.Parameter and p.dtype == torch.float32 for p in originals):
        yield
        return
    different = list(dict.fromkeys(originals))  # some are shared
    copies = _Cast.apply(torch.get_autocast_dtype("cuda"), *different)  # type: ignore[no-untyped-call]
    copy_of = dict(zip(different, copies, strict=True))
    try:
        for (parameters, name), original in zip(places, originals, strict=True):
            parameters[name] = copy_of[original]
        with torch.autocast("cuda", enabled=False):
            yield
    finally:
        for (parameters, name), original in zip(places, originals, strict=True):
            parameters[name] = original


class _Cast(torch.autograd.Function):
    """Casts many tensors by one kernel, and their gradients back."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(_cast(tensors, dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        found = iter(_cast([gradient for gradient in gradients if gradient is not None], torch.float32))
        return None, *(None if gradient is None else next(found) for gradient in gradients)


def _cast(tensors: Any, dtype: torch.dtype) -> list[Tensor]:
    copies = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
    if copies:
        torch._foreach_copy_(copies, list(tensors))
    return copies
