"""Exact search in blocks, and retrieval at every embedding size."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.errors import ConfigError, DataError, ShapeError, ValueRangeError
from rankwright.evaluation import compare, evaluate_retrieval, measure_run, search
from rankwright.models.similarity import SIMILARITIES
from rankwright.records import RetrievalSet


def all_scores(queries: np.ndarray, documents: np.ndarray, similarity: str) -> np.ndarray:
    """The definition of each similarity, one pair at a time, in float64."""
    queries, documents = queries.astype(np.float64), documents.astype(np.float64)
    pair = {
        "cosine": lambda q, d: q @ d / max(np.linalg.norm(q), 1e-12) / max(np.linalg.norm(d), 1e-12),
        "dot": lambda q, d: q @ d,
        "euclidean": lambda q, d: -np.sqrt(((q - d) ** 2).sum()),
        "manhattan": lambda q, d: -np.abs(q - d).sum(),
    }[similarity]
    return np.array([[pair(q, d) for d in documents] for q in queries])


def integers(num: int, size: int, *, seed: int) -> np.ndarray:
    """Small whole numbers: their products are exact, so that equal scores are equal in every block shape."""
    return np.random.default_rng(seed).integers(-2, 3, size=(num, size)).astype(np.float32)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("block_bytes", [1, 2000, 1 << 20])
def test_search_agrees_with_the_definition_in_every_block_size(similarity: str, block_bytes: int) -> None:
    random = np.random.default_rng(0)
    queries, documents = random.normal(size=(7, 12)), random.normal(size=(53, 12)).astype(np.float32)
    scores, indices = search(queries, documents, top_k=9, similarity=similarity, block_bytes=block_bytes)
    expected = all_scores(queries, documents, similarity)
    order = np.argsort(-expected, axis=1)[:, :9]
    assert np.array_equal(indices, order)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, order, axis=1), rtol=1e-5, atol=1e-6)


@given(
    num=st.integers(1, 40),
    top_k=st.integers(1, 50),
    block_bytes=st.sampled_from([1, 300, 3000, 1 << 20]),
    similarity=st.sampled_from(["dot", "manhattan", "euclidean"]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_equal_scores_go_by_index_in_every_block_size(
    num: int, top_k: int, block_bytes: int, similarity: str, seed: int
) -> None:
    queries, documents = integers(3, 2, seed=seed), integers(num, 2, seed=seed + 1)
    scores, indices = search(queries, documents, top_k=top_k, similarity=similarity, block_bytes=block_bytes)
    expected = all_scores(queries, documents, similarity)
    order = np.argsort(-expected, axis=1, kind="stable")[:, :top_k]
    assert np.array_equal(indices, order)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, order, axis=1), rtol=1e-12)


@pytest.mark.parametrize("block_bytes", [1, 100, 1 << 20])
def test_given_order_breaks_ties(block_bytes: int) -> None:
    documents = np.ones((6, 2), dtype=np.float32)
    order = np.array([4, 0, 5, 1, 3, 2])
    _, indices = search(documents[:1], documents, top_k=4, order_C=order, block_bytes=block_bytes)
    assert indices.tolist() == [[4, 0, 5, 1]]


def test_documents_in_ascending_order_of_score_are_found_too() -> None:
    # The worst case of a search that keeps the best so far: every block beats all before it.
    documents = np.arange(1000, dtype=np.float32)[:, None]
    _, indices = search(np.ones((2, 1), np.float32), documents, top_k=3, similarity="dot", block_bytes=400)
    assert indices.tolist() == [[999, 998, 997]] * 2


@pytest.mark.parametrize("dtype", [np.float16, np.int8, np.float64])
def test_other_number_types_are_widened(dtype: type) -> None:
    queries, documents = integers(3, 4, seed=0), integers(9, 4, seed=1)
    expected = search(queries, documents, top_k=4, similarity="dot")
    found = search(queries.astype(dtype), documents.astype(dtype), top_k=4, similarity="dot")
    assert np.array_equal(found[0], expected[0]) and np.array_equal(found[1], expected[1])


def test_zero_vector_has_cosine_zero() -> None:
    scores, _ = search(np.zeros((1, 3)), np.eye(3), top_k=2)
    assert scores.tolist() == [[0.0, 0.0]]


@pytest.mark.filterwarnings("ignore:overflow")
def test_scores_beyond_the_number_type_are_ranked_too() -> None:
    documents = np.array([[-1e30], [1e30], [-1e30]], dtype=np.float32)
    scores, indices = search(documents[1:2], documents, top_k=3, similarity="dot")
    assert indices.tolist() == [[1, 0, 2]] and scores.tolist() == [[np.inf, -np.inf, -np.inf]]


def test_no_query_gives_no_result() -> None:
    scores, indices = search(np.empty((0, 3)), np.eye(3), top_k=2)
    assert scores.shape == indices.shape == (0, 2)


def test_memory_of_a_search_stays_within_its_blocks() -> None:
    queries, documents = (np.ones((num, 32), np.float32) * np.arange(num)[:, None] for num in (400, 20_000))
    tracemalloc.start()
    search(queries, documents, top_k=10, similarity="dot", block_bytes=1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 << 20, "all scores at once would take 32 MB"


def test_wrong_arguments_of_a_search_are_refused() -> None:
    ones = np.ones((2, 3))
    with pytest.raises(ConfigError, match="similarity='cos': expected one of cosine, dot, euclidean, manhattan"):
        search(ones, ones, top_k=1, similarity="cos")
    with pytest.raises(ValueRangeError, match="top_k must be at least 1, got 0"):
        search(ones, ones, top_k=0)
    with pytest.raises(ShapeError, match=r"queries \(2, 3\), documents \(2, 4\)"):
        search(ones, np.ones((2, 4)), top_k=1)
    with pytest.raises(ShapeError, match="no documents"):
        search(ones, np.ones((0, 3)), top_k=1)
    with pytest.raises(ValueRangeError, match="embedding of document 1 is not finite"):
        search(ones, np.array([[1.0, 2, 3], [1, np.nan, 3]]), top_k=1)
    with pytest.raises(ValueRangeError, match="embedding of query 0 is not finite"):
        search(ones * np.inf, ones, top_k=1)


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
    scores = all_scores(queries, documents, "cosine")
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
    with pytest.raises(ConfigError, match="'map' would rank the whole corpus for each query: write 'map@100'"):
        evaluate_retrieval((QUERIES, DOCUMENTS), TOY, measures=["ndcg@10", "map"])
    with pytest.raises(DataError, match="query 'q9', which is not among the 3 queries"):
        evaluate_retrieval((QUERIES, DOCUMENTS), RetrievalSet("x", TOY.queries, TOY.documents, {"q9": {"d1": 1}}))
