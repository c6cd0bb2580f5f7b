"""Linear layers in int8 as graph nodes, and the ranges of their inputs.

In: `ModelSpec` and weights; texts to calibrate on, or the levels that came of them. Out: `Int8Ops` for the graph;
levels by name. Letters: B texts, L padded tokens, N tokens, I inputs of a layer.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np

from rankwright.encoder.core_openvino import import_openvino, openvino_core
from rankwright.encoder.int8 import LEVELS, WEIGHT_LEVELS, fit, quantised_rows
from rankwright.encoder.ops_openvino import OpenVINOOps, build_graph
from rankwright.encoder.padding import padded_inputs, token_places
from rankwright.encoder.spec import ModelSpec
from rankwright.text import TokenBatch

Node = Any

logger = logging.getLogger(__name__)

SAMPLED = 2048
"""Tokens whose inputs are kept to compare steps by."""


class Int8Ops(OpenVINOOps):
    """`OpenVINOOps` where linear layers with levels multiply in int8, and all else is as it was.

    With `emulates` the same numbers are multiplied in float32.
    """

    def __init__(
        self,
        spec: ModelSpec,
        weights: Mapping[str, np.ndarray],
        levels: Mapping[str, np.ndarray],
        *,
        emulates: bool = False,
    ) -> None:
        super().__init__(spec, weights)
        self.levels = levels
        self.emulates = emulates

    def linear(self, path: str, x: Node, size: int, *, bias: bool = True) -> Node:
        name = self.prefix + path
        if f"{name}.step" not in self.levels:
            return super().linear(path, x, size, bias=bias)
        low_I, step_I, shift_O = (self.levels[f"{name}.{part}"] for part in ("low", "step", "shift"))
        weight_OI = self.weights[f"{name}.weight"]
        product = self.op.matmul(self._levels(x, low_I, step_I), self._rows(weight_OI, step_I), False, True)
        added_O = weight_OI @ low_I + shift_O + (self.weights[f"{name}.bias"] if bias else 0)
        return self.op.add(product, self.op.constant(added_O.astype(np.float32)))

    def _rows(self, weight_OI: np.ndarray, step_I: np.ndarray) -> Node:
        rows_OI, scale_O1 = quantised_rows(weight_OI, step_I)
        if self.emulates:
            return self.op.constant(rows_OI * scale_O1)
        return self.op.multiply(self.op.convert(self.op.constant(rows_OI), "f32"), self.op.constant(scale_O1))

    def _levels(self, x: Node, low_I: np.ndarray, step_I: np.ndarray) -> Node:
        """0 to 255 for each feature; made once for the layers that read the same states."""
        key = ("levels", id(x), step_I.tobytes())
        if key not in self.constants:
            # first the start, then the step: in bfloat16 a large start would take the levels of a small range
            shifted = self.op.add(x, self.op.constant(-low_I))
            scaled = self.op.multiply(shifted, self.op.constant(1 / step_I))
            # x is kept beside its levels, so that no other node can have its id
            self.constants[key] = x, (_emulated_levels if self.emulates else _levels)(self.op, scaled)
        return self.constants[key][1]


def _levels(op: Any, x: Node) -> Node:
    zero, top = op.constant(np.float32(0)), op.constant(np.float32(LEVELS))
    return op.fake_quantize(x, zero, top, zero, top, LEVELS + 1)


def _emulated_levels(op: Any, x: Node) -> Node:
    return op.clamp(op.round(x, "half_to_even"), 0.0, float(LEVELS))


@lru_cache(maxsize=1)
def multiplies_int8() -> bool:
    """Whether this CPU adds up products of bytes as they are; tried once, and said in the log if not.

    Without VNNI or AMX two products are added in 16 bits, which do not hold twice 255 times 127; such a CPU is no
    faster in int8 than in float32 either (LOG.md).

    Source:
        oneDNN's developer guide, "Nuances of int8 computations".
    """
    openvino = import_openvino()
    from openvino import opset15 as op

    count = 64
    levels = op.parameter([1, count], np.float32)
    weight = op.convert(op.constant(np.full((count, count), WEIGHT_LEVELS, np.int8)), "f32")
    halves = op.multiply(weight, op.constant(np.full((count, 1), 0.5, np.float32)))  # without a scale all is float32
    graph = openvino.Model([op.matmul(_levels(op, levels), halves, False, True)], [levels], "a product of the largest")
    compiled = openvino_core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(np.full((1, count), LEVELS, np.float32))[0]
    is_exact = bool((found == LEVELS * WEIGHT_LEVELS * count / 2).all())
    if not is_exact:
        logger.warning("this CPU has no exact products of int8: they are emulated in float32, and nothing is gained")
    return is_exact


class InputOps(OpenVINOOps):
    """`OpenVINOOps` that remembers what the linear layers of token states read, and which layers read it."""

    def __init__(self, spec: ModelSpec, weights: Mapping[str, np.ndarray]) -> None:
        super().__init__(spec, weights)
        self.read: dict[int, tuple[Node, list[str]]] = {}

    def linear(self, path: str, x: Node, size: int, *, bias: bool = True) -> Node:
        if not self._is_vector(x):
            self.read.setdefault(id(x), (x, []))[1].append(self.prefix + path)
        return super().linear(path, x, size, bias=bias)

    def more_outputs(self) -> list[Node]:
        return [node for node, _ in self.read.values()]


def calibrate(
    spec: ModelSpec, weights: Mapping[str, np.ndarray], batches: Sequence[TokenBatch]
) -> dict[str, np.ndarray]:
    """The levels for a model's linear layers, from what they read when it runs texts.

    Layers that read one vector for each text, as those of a head do, are left as they are: they cost next to nothing.

    Args:
        spec: the model.
        weights: float32 arrays by Hugging Face name.
        batches: texts like those that the model will run; each batch has tokens.

    Returns:
        `{path}.low`, `.step` and `.shift` of each layer, if there is one; the same for the same texts.
    """
    ops = InputOps(spec, weights)
    graph = build_graph(ops)
    if not ops.read:
        return {}
    compiled = openvino_core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = [port.get_any_name() for port in compiled.inputs]
    groups = [paths for _, paths in ops.read.values()]
    share = SAMPLED / max(1, sum(batch.num_tokens for batch in batches))
    random = np.random.default_rng(0)
    seen: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = [[] for _ in groups]
    for batch in batches:
        arrays = padded_inputs(batch, names)
        results = compiled([arrays[name] for name in names], share_outputs=True)
        is_token_BL = token_places(batch, arrays["ids"].shape[1])
        rows = random.permutation(batch.num_tokens)[: ceil(share * batch.num_tokens)]
        for i, group in enumerate(seen, start=1):
            x_NI = results[i][is_token_BL]
            group.append((x_NI.min(0), x_NI.max(0), x_NI[rows]))
    levels: dict[str, np.ndarray] = {}
    for paths, group in zip(groups, seen, strict=True):
        lows, highs, samples = zip(*group, strict=True)
        fitted = fit(
            np.concatenate(samples), np.min(lows, 0), np.max(highs, 0), [weights[f"{path}.weight"] for path in paths]
        )
        for path, shift_O in zip(paths, fitted.shifts, strict=True):
            levels |= {f"{path}.low": fitted.low_I, f"{path}.step": fitted.step_I, f"{path}.shift": shift_O}
    return levels
