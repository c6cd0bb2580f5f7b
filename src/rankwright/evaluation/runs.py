"""Measures of scored lists that are dictionaries of ids, as TREC files hold them.

In: a run, qrels. Out: a value per query and measure, or an `Evaluation`.
Letters: B queries, N documents of all lists together, M of them tied.

Equal scores need an order, and it can decide a measure (a model that gives one score to all would get 1.0 from a file
with the relevant documents first). There are three:

* "trec_eval": scores are rounded to float32, equal ones go by document id, descending, as trec_eval has it.
* "id": by document id, ascending, as sentence-transformers' InformationRetrievalEvaluator has it.
* "hashed": by a hash of query id and document id: an order that no file can favour.
"""

import math
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, repeat
from typing import Literal

import numpy as np

from rankwright.errors import DataError
from rankwright.evaluation.measures import Hits, measure_hits, place_in_query
from rankwright.evaluation.report import Evaluation, Task, evaluation_of_queries
from rankwright.records import Qrels, RetrievalSet, Run

TieOrder = Literal["trec_eval", "id", "hashed"]

RETRIEVAL_MEASURES = (
    "ndcg@10",
    "mrr@10",
    "map@100",
    *(f"{name}@{k}" for name in ("accuracy", "precision", "recall") for k in (1, 3, 5, 10)),
)
"""What sentence-transformers' retrieval evaluator reports; the first one is the primary measure."""


def judged_queries(qrels: Qrels, texts: Mapping[str, str] | None = None) -> list[str]:
    """Ids of the queries that have a relevant document, in the order of the qrels.

    Args:
        qrels: the judgments.
        texts: the queries' texts, where they will be needed.

    Returns:
        The ids: the queries that measures are computed over.

    Raises:
        DataError: no query has a relevant document, or one has no text; or a grade is no finite number.
    """
    _check_grades(qrels)
    query_ids = [query_id for query_id, grades in qrels.items() if any(grade > 0 for grade in grades.values())]
    if not query_ids:
        raise DataError(
            f"none of the {len(qrels)} judged queries has a relevant document (grade > 0): there is nothing to measure."
        )
    without_text = [query_id for query_id in query_ids if texts is not None and query_id not in texts]
    if without_text:
        raise DataError(
            f"the qrels judge query {without_text[0]!r}, which is not among the {len(texts or ())} queries."
        )
    return query_ids


def measure_run(
    run: Run, qrels: Qrels, *, measures: Sequence[str], ties: TieOrder = "trec_eval"
) -> dict[str, np.ndarray]:
    """Measure a run against judgments; with the default order of ties, the numbers are trec_eval's.

    Args:
        run: scores of documents; queries without judgments are ignored.
        qrels: judgments; a query without a relevant document is dropped.
        measures: names as `parse_measure` takes them.
        ties: how equal scores are ordered (see the top of this file).

    Returns:
        The values of each measure, one for each of `judged_queries(qrels)`; 0 (with a warning) where the run has no
        documents for the query.

    >>> run = {"q1": {"d1": 0.9, "d2": 0.8}, "q2": {"d3": 0.2, "d4": 0.1}}
    >>> measure_run(run, {"q1": {"d2": 1}, "q2": {"d3": 2, "d9": 1}}, measures=["mrr@10", "recall@10"])
    {'mrr@10': array([0.5, 1. ]), 'recall@10': array([1. , 0.5])}
    """
    query_ids = judged_queries(qrels)
    warn_of_missing(run, query_ids)
    return measure_hits(hits_of_run(run, qrels, query_ids, ties=ties), ideal_hits(qrels, query_ids), measures)


def evaluate_run(
    run: Run,
    data: RetrievalSet,
    *,
    system: str,
    task: Task = "retrieval",
    measures: Sequence[str] = RETRIEVAL_MEASURES,
    ties: TieOrder = "hashed",
    parameters: Mapping[str, object] | None = None,
) -> Evaluation:
    """Evaluate a run that any system made.

    Args:
        run: scores of documents.
        data: the judgments, and the name that the evaluation carries.
        system: who made the run, such as "BM25".
        task: what the run is an answer to.
        measures: names as `parse_measure` takes them; the first is the primary one.
        ties: how equal scores are ordered (see the top of this file).
        parameters: settings worth keeping with the numbers.

    Returns:
        The evaluation, with each query's values.
    """
    return evaluation_of_queries(
        judged_queries(data.qrels),
        measure_run(run, data.qrels, measures=measures, ties=ties),
        task=task,
        dataset=data.name,
        system=system,
        parameters={"ties": ties, **(parameters or {})},
    )


def warn_of_missing(run: Run, query_ids: Sequence[str]) -> None:
    """Say which queries have no documents in the run, and so count as 0.

    Args:
        run: scores of documents.
        query_ids: the queries that are measured.
    """
    missing = [query_id for query_id in query_ids if not run.get(query_id)]
    if missing:
        warnings.warn(
            f"{len(missing)} of {len(query_ids)} judged queries have no documents in the run and count as 0 "
            f"(the first is {missing[0]!r}).",
            stacklevel=3,
        )


