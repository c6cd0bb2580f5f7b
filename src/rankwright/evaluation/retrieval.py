"""Retrieval: every query against every document, exactly and in bounded memory.

In: embeddings, a `RetrievalSet`. Out: the best documents of each query, and an `Evaluation` per embedding size.
Letters: B queries, C documents, E embedding, K best documents, J judgments; Q queries and D documents of a block.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rankwright.errors import ConfigError, ShapeError, ValueRangeError
from rankwright.evaluation.measures import Hits, measure_hits, parse_measure
from rankwright.evaluation.report import Evaluation, evaluation_of_queries
from rankwright.evaluation.runs import RETRIEVAL_MEASURES, ideal_hits, judged_queries
from rankwright.models.similarity import SIMILARITIES, check_similarity, unit
from rankwright.records import RetrievalSet

BLOCK_BYTES = 1 << 27
"""Working memory of a search beyond embeddings and results."""


def search(
    queries_BE: np.ndarray,
    documents_CE: np.ndarray,
    *,
    top_k: int,
    similarity: str = "cosine",
    order_C: np.ndarray | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> tuple[np.ndarray, np.ndarray]:
    """The best documents of each query, found by comparing all.

    Args:
        queries_BE: embeddings of any norm.
        documents_CE: embeddings of any norm; never copied as a whole.
        top_k: how many documents are kept for a query; all of them where there are fewer.
        similarity: a key of `SIMILARITIES`.
        order_C: indices of all documents in the order that breaks ties; None: by index.
        block_bytes: working memory beyond the embeddings and the result.

    Returns:
        scores_BK, best first, and the indices_BK of their documents.

    Raises:
        ValueRangeError: `top_k` is below 1.
        ShapeError: embeddings of different lengths, or no document.

    >>> scores_BK, indices_BK = search(np.array([[0.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]), top_k=2)
    >>> scores_BK.tolist(), indices_BK.tolist()
    ([[1.0, 0.0]], [[1, 0]])
    """
    # The cosine is the dot product of what `_ready` has made unit vectors, once for each block.
    score = SIMILARITIES["dot" if check_similarity(similarity) == "cosine" else similarity]
    if top_k < 1:
        raise ValueRangeError(f"top_k must be at least 1, got {top_k}.")
    if queries_BE.ndim != 2 or documents_CE.ndim != 2 or queries_BE.shape[1] != documents_CE.shape[1]:
        raise ShapeError(f"embeddings do not fit: queries {queries_BE.shape}, documents {documents_CE.shape}.")
    if len(documents_CE) == 0:
        raise ShapeError("there are no documents to search.")
    order_C = np.arange(len(documents_CE)) if order_C is None else order_C
    queries_BE = _ready(queries_BE, "query", np.arange(len(queries_BE)), similarity=similarity)
    B, C, K = len(queries_BE), len(documents_CE), min(top_k, len(documents_CE))
    num_queries, num_documents = _block_shape(B, C, queries_BE.shape[1], block_bytes // queries_BE.itemsize)
    scores_BK = np.full((B, K), -np.inf, dtype=queries_BE.dtype)
    places_BK = np.full((B, K), C)
    for start in range(0, C, num_documents):
        indices_D = order_C[start : start + num_documents]
        block_DE = _ready(documents_CE[indices_D], "document", indices_D, similarity=similarity)
        for first in range(0, B, num_queries):
            rows = slice(first, first + num_queries)
            scores_QD = score(queries_BE[rows], block_DE)
            scores_BK[rows], places_BK[rows] = _keep_best(scores_BK[rows], places_BK[rows], scores_QD, start=start)
    return scores_BK, order_C[places_BK]


def evaluate_retrieval(
    embeddings: tuple[np.ndarray, np.ndarray],
    data: RetrievalSet,
    *,
    similarity: str = "cosine",
    dims: Sequence[int] | None = None,
    measures: Sequence[str] = RETRIEVAL_MEASURES,
    system: str = "model",
    ignore_identical_ids: bool = False,
) -> list[Evaluation]:
    """Search all documents for each judged query, and measure what was found.

    Queries without a relevant document are dropped, relevant documents that are not in the corpus count as not found,
    and equal scores go by document id, ascending: the definitions of sentence-transformers' evaluator.

    Args:
        embeddings: queries_BE and documents_CE, in the order of `data.queries` and `data.documents`.
        data: queries, documents and judgments.
        similarity: a key of `SIMILARITIES`.
        dims: sizes of a Matryoshka model: embeddings are cut to each (and renormalised for "cosine"); None: as given.
        measures: names as `parse_measure` takes them, each with a cut-off; the first is the primary one.
        system: whose embeddings they are.
        ignore_identical_ids: leave out the document that has the query's id, as BEIR does.

    Returns:
        One evaluation for each size.

    Raises:
        ConfigError: a measure without cut-off, or a size that the embeddings do not have.
        ShapeError: not one embedding per text.
    """
    queries_BE, documents_CE = embeddings
    if (len(queries_BE), len(documents_CE)) != (len(data.queries), len(data.documents)):
        raise ShapeError(
            f"{data.name!r} has {len(data.queries)} queries and {len(data.documents)} documents, "
            f"got {len(queries_BE)} and {len(documents_CE)} embeddings."
        )
    E = queries_BE.shape[1]
    if any(not 1 <= dim <= E for dim in dims or ()):
        raise ConfigError(f"dims {list(dims or ())} must be between 1 and {E}, the length of the embeddings.")
    depth = _depth(measures)
    judgments = _judgments(data)
    ideal = ideal_hits(data.qrels, judgments.query_ids)
    order_C = np.array(sorted(range(len(documents_CE)), key=list(data.documents).__getitem__))
    evaluations = []
    for dim in dims or (E,):
        _, indices_BK = search(
            queries_BE[judgments.row_B, :dim],
            documents_CE[:, :dim],
            top_k=depth + ignore_identical_ids,
            similarity=similarity,
            order_C=order_C,
        )
        found = _hits(indices_BK, judgments, ignore_identical_ids=ignore_identical_ids)
        evaluation = evaluation_of_queries(
            judgments.query_ids,
            measure_hits(found, ideal, measures),
            task="retrieval",
            dataset=data.name,
            system=system,
            parameters={"num_documents": len(documents_CE), "ignore_identical_ids": ignore_identical_ids},
        )
        evaluations.append(replace(evaluation, dim=dim, similarity=similarity))
    return evaluations


def _depth(measures: Sequence[str]) -> int:
    """How many documents of each query the measures look at."""
    cut_offs = [parse_measure(measure).k for measure in measures]
    if None in cut_offs:
        raise ConfigError("measure 'map' would rank the whole corpus for each query: write 'map@100'.")
    return max(k for k in cut_offs if k)


@dataclass(frozen=True)
class _Judgments:
    """Judgments by position instead of id.

    Attributes:
        query_ids: the judged queries.
        row_B: their rows among the embeddings.
        own_B: the document that has the query's id; -1: none.
        key_J: number of the query x C + document, ascending.
        grade_J: the grade of each.
        num_documents: C.
    """

    query_ids: list[str]
    row_B: np.ndarray
    own_B: np.ndarray
    key_J: np.ndarray
    grade_J: np.ndarray
    num_documents: int


def _judgments(data: RetrievalSet) -> _Judgments:
    query_ids = judged_queries(data.qrels, data.queries)
    row = {query_id: at for at, query_id in enumerate(data.queries)}
    index = {document_id: at for at, document_id in enumerate(data.documents)}
    C = len(index)
    judged = [
        (at * C + index[document_id], grade)
        for at, query_id in enumerate(query_ids)
        for document_id, grade in data.qrels[query_id].items()
        if document_id in index
    ]
    key_J, grade_J = np.array([key for key, _ in judged], dtype=np.int64), np.array([grade for _, grade in judged])
    order_J = np.argsort(key_J)
    row_B = np.array([row[query_id] for query_id in query_ids])
    own_B = np.array([index.get(query_id, -1) for query_id in query_ids])
    return _Judgments(query_ids, row_B, own_B, key_J[order_J], grade_J[order_J], C)


def _hits(indices_BK: np.ndarray, judgments: _Judgments, *, ignore_identical_ids: bool) -> Hits:
    """The relevant ones among the documents found, with their ranks."""
    B = len(indices_BK)
    is_left_out_BK = (indices_BK == judgments.own_B[:, None]) & ignore_identical_ids
    rank_BK = np.cumsum(~is_left_out_BK, axis=1) - 1
    if len(judgments.key_J) == 0:
        return Hits(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), B)
    wanted_BK = np.arange(B)[:, None] * judgments.num_documents + indices_BK
    at_BK = np.minimum(np.searchsorted(judgments.key_J, wanted_BK), len(judgments.key_J) - 1)
    grade_BK = np.where(judgments.key_J[at_BK] == wanted_BK, judgments.grade_J[at_BK], 0.0)
    query_N, column_N = np.nonzero((grade_BK > 0) & ~is_left_out_BK)
    return Hits(query_N, rank_BK[query_N, column_N], grade_BK[query_N, column_N], B)


def _ready(embeddings: np.ndarray, what: str, indices: np.ndarray, *, similarity: str) -> np.ndarray:
    """Embeddings to compare; refused where one is broken, since NaN compares as neither near nor far."""
    is_broken = ~np.isfinite(embeddings).all(axis=1)
    if is_broken.any():
        raise ValueRangeError(f"the embedding of {what} {int(indices[is_broken.argmax()])} is not finite.")
    if similarity == "cosine":
        return unit(embeddings)
    # A distance is a small difference of large squares; half precision and whole numbers are widened.
    dtype = np.float64 if similarity == "euclidean" else np.result_type(embeddings, np.float32)
    return embeddings.astype(dtype, copy=False)


def _block_shape(B: int, C: int, E: int, block_numbers: int) -> tuple[int, int]:
    """How many queries meet how many documents at a time.

    A block of D documents takes about 2 D E numbers, its scores and the work on them about 4 Q D.
    """
    num_documents = min(C, max(1, block_numbers // (4 * max(1, E))))
    return min(max(1, B), max(1, block_numbers // (8 * num_documents))), num_documents


def _keep_best(
    scores_QK: np.ndarray, places_QK: np.ndarray, scores_QD: np.ndarray, *, start: int
) -> tuple[np.ndarray, np.ndarray]:
    """The K best of those kept so far and of a new block; equal scores go by place.

    Places of the block count from `start` and lie behind all those before, so that a tie with the worst document kept
    never displaces it.
    """
    (Q, K), D = scores_QK.shape, scores_QD.shape[1]
    is_candidate_QD = scores_QD > scores_QK[:, -1:] if start >= K else np.ones((Q, D), dtype=bool)
    if D > K and np.count_nonzero(is_candidate_QD) > 4 * Q * K:
        is_candidate_QD &= scores_QD >= np.partition(scores_QD, D - K, axis=1)[:, D - K, None]
    query_N, column_N = np.nonzero(is_candidate_QD)
    score_N = np.concatenate([scores_QK.ravel(), scores_QD[query_N, column_N]])
    place_N = np.concatenate([places_QK.ravel(), column_N + start])
    query_N = np.concatenate([np.repeat(np.arange(Q), K), query_N])
    order_N = np.lexsort((place_N, -score_N, query_N))
    query_N = query_N[order_N]
    rank_N = np.arange(len(query_N)) - np.searchsorted(query_N, query_N)
    best_N = order_N[rank_N < K]
    return score_N[best_N].reshape(Q, K), place_N[best_N].reshape(Q, K)
