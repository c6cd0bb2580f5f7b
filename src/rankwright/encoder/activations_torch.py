"""Activations by the names that checkpoints give them: Hugging Face names, or dotted paths below `torch.`.

In: a name. Out: a function of tensors.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from importlib import import_module

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankwright.errors import ModelFormatError, first_line

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
    found = None
    if re.fullmatch(r"torch\.nn(\.\w+)*", module_name):
        with suppress(ImportError):
            found = getattr(import_module(module_name), class_name, None)
    if isinstance(found, type) and issubclass(found, nn.Module):
        return _tried(kind, found)
    raise ModelFormatError(
        f"unknown activation {kind!r}: expected one of {', '.join(ACTIVATIONS)}, or an nn.Module class below torch.nn."
    )


def _tried(kind: str, module_class: type[nn.Module]) -> Callable[[Tensor], Tensor]:
    """An instance of the class, if it is a function of one tensor that keeps its shape and has nothing to learn."""
    advice = "Expected a torch.nn class without arguments, such as torch.nn.modules.activation.SiLU."
    like = torch.zeros(2, 4)
    try:
        with torch.device("meta"):  # draws no random numbers
            module = module_class().eval()  # in training some of them drop out
        is_function = not list(module.parameters()) and module(like).shape == like.shape
    except Exception as err:
        raise ModelFormatError(f"the activation {kind!r} cannot be used: {first_line(err)} {advice}") from err
    if not is_function:
        raise ModelFormatError(f"the activation {kind!r} has weights of its own, or changes the shape. {advice}")
    return module
