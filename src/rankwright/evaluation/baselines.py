"""References that need no model: what a trained one must beat to be worth its cost.

In: texts and labels. Out: runs and scores, for the same functions that evaluate models.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np

from rankwright.errors import DataError, MissingExtraError, ValueRangeError
from rankwright.evaluation.runs import judged_queries
from rankwright.records import LabelledPair, RetrievalSet, Run


def words(text: str) -> list[str]:
    """The words of a text in any script that puts something between them, without case.

    Args:
        text: any text; composed and decomposed letters are the same.

    Returns:
        Runs of letters, digits and underscores.

    >>> words("Re-ranking: how?")
    ['re', 'ranking', 'how']
    """
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())


def bm25_run(data: RetrievalSet, *, top_k: int = 100) -> Run:
    """BM25 over all documents: the reference for retrieval, with `evaluate_run`.

    Args:
        data: queries and documents.
        top_k: documents kept for each judged query; those that share no word with it are never kept.

    Returns:
        The run.

    Raises:
        ValueRangeError: `top_k` is below 1.

    Source:
        Robertson and Zaragoza 2009, https://doi.org/10.1561/1500000019 (k1 = 1.5, b = 0.75, Lucene's variant)
    """
    if top_k < 1:
        raise ValueRangeError(f"top_k must be at least 1, got {top_k}.")
    scores_of = _bm25(list(data.documents.values()))
    document_ids = list(data.documents)
    run = {}
    for query_id in judged_queries(data.qrels, data.queries):
        score_C = scores_of(data.queries[query_id])
        best = np.argsort(-score_C, kind="stable")[:top_k].tolist()
        run[query_id] = {document_ids[at]: float(score_C[at]) for at in best if score_C[at] > 0}
    return run


def bm25_score(documents: Sequence[str]) -> Callable[[Sequence[tuple[str, str]]], np.ndarray]:
    """BM25 as a scorer of pairs: the reference for reranking, with `evaluate_reranking`.

    Args:
        documents: the collection that words are counted in; every document to be scored is in it.

    Returns:
        (query, document) texts -> scores_N; it raises `DataError` for a document that is not in the collection.

    Source:
        As `bm25_run`
    """
    scores_of = _bm25(documents)
    place = {text: at for at, text in enumerate(documents)}

    def score(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        unknown = [document for _, document in pairs if document not in place]
        if unknown:
            raise DataError(f"BM25 has not counted the document {unknown[0][:80]!r}: give all documents to bm25_score.")
        scores_N = np.zeros(len(pairs))
        rows: dict[str, list[int]] = {}
        for row, (query, _) in enumerate(pairs):
            rows.setdefault(query, []).append(row)
        for query, own in rows.items():
            scores_N[own] = scores_of(query)[[place[pairs[row][1]] for row in own]]
        return scores_N

    return score


def longer_text_scores(pairs: Sequence[LabelledPair]) -> np.ndarray:
    """How many characters the first text is longer: what a model of quality or persuasion must beat.

    Args:
        pairs: the pairs.

    Returns:
        scores_N.

    >>> longer_text_scores([LabelledPair("long text", "short", 1.0)])
    array([4.])
    """
    return np.array([len(pair.query) - len(pair.document) for pair in pairs], dtype=np.float64)


def prior_scores(labels: Sequence[float], num_pairs: int, *, num_labels: int) -> np.ndarray:
    """The same for every pair: how often each class is given.

    Args:
        labels: of the training pairs.
        num_pairs: N, how many pairs are to be scored.
        num_labels: L, how many classes.

    Returns:
        scores_NL, whose best class is the majority's.

    >>> prior_scores([0, 1, 1, 1], 2, num_labels=2)
    array([[0.25, 0.75],
           [0.25, 0.75]])
    """
    share_L = np.bincount(np.asarray(labels, dtype=np.int64), minlength=num_labels) / len(labels)
    return np.tile(share_L, (num_pairs, 1))


def _bm25(documents: Sequence[str]) -> Callable[[str], np.ndarray]:
    """The function from a query to the scores_C of all documents."""
    try:
        import bm25s
    except ImportError as err:
        raise MissingExtraError("the BM25 reference", "search", "bm25s") from err
    tokens = [words(document) for document in documents]
    known = {word for document in tokens for word in document}
    if not known:
        raise DataError(f"BM25 finds no word in the {len(tokens)} documents.")
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75, backend="numpy")
    index.index(tokens, show_progress=False)

    def scores_of(query: str) -> np.ndarray:
        asked = [word for word in words(query) if word in known]
        return np.asarray(index.get_scores(asked)) if asked else np.zeros(len(tokens))

    return scores_of
