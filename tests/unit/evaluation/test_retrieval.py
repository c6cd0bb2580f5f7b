"""Retrieval at every embedding size."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rankwright.errors import ConfigError, DataError, ShapeError
from rankwright.evaluation import compare, evaluate_retrieval, measure_run
from rankwright.models.similarity import SIMILARITIES
from rankwright.records import RetrievalSet

TOY = RetrievalSet(
    name="toy",
    queries={"q1": "one", "unjudged": "", "q2": "two"},
    documents={"d3": "c", "d1": "a", "d2": "b"},
    qrels={"q2": {"d3": 1, "d1": 2}, "q1": {"d2": 1}, "unjudged": {"d1": 0}},
)
QUERIES = np.array([[1.0, 0.0, 5.0], [9.0, 9.0, 9.0], [0.0, 1.0, 5.0]])
DOCUMENTS = np.array([[0.0, 1.0, -2.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])


def test_each_size_is_searched_with_the_cut_embeddings() -> None:
    full, cut = evaluate_retrieval((QUERIES, DOCUMENTS), TOY, dims=[3, 2], measures=["mrr@3", "ndcg@3"])
    # Three numbers: q2 is (0, 1, 5): d1 0.14, d2 0, d3 -0.79; q1 is (1, 0, 5): d2 0.20, d1 0.14, d3 -0.88.
    assert full.query_ids == ("q2", "q1")
    assert full.per_query["mrr@3"] == (1.0, 1.0)
    assert full.per_query["ndcg@3"][0] == pytest.approx((2 + 1 / 2) / (2 + 1 / np.log2(3)))
    # Two numbers, renormalised: q2 is (0, 1): d3 1, d1 0.71, d2 0.
    assert cut.per_query["ndcg@3"][0] == pytest.approx((1 + 2 / np.log2(3)) / (2 + 1 / np.log2(3)))
    assert (full.dim, cut.dim, cut.similarity, cut.primary) == (3, 2, "cosine", "mrr@3")
    assert (full.task, full.dataset, full.system, full.num_queries) == ("retrieval", "toy", "model", 2)
    assert compare(full, cut).num_queries == 2
    assert full.parameters == {"num_documents": 3, "ignore_identical_ids": False}


def test_equal_scores_go_by_document_id_not_by_place_in_the_corpus() -> None:
    same = np.ones((3, 2))
    found = evaluate_retrieval((same, same), TOY, measures=["mrr@3"])[0]
    assert found.per_query["mrr@3"] == (1.0, 0.5), "d1 < d2 < d3, though the corpus begins with d3"


def test_retrieval_agrees_with_the_measures_of_the_same_run() -> None:
    random = np.random.default_rng(0)
    queries, documents = random.normal(size=(30, 8)), random.normal(size=(100, 8))
    data = RetrievalSet(
        "random",
        {f"q{i}": "" for i in range(30)},
        {f"d{i}": "" for i in range(100)},
        {f"q{i}": {f"d{j}": int(random.integers(-1, 4)) for j in random.integers(0, 110, 9)} for i in range(29)},
    )
    names = ["ndcg@10", "map@20", "recall@100", "mrr@10", "precision@5", "ndcg_binary@3", "accuracy@1"]
    scores = SIMILARITIES["cosine"](queries, documents)
    run = {q: {d: scores[i, j] for j, d in enumerate(data.documents)} for i, q in enumerate(data.queries)}
    expected = measure_run(run, data.qrels, measures=names)
    found = evaluate_retrieval((queries, documents), data, measures=names)[0]
    for name in names:
        np.testing.assert_allclose(found.per_query[name], expected[name], rtol=0, atol=1e-12)
        assert found.measures[name] == pytest.approx(expected[name].mean())


def test_document_with_the_id_of_the_query_can_be_left_out() -> None:
    data = RetrievalSet("twins", {"x": "", "y": ""}, {"x": "", "y": "", "z": ""}, {"x": {"z": 1}, "y": {"x": 1}})
    embeddings = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [0.6, 0.7], [0.9, 0.1]])
    with_twin = evaluate_retrieval(embeddings, data, measures=["mrr@2"])[0]
    assert with_twin.per_query["mrr@2"] == (0.5, 0.0), "each query finds its twin first, y finds x third"
    without = evaluate_retrieval(embeddings, data, measures=["mrr@2"], ignore_identical_ids=True)[0]
    assert without.per_query["mrr@2"] == (1.0, 0.5)
    judged = replace(data, qrels={"x": {"x": 1, "z": 1}})
    found = evaluate_retrieval(embeddings, judged, measures=["recall@2"], ignore_identical_ids=True)[0]
    assert found.parameters == {"num_documents": 3, "ignore_identical_ids": True}
    assert found.per_query["recall@2"] == (0.5,), "what is left out is not found, even where it is judged relevant"


def test_relevant_document_outside_the_corpus_counts_as_not_found() -> None:
    data = RetrievalSet("gap", {"q": ""}, {"d": ""}, {"q": {"d": 1, "lost": 1}})
    found = evaluate_retrieval((np.ones((1, 2)), np.ones((1, 2))), data, measures=["recall@10"])[0]
    assert found.measures["recall@10"] == 0.5
    only_lost = RetrievalSet("gap", {"q": ""}, {"d": ""}, {"q": {"lost": 1}})
    found = evaluate_retrieval((np.ones((1, 2)), np.ones((1, 2))), only_lost, measures=["ndcg@10"])[0]
    assert found.measures["ndcg@10"] == 0.0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match="'toy' has 3 queries and 3 documents, got 2 and 3 embeddings"):
        evaluate_retrieval((QUERIES[:2], DOCUMENTS), TOY)
    with pytest.raises(ConfigError, match=r"dims \[4, 2\] must be between 1 and 3, the length of the embeddings"):
        evaluate_retrieval((QUERIES, DOCUMENTS), TOY, dims=[4, 2])
    with pytest.raises(ConfigError, match=r"dims \[0\] must be between 1 and 3"):
        evaluate_retrieval((QUERIES, DOCUMENTS), TOY, dims=[0])
    with pytest.raises(ConfigError, match="'map' would rank the whole corpus for each query: write 'map@100'"):
        evaluate_retrieval((QUERIES, DOCUMENTS), TOY, measures=["ndcg@10", "map"])
    with pytest.raises(DataError, match="query 'q9', which is not among the 3 queries"):
        evaluate_retrieval((QUERIES, DOCUMENTS), RetrievalSet("x", TOY.queries, TOY.documents, {"q9": {"d1": 1}}))


def test_embeddings_of_other_lengths_are_refused() -> None:
    for given in ((QUERIES[:, :2], DOCUMENTS), (QUERIES, DOCUMENTS[:, :2]), (QUERIES[:, 0], DOCUMENTS)):
        with pytest.raises(ShapeError, match="embeddings do not fit"):
            evaluate_retrieval(given, TOY, measures=["mrr@3"])


def test_tensors_lists_and_any_sizes_are_taken() -> None:
    expected = [one.measures for one in evaluate_retrieval((QUERIES, DOCUMENTS), TOY, dims=[3, 2], measures=["mrr@3"])]
    for turn in (torch.from_numpy, np.ndarray.tolist, lambda rows: torch.from_numpy(rows).bfloat16()):
        found = evaluate_retrieval((turn(QUERIES), turn(DOCUMENTS)), TOY, dims=iter([3, 2]), measures=["mrr@3"])  # type: ignore[arg-type]  # whatever has an order
        assert [one.measures for one in found] == expected


def test_no_measures_are_an_error() -> None:
    with pytest.raises(ConfigError, match="measures is empty: name at least one"):
        evaluate_retrieval((QUERIES, DOCUMENTS), TOY, measures=[])
