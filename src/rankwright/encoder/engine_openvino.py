"""The CPU engine: an OpenVINO graph, fed padded batches in a bounded set of shapes.

In: `TokenBatch`. Out: float32 rows, one for each text. Letters: B texts, L padded tokens.
"""

import queue
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rankwright.encoder.ops_openvino import OpenVINOOps, build_graph, import_openvino
from rankwright.encoder.padding import padded_inputs, token_places
from rankwright.encoder.spec import ModelSpec
from rankwright.errors import ConfigError
from rankwright.text import TokenBatch

if TYPE_CHECKING:
    from rankwright.encoder.ops_int8 import Int8Ops

MAX_REQUESTS = 8
"""Infer requests that run at the same time; more threads wait."""


class OpenVINOEngine:
    """Runs batches on the CPU; safe to call from many threads."""

    name = "openvino"
    fixes_shapes = True
    in_flight = 1

    def __init__(
        self,
        spec: ModelSpec,
        weights: Mapping[str, np.ndarray],
        *,
        dtype: str = "auto",
        levels: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        core = import_openvino().Core()
        capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.dtype = choose_dtype(dtype, capabilities)
        self.weights = weights  # the graph shares their memory
        self.emulates = False
        ops = OpenVINOOps(spec, weights)
        if self.dtype == "int8":
            ops = int8_ops(spec, weights, levels)
            self.emulates = ops.emulates
        # what is not in int8 is in the type that the CPU is fastest in
        rest = choose_dtype("auto", capabilities) if self.dtype == "int8" else self.dtype
        self.compiled = core.compile_model(
            build_graph(ops),
            "CPU",
            {"INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[rest], "NUM_STREAMS": 1},
        )
        self.gives_tokens = spec.gives_tokens
        self.inputs = [port.get_any_name() for port in self.compiled.inputs]
        self.requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(MAX_REQUESTS):
            self.requests.put(None)  # made at first use

    def run(self, batch: TokenBatch) -> np.ndarray:
        """The model's output for each text.

        Args:
            batch: B texts.

        Returns:
            (B, size) float32; (T, size) of a model that gives token states.
        """
        arrays = padded_inputs(batch, self.inputs)
        request = self.requests.get()
        try:
            if request is None:
                request = self.compiled.create_infer_request()
            request.infer([arrays[name] for name in self.inputs], share_inputs=True)
            output = request.get_output_tensor(0).data
            rows = token_places(batch, output.shape[1]) if self.gives_tokens else slice(len(batch))
            return output[rows].astype(np.float32)
        finally:
            self.requests.put(request)


def int8_ops(spec: ModelSpec, weights: Mapping[str, np.ndarray], levels: Mapping[str, np.ndarray] | None) -> "Int8Ops":
    """The operations of a model whose linear layers are quantised; the same numbers where the CPU has no such products.

    Args:
        spec: the model.
        weights: float32 arrays by Hugging Face name.
        levels: what `calibrate` gave for these weights.

    Returns:
        The operations.

    Raises:
        ConfigError: no levels.
    """
    from rankwright.encoder.ops_int8 import Int8Ops, multiplies_int8

    if levels is None:
        raise ConfigError(
            "dtype='int8' needs a model that was calibrated on texts, and this one was not, or has other weights now. "
            "Use `rankwright quantize MODEL TEXTS --out FOLDER`, or model.quantize(texts)."
        )
    return Int8Ops(spec, weights, levels, emulates=not multiplies_int8())


def choose_dtype(dtype: str, capabilities: list[str]) -> str:
    """The compute type for what was asked.

    Args:
        dtype: "auto", "float32", "bfloat16" or "int8".
        capabilities: what OpenVINO says that this CPU has.

    Returns:
        "float32", "bfloat16" or "int8"; "auto" takes bfloat16 where the CPU multiplies it natively, and never int8.

    Raises:
        ConfigError: a type that this CPU would have to emulate.
    """
    if dtype == "auto":
        return "bfloat16" if "BF16" in capabilities else "float32"
    if dtype == "float32" or {"bfloat16": "BF16", "int8": "INT8"}.get(dtype) in capabilities:
        return dtype
    raise ConfigError(
        f"dtype={dtype!r} is not native to this CPU (it has {', '.join(sorted(capabilities))}). "
        "Use dtype='auto', which takes the fastest type that is."
    )
