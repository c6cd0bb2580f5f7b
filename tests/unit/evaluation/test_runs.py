"""Runs as dictionaries: order of equal scores, broken scores, size."""

import time
from typing import Any

import numpy as np
import pytest

from rankwright.errors import DataError
from rankwright.evaluation import evaluate_run, judged_queries, measure_run
from rankwright.records import RetrievalSet


def test_scores_that_are_equal_in_float32_are_equal_for_trec_eval_only() -> None:
    run = {"q": {"a": 1.0 + 1e-10, "b": 1.0}}
    assert measure_run(run, {"q": {"a": 1}}, measures=["mrr@2"], ties="trec_eval")["mrr@2"] == 0.5
    assert measure_run(run, {"q": {"a": 1}}, measures=["mrr@2"], ties="hashed")["mrr@2"] == 1.0


def test_scores_beyond_float32_do_not_break_the_order_of_others() -> None:
    run = {"q": {"a": 1e300, "b": 2e300, "c": 1.0}}
    assert measure_run(run, {"q": {"c": 1}}, measures=["mrr@3"])["mrr@3"] == pytest.approx(1 / 3)


def test_empty_run_is_worth_nothing() -> None:
    with pytest.warns(UserWarning, match="1 of 1 judged queries"):
        assert measure_run({}, {"q": {"a": 1}}, measures=["ndcg@10"])["ndcg@10"].tolist() == [0.0]


def test_nan_score_is_refused_with_query_and_document() -> None:
    run = {"q1": {"a": 1.0}, "q2": {"b": 0.1, "c": float("nan")}}
    with pytest.raises(DataError, match="score of document 'c' for query 'q2' is NaN"):
        measure_run(run, {"q1": {"a": 1}, "q2": {"b": 1}}, measures=["mrr@3"])


def test_judged_query_without_a_text_is_refused_where_texts_matter() -> None:
    qrels = {"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"a": 0}}
    assert judged_queries(qrels) == ["q1", "q2"]
    with pytest.raises(DataError, match="judge query 'q2', which is not among the 1 queries"):
        judged_queries(qrels, {"q1": "text"})


def test_million_judged_documents_take_seconds_even_when_all_scores_are_equal() -> None:
    queries = [f"q{i}" for i in range(1000)]
    documents = [f"d{i}" for i in range(1000)]
    run = {query: dict.fromkeys(documents, 0.5) for query in queries}
    qrels = {query: {document: i % 3 for i, document in enumerate(documents)} for query in queries}
    start = time.perf_counter()
    values = measure_run(run, qrels, measures=["ndcg@10", "map", "recall@100"])
    assert time.perf_counter() - start < 30
    assert np.ptp(values["map"]) == 0


def test_evaluation_of_a_run_has_means_intervals_and_each_query() -> None:
    data = RetrievalSet("toy", {"a": "x", "b": "y"}, {"d": "z", "e": "w"}, {"a": {"d": 1}, "b": {"e": 1}})
    found = evaluate_run({"a": {"d": 1.0}, "b": {"d": 1.0, "e": 0.0}}, data, system="BM25", measures=["mrr@10", "map"])
    assert (found.task, found.dataset, found.system, found.primary) == ("retrieval", "toy", "BM25", "mrr@10")
    assert found.measures == {"mrr@10": 0.75, "map": 0.75}
    assert found.per_query["mrr@10"] == (1.0, 0.5)
    assert found.query_ids == ("a", "b")
    assert found.intervals["mrr@10"] == (0.5, 1.0)
    assert found.num_queries == 2 and found.dim is None
    assert found.parameters == {"ties": "hashed"}


@pytest.mark.parametrize("grade", [float("nan"), float("inf"), "1", None])
def test_a_grade_that_is_no_number_is_refused(grade: Any) -> None:
    words = rf"the grade of document 'd2' for query 'q' is {grade!r}, expected a finite number"
    with pytest.raises(DataError, match=words):
        measure_run({"q": {"d1": 1.0}}, {"q": {"d1": 1, "d2": grade}}, measures=["ndcg@10"])
    with pytest.raises(DataError, match=r"the judgments of query 'q' are \['d1'\], expected \{document id: grade\}"):
        measure_run({"q": {"d1": 1.0}}, {"q": ["d1"]}, measures=["ndcg@10"])  # type: ignore[dict-item]
