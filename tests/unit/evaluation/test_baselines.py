"""References that need no model."""

import sys
from math import log

import numpy as np
import pytest

from rankwright.errors import DataError, MissingExtraError, ValueRangeError
from rankwright.evaluation import (
    bm25_run,
    bm25_score,
    evaluate_classification,
    evaluate_reranking,
    evaluate_run,
    longer_text_scores,
    prior_scores,
)
from rankwright.evaluation.baselines import words
from rankwright.records import LabelledPair, RetrievalSet

DATA = RetrievalSet(
    name="toy",
    queries={"q1": "Red apple?", "q2": "zielone JABŁKO", "q3": "кот", "unjudged": "red", "empty": "?!"},
    documents={
        "a": "The red apple is red",
        "b": "A green apple",
        "c": "Zielone jabłko leży obok",
        "d": "Мой кот спит",
        "e": "",
    },
    qrels={"q1": {"a": 1, "b": 0}, "q2": {"c": 1, "a": 0}, "q3": {"d": 1, "b": 0}, "empty": {"a": 1, "b": 0}},
)


def bm25_by_hand(query: list[str], document: list[str], collection: list[list[str]]) -> float:
    """Lucene's BM25, k1 = 1.5, b = 0.75, word by word."""
    mean = sum(map(len, collection)) / len(collection)
    score = 0.0
    for word in query:
        frequency = document.count(word)
        having = sum(word in other for other in collection)
        idf = log(1 + (len(collection) - having + 0.5) / (having + 0.5))
        score += idf * frequency / (frequency + 1.5 * (1 - 0.75 + 0.75 * len(document) / mean))
    return score


def test_words_are_runs_of_letters_of_any_script_without_case() -> None:
    assert words("Zażółć gęślą-jaźń! 42 Кошки_и collection's") == [
        *("zażółć", "gęślą", "jaźń", "42", "кошки_и", "collection", "s"),
    ]
    assert words("zolc\u0301") == words("zol\u0107"), "composed and decomposed letters are one word"
    assert words("?! ...") == []


def test_bm25_has_the_value_computed_by_hand() -> None:
    run = bm25_run(DATA)
    collection = [words(text) for text in DATA.documents.values()]
    for query_id, found in run.items():
        for document_id, score in found.items():
            query, document = words(DATA.queries[query_id]), words(DATA.documents[document_id])
            assert score == pytest.approx(bm25_by_hand(query, document, collection), rel=1e-5)


def test_bm25_run_holds_only_documents_that_share_a_word() -> None:
    run = bm25_run(DATA)
    assert {query_id: list(found) for query_id, found in run.items()} == {
        "q1": ["a", "b"],
        "q2": ["c"],
        "q3": ["d"],
        "empty": [],
    }
    assert list(bm25_run(DATA, top_k=1)["q1"]) == ["a"]


def test_bm25_is_evaluated_as_any_run() -> None:
    with pytest.warns(UserWarning, match="'empty'"):
        found = evaluate_run(bm25_run(DATA), DATA, system="BM25", measures=["mrr@10"])
    assert found.per_query["mrr@10"] == (1.0, 1.0, 1.0, 0.0)


def test_bm25_scores_candidates_as_it_scores_the_collection() -> None:
    found = evaluate_reranking(bm25_score(list(DATA.documents.values())), DATA, measures=["mrr@10"], system="BM25")
    assert found.per_query["mrr@10"][:3] == (1.0, 1.0, 1.0)
    pairs = [(DATA.queries["q1"], DATA.documents[d]) for d in "cab"] + [("", DATA.documents["a"])]
    run = bm25_run(DATA)["q1"]
    assert bm25_score(list(DATA.documents.values()))(pairs).tolist() == pytest.approx([0.0, run["a"], run["b"], 0.0])


def test_wrong_use_of_bm25_is_refused() -> None:
    with pytest.raises(DataError, match="has not counted the document 'new'"):
        bm25_score(["a b", "b c"])([("a", "new")])
    with pytest.raises(DataError, match="no word in the 2 documents"):
        bm25_score(["", "?"])
    with pytest.raises(ValueRangeError, match="top_k must be at least 1, got 0"):
        bm25_run(DATA, top_k=0)


def test_missing_bm25s_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingExtraError, match=r"BM25 reference needs the package 'bm25s'.*'rankwright\[search\]'"):
        bm25_run(DATA)


def test_longer_text_is_the_difference_of_characters() -> None:
    pairs = [LabelledPair("four", "to", 1), LabelledPair("żó", "four", 0), LabelledPair("a", "b", 0)]
    assert longer_text_scores(pairs).tolist() == [2, -2, 0]


def test_prior_of_classes_gives_every_pair_the_majority_class() -> None:
    scores = prior_scores([2, 2, 0], 4, num_labels=4)
    assert scores.shape == (4, 4) and scores.sum(axis=1).tolist() == [1.0] * 4
    assert np.array_equal(scores.argmax(axis=1), [2, 2, 2, 2])
    found = evaluate_classification(scores, [2, 2, 2, 1], dataset="toy", system="majority")
    assert found.measures["accuracy"] == 0.75
