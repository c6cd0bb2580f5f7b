"""Products of float32 matrices, each in one thread, so that the threads of a search share the cores.

In: factors of the queries and of the documents. Out: scores_QD.

numpy cuts each product into equal parts, one for each core: where something else runs, too, the part that is slowed
down holds up the others, which meanwhile turn in circles. OpenVINO computes each product in one thread.

Letters: E embedding; Q queries and D documents of a block.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from rankwright.encoder.ops_openvino import import_openvino

SMALL_WORK = 2e10
"""Operations: less than this is done before OpenVINO is ready."""


class Products:
    """The products of one thread.

    Args:
        num_threads: how many such there are; None: numpy multiplies.
    """

    def __init__(self, num_threads: int | None) -> None:
        self.request = None if num_threads is None else _compiled(num_threads).create_infer_request()

    def multiply(self, queries_QE: np.ndarray, documents_DE: np.ndarray) -> np.ndarray:
        """The dot products of all pairs.

        Args:
            queries_QE: float32.
            documents_DE: float32.

        Returns:
            scores_QD, float32, until the next call.
        """
        if self.request is None:
            with np.errstate(over="ignore", invalid="ignore"):
                return queries_QE @ documents_DE.T
        self.request.infer([queries_QE, documents_DE], share_inputs=True)
        return self.request.get_output_tensor(0).data


@lru_cache(maxsize=1)
def _compiled(num_threads: int) -> Any:
    openvino = import_openvino()
    from openvino import opset15

    factors = [opset15.parameter([-1, -1], np.float32) for _ in range(2)]
    model = openvino.Model([opset15.matmul(*factors, False, True)], factors, "products")
    # One thread for each stream. Without the hint float32 may be multiplied as something smaller.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": num_threads, "INFERENCE_NUM_THREADS": num_threads}
    return openvino.Core().compile_model(model, "CPU", settings)
