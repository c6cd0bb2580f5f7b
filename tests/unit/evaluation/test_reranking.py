"""Reranking of a first stage, or of the judged documents."""

from collections.abc import Sequence
from math import log2

import numpy as np
import pytest

from rankwright.errors import ConfigError, DataError, ShapeError
from rankwright.evaluation import compare, evaluate_first_stage, evaluate_reranking
from rankwright.records import RetrievalSet, Run

TEXTS = {f"d{i}": f"text {i}" for i in range(1, 8)}
QRELS = {"q1": {"d1": 1, "d2": 0, "d3": 0}, "q2": {"d4": 2, "d5": 1, "d6": 0}, "none": {"d1": 0}}
FIRST: Run = {"q1": {"d2": 0.9, "d1": 0.8, "d7": 0.7}, "q2": {"d6": 3.0, "d5": 2.0, "d7": 1.0}}
"""The first stage of q2 misses d4, the best document."""


def toy(first_stage: Run | None = None) -> RetrievalSet:
    return RetrievalSet("toy", {"q1": "one", "q2": "two", "none": "three"}, TEXTS, QRELS, first_stage)


class Scorer:
    """Scores by document text, and remembers what it was asked."""

    def __init__(self, scores: dict[str, float]) -> None:
        self.scores = {TEXTS[document]: score for document, score in scores.items()}
        self.calls: list[list[tuple[str, str]]] = []

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        self.calls.append(list(pairs))
        return np.array([self.scores[document] for _, document in pairs], dtype=np.float32)


SCORES = {"d1": 0.5, "d2": 0.4, "d3": 0.6, "d4": 0.1, "d5": 0.9, "d6": 0.2, "d7": 0.3}


def test_judged_documents_are_scored_in_one_call_and_measured() -> None:
    scorer = Scorer(SCORES)
    found = evaluate_reranking(scorer, toy(), measures=["ndcg@10", "mrr@10", "map"], system="mine")
    assert len(scorer.calls) == 1
    assert set(scorer.calls[0]) == {
        *(("one", TEXTS[d]) for d in ("d1", "d2", "d3")),
        *(("two", TEXTS[d]) for d in ("d4", "d5", "d6")),
    }
    assert found.query_ids == ("q1", "q2")
    # q1: d3 d1 d2, one relevant at rank 2. q2: d5 (grade 1), d6 (0), d4 (2).
    assert found.per_query["mrr@10"] == (0.5, 1.0)
    assert found.per_query["map"] == pytest.approx((1 / 2, (1 + 2 / 3) / 2))
    assert found.per_query["ndcg@10"] == pytest.approx((1 / log2(3), (1 + 2 / 2) / (2 + 1 / log2(3))))
    assert (found.task, found.dataset, found.system, found.primary) == ("reranking", "toy", "mine", "ndcg@10")
    assert found.parameters["candidates"] == "judged documents" and found.parameters["num_pairs"] == 6


def test_first_stage_is_reranked_and_what_it_missed_still_counts() -> None:
    scorer = Scorer(SCORES)
    found = evaluate_reranking(scorer, toy(FIRST), measures=["ndcg@10", "recall@10"])
    assert len(scorer.calls[0]) == 6 and ("two", TEXTS["d4"]) not in scorer.calls[0]
    assert found.per_query["recall@10"] == (1.0, 0.5)
    assert found.per_query["ndcg@10"] == pytest.approx((1.0, 1 / (2 + 1 / log2(3))))


def test_missing_relevant_documents_can_be_added_or_ignored_as_the_reference_does() -> None:
    scorer = Scorer(SCORES)
    added = evaluate_reranking(scorer, toy(FIRST), measures=["ndcg@10"], missing_relevant="add")
    assert ("two", TEXTS["d4"]) in scorer.calls[0] and len(scorer.calls[0]) == 7
    assert added.per_query["ndcg@10"][1] == pytest.approx((1 + 2 / log2(5)) / (2 + 1 / log2(3)))
    ignored = evaluate_reranking(scorer, toy(FIRST), measures=["ndcg@10"], missing_relevant="ignore")
    assert ignored.per_query["ndcg@10"][1] == 1.0


