"""The usage example of a card: one real query of the evaluation data, its documents, and what the model says of them.

In: a model and its evaluation data. Out: the "usage" block of summary.json.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rankwright.models import BiEncoder, CrossEncoder
from rankwright.records import LabelledPair, RetrievalSet
from rankwright.workflow.measuring import EvaluationData

NUM_DOCUMENTS = 4
"""Documents of the example."""

SHORT_CHARS = 600
"""Texts up to this length are preferred, so that the card stays readable."""


def usage_example(model: BiEncoder | CrossEncoder, data: EvaluationData) -> dict[str, Any] | None:
    """One query with documents, the model's scores of them, and the labels that people gave.

    Args:
        model: scores the pairs.
        data: what it was measured on.

    Returns:
        {"query", "documents", "scores", "truth"}, with the truth None of a document that nobody judged; or None where
        the data has no query with documents.
    """
    chosen = _from_retrieval(data.retrieval) if data.retrieval is not None else _from_pairs(data.labelled)
    if chosen is None:
        return None
    query, documents, truth = chosen
    if isinstance(model, BiEncoder):
        scores = np.asarray(model.similarity(model.encode_query(query), model.encode_document(documents)))[0]
    else:
        scores = model.predict([(query, document) for document in documents])
    return {"query": query, "documents": documents, "scores": np.asarray(scores).tolist(), "truth": truth}


def _from_retrieval(retrieval: RetrievalSet) -> tuple[str, list[str], Sequence[float | None]] | None:
    """The first judged query whose relevant document is short, beside judged and other documents."""
    best: tuple[int, str, list[str]] | None = None
    for query_id, judged in retrieval.qrels.items():
        relevant = [i for i, grade in judged.items() if grade > 0 and i in retrieval.documents]
        if query_id not in retrieval.queries or not relevant:
            continue
        others = [i for i, grade in judged.items() if grade <= 0 and i in retrieval.documents]
        ids = list(dict.fromkeys([relevant[0], *others, *_spread(list(retrieval.documents), judged)]))[:NUM_DOCUMENTS]
        longest = max(len(retrieval.documents[i]) for i in ids)
        if best is None or longest < best[0]:
            best = (longest, query_id, ids)
        if longest <= SHORT_CHARS:
            break
    if best is None:
        return None
    _, query_id, ids = best
    grades = [retrieval.qrels[query_id].get(i) for i in ids]
    return retrieval.queries[query_id], [retrieval.documents[i] for i in ids], grades


def _spread(ids: list[str], taken: Iterable[str]) -> list[str]:
    """A few documents from all over the corpus."""
    known = set(taken)
    step = max(1, len(ids) // (NUM_DOCUMENTS + 1))
    return [i for i in ids[step // 2 :: step] if i not in known]


def _from_pairs(pairs: list[LabelledPair]) -> tuple[str, list[str], Sequence[float | None]] | None:
    """The first query with both high and low labels, else the first query."""
    groups: dict[str, list[LabelledPair]] = {}
    for pair in pairs:
        groups.setdefault(pair.query_id or pair.query, []).append(pair)
    if not groups:
        return None
    mixed = [rows for rows in groups.values() if len({row.label for row in rows}) > 1]
    short = [rows for rows in mixed if max(len(row.document) for row in rows[:NUM_DOCUMENTS]) <= SHORT_CHARS]
    rows = next(iter(short or mixed or list(groups.values())))
    rows = sorted(rows, key=lambda row: -row.label)
    half = NUM_DOCUMENTS // 2
    rows = rows if len(rows) <= NUM_DOCUMENTS else rows[:half] + rows[-half:]
    return rows[0].query, [row.document for row in rows], [row.label for row in rows]
