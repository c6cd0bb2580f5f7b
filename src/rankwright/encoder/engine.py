"""What an engine is, and which one a model gets.

In: `ModelSpec`, weights, and the user's wishes. Out: an `Engine`.
"""

import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Protocol

import numpy as np

from rankwright.encoder.families import FAMILIES
from rankwright.encoder.ops_openvino import OPENVINO_ACTIVATIONS
from rankwright.encoder.pace import Pace
from rankwright.encoder.spec import Dense, ModelSpec
from rankwright.errors import ConfigError, MissingExtraError
from rankwright.text import TokenBatch

ENGINES = ("auto", "openvino", "torch")

GPU_DRIVERS = ("/proc/driver/nvidia", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")
"""What one of is there where Linux has a GPU that torch can use: NVIDIA's, that of WSL, AMD's."""


class Engine(Protocol):
    """Runs token batches; thread-safe."""

    name: str
    dtype: str
    fixes_shapes: bool
    """Whether each new shape of a batch costs time and memory once."""
    pace: Pace
    emulates: bool
    """Whether the device has no products of `dtype`: numbers are those of the type, and speed is not."""

    def run(self, batch: TokenBatch, *, is_alone: bool = True) -> np.ndarray:
        """(B, size) float32: embeddings, or logits before the activation; (T, size): token states, of all texts.

        `is_alone`: no others of the pace's batches run at the same time, so that all of the device is for this one.
        """


def make_engine(
    spec: ModelSpec,
    weights: Mapping[str, np.ndarray],
    *,
    engine: str = "auto",
    device: str = "auto",
    dtype: str = "auto",
    levels: Mapping[str, np.ndarray] | None = None,
) -> Engine:
    """The engine for a model.

    Args:
        spec: the model.
        weights: arrays by Hugging Face name.
        engine: "openvino", "torch", or "auto": torch on a GPU if there is one and torch is installed, or where
            OpenVINO has no node for an activation; else OpenVINO.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        dtype: "auto", "float32", "bfloat16", "float16", or "int8" (OpenVINO, linear layers only).
        levels: of int8, by `calibrate`.

    Returns:
        The engine, ready to run.

    Raises:
        ConfigError: an engine, a device or a combination that does not exist.
        MissingExtraError: torch is wanted but not installed.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine={engine!r}: expected one of {', '.join(ENGINES)}.")
    if spec.foreign is not None:
        if engine == "openvino":
            raise ConfigError(
                f"engine='openvino' has no graph for {spec.architecture.family} models, which run through "
                f"transformers. Use engine='torch' or 'auto'. Families with a graph: {', '.join(sorted(FAMILIES))}."
            )
        engine = "torch"
    if dtype == "int8" and engine == "auto" and device in ("auto", "cpu"):
        engine = "openvino"
    if device == "auto":
        device = "cuda" if engine != "openvino" and has_cuda() else "cpu"
    if engine == "auto":
        engine = "openvino" if device == "cpu" and _has_graph(spec) else "torch"
    if engine == "torch":
        if find_spec("torch") is None:
            raise MissingExtraError(f"engine='torch' (device {device!r})", "torch", "torch")
        from rankwright.encoder.engine_torch import TorchEngine

        return TorchEngine(spec, weights, dtype=dtype, device=device)
    if device != "cpu":
        raise ConfigError(f"engine='openvino' runs on the CPU, not on device={device!r}. Use engine='torch'.")
    from rankwright.encoder.engine_openvino import OpenVINOEngine

    return OpenVINOEngine(spec, weights, dtype=dtype, levels=levels)


def _has_graph(spec: ModelSpec) -> bool:
    """Whether OpenVINO has a node for each activation; those of families are all among them."""
    return all(module.activation in OPENVINO_ACTIVATIONS for module in spec.modules if isinstance(module, Dense))


def has_cuda() -> bool:
    """Whether torch is there and can use a GPU; on Linux asked only where a driver is, for its import takes seconds."""
    if sys.platform == "linux" and not any(map(os.path.exists, GPU_DRIVERS)):
        return False
    if find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()
