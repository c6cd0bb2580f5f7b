"""Scores of queries and stored documents: fast ones with a bound on their error, and exact ones.

In: queries and documents in any number type. Out: scores; higher is nearer.

An exact score is computed in float64 from the stored numbers, pair by pair, then rounded to float32.

Letters: E embedding; Q queries and D documents of a block, N pairs.
"""

import numpy as np

from rankwright.errors import ValueRangeError
from rankwright.models.precision import dequantize
from rankwright.models.similarity import SIMILARITIES

SMALLEST_NORM = 1e-12
"""A shorter vector has no direction."""

ROUNDING, ROUNDING_64 = 2.0**-24, 2.0**-53
"""Largest relative error of one operation in float32, and in float64."""

PRODUCTS = ("cosine", "dot")
"""Similarities that one matrix product computes."""

LARGEST = 1e37
"""Larger dot products may not fit into float32."""


class StoredDocuments:
    """Documents by their place in the order that breaks ties, as the numbers that they stand for.

    Args:
        stored_CE: in any number type, perhaps memory-mapped.
        order_C: index of the document at each place; None: the index is the place.
        ranges_2E: what `quantize` made int8 or uint8 documents with; None: documents are the numbers that they hold.
    """

    def __init__(self, stored_CE: np.ndarray, order_C: np.ndarray | None, ranges_2E: np.ndarray | None) -> None:
        self.stored_CE, self.order_C, self.ranges_2E = stored_CE, order_C, ranges_2E
        self.rounded_away = 0.0
        if ranges_2E is not None:  # levels to float32: at most eight roundings of numbers no larger than these
            self.rounded_away = 8 * float(np.linalg.norm(np.abs(ranges_2E).sum(axis=0, dtype=np.float64)))

    @property
    def shape(self) -> tuple[int, ...]:
        """C and E."""
        return self.stored_CE.shape

    def read(self, places: slice | np.ndarray, out_DE: np.ndarray) -> np.ndarray:
        """The documents at these places.

        Args:
            places: where.
            out_DE: memory for them, in the type wanted.

        Returns:
            `out_DE`.
        """
        stored_DE = self.stored_CE[places if self.order_C is None else self.order_C[places]]
        if self.ranges_2E is not None:
            return dequantize(stored_DE, self.ranges_2E, out_BE=out_DE)
        with np.errstate(over="ignore"):
            np.copyto(out_DE, stored_DE, casting="unsafe")
        return out_DE

    def read_exactly(self, places: slice | np.ndarray) -> np.ndarray:
        """The documents at these places in float64.

        Args:
            places: where.

        Returns:
            (D, E).
        """
        num = places.stop - places.start if isinstance(places, slice) else len(places)
        return self.read(places, np.empty((num, self.shape[1])))

    def read_block(self, places: slice, out_DE: np.ndarray, *, is_unit: bool) -> float:
        """The documents of a block in float32, to multiply with.

        Args:
            places: where.
            out_DE: memory for them.
            is_unit: whether to divide each by its length.

        Returns:
            The size of the largest, for `Scorer.error`; infinite where float32 cannot hold it.

        Raises:
            ValueRangeError: a number of a document is not finite.
        """
        self.read(places, out_DE)
        with np.errstate(over="ignore", invalid="ignore"):
            norm_D = np.sqrt(np.vecdot(out_DE, out_DE))
            if not np.isfinite(norm_D).all():
                indices = np.arange(places.start, places.stop) if self.order_C is None else self.order_C[places]
                check_finite(self.read_exactly(places), "document", indices)
                return np.inf
            size_D = norm_D + self.rounded_away / roundings(out_DE.shape[1])
            if is_unit:
                norm_D = np.maximum(norm_D, SMALLEST_NORM)
                out_DE /= norm_D[:, None]
                size_D /= norm_D
        return float(size_D.max(initial=0.0))