def hits_of_run(run: Run, qrels: Qrels, query_ids: Sequence[str], *, ties: TieOrder) -> Hits:
    """The relevant documents of a run, at the ranks where it put them.

    Args:
        run: scores of documents.
        qrels: judgments.
        query_ids: the queries to look at; their numbers in the result follow this order.
        ties: how equal scores are ordered.

    Returns:
        The hits.

    Raises:
        DataError: a score is NaN.
    """
    lists = [run.get(query_id, {}) for query_id in query_ids]
    lengths_B = np.array([len(documents) for documents in lists], dtype=np.int64)
    query_N = np.repeat(np.arange(len(lists)), lengths_B)
    score_N = flat((documents.values() for documents in lists), len(query_N))
    graded = zip(query_ids, lists, strict=True)
    grade_N = flat((map(qrels[query_id].get, documents, repeat(0.0)) for query_id, documents in graded), len(query_N))
    if np.isnan(score_N).any():
        at = int(np.isnan(score_N).argmax())
        document_id = list(chain.from_iterable(lists))[at]
        raise DataError(f"the score of document {document_id!r} for query {query_ids[int(query_N[at])]!r} is NaN.")
    if ties == "trec_eval":
        with np.errstate(over="ignore"):
            score_N = score_N.astype(np.float32)
    order_N = _best_first(score_N, query_N)
    places_M = np.flatnonzero(_is_tied(query_N[order_N], score_N[order_N]))
    if len(places_M):
        tied_M = order_N[places_M]
        document_ids = list(chain.from_iterable(lists))
        ids = [(query_ids[query_N[at]], document_ids[at]) for at in tied_M.tolist()]
        rank_M = np.empty(len(tied_M), dtype=np.int64)
        rank_M[sorted(range(len(ids)), key=_tie_key(ties, ids), reverse=ties == "trec_eval")] = np.arange(len(ids))
        order_N[places_M] = tied_M[np.lexsort((rank_M, -score_N[tied_M], query_N[tied_M]))]
    kept_N = (grade_N := grade_N[order_N]) > 0
    return Hits(query_N[kept_N], place_in_query(query_N)[kept_N], grade_N[kept_N], len(lists))


def ideal_hits(qrels: Qrels, query_ids: Sequence[str]) -> Hits:
    """All relevant documents, best grade first: the list that no run can beat.

    Args:
        qrels: judgments.
        query_ids: the queries to look at; their numbers in the result follow this order.

    Returns:
        The hits.
    """
    judged = [qrels[query_id] for query_id in query_ids]
    lengths_B = np.array([len(grades) for grades in judged], dtype=np.int64)
    query_N = np.repeat(np.arange(len(judged)), lengths_B)
    grade_N = flat((grades.values() for grades in judged), len(query_N))
    kept_N = grade_N > 0
    query_N, grade_N = query_N[kept_N], grade_N[kept_N]
    return Hits(query_N, place_in_query(query_N), grade_N[_best_first(grade_N, query_N)], len(judged))


def flat(parts: Iterable[Iterable[float]], count: int) -> np.ndarray:
    """All numbers of all parts, one after the other.

    Args:
        parts: the numbers.
        count: how many there are in all.

    Returns:
        One array, float64.
    """
    return np.fromiter(chain.from_iterable(parts), dtype=np.float64, count=count)


def _check_grades(qrels: Qrels) -> None:
    """Refuse judgments that are no finite numbers: they would be relevant or not by accident."""
    for query_id, grades in qrels.items():
        if not isinstance(grades, Mapping):
            raise DataError(f"the judgments of query {query_id!r} are {grades!r:.80}, expected {{document id: grade}}.")
        try:
            is_finite = math.isfinite(sum(grades.values()))
        except TypeError:
            is_finite = False
        for document_id, grade in () if is_finite else grades.items():
            if not isinstance(grade, (int, float, np.number)) or not math.isfinite(grade):
                raise DataError(
                    f"the grade of document {document_id!r} for query {query_id!r} is {grade!r}, expected a finite "
                    "number."
                )


def _best_first(value_N: np.ndarray, query_N: np.ndarray) -> np.ndarray:
    """The order by query, then from the largest value to the smallest; most lists come so, and need no sorting."""
    if ((value_N[1:] <= value_N[:-1]) | (query_N[1:] != query_N[:-1])).all():
        return np.arange(len(value_N))
    return np.lexsort((-value_N, query_N))


def _is_tied(query_N: np.ndarray, score_N: np.ndarray) -> np.ndarray:
    """Which documents, in rank order, have the score of another one of the same query."""
    as_next_N = (query_N[1:] == query_N[:-1]) & (score_N[1:] == score_N[:-1])
    is_tied_N = np.zeros(len(score_N), dtype=bool)
    is_tied_N[1:] |= as_next_N
    is_tied_N[:-1] |= as_next_N
    return is_tied_N


def _tie_key(ties: TieOrder, ids: list[tuple[str, str]]) -> Callable[[int], str | tuple[int, str]]:
    """What tied documents are sorted by, from their number; ids are those of query and document."""
    if ties == "hashed":
        return lambda at: (zlib.crc32(ids[at][1].encode(), zlib.crc32(ids[at][0].encode())), ids[at][1])
    return lambda at: ids[at][1]