def test_first_stage_has_its_own_score_over_the_same_candidates() -> None:
    found = evaluate_first_stage(toy(FIRST), measures=["mrr@10"])
    assert found.per_query["mrr@10"] == (0.5, 0.5) and found.system == "first stage"
    cut = evaluate_first_stage(toy({**FIRST, "q1": {"d1": 0.9, "d2": 0.1}}), measures=["mrr@10", "map"], top_k=1)
    assert cut.per_query["mrr@10"] == (1.0, 0.0)
    with_model = evaluate_reranking(Scorer(SCORES), toy(FIRST), measures=["mrr@10"])
    assert compare(with_model, found).reference == "first stage"


def test_top_k_takes_the_best_of_the_first_stage() -> None:
    scorer = Scorer(SCORES)
    found = evaluate_reranking(scorer, toy({**FIRST, "q2": {"d7": 1.0, "d6": 2.0}}), top_k=2)
    assert found.parameters["settled_queries"] == 1, "q2 keeps nothing relevant"
    assert [document for _, document in scorer.calls[0]] == [TEXTS[d] for d in ("d2", "d1", "d6", "d7")]
    assert (found.parameters["top_k"], found.parameters["num_pairs"]) == (2, 4)
    equal = toy({"q1": {"d3": 1.0, "d1": 1.0, "d2": 1.0}, "q2": FIRST["q2"]})
    evaluate_reranking(scorer, equal, top_k=2)
    assert [document for _, document in scorer.calls[1][:2]] == [TEXTS["d1"], TEXTS["d2"]], "equal ones go by id"


def test_model_that_scores_all_alike_gains_nothing_from_the_order_of_the_file() -> None:
    num = 400
    qrels = {f"q{i}": {f"{i}-{j}": int(j == 0) for j in range(4)} for i in range(num)}
    data = RetrievalSet("first", dict.fromkeys(qrels, ""), {d: "" for ds in qrels.values() for d in ds}, qrels)
    found = evaluate_reranking(lambda pairs: np.zeros(len(pairs)), data, measures=["mrr@10"])
    assert found.measures["mrr@10"] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4, abs=0.05)


def test_query_that_the_first_stage_misses_counts_as_zero_and_is_said() -> None:
    with pytest.warns(UserWarning) as said:
        found = evaluate_reranking(Scorer(SCORES), toy({"q1": FIRST["q1"]}), measures=["mrr@10"])
    assert found.per_query["mrr@10"] == (1.0, 0.0)
    assert "1 of 2 judged queries have no documents in the run" in str(said[0].message)


def test_data_without_a_choice_are_refused() -> None:
    data = RetrievalSet("positives", {"q": "x"}, TEXTS, {"q": {"d1": 1, "d2": 1}})
    with pytest.raises(DataError, match="no query has both relevant and other candidates"):
        evaluate_reranking(Scorer(SCORES), data)


def test_queries_without_a_choice_are_counted_and_said() -> None:
    data = RetrievalSet("some", {"q": "x", "p": "y"}, TEXTS, {"q": {"d1": 1}, "p": {"d1": 1, "d2": 0}})
    with pytest.warns(UserWarning, match="'some': 1 of 2 queries have candidates of one grade only"):
        found = evaluate_reranking(Scorer(SCORES), data)
    assert found.parameters["settled_queries"] == 1
    spam = RetrievalSet("spam", {"q": "x"}, TEXTS, {"q": {"d1": 1, "d2": 0, "d3": -1}}, {"q": {"d2": 1.0, "d3": 0.5}})
    found = evaluate_reranking(Scorer(SCORES), spam)
    assert found.parameters["settled_queries"] == 1, "grades of 0 and below are as good"


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"gave 6 pairs, got scores \(6, 2\)"):
        evaluate_reranking(lambda pairs: np.zeros((len(pairs), 2)), toy())
    with pytest.raises(DataError, match="score of document 'd1' for query 'q1' is NaN"):
        evaluate_reranking(lambda pairs: np.full(len(pairs), np.nan), toy())
    with pytest.raises(DataError, match="candidate 'd99' of query 'q1' is not among the documents"):
        evaluate_reranking(Scorer(SCORES), toy({**FIRST, "q1": {"d99": 1.0}}))
    for data, top_k in ((toy(), 5), (toy(FIRST), 0)):
        with pytest.raises(ConfigError, match=f"top_k={top_k} must be at least 1 and needs a first stage"):
            evaluate_reranking(Scorer(SCORES), data, top_k=top_k)
    with pytest.raises(ConfigError, match="'toy' has no first stage"):
        evaluate_first_stage(toy())