def roundings(size: int) -> float:
    """How many roundings can add up in a dot product of vectors whose lengths were computed, too.

    Args:
        size: E.

    Returns:
        E in the sum, half of E in the sum of squares below the root, and a few for the rest.
    """
    return 1.5 * size + 8


def check_finite(rows_BE: np.ndarray, what: str, indices: np.ndarray) -> None:
    """Refuse embeddings with a number that is not finite: NaN compares as neither near nor far.

    Args:
        rows_BE: embeddings.
        what: "query" or "document".
        indices: of the rows, for the message.

    Raises:
        ValueRangeError: there is one.
    """
    is_broken_B = ~np.isfinite(rows_BE).all(axis=1)
    if is_broken_B.any():
        raise ValueRangeError(f"the embedding of {what} {int(indices[is_broken_B.argmax()])} is not finite.")


class Scorer:
    """Scores of Q queries, in float32.

    Args:
        queries_QE: finite, in any number type.
        similarity: a key of `SIMILARITIES`.
    """

    def __init__(self, queries_QE: np.ndarray, similarity: str) -> None:
        self.similarity = similarity
        self.exact_QE = queries_QE.astype(np.float64)
        if similarity == "cosine":
            self.exact_QE /= _length(self.exact_QE)[:, None]
        self.length_Q = np.linalg.norm(self.exact_QE, axis=1)

    def factors(self) -> np.ndarray:
        """queries_QE in float32; products with the documents of `StoredDocuments.read_block` are fast scores."""
        return _float32(self.exact_QE)

    def error(self, size: float) -> np.ndarray | None:
        """How far fast scores may be from exact ones; those of a similarity that is no product are `dense` ones.

        Args:
            size: of the documents, from `StoredDocuments.read_block`.

        Returns:
            error_Q; None where there are no fast scores.

        Source:
            Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3.1
        """
        E = self.exact_QE.shape[1]
        if not self.length_Q.max(initial=0.0) * size < LARGEST:
            return None
        if self.similarity not in PRODUCTS:
            # A distance is a root: of a square of 0, the error may be the root of the error.
            return 2 * (np.sqrt((E + 8) * ROUNDING_64) + np.sqrt(E) * ROUNDING) * (size + self.length_Q)
        # Products below the smallest normal number may become 0.
        return roundings(E) * ROUNDING * size * self.length_Q + E * float(np.finfo(np.float32).tiny)

    def dense(self, documents_DE: np.ndarray) -> np.ndarray:
        """Scores of all queries from float64, exact but for the last bits of matrix products.

        Args:
            documents_DE: float64.

        Returns:
            scores_QD.
        """
        scores_QD = SIMILARITIES["dot" if self.similarity in PRODUCTS else self.similarity](self.exact_QE, documents_DE)
        if self.similarity == "cosine":
            scores_QD /= _length(documents_DE)
        return _float32(scores_QD)

    def exact(self, query_N: np.ndarray, documents_NE: np.ndarray) -> np.ndarray:
        """Exact scores of pairs, each computed by itself: they do not depend on what else is computed.

        Args:
            query_N: numbers of the queries.
            documents_NE: float64.

        Returns:
            scores_N.
        """
        queries_NE = self.exact_QE[query_N]
        if self.similarity == "euclidean":
            return _float32(-np.sqrt(np.square(queries_NE - documents_NE).sum(axis=1)))
        if self.similarity == "manhattan":
            return _float32(-np.abs(queries_NE - documents_NE).sum(axis=1))
        scores_N = np.vecdot(queries_NE, documents_NE)
        if self.similarity == "cosine":
            scores_N /= np.maximum(np.sqrt(np.vecdot(documents_NE, documents_NE)), SMALLEST_NORM)
        return _float32(scores_N)


def _length(rows_BE: np.ndarray) -> np.ndarray:
    return np.maximum(np.linalg.norm(rows_BE, axis=1), SMALLEST_NORM)


def _float32(scores: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return scores.astype(np.float32)
