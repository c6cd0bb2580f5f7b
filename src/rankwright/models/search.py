"""The best documents of each query, found by comparing all: exact, fast, in bounded memory.

In: embeddings in any number type. Out: scores_BK and indices_BK.

Dot products and cosines are first computed in float32, by one matrix product for a block, with a bound on their error.
The bound tells which documents may be among the best, and which of those are in doubt; only these are scored again, in
float64. So the order is that of float64, whatever multiplied the blocks and however they were cut.

Threads share the queries; where there are few, the documents: half as many queries take more than half the time. A
thread that is done with a block takes the next one and keeps its own candidates, so that none waits for another.

Letters: B queries, C documents, E embedding, K best documents; Q queries and D documents of a block, N pairs.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from rankwright.cores import num_cores
from rankwright.encoder.core_openvino import is_forked
from rankwright.errors import ShapeError, ValueRangeError
from rankwright.models.candidates import Candidates, candidate_bytes
from rankwright.models.products import SMALL_WORK, Products, compile_products
from rankwright.models.scoring import PRODUCTS, Scorer, StoredDocuments, check_finite
from rankwright.models.similarity import array_of, check_similarity

THREAD_BYTES, MOST_THREADS = 1 << 26, 16
"""Working memory of a thread, beyond embeddings and results; threads at most: more would wait for Python (LOG.md)."""

BLOCK_QUERIES, BLOCK_DOCUMENTS, BLOCK_SCORES = 2048, 4096, 1 << 20
"""The scores of such a block are still in the cache when they are compared; smaller ones cost more than they save."""

FEW_QUERIES = 256
"""Where a thread would get fewer, the threads share the documents."""

PIECE_DOCUMENTS = 256
"""Documents that are compared in float64 at a time."""

PAIR_BYTES = 400_000
"""Documents of the pairs that are scored in float64 at a time: fewer cost more calls, more do not stay in the cache."""


def search(
    queries_BE: np.ndarray,
    documents_CE: np.ndarray,
    *,
    top_k: int,
    similarity: str = "cosine",
    order_C: np.ndarray | None = None,
    ranges_2E: np.ndarray | None = None,
    block_bytes: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The best documents of each query, found by comparing all.

    Args:
        queries_BE: embeddings of any norm; an array or a tensor.
        documents_CE: embeddings of any norm and number type, perhaps memory-mapped; never copied as a whole.
        top_k: how many documents are kept for a query; all of them where there are fewer.
        similarity: a key of `SIMILARITIES`.
        order_C: indices of all documents in the order that breaks ties; None: by index.
        ranges_2E: what `quantize` made int8 or uint8 documents with: they stand for those values; None: documents are
            the numbers that they hold.
        block_bytes: working memory beyond the embeddings and the result; None: 64 MiB for each of at most 16 threads.

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
    queries_BE, documents_CE = array_of(queries_BE), array_of(documents_CE)
    if queries_BE.ndim != 2 or documents_CE.ndim != 2 or queries_BE.shape[1] != documents_CE.shape[1]:
        raise ShapeError(f"embeddings do not fit: queries {queries_BE.shape}, documents {documents_CE.shape}.")
    if len(documents_CE) == 0:
        raise ShapeError("there are no documents to search.")
    check_finite(queries_BE, "query", np.arange(len(queries_BE)))
    (B, E), C, threads = queries_BE.shape, len(documents_CE), min(num_cores(), MOST_THREADS)
    thread_bytes, stop = THREAD_BYTES if block_bytes is None else block_bytes // threads, threading.Event()
    K, is_many = min(top_k, C), B >= FEW_QUERIES * threads
    documents, num_sharing = StoredDocuments(documents_CE, order_C, ranges_2E), 1 if is_many else threads
    is_large = 2 * B * C * E >= SMALL_WORK and similarity in PRODUCTS and not is_forked()
    scores_BK, places_BK = np.empty((B, K), np.float32), np.empty((B, K), np.int64)
    with ThreadPoolExecutor(threads) as pool:
        each, within = (pool.map, map) if is_many else (map, pool.map)

        def find(rows: slice) -> None:
            share = _Share(Scorer(queries_BE[rows], similarity), documents, thread_bytes, threads, stop)
            if is_large:
                share.compile(num_sharing)
            first, *others = within(partial(share.compare, K), range(num_sharing))
            for other in others:
                first.merge(other)
            scores_BK[rows], places_BK[rows] = first.best()

        # Half of the memory is for queries, in float64 and twice in float32, and candidates.
        num_queries = min(BLOCK_QUERIES, thread_bytes // (2 * (candidate_bytes(K) + 16 * max(1, E))))
        try:
            list(each(find, _parts(B, max(1, num_queries), threads if is_many else 1)))
        finally:
            stop.set()  # after an error or Ctrl-C the pool else waits until all is compared
    return scores_BK, places_BK if order_C is None else order_C[places_BK]


class _Share:
    """Some queries, to be compared with all documents.

    Args:
        scorer: of the queries.
        documents: all.
        thread_bytes: memory of a thread; half of it is for a block.
        threads: of the search.
        stop: once set, there are no more blocks.
    """

    def __init__(
        self, scorer: Scorer, documents: StoredDocuments, thread_bytes: int, threads: int, stop: threading.Event
    ) -> None:
        self.scorer, self.documents, self.factors_QE = scorer, documents, scorer.factors()
        self.stop = stop
        self.is_product, self.is_unit = scorer.similarity in PRODUCTS, scorer.similarity == "cosine"
        self.compiled, self.lock = None, threading.Lock()
        (Q, E), C = self.factors_QE.shape, documents.shape[0]
        self.num_pairs = max(1, min(PAIR_BYTES, thread_bytes // 8) // (8 * max(1, E)))
        # Three eighths for documents, as they are stored and in float32, and one for scores.
        most = min(3 * thread_bytes // (64 * max(1, E)), thread_bytes // (80 * Q))
        self.D = max(1, min(-(-C // threads), BLOCK_DOCUMENTS, BLOCK_SCORES // Q, most))
        self.starts = iter(range(0, C, self.D))

    def compile(self, num_threads: int) -> None:
        """Let OpenVINO multiply, for so many threads."""
        self.compiled = compile_products(self.factors_QE, self.documents, is_unit=self.is_unit, num_threads=num_threads)

    def compare(self, num_best: int, _: int) -> Candidates:
        """Compare in one thread, block after block, until none is left; gives the best of its blocks."""
        try:
            return self._compare(num_best)
        except BaseException:
            self.stop.set()  # the other threads need not go on
            raise

    def _compare(self, num_best: int) -> Candidates:
        Q = len(self.factors_QE)
        candidates = Candidates(Q, num_best, partial(_exact_scores, self.scorer, self.documents, self.num_pairs))
        products = Products(self.factors_QE, self.documents, self.D, is_unit=self.is_unit, compiled=self.compiled)
        is_above = np.empty(self.D * Q, bool)
        while (start := self._next()) is not None:
            places = slice(start, min(start + self.D, self.documents.shape[0]))
            if not (self.is_product and self._add_fast(places, products, candidates, is_above)):
                self._add_dense(places, candidates, is_above)
        return candidates

    def _next(self) -> int | None:
        with self.lock:
            return None if self.stop.is_set() else next(self.starts, None)

    def _add_fast(self, places: slice, products: Products, candidates: Candidates, is_above: np.ndarray) -> bool:
        """Whether fast scores, with their error, were enough."""
        scores_DQ, norm_D = products.multiply(places)
        error_Q = self.scorer.error(self.documents.size(norm_D, places, is_unit=self.is_unit))
        is_above_DQ = is_above[: scores_DQ.size].reshape(scores_DQ.shape)
        return error_Q is not None and candidates.add(scores_DQ, error_Q, is_above_DQ, start=places.start)

    def _add_dense(self, places: slice, candidates: Candidates, is_above: np.ndarray) -> None:
        for start in range(places.start, places.stop, PIECE_DOCUMENTS):
            piece = slice(start, min(start + PIECE_DOCUMENTS, places.stop))
            documents_DE = self.documents.read_exactly(piece)
            size = self.documents.size(np.linalg.norm(documents_DE, axis=1), piece, is_unit=False)
            error_Q = None if self.is_product else self.scorer.error(size)
            scores_DQ = self.scorer.dense(documents_DE)
            is_above_DQ = is_above[: scores_DQ.size].reshape(scores_DQ.shape)
            if error_Q is None or not candidates.add(scores_DQ, error_Q, is_above_DQ, start=start):
                candidates.add_exact(scores_DQ, is_above_DQ, start=start)


def _exact_scores(
    scorer: Scorer, documents: StoredDocuments, num_pairs: int, query_N: np.ndarray, place_N: np.ndarray
) -> np.ndarray:
    """Scores of pairs, a few at a time."""
    scores_N = np.empty(len(place_N), np.float32)
    for start in range(0, len(place_N), num_pairs):
        at = slice(start, start + num_pairs)
        scores_N[at] = scorer.exact(query_N[at], documents.read_exactly(place_N[at]))
    return scores_N


def _parts(num: int, most: int, threads: int) -> list[slice]:
    """Equal parts of at most so many, as many for each thread."""
    step = -(-num // (threads * max(1, -(-num // (threads * most))))) or 1
    return [slice(start, min(start + step, num)) for start in range(0, num, step)]
