"""The limit of a row: the time of its matrix products alone, at the speed of this CPU's best large product.

In: the inputs folder. Does: products of one good shape, as many as make up the row's operations. Out: nothing.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from bench.gate import Gate, repeat
from bench.inputs import MAX_LENGTH, Inputs
from bench.retrieval import NUM_DOCUMENTS, NUM_QUERIES, NUM_SEARCHES, NUM_STORED, SIZE

ROWS, NARROW, WIDE, PAIRS = 512, 384, 1536, 6
"""Of the product that sets the pace: (512, 384) by (384, 1536) and back, six times, which is MiniLM-L6's feed-forward;
in a chain, so that only its ends are float32 where the type is another. Fewer or more rows are slower."""

STREAMS = 2
"""Such products at a time, each on its share of the cores: faster than one on all of them (LOG.md)."""

TRAINING_PASSES = 3
"""Operations of a training step over those of a forward pass: one forward, two backward."""


def encoding_operations(lengths: Sequence[int], *, hidden_size: int = 384, num_layers: int = 6) -> float:
    """Floating-point operations of all products of an encoder, without padding: (24 d^2 + 4 n d) n for each layer.

    Args:
        lengths: tokens n of each text.
        hidden_size: d; the feed-forward has 4 d.
        num_layers: layers.

    Returns:
        Additions and multiplications.
    """
    n = np.asarray(lengths, dtype=np.float64)
    return float((24 * hidden_size**2 * n + 4 * hidden_size * n**2).sum()) * num_layers


def limit_encoding(gate: Gate, inputs: Inputs, *, texts: Callable[[Inputs], Sequence[Any]], passes: int = 1) -> None:
    """So many forward passes of texts through the bi-encoder, or of pairs through the cross-encoder."""
    from rankwright import BiEncoder, CrossEncoder

    chosen = texts(inputs)
    is_pair = not isinstance(chosen[0], str)
    model = CrossEncoder(inputs.cross_encoder, max_length=MAX_LENGTH) if is_pair else BiEncoder(inputs.bi_encoder)
    limit(gate, passes * encoding_operations(model.tokenize(chosen).lengths_B))


def limit_evaluate(gate: Gate, inputs: object) -> None:
    """Each query times each document of the retrieval evaluation, in float32."""
    limit(gate, 2.0 * NUM_QUERIES * NUM_DOCUMENTS * SIZE, dtype="f32")


def limit_search(gate: Gate, inputs: object) -> None:
    """Each query times each document of the search, in float32."""
    limit(gate, 2.0 * NUM_SEARCHES * NUM_STORED * SIZE, dtype="f32")


def limit(gate: Gate, operations: float, *, dtype: str | None = None) -> None:
    """Multiply until so many operations are done, in the type that OpenVINO takes on this CPU or a given one."""
    from rankwright.encoder.core_openvino import import_openvino

    openvino = import_openvino()
    from openvino import opset15 as op

    random = np.random.default_rng(0)
    x = op.parameter([-1, NARROW], np.float32)
    node = x
    for i in range(2 * PAIRS):
        shape = (NARROW, WIDE) if i % 2 == 0 else (WIDE, NARROW)
        node = op.matmul(node, op.constant(random.normal(0, shape[0] ** -0.5, shape).astype(np.float32)), False, False)
    settings = {"NUM_STREAMS": STREAMS} | ({"INFERENCE_PRECISION_HINT": dtype} if dtype else {})
    compiled = openvino.Core().compile_model(openvino.Model([node], [x]), "CPU", settings)
    values = random.normal(size=(ROWS, NARROW)).astype(np.float32)
    rows = round(operations / (2.0 * NARROW * WIDE * 2 * PAIRS))
    shares = [range(i * ROWS, rows, STREAMS * ROWS) for i in range(STREAMS)]

    def multiply(request: Any, starts: range) -> None:
        for start in starts:
            request.infer([values[: rows - start]], share_inputs=True)

    def work() -> None:
        with ThreadPoolExecutor(STREAMS) as pool:
            list(pool.map(multiply, requests, shares))

    requests = [compiled.create_infer_request() for _ in range(STREAMS)]
    repeat(gate, work)
