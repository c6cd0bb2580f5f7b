"""The best documents of each query, found by comparing all: exact, fast, in bounded memory.

In: embeddings in any number type. Out: scores_BK and indices_BK.

Dot products and cosines are first computed in float32, by one matrix product for a block, with a bound on their error.
The bound tells which documents may be among the best, and which of those are in doubt; only these are scored again, in
float64. So the order is that of float64, whatever multiplied the blocks and however they were cut.

Letters: B queries, C documents, E embedding, K best documents; Q queries and D documents of a block, N pairs.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from rankwright.errors import ShapeError, ValueRangeError
from rankwright.models.candidates import Candidates, candidate_bytes
from rankwright.models.products import SMALL_WORK, Products
from rankwright.models.scoring import PRODUCTS, Scorer, StoredDocuments, check_finite
from rankwright.models.similarity import check_similarity

BLOCK_BYTES = 1 << 27
"""Working memory of a search beyond embeddings and results."""

BLOCK_QUERIES, BLOCK_DOCUMENTS = 1024, 2048
"""The scores of such a block are still in the cache when they are compared."""

PIECE_DOCUMENTS = 256
"""Documents that are compared in float64 at a time."""

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
    (B, E), C, threads = queries_BE.shape, len(documents_CE), num_threads()
    K, is_large = min(top_k, C), 2 * B * C * E >= SMALL_WORK
    # Half of the memory is for queries, in float64 and float32, and candidates; half is for documents and scores.
    num_queries = max(1, block_bytes // (2 * (candidate_bytes(K) + 12 * max(1, E))))
    D = min(C, BLOCK_DOCUMENTS, block_bytes // (16 * max(1, E)))
    Q = min(num_queries, BLOCK_QUERIES, block_bytes // (32 * threads * max(1, D)))
    scores_BK, places_BK = np.empty((B, K), np.float32), np.empty((B, K), np.int64)
    with ThreadPoolExecutor(threads) as pool:
        documents = StoredDocuments(documents_CE, order_C, ranges_2E)
        blocks = _Blocks(documents, (max(1, Q), max(1, D)), pool, partial(Products, threads if is_large else None))
        for first in range(0, B, num_queries):
            rows = slice(first, first + num_queries)
            scores_BK[rows], places_BK[rows] = blocks.best(queries_BE[rows], similarity, K)
    return scores_BK, places_BK if order_C is None else order_C[places_BK]


def num_threads() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Share:
    """Queries that one thread compares at a time."""

    scorer: Scorer
    factors_QE: np.ndarray
    candidates: Candidates


class _Blocks:
    """The comparison block by block, with the memory that it works in: fresh arrays would cost a fifth more time."""

    def __init__(
        self,
        documents: StoredDocuments,
        shape: tuple[int, int],
        pool: ThreadPoolExecutor,
        new_products: Callable[[], Products],
    ) -> None:
        self.documents, self.pool, self.new_products = documents, pool, new_products
        self.Q, self.D = shape
        self.block_DE = np.empty((self.D, documents.shape[1]), np.float32)
        self.own = threading.local()

    def best(self, queries_BE: np.ndarray, similarity: str, num_best: int) -> tuple[np.ndarray, np.ndarray]:
        """scores_BK and places_BK of the best documents."""
        shares = []
        for rows in _parts(len(queries_BE), self.Q):
            scorer = Scorer(queries_BE[rows], similarity)
            candidates = Candidates(len(scorer.exact_QE), num_best, partial(_exact_scores, scorer, self.documents))
            shares.append(_Share(scorer, scorer.factors(), candidates))
        C = self.documents.shape[0]
        for start in range(0, C, self.D):
            places = slice(start, min(start + self.D, C))
            size = self._read(places, is_unit=similarity == "cosine")
            list(self.pool.map(partial(self._compare, places, size), shares))
        found = self.pool.map(Candidates.best, [share.candidates for share in shares])
        scores_BK, places_BK = (np.concatenate(part) for part in zip(*found, strict=True))
        return scores_BK, places_BK

    def _read(self, places: slice, *, is_unit: bool) -> float:
        """Put the documents into `block_DE`; gives the largest size."""

        def read(part: slice) -> float:
            own = slice(places.start + part.start, places.start + part.stop)
            return self.documents.read_block(own, self.block_DE[part], is_unit=is_unit)

        return max(self.pool.map(read, _parts(places.stop - places.start, self.D)))

    def _compare(self, places: slice, size: float, share: _Share) -> None:
        """Compare the block that was read with the queries of the share."""
        if not hasattr(self.own, "products"):
            self.own.products, self.own.is_above = self.new_products(), np.empty(self.Q * self.D, bool)
        error_Q, (Q, D) = share.scorer.error(size), (len(share.factors_QE), places.stop - places.start)
        is_product = share.scorer.similarity in PRODUCTS
        if is_product and error_Q is not None:
            scores_QD = self.own.products.multiply(share.factors_QE, self.block_DE[:D])
            is_above_QD = self.own.is_above[: Q * D].reshape(Q, D)
            if share.candidates.add(scores_QD, error_Q, is_above_QD, start=places.start):
                return
        for start in range(places.start, places.stop, PIECE_DOCUMENTS):
            piece = slice(start, min(start + PIECE_DOCUMENTS, places.stop))
            scores_QD = share.scorer.dense(self.documents.read_exactly(piece))
            is_above_QD = self.own.is_above[: scores_QD.size].reshape(scores_QD.shape)
            if is_product or error_Q is None or not share.candidates.add(scores_QD, error_Q, is_above_QD, start=start):
                share.candidates.add_exact(scores_QD, is_above_QD, start=start)


def _exact_scores(scorer: Scorer, documents: StoredDocuments, query_N: np.ndarray, place_N: np.ndarray) -> np.ndarray:
    """Scores of pairs, a few at a time."""
    scores_N = np.empty(len(place_N), np.float32)
    step = max(1, SMALL_BYTES // (8 * max(1, documents.shape[1])))
    for start in range(0, len(place_N), step):
        at = slice(start, start + step)
        scores_N[at] = scorer.exact(query_N[at], documents.read_exactly(place_N[at]))
    return scores_N


def _parts(num: int, most: int) -> list[slice]:
    """Equal parts of at most so many, as many for each thread."""
    threads = num_threads()
    step = max(1, -(-num // (threads * -(-num // (threads * most)))))
    return [slice(start, min(start + step, num)) for start in range(0, num, step)]
