"""Products of queries with stored documents, each in one thread, so that the threads of a search share the cores.

In: queries in float32, and documents as they are stored. Out: scores_DQ, and the lengths of the documents.

numpy cuts each product into equal parts, one for each core: where something else runs, too, the part that is slowed
down holds up the others, which meanwhile turn in circles. OpenVINO computes each product in one thread, and turns small
types into float32, measures the documents and divides by their lengths on the way, while they are in the cache.

Letters: E embedding; Q queries and D documents of a block.
"""

from typing import Any

import numpy as np

from rankwright.encoder.core_openvino import import_openvino, openvino_core
from rankwright.models.precision import steps
from rankwright.models.scoring import SMALLEST_NORM, StoredDocuments

SMALL_WORK = 2e10
"""Operations: less than this is done before OpenVINO is ready."""

READ_AS_STORED = ("float32", "float16", "int8", "uint8")
"""Types of documents that OpenVINO is given as they are; others become float32 first."""


class Products:
    """The products of one thread.

    Args:
        queries_QE: float32.
        documents: what they are multiplied with.
        num_documents: the largest D.
        is_unit: whether to divide each score by the length of its document.
        compiled: from `compile_products`; None: numpy multiplies.
    """

    def __init__(
        self,
        queries_QE: np.ndarray,
        documents: StoredDocuments,
        num_documents: int,
        *,
        is_unit: bool,
        compiled: Any | None,
    ) -> None:
        self.queries_QE, self.documents, self.is_unit = queries_QE, documents, is_unit
        self.request = None if compiled is None else compiled.create_infer_request()
        self.block_DE = np.empty((num_documents, documents.shape[1]), np.float32)

    def multiply(self, places: slice) -> tuple[np.ndarray, np.ndarray]:
        """Fast scores.

        Args:
            places: of the documents.

        Returns:
            scores_DQ and norm_D, float32, until the next call; infinite or NaN where float32 cannot hold them.
        """
        if self.request is not None and self.documents.dtype in READ_AS_STORED:
            return self._infer(self.documents.stored(places))
        block_DE = self.documents.read(places, self.block_DE[: places.stop - places.start])
        if self.request is not None:
            return self._infer(block_DE)
        with np.errstate(over="ignore", invalid="ignore"):
            scores_DQ, norm_D = block_DE @ self.queries_QE.T, np.sqrt(np.vecdot(block_DE, block_DE))
            if self.is_unit:
                scores_DQ /= np.maximum(norm_D, np.float32(SMALLEST_NORM))[:, None]
        return scores_DQ, norm_D

    def _infer(self, rows_DE: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert self.request is not None
        self.request.infer(rows_DE, share_inputs=True, share_outputs=True)
        scores_DQ, norm_D = (self.request.get_output_tensor(i).data for i in range(2))
        return scores_DQ, norm_D.ravel()


def compile_products(queries_QE: np.ndarray, documents: StoredDocuments, *, is_unit: bool, num_threads: int) -> Any:
    """What `Products` of these queries and documents run.

    Args:
        queries_QE: float32.
        documents: what they are multiplied with.
        is_unit: whether to divide each score by the length of its document.
        num_threads: how many will multiply at a time.

    Returns:
        An `openvino.CompiledModel`: from rows to scores_DQ and norm_D1.
    """
    openvino = import_openvino()
    from openvino import opset15 as op

    dtype = documents.dtype if documents.dtype in READ_AS_STORED else np.dtype(np.float32)
    rows = op.parameter([-1, documents.shape[1]], dtype)
    values = rows if dtype == np.float32 else op.convert(rows, "f32")
    if documents.ranges_2E is not None:
        step_E, middle_E = steps(np.asarray(documents.ranges_2E, np.float32), documents.dtype)
        values = op.add(op.multiply(values, op.constant(step_E)), op.constant(middle_E))
    norm = op.reduce_l2(values, op.constant(np.array([1])), True)
    length = op.maximum(norm, op.constant(np.float32(SMALLEST_NORM)))
    # What has fewer columns is divided, documents or scores.
    is_divided_first = is_unit and len(queries_QE) > documents.shape[1]
    if is_divided_first:
        values = op.divide(values, length)
    # As a constant, the queries are brought into the order of the product once.
    scores = op.matmul(values, op.constant(queries_QE), False, True)
    if is_unit and not is_divided_first:
        scores = op.divide(scores, length)
    # One thread for each stream. Without the hint float32 may be multiplied as something smaller.
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": num_threads,
        "INFERENCE_NUM_THREADS": num_threads,
        "ENABLE_CPU_PINNING": False,
    }
    return openvino_core().compile_model(openvino.Model([scores, norm], [rows], "products"), "CPU", settings)
