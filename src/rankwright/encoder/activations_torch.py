"""Activations by the names that checkpoints give them: Hugging Face names, or dotted paths below `torch.`.

In: a name. Out: a function of tensors.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from importlib import import_module

from torch import Tensor, nn
from torch.nn import functional as F

from rankwright.errors import ModelFormatError

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "gelu_fast": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": F.tanh,
    "sigmoid": F.sigmoid,
}


@lru_cache(maxsize=64)
def activation_function(kind: str) -> Callable[[Tensor], Tensor]:
    """The function of that name.

    Args:
        kind: a key of `ACTIVATIONS`, or the dotted path of an `nn.Module` class below `torch.` that needs no arguments.

    Returns:
        A function of one tensor.

    Raises:
        ModelFormatError: neither of the two; code from elsewhere is never imported.
    """
    if kind in ACTIVATIONS:
        return ACTIVATIONS[kind]
    module_name, _, class_name = kind.rpartition(".")
    if module_name.startswith("torch.nn"):
        found = getattr(import_module(module_name), class_name, None)
        if isinstance(found, type) and issubclass(found, nn.Module):
            return found()
    raise ModelFormatError(
        f"unknown activation {kind!r}: expected one of {', '.join(ACTIVATIONS)}, or an nn.Module class below torch.nn."
    )
