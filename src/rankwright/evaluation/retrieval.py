"""Retrieval: every query against every document, exactly and in bounded memory.

In: embeddings, a `RetrievalSet`. Out: the best documents of each query, and an `Evaluation` per embedding size.
Letters: B queries, C documents, E embedding, K best documents, J judgments.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import repeat

import numpy as np

from rankwright.errors import ConfigError, ShapeError
from rankwright.evaluation.measures import Hits, measure_hits, parse_measure
from rankwright.evaluation.report import Evaluation, evaluation_of_queries
from rankwright.evaluation.runs import RETRIEVAL_MEASURES, flat, ideal_hits, judged_queries
from rankwright.models.search import search
from rankwright.models.similarity import array_of
from rankwright.records import RetrievalSet


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
        embeddings: queries_BE and documents_CE, arrays or tensors, in the order of `data.queries` and `data.documents`.
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
    queries_BE, documents_CE = map(array_of, embeddings)
    if (len(queries_BE), len(documents_CE)) != (len(data.queries), len(data.documents)):
        raise ShapeError(
            f"{data.name!r} has {len(data.queries)} queries and {len(data.documents)} documents, "
            f"got {len(queries_BE)} and {len(documents_CE)} embeddings."
        )
    if queries_BE.ndim != 2 or documents_CE.ndim != 2 or queries_BE.shape[1] != documents_CE.shape[1]:
        raise ShapeError(f"embeddings do not fit: queries {queries_BE.shape}, documents {documents_CE.shape}.")
    E = queries_BE.shape[1]
    dims = tuple(dims or (E,))
    if any(not 1 <= dim <= E for dim in dims):
        raise ConfigError(f"dims {list(dims)} must be between 1 and {E}, the length of the embeddings.")
    depth = depth_of(measures)
    judgments = _judgments(data)
    ideal = ideal_hits(data.qrels, judgments.query_ids)
    order_C = np.array(sorted(range(len(documents_CE)), key=list(data.documents).__getitem__))
    evaluations = []
    for dim in dims:
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


def depth_of(measures: Sequence[str]) -> int:
    """How many documents of each query the measures look at.

    Args:
        measures: names as `parse_measure` takes them, each with a cut-off.

    Returns:
        The largest cut-off.

    Raises:
        ConfigError: no measures, or one without cut-off.
    """
    cut_offs = [parse_measure(measure).k for measure in measures]
    if not cut_offs:
        raise ConfigError("measures is empty: name at least one, such as 'ndcg@10'.")
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
    judged = [data.qrels[query_id] for query_id in query_ids]
    query_J = np.repeat(np.arange(len(judged)), [len(grades) for grades in judged])
    document_J = flat((map(index.get, grades, repeat(-1)) for grades in judged), len(query_J)).astype(np.int64)
    grade_J = flat((grades.values() for grades in judged), len(query_J))
    key_J = query_J * C + document_J
    order_J = np.argsort(key_J)
    order_J = order_J[document_J[order_J] >= 0]
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
