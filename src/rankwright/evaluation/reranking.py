"""Reranking: a model scores the candidates of each query, and the order of the scores is measured.

In: a function that scores pairs of texts, a `RetrievalSet`. Out: an `Evaluation`; that of the first stage beside it.
Letters: B queries, N pairs of all queries.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Literal

import numpy as np

from rankwright.errors import ConfigError, DataError, ShapeError
from rankwright.evaluation.measures import measure_hits
from rankwright.evaluation.report import Evaluation, evaluation_of_queries
from rankwright.evaluation.runs import hits_of_run, ideal_hits, judged_queries, warn_of_missing
from rankwright.records import RetrievalSet

RERANKING_MEASURES = ("ndcg@10", "mrr@10", "map")
"""What sentence-transformers' reranking evaluator reports; the first one is the primary measure."""

Score = Callable[[Sequence[tuple[str, str]]], np.ndarray]
"""(query, document) texts -> one score each, higher is better: `CrossEncoder.predict`, for one."""

MissingRelevant = Literal["count", "add", "ignore"]


def evaluate_reranking(
    score: Score,
    data: RetrievalSet,
    *,
    measures: Sequence[str] = RERANKING_MEASURES,
    system: str = "model",
    top_k: int | None = None,
    missing_relevant: MissingRelevant = "count",
) -> Evaluation:
    """Score all candidates of all judged queries in one call, and measure the order that the scores give.

    Candidates are the documents of the first stage, or, without one, the judged documents of the query. Equal scores
    are ordered by a hash of the ids, so that a model that gives one score to all gains nothing from the file's order.

    Args:
        score: called once with all pairs.
        data: queries, documents, judgments and maybe a first stage.
        measures: names as `parse_measure` takes them; the first is the primary one.
        system: who scores.
        top_k: only so many documents of the first stage are candidates; the others are left out of the order.
        missing_relevant: what becomes of relevant documents that the first stage did not find. "count": they lower the
            measures, as they do for the user. "add": they become candidates (sentence-transformers'
            always_rerank_positives=True, its default). "ignore": nobody misses them (always_rerank_positives=False).

    Returns:
        The evaluation, with each query's values.

    Raises:
        ShapeError: not one score per pair.
    """
    candidates = _candidates(data, top_k=top_k, missing_relevant=missing_relevant)
    pairs = [
        (data.queries[query_id], data.documents[document_id])
        for query_id, document_ids in candidates.items()
        for document_id in document_ids
    ]
    score_N = np.asarray(score(pairs), dtype=np.float64)
    if score_N.shape != (len(pairs),):
        raise ShapeError(f"reranking needs one score a pair: gave {len(pairs)} pairs, got scores {score_N.shape}.")
    scores = iter(score_N.tolist())
    run = {query_id: dict(zip(ids, islice(scores, len(ids)), strict=True)) for query_id, ids in candidates.items()}
    return _evaluation(run, data, measures=measures, system=system, top_k=top_k, missing_relevant=missing_relevant)


def evaluate_first_stage(
    data: RetrievalSet, *, measures: Sequence[str] = RERANKING_MEASURES, top_k: int | None = None
) -> Evaluation:
    """Measure the order that the candidates came in: what a reranker must beat.

    Args:
        data: queries, documents, judgments and the first stage.
        measures: names as `parse_measure` takes them; the first is the primary one.
        top_k: only so many documents of each query count, as in `evaluate_reranking`.

    Returns:
        The evaluation of the system "first stage".

    Raises:
        ConfigError: the data have no first stage.
    """
    if data.first_stage is None:
        raise ConfigError(f"{data.name!r} has no first stage: give a run to rerank, or measure without its score.")
    candidates = _candidates(data, top_k=top_k, missing_relevant="count")
    # Minus the rank, since `_candidates` has settled the order of equal scores.
    run = {query_id: {id_: -float(at) for at, id_ in enumerate(ids)} for query_id, ids in candidates.items()}
    return _evaluation(run, data, measures=measures, system="first stage", top_k=top_k, missing_relevant="count")


def _candidates(data: RetrievalSet, *, top_k: int | None, missing_relevant: MissingRelevant) -> dict[str, list[str]]:
    """Ids of the documents to rank for each judged query, those of the first stage in its order."""
    if top_k is not None and (top_k < 1 or data.first_stage is None):
        raise ConfigError(f"top_k={top_k} must be at least 1 and needs a first stage: it cuts that one's lists.")
    candidates = {}
    for query_id in judged_queries(data.qrels, data.queries):
        judged = data.qrels[query_id]
        if data.first_stage is None:
            candidates[query_id] = list(judged)
            continue
        found = data.first_stage.get(query_id, {})
        ids = sorted(found, key=lambda id_: (-found[id_], id_))[:top_k]
        if missing_relevant == "add":
            listed = set(ids)
            ids += [id_ for id_, grade in judged.items() if grade > 0 and id_ not in listed]
        candidates[query_id] = ids
    _check_texts(candidates, data)
    return candidates


def _check_texts(candidates: Mapping[str, Sequence[str]], data: RetrievalSet) -> None:
    for query_id, document_ids in candidates.items():
        for document_id in document_ids:
            if document_id not in data.documents:
                raise DataError(
                    f"{data.name!r}: candidate {document_id!r} of query {query_id!r} is not among the documents."
                )


def _evaluation(
    run: Mapping[str, Mapping[str, float]],
    data: RetrievalSet,
    *,
    measures: Sequence[str],
    system: str,
    top_k: int | None,
    missing_relevant: MissingRelevant,
) -> Evaluation:
    """Measure the candidates' order; the ideal knows of missing documents as `missing_relevant` says."""
    query_ids = list(run)
    warn_of_missing(run, query_ids)
    qrels = data.qrels
    if missing_relevant == "ignore":
        qrels = {q: {d: grade for d, grade in data.qrels[q].items() if d in run[q]} for q in query_ids}
    num_settled = _num_settled(run, data)
    return evaluation_of_queries(
        query_ids,
        measure_hits(hits_of_run(run, qrels, query_ids, ties="hashed"), ideal_hits(qrels, query_ids), measures),
        task="reranking",
        dataset=data.name,
        system=system,
        parameters={
            "candidates": "judged documents" if data.first_stage is None else "first stage",
            "top_k": top_k,
            "missing_relevant": missing_relevant,
            "num_pairs": sum(map(len, run.values())),
            "settled_queries": num_settled,
        },
    )


def _num_settled(run: Mapping[str, Mapping[str, float]], data: RetrievalSet) -> int:
    """How many queries have candidates of one grade only, so that every order of them is as good."""
    # A first stage that finds nothing relevant is measured as it is; judged documents without a choice are said.
    num = sum(len({max(data.qrels[q].get(d, 0), 0) for d in documents}) < 2 for q, documents in run.items())
    if data.first_stage is None and num == len(run):
        raise DataError(
            f"{data.name!r}: no query has both relevant and other candidates, so that every order is equally good. "
            "Give documents that are not relevant, or a first stage."
        )
    if data.first_stage is None and num:
        warnings.warn(
            f"{data.name!r}: {num} of {len(run)} queries have candidates of one grade only; they score the same with "
            "every model.",
            stacklevel=4,
        )
    return num
