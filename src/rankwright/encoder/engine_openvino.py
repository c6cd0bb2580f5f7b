"""The CPU engine: an OpenVINO graph, fed padded batches in a bounded set of shapes.

In: `TokenBatch`. Out: float32 rows, one for each text. Letters: B texts, L padded tokens.
"""

import queue
from collections.abc import Mapping
from typing import Any

import numpy as np

from rankwright.encoder.ops_openvino import build_graph, import_openvino
from rankwright.encoder.spec import ModelSpec
from rankwright.errors import ConfigError
from rankwright.text import TokenBatch

LENGTH_MULTIPLE = 8
"""Each new shape costs 5 to 25 ms once and keeps about 0.9 MB: lengths are rounded up to this."""

MAX_REQUESTS = 8
"""Infer requests that run at the same time; more threads wait."""


class OpenVINOEngine:
    """Runs batches on the CPU; safe to call from many threads."""

    name = "openvino"
    fixes_shapes = True
    in_flight = 1

    def __init__(self, spec: ModelSpec, weights: Mapping[str, np.ndarray], *, dtype: str = "auto") -> None:
        openvino = import_openvino()
        core = openvino.Core()
        self.dtype = choose_dtype(dtype, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        self.weights = weights  # the graph shares their memory
        self.compiled = core.compile_model(
            build_graph(spec, weights),
            "CPU",
            {"INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[self.dtype], "NUM_STREAMS": 1},
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
            rows = _is_token(batch, output.shape[1]) if self.gives_tokens else slice(len(batch))
            return output[rows].astype(np.float32)
        finally:
            self.requests.put(request)


def choose_dtype(dtype: str, capabilities: list[str]) -> str:
    """The compute type for what was asked.

    Args:
        dtype: "auto", "float32" or "bfloat16".
        capabilities: what OpenVINO says that this CPU has.

    Returns:
        "float32" or "bfloat16"; "auto" takes bfloat16 where the CPU multiplies it natively.

    Raises:
        ConfigError: a type that this CPU would have to emulate.
    """
    if dtype == "auto":
        return "bfloat16" if "BF16" in capabilities else "float32"
    if dtype == "float32" or (dtype == "bfloat16" and "BF16" in capabilities):
        return dtype
    raise ConfigError(
        f"dtype={dtype!r} is not native to this CPU (it has {', '.join(sorted(capabilities))}). "
        "Use dtype='auto', which takes the fastest type that is."
    )


def padded_inputs(batch: TokenBatch, names: list[str]) -> dict[str, np.ndarray]:
    """The graph's inputs, padded to the longest text rounded up to `LENGTH_MULTIPLE`.

    Args:
        batch: B texts.
        names: the inputs that the graph has.

    Returns:
        (B, L) arrays by name, where padding has position 0, type 0 and id 0, and is masked everywhere; or, for a
        model without a transformer, the ids packed and the texts' offsets.
    """
    longest = max(int(batch.lengths_B.max(initial=1)), 1)
    length = -(-longest // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
    is_token_BL = _is_token(batch, length)
    arrays: dict[str, np.ndarray] = {}
    for name in names:
        if name == "packed":  # a last bag of one token, for OpenVINO refuses a text without tokens at the end
            arrays[name] = np.append(batch.ids_T, np.int32(0))
        elif name == "starts":
            arrays[name] = batch.starts_B1
        elif name == "mask":
            arrays[name] = is_token_BL.astype(np.float32)
        elif name == "pooled":
            arrays[name] = (is_token_BL & (np.arange(length) >= batch.prompt_length)).astype(np.float32)
        else:
            values_T = {"ids": batch.ids_T, "positions": batch.position_ids_T, "types": batch.type_ids_T}[name]
            padded_BL = np.zeros(is_token_BL.shape, dtype=np.int32)
            padded_BL[is_token_BL] = 0 if values_T is None else values_T
            arrays[name] = padded_BL
    return arrays


def _is_token(batch: TokenBatch, length: int) -> np.ndarray:
    """(B, L): where a padded batch holds tokens."""
    return np.arange(length) < batch.lengths_B[:, None]
