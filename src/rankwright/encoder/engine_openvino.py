"""The CPU engine: an OpenVINO graph, fed padded batches in a bounded set of shapes.

In: `TokenBatch`. Out: float32 rows, one for each text. Letters: B texts, L padded tokens.
"""

import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from rankwright.cores import num_cores, time_limit
from rankwright.encoder.core_openvino import is_forked, openvino_core
from rankwright.encoder.ops_openvino import OpenVINOOps, build_graph
from rankwright.encoder.pace import Pace
from rankwright.encoder.padding import padded_inputs, token_places
from rankwright.encoder.spec import ModelSpec
from rankwright.errors import ConfigError, lacking_memory
from rankwright.text import TokenBatch

if TYPE_CHECKING:
    from rankwright.encoder.ops_int8 import Int8Ops

MAX_REQUESTS = 8
"""Infer requests that run at the same time; more threads wait."""

STREAMS = 2
"""Batches that share the cores: where each has half of them, fewer threads wait for each other (LOG.md)."""

BATCH_TOKENS, MOST_BATCH_TOKENS = 1024, 4096
"""Padded tokens of a batch for each core that it has, and at most: more are no faster (LOG.md)."""


class OpenVINOEngine:
    """Runs batches on the CPU; safe to call from many threads."""

    name = "openvino"
    fixes_shapes = True

    def __init__(
        self,
        spec: ModelSpec,
        weights: Mapping[str, np.ndarray],
        *,
        dtype: str = "auto",
        levels: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        core = openvino_core()
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
        self.gives_tokens = spec.gives_tokens
        graph, hint = build_graph(ops), {"float32": "f32", "bfloat16": "bf16"}[rest]
        self.inputs = [port.get_any_name() for port in graph.inputs]
        self.alone = Requests(core, graph, hint, streams=1)
        streams = min(STREAMS, num_cores())
        self.shared = self.alone if streams == 1 else Requests(core, graph, hint, streams=streams)
        batch_tokens = min(BATCH_TOKENS * (num_cores() // streams), MOST_BATCH_TOKENS)
        self.pace = Pace(batch_tokens=batch_tokens, batches=streams)

    def run(self, batch: TokenBatch, *, is_alone: bool = True) -> np.ndarray:
        """The model's output for each text.

        Args:
            batch: B texts.
            is_alone: whether all cores are for this batch, or those of one stream; in a forked process they always are.

        Returns:
            (B, size) float32; (T, size) of a model that gives token states.

        Raises:
            MemoryError: there is not enough for so large a batch.
        """
        arrays = padded_inputs(batch, self.inputs)
        with (self.alone if is_alone or is_forked() else self.shared).request() as request:
            request.infer([arrays[name] for name in self.inputs], share_inputs=True)
            output = request.get_output_tensor(0).data
            rows = token_places(batch, output.shape[1]) if self.gives_tokens else slice(len(batch))
            return output[rows].astype(np.float32)


class Requests:
    """A graph compiled for so many batches at a time, and the requests that run it; both are made at first use.

    Args:
        core: an `openvino.Core`.
        graph: an `openvino.Model`.
        hint: type of what it computes, as OpenVINO calls it.
        streams: batches at a time. A graph that is compiled twice holds its weights twice.
    """

    def __init__(self, core: Any, graph: Any, hint: str, *, streams: int) -> None:
        self.core, self.graph = core, graph
        self.settings = {"INFERENCE_PRECISION_HINT": hint, "NUM_STREAMS": streams}
        if time_limit() is not None:  # OpenVINO would start a thread for each core of the machine
            self.settings["INFERENCE_NUM_THREADS"] = num_cores()
        self.compiled: Any = None
        self.lock = threading.Lock()
        self.free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(MAX_REQUESTS):
            self.free.put(None)

    @contextmanager
    def request(self) -> Iterator[Any]:
        """An `openvino.InferRequest` that nobody else has meanwhile.

        Yields:
            The request; after an error it is not used again.

        Raises:
            MemoryError: there is not enough to compile the graph, or to run a batch.
        """
        request, kept = self.free.get(), None
        try:
            with lacking_memory():
                if request is None:
                    request = self._compile().create_infer_request()
                yield request
            kept = request
        finally:
            self.free.put(kept)

    def _compile(self) -> Any:
        with self.lock:
            if self.compiled is None:
                self.compiled = self.core.compile_model(self.graph, "CPU", self.settings)
            return self.compiled


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
