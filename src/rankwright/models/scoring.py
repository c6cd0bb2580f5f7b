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

TINY = float(np.finfo(np.float32).tiny)
"""What is smaller, and not 0, may count as 0."""

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

    @property
    def dtype(self) -> np.dtype:
        """Of the documents as they are stored."""
        return self.stored_CE.dtype

    def stored(self, places: slice | np.ndarray) -> np.ndarray:
        """The documents at these places as they are stored.

        Args:
            places: where.

        Returns:
            (D, E), in memory of theirs where that is possible.
        """
        return self.stored_CE[places if self.order_C is None else self.order_C[places]]

    def read(self, places: slice | np.ndarray, out_DE: np.ndarray) -> np.ndarray:
        """The documents at these places.

        Args:
            places: where.
            out_DE: memory for them, in the type wanted.

        Returns:
            `out_DE`.
        """
        stored_DE = self.stored(places)
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

    def size(self, norm_D: np.ndarray, places: slice, *, is_unit: bool) -> float:
        """The size of the largest of a block, for `Scorer.error`.

        Args:
            norm_D: their lengths, computed in float32.
            places: where they are.
            is_unit: whether their scores are divided by their lengths.

        Returns:
            Infinite where float32 cannot hold it.

        Raises:
            ValueRangeError: a number of a document is not finite.
        """
        if not np.isfinite(norm_D).all():
            self.check_finite(places)
            return np.inf
        E = self.shape[1]
        size_D = norm_D + (self.rounded_away / roundings(E) + np.sqrt(2 * E * TINY))  # squares may count as 0
        if is_unit:
            size_D /= np.maximum(norm_D, SMALLEST_NORM)
        return float(size_D.max(initial=0.0))

    def check_finite(self, places: slice) -> None:
        """Refuse documents with a number that is not finite.

        Args:
            places: where they are.
        """
        indices = np.arange(places.start, places.stop) if self.order_C is None else self.order_C[places]
        check_finite(self.read_exactly(places), "document", indices)


def roundings(size: int) -> float:
    """The error of a cosine computed in float32, in units of `ROUNDING`.

    The computed cosine is the sum of q_e d_e / |d|, each times factors between 1 - u and 1 + u, u = `ROUNDING`, or one
    over such a factor: E for the products and the sum, in whatever order; E / 2 for the squares and their sum, below
    the root; 1 each for q_e, d_e, |d| from rounded d_e, the root, `SMALLEST_NORM`, the reciprocal, the product with it,
    and the exact score, which is rounded, too: n = 1.5 E + 8. n such factors are within 1 +- n u / (1 - n u); and the
    sum of |q_e d_e| is at most |q| |d|. The 2 more are for float64, whose errors are 2^29 times smaller.
    A dot product takes fewer.

    Args:
        size: E.

    Returns:
        n / (1 - n u); infinite where n u reaches 1.

    Source:
        Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3.1
    """
    n = 1.5 * size + 10
    return n / (1 - n * ROUNDING) if n * ROUNDING < 1 else float("inf")


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
        """queries_QE in float32; `Products` of them are fast scores."""
        return _float32(self.exact_QE)

    def error(self, size: float) -> np.ndarray | None:
        """How far fast scores may be from exact ones; those of a similarity that is no product are `dense` ones.

        Args:
            size: of the documents, from `StoredDocuments.size`; else the largest of their lengths.

        Returns:
            error_Q; None where there are no fast scores.
        """
        E = self.exact_QE.shape[1]
        if not self.length_Q.max(initial=0.0) * size < LARGEST:
            return None
        if self.similarity not in PRODUCTS:
            # A distance is a root: of a square of 0, the error may be the root of the error.
            return 2 * (np.sqrt((E + 8) * ROUNDING_64) + np.sqrt(E) * ROUNDING) * (size + self.length_Q)
        # Factors, products and sums may be so small that they count as 0, before a short length divides them.
        lost_Q = 2 * E * TINY * (1 + size + self.length_Q)
        if self.similarity == "cosine":
            lost_Q /= SMALLEST_NORM
        return roundings(E) * ROUNDING * size * self.length_Q + lost_Q

    def dense(self, documents_DE: np.ndarray) -> np.ndarray:
        """Scores of all queries from float64, exact but for the last bits of matrix products.

        Args:
            documents_DE: float64.

        Returns:
            scores_DQ.
        """
        scores_DQ = SIMILARITIES["dot" if self.similarity in PRODUCTS else self.similarity](documents_DE, self.exact_QE)
        if self.similarity == "cosine":
            scores_DQ /= _length(documents_DE)[:, None]
        return _float32(scores_DQ)

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
