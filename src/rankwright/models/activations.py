"""Logits to scores, without torch where the activation is a usual one.

In: logits_BN and an activation (dotted path, name, callable or torch module). Out: scores. Letters: B pairs, N labels.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from rankwright.errors import ConfigError, ModelFormatError

IDENTITY = "torch.nn.modules.linear.Identity"
SIGMOID = "torch.nn.modules.activation.Sigmoid"


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow, and as exact near 0 as elsewhere: there a ranking is decided too."""
    small = np.exp(-np.abs(x))
    return (np.where(x >= 0, 1.0, small) / (1.0 + small)).astype(x.dtype)


def softmax(x: np.ndarray) -> np.ndarray:
    """exp(x) over its sum, along the last axis."""
    exponents = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def identity(x: np.ndarray) -> np.ndarray:
    """What was given."""
    return x


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Identity": identity,
    "Sigmoid": sigmoid,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
}
"""By the class name of the torch module that a checkpoint names."""


def apply_activation(activation: Any, logits_BN: np.ndarray) -> np.ndarray:
    """Scores for logits.

    Args:
        activation: a dotted path below `torch.nn`, a key of `ACTIVATIONS` in any case, a torch module or function, or a
            function of a numpy array or (where that fails) of a tensor.
        logits_BN: logits.

    Returns:
        Scores of the same shape.

    Raises:
        ConfigError: a name that we do not know.
    """
    if isinstance(activation, str):
        return _named(activation)(logits_BN)
    if type(activation).__module__.startswith("torch.nn") and type(activation).__name__ in ACTIVATIONS:
        return ACTIVATIONS[type(activation).__name__](logits_BN)
    if _takes_tensors(activation):
        return _with_tensors(activation, logits_BN)
    return _with_array(activation, logits_BN)


def activation_path(activation: Any) -> str:
    """The dotted path under which a checkpoint keeps this activation.

    Args:
        activation: as in `apply_activation`.

    Returns:
        Such as "torch.nn.modules.activation.Sigmoid".

    Raises:
        ConfigError: something that no path names.
    """
    if isinstance(activation, str):
        if "." in activation:
            return activation
        name = _class_name(activation)
        return IDENTITY if name == "Identity" else f"torch.nn.modules.activation.{name}"
    if type(activation).__module__.startswith("torch.nn"):
        return f"{type(activation).__module__}.{type(activation).__name__}"
    raise ConfigError(
        f"activation {activation!r} cannot be stored in a checkpoint: pass a torch.nn module or its path."
    )


def _named(name: str) -> Callable[[np.ndarray], np.ndarray]:
    short = _class_name(name.rpartition(".")[2])
    if short in ACTIVATIONS:
        return ACTIVATIONS[short]
    try:
        from rankwright.encoder.activations_torch import activation_function

        function = activation_function(name)
    except (ModelFormatError, ImportError, TypeError) as err:
        raise ConfigError(
            f"activation={name!r}: expected one of {', '.join(ACTIVATIONS)}, the path of a torch.nn class without "
            "arguments such as 'torch.nn.modules.activation.SiLU' (which needs torch), or a function."
        ) from err
    return lambda logits: _with_tensors(function, logits)


def _with_array(function: Callable[[Any], Any], logits_BN: np.ndarray) -> np.ndarray:
    try:
        return np.asarray(function(logits_BN), dtype=np.float32)
    except (TypeError, AttributeError):
        if "torch" not in sys.modules:
            raise
        return _with_tensors(function, logits_BN)  # such as lambda x: torch.sigmoid(x)


def _with_tensors(function: Callable[[Any], Any], logits_BN: np.ndarray) -> np.ndarray:
    import torch

    return np.asarray(function(torch.from_numpy(logits_BN)).detach().float().numpy())


def _class_name(name: str) -> str:
    return next((known for known in ACTIVATIONS if known.lower() == name.lower()), name)


def _takes_tensors(activation: Any) -> bool:
    module = getattr(activation, "__module__", None) or type(activation).__module__
    return module.startswith("torch") or any(c.__module__.startswith("torch") for c in type(activation).__mro__)
