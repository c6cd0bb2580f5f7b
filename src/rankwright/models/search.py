"""The best documents of each query, found by comparing all: exact, fast, in bounded memory.

In: embeddings in any number type. Out: scores_BK and indices_BK.

Dot products and cosines are first computed in float32, by one matrix product for a block, with a bound on their error.
The bound tells which documents may be among the best, and which of those are in doubt; only these are scored again, in
float64. So the order is that of float64, whatever multiplied the blocks and however they were cut.

Letters: B queries, C documents, E embedding, K best documents; Q queries and D documents of a block, N pairs.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from rankwright.errors import ShapeError, ValueRangeError
from rankwright.models.candidates import Candidates, candidate_bytes
from rankwright.models.scoring import PRODUCTS, Scorer, StoredDocuments, check_finite
from rankwright.models.similarity import check_similarity

BLOCK_BYTES = 1 << 27
"""Working memory of a search beyond embeddings and results."""

BLOCK_QUERIES, BLOCK_DOCUMENTS = 1024, 2048
"""The scores of such a block are still in the cache when they are compared."""

SMALL_BYTES = 100_000
"""Larger arrays get pages that were not used before, which costs more than to fill them."""


def search(
    queries_BE: np.ndarray,
    documents_CE: np.ndarray,
    *,
    top_k: int,
    similarity: str = "cosine",
    order_C: np.ndarray | None = None,
    ranges_2E: np.ndarray | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> tuple[np.ndarray, np.ndarray]:
    """The best documents of each query, found by comparing all.

    Args:
        queries_BE: embeddings of any norm.
        documents_CE: embeddings of any norm and number type, perhaps memory-mapped; never copied as a whole.
        top_k: how many documents are kept for a query; all of them where there are fewer.
        similarity: a key of `SIMILARITIES`.
        order_C: indices of all documents in the order that breaks ties; None: by index.
        ranges_2E: what `quantize` made int8 or uint8 documents with: they stand for those values; None: documents are
            the numbers that they hold.
        block_bytes: working memory beyond the embeddings and the result.

    Returns:
        scores_BK, float32, best first, and the indices_BK of their documents. The order is that of scores computed in
        float64 and rounded to float32: what is equal then is a tie.

    Raises:
        ValueRangeError: `top_k` is below 1.
        ShapeError: embeddings of different lengths, or no document.

    >>> scores_BK, indices_BK = search(np.array([[0.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]), top_k=2)
    >>> scores_BK.tolist(), indices_BK.tolist()
    ([[1.0, 0.0]], [[1, 0]])
    """
    similarity = check_similarity(similarity)
    if top_k < 1:
        raise ValueRangeError(f"top_k must be at least 1, got {top_k}.")
    if queries_BE.ndim != 2 or documents_CE.ndim != 2 or queries_BE.shape[1] != documents_CE.shape[1]:
        raise ShapeError(f"embeddings do not fit: queries {queries_BE.shape}, documents {documents_CE.shape}.")
    if len(documents_CE) == 0:
        raise ShapeError("there are no documents to search.")
    check_finite(queries_BE, "query", np.arange(len(queries_BE)))
    documents = StoredDocuments(documents_CE, order_C, ranges_2E)
    (B, E), K = queries_BE.shape, min(top_k, len(documents))
    D = max(1, min(BLOCK_DOCUMENTS, len(documents), block_bytes // (32 * max(1, E))))
    num_queries = max(1, block_bytes // (2 * (candidate_bytes(K) + 12 * E)))
    Q = max(1, min(BLOCK_QUERIES, num_queries, B, block_bytes // (64 * D)))
    scores_BK, places_BK = np.empty((B, K), np.float32), np.empty((B, K), np.int64)
    with ThreadPoolExecutor(num_threads()) as pool:
        blocks = _Blocks(documents, similarity, K, (Q, D), pool)
        for first in range(0, B, num_queries):
            rows = slice(first, first + num_queries)
            scores_BK[rows], places_BK[rows] = blocks.best(queries_BE[rows])
    return scores_BK, places_BK if order_C is None else order_C[places_BK]


def num_threads() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Share:
    """A thread's share of the queries of a block: which rows they are."""

    scorer: Scorer
    candidates: Candidates
    rows: slice


class _Blocks:
    """The comparison block by block, with the memory that it works in: fresh arrays would cost a fifth more time."""

    def __init__(
        self,
        documents: StoredDocuments,
        similarity: str,
        num_best: int,
        shape: tuple[int, int],
        pool: ThreadPoolExecutor,
    ) -> None:
        self.documents, self.similarity, self.num_best, self.pool = documents, similarity, num_best, pool
        self.Q, self.D = shape
        self.block_DE = np.empty((self.D, documents.stored_CE.shape[1]), np.float32)
        self.scores, self.is_above = np.empty(self.Q * self.D, np.float32), np.empty(self.Q * self.D, bool)

    def best(self, queries_BE: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """scores_BK and places_BK of the best documents."""
        starts = range(0, len(queries_BE), self.Q)
        chunks = [self._shares(queries_BE[start : start + self.Q]) for start in starts]
        for start in range(0, len(self.documents), self.D):
            places = slice(start, min(start + self.D, len(self.documents)))
            size = self._read(places)
            for factors_QE, shares in chunks:
                self._compare(factors_QE, shares, places, size)
        found = self.pool.map(Candidates.best, [share.candidates for _, shares in chunks for share in shares])
        scores, places = zip(*found, strict=True)
        return np.concatenate(scores), np.concatenate(places)

    def _shares(self, queries_QE: np.ndarray) -> tuple[np.ndarray, list[_Share]]:
        """What to multiply with, and who compares which queries."""
        shares = []
        for rows in _parts(len(queries_QE)):
            scorer = Scorer(queries_QE[rows], self.similarity)
            candidates = Candidates(len(scorer.exact_QE), self.num_best, partial(self._rescore, scorer))
            shares.append(_Share(scorer, candidates, rows))
        return np.concatenate([share.scorer.factors() for share in shares]), shares

    def _read(self, places: slice) -> float:
        """Put the documents into `block_DE`; the largest size."""

        def read(part: slice) -> float:
            there = slice(places.start + part.start, places.start + part.stop)
            return self.documents.read_block(there, self.block_DE[part], is_unit=self.similarity == "cosine")

        return max(self.pool.map(read, _parts(places.stop - places.start)))

    def _compare(self, factors_QE: np.ndarray, shares: list[_Share], places: slice, size: float) -> None:
        shape = len(factors_QE), places.stop - places.start
        scores_QD, is_above_QD = (
            memory[: shape[0] * shape[1]].reshape(shape) for memory in (self.scores, self.is_above)
        )
        errors = [share.scorer.error(size) for share in shares]
        if self.similarity in PRODUCTS:
            with np.errstate(over="ignore", invalid="ignore"):
                np.matmul(factors_QE, self.block_DE[: shape[1]].T, out=scores_QD)

        def compare(share: _Share, error_Q: np.ndarray | None) -> None:
            candidates, own_QD, memory_QD = share.candidates, scores_QD[share.rows], is_above_QD[share.rows]
            if self.similarity not in PRODUCTS:
                own_QD[:] = share.scorer.dense(self.documents.read_exactly(places))
            if error_Q is None or not candidates.add(own_QD, error_Q, memory_QD, start=places.start):
                own_QD[:] = share.scorer.dense(self.documents.read_exactly(places))
                candidates.add_exact(own_QD, memory_QD, start=places.start)

        list(self.pool.map(compare, shares, errors))

    def _rescore(self, scorer: Scorer, query_N: np.ndarray, place_N: np.ndarray) -> np.ndarray:
        """Exact scores of pairs."""
        scores_N = np.empty(len(place_N), np.float32)
        step = max(1, SMALL_BYTES // (8 * max(1, scorer.exact_QE.shape[1])))
        for start in range(0, len(place_N), step):
            at = slice(start, start + step)
            scores_N[at] = scorer.exact(query_N[at], self.documents.read_exactly(place_N[at]))
        return scores_N


def _parts(num: int) -> list[slice]:
    """One part for each thread."""
    step = max(1, -(-num // num_threads()))
    return [slice(start, min(start + step, num)) for start in range(0, num, step)]
