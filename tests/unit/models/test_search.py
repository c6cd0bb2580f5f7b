"""Search by comparing all: the order of float64 scores, ties by place, in every block size and type of storage."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.errors import ConfigError, ShapeError, ValueRangeError
from rankwright.evaluation import search
from rankwright.models import search as search_module
from rankwright.models.precision import dequantize, quantize
from rankwright.models.products import Products, compile_products
from rankwright.models.scoring import Scorer, StoredDocuments
from rankwright.models.similarity import SIMILARITIES


def all_scores(queries: np.ndarray, documents: np.ndarray, similarity: str) -> np.ndarray:
    """The definition of each similarity, one pair at a time, in float64, rounded to float32."""
    queries, documents = queries.astype(np.float64), documents.astype(np.float64)
    pair = {
        "cosine": lambda q, d: q @ d / max(np.linalg.norm(q), 1e-12) / max(np.linalg.norm(d), 1e-12),
        "dot": lambda q, d: q @ d,
        "euclidean": lambda q, d: -np.sqrt(((q - d) ** 2).sum()),
        "manhattan": lambda q, d: -np.abs(q - d).sum(),
    }[similarity]
    return np.array([[pair(q, d) for d in documents] for q in queries]).astype(np.float32)


def assert_best(found: tuple[np.ndarray, np.ndarray], expected: np.ndarray, top_k: int) -> None:
    """The indices are exactly those of the expected scores, ties by index; the scores agree."""
    scores, indices = found
    order = np.argsort(-expected, axis=1, kind="stable")[:, :top_k]
    np.testing.assert_array_equal(indices, order)
    atol = 1e-6 * max(1.0, float(np.abs(expected).max()))  # of a sum that cancels, the terms say how far it is off
    np.testing.assert_allclose(scores, np.take_along_axis(expected, order, axis=1), rtol=1e-5, atol=atol)


def integers(num: int, size: int, *, seed: int) -> np.ndarray:
    """Small whole numbers: many scores are equal."""
    return np.random.default_rng(seed).integers(-2, 3, size=(num, size)).astype(np.float32)


def crowded(num: int, size: int, *, seed: int) -> np.ndarray:
    """Documents that float32 products cannot tell apart: copies, and copies moved by less than their error."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(max(1, num // 8), size))
    moved = rows[random.integers(0, len(rows), num)]
    return moved * (1 + random.choice([0.0, 1e-7, 3e-6], size=(num, 1)) * random.normal(size=(num, size)))


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("block_bytes", [1, 2000, 1 << 20])
def test_search_agrees_with_the_definition_in_every_block_size(similarity: str, block_bytes: int) -> None:
    random = np.random.default_rng(0)
    queries, documents = random.normal(size=(7, 12)), random.normal(size=(53, 12)).astype(np.float32)
    found = search(queries, documents, top_k=9, similarity=similarity, block_bytes=block_bytes)
    assert_best(found, all_scores(queries, documents, similarity), 9)


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
    assert np.array_equal(scores, np.take_along_axis(expected, order, axis=1))


@given(
    num=st.integers(1, 900),
    size=st.sampled_from([1, 3, 32]),
    top_k=st.sampled_from([1, 2, 10, 100]),
    block_bytes=st.sampled_from([1000, 60_000, 1 << 24]),
    similarity=st.sampled_from(["cosine", "dot"]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_the_order_is_that_of_float64_where_float32_cannot_tell(
    num: int, size: int, top_k: int, block_bytes: int, similarity: str, seed: int
) -> None:
    documents = crowded(num, size, seed=seed)
    queries = np.random.default_rng(seed + 1).normal(size=(5, size))
    found = search(queries, documents, top_k=top_k, similarity=similarity, block_bytes=block_bytes)
    assert_best(found, all_scores(queries, documents, similarity), top_k)


def test_without_its_error_bound_the_search_would_fail_that_test(monkeypatch: pytest.MonkeyPatch) -> None:
    documents, queries = crowded(2000, 32, seed=0), np.random.default_rng(1).normal(size=(20, 32))
    expected = all_scores(queries, documents, "cosine")
    assert_best(search(queries, documents, top_k=10), expected, 10)
    monkeypatch.setattr(Scorer, "error", lambda self, size: np.zeros(len(self.exact_QE)))
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        assert_best(search(queries, documents, top_k=10), expected, 10)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("block_bytes", [1, 5000, 1 << 20])
def test_the_first_documents_win_where_all_are_the_same(similarity: str, block_bytes: int) -> None:
    documents = np.tile(np.random.default_rng(0).normal(size=(1, 6)), (500, 1))
    queries = np.random.default_rng(1).normal(size=(4, 6))
    _, indices = search(queries, documents, top_k=7, similarity=similarity, block_bytes=block_bytes)
    assert indices.tolist() == [list(range(7))] * 4


@pytest.mark.parametrize("block_bytes", [1, 100, 1 << 20])
def test_given_order_breaks_ties(block_bytes: int) -> None:
    documents = np.ones((6, 2), dtype=np.float32)
    order = np.array([4, 0, 5, 1, 3, 2])
    _, indices = search(documents[:1], documents, top_k=4, order_C=order, block_bytes=block_bytes)
    assert indices.tolist() == [[4, 0, 5, 1]]


def test_all_documents_with_the_last_score_compete_for_the_last_place() -> None:
    documents = np.array([[1.0], [2.0], [1.0], [3.0], [1.0]])
    _, indices = search(np.ones((1, 1)), documents, top_k=3, similarity="dot", order_C=np.array([4, 3, 2, 1, 0]))
    assert indices.tolist() == [[3, 1, 4]]


def test_documents_in_ascending_order_of_score_are_found_too() -> None:
    # The worst case of a search that keeps the best so far: every block beats all before it.
    documents = np.arange(1000, dtype=np.float32)[:, None]
    _, indices = search(np.ones((2, 1), np.float32), documents, top_k=3, similarity="dot", block_bytes=400)
    assert indices.tolist() == [[999, 998, 997]] * 2


@pytest.mark.parametrize("dtype", [np.float16, np.int8, np.uint8, np.float64])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_stored_numbers_are_compared_exactly_in_every_type(dtype: type, similarity: str) -> None:
    random = np.random.default_rng(0)
    queries, documents = random.normal(size=(6, 24)), (random.normal(size=(400, 24)) * 30).clip(0, 120).astype(dtype)
    found = search(queries, documents, top_k=20, similarity=similarity, block_bytes=50_000)
    assert_best(found, all_scores(queries, documents, similarity), 20)


@pytest.mark.parametrize("precision", ["int8", "uint8"])
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("small_work", [0, 2e10])
def test_levels_stand_for_the_numbers_that_their_ranges_say(
    precision: str, similarity: str, small_work: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "SMALL_WORK", small_work)
    random = np.random.default_rng(0)
    queries, documents = random.normal(size=(6, 24)), (random.normal(size=(600, 24)) + 3).astype(np.float32)
    ranges = np.stack([documents.min(0), documents.max(0)]).astype(np.float64)
    levels = quantize(documents, precision, ranges_2E=ranges)
    found = search(queries, levels, top_k=20, similarity=similarity, ranges_2E=ranges, block_bytes=50_000)
    values = dequantize(levels, ranges, out_BE=np.empty(levels.shape))
    assert_best(found, all_scores(queries, values, similarity), 20)
    assert np.abs(values - documents).max() <= 0.51 * ((ranges[1] - ranges[0]) / 255).max()


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
@pytest.mark.parametrize("storage", [np.float32, np.float16, np.float64, np.int8, "int8 with ranges"])
def test_fast_scores_are_within_their_error(similarity: str, storage: object) -> None:
    random = np.random.default_rng(0)
    lengths = 10.0 ** random.uniform(-3, 3, size=(64, 1))
    queries, documents = random.normal(size=(16, 384)), (random.normal(size=(64, 384)) + 0.5) * lengths
    ranges = None
    if storage == "int8 with ranges":
        ranges = np.stack([documents.min(0), documents.max(0)]).astype(np.float32)
        stored = quantize(documents.astype(np.float32), "int8", ranges_2E=ranges)
    else:
        stored = documents.clip(-128, 127).astype(storage)  # type: ignore[call-overload]
    found = StoredDocuments(stored, None, ranges)
    scorer, places, is_unit = Scorer(queries, similarity), slice(0, 64), similarity == "cosine"
    exact = scorer.dense(found.read_exactly(places))
    error = scorer.error(float(np.linalg.norm(found.read_exactly(places), axis=1).max()))
    if similarity in ("cosine", "dot"):
        for compiled in (None, compile_products(scorer.factors(), found, is_unit=is_unit, num_threads=1)):
            products = Products(scorer.factors(), found, 64, is_unit=is_unit, compiled=compiled)
            scores, norms = products.multiply(places)
            error = scorer.error(found.size(norms, places, is_unit=is_unit))
            far = np.abs(scores.astype(np.float64) - exact).max(axis=0)
            assert error is not None and 0 < far.max() and (far <= error).all()
    pairs = scorer.exact(np.tile(np.arange(16), 64), found.read_exactly(np.repeat(np.arange(64), 16)))
    assert error is not None and (np.abs(pairs.reshape(64, 16).astype(np.float64) - exact).max(axis=0) <= error).all()


@pytest.mark.parametrize("small_work", [0, 2e10])
def test_a_memory_mapped_file_is_searched_where_it_is(
    small_work: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "SMALL_WORK", small_work)
    documents = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float16)
    np.save(tmp_path / "documents.npy", documents)
    mapped = np.load(tmp_path / "documents.npy", mmap_mode="r")
    expected = search(documents[:5], documents, top_k=4)
    found = search(documents[:5], mapped, top_k=4)
    assert np.array_equal(found[0], expected[0]) and np.array_equal(found[1], expected[1])


@pytest.mark.parametrize("threads", [1, 3, 8])
@pytest.mark.parametrize("small_work", [0, 2e10])
def test_threads_and_who_multiplies_do_not_change_the_order(
    threads: int, small_work: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents, queries = crowded(3000, 16, seed=0), np.random.default_rng(1).normal(size=(50, 16))
    monkeypatch.setattr(search_module, "num_cores", lambda: threads)
    monkeypatch.setattr(search_module, "SMALL_WORK", small_work)
    found = search(queries, documents, top_k=10)
    assert_best(found, all_scores(queries, documents, "cosine"), 10)


def test_much_work_is_given_to_openvino_and_little_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []

    def compile_and_note(*args: Any, num_threads: int, is_unit: bool) -> object:
        given.append(num_threads)
        return compile_products(*args, num_threads=num_threads, is_unit=is_unit)

    monkeypatch.setattr(search_module, "compile_products", compile_and_note)
    monkeypatch.setattr(search_module, "num_cores", lambda: 2)
    ones = np.ones((30, 4), np.float32)
    search(ones, ones, top_k=2)
    assert given == []
    monkeypatch.setattr(search_module, "SMALL_WORK", 2 * 30 * 30 * 4)
    search(ones, ones, top_k=2)
    assert given == [2], "few queries: two threads share the documents"
    monkeypatch.setattr(search_module, "FEW_QUERIES", 15)
    search(ones, ones, top_k=2)
    assert given == [2, 1, 1], "each thread has its own queries"


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("few_queries", [1, 256])
@pytest.mark.parametrize("seed", range(3))
def test_openvino_finds_the_order_of_float64_at_every_length(
    dtype: type, similarity: str, few_queries: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "SMALL_WORK", 0)
    monkeypatch.setattr(search_module, "FEW_QUERIES", few_queries)
    random = np.random.default_rng(seed)
    largest = 2 if dtype is np.float16 else 17
    lengths = 10.0 ** random.uniform(-largest, largest, size=(2000, 1))
    documents = (crowded(2000, 48, seed=seed) * lengths).astype(dtype)
    documents[::50] = 0
    queries = random.normal(size=(20, 48)) * 10.0 ** random.uniform(-9, 9, size=(20, 1))
    found = search(queries, documents, top_k=30, similarity=similarity)
    expected = all_scores(queries, documents, similarity)
    order = np.argsort(-expected, axis=1, kind="stable")[:, :30]
    assert np.array_equal(found[1], order)
    np.testing.assert_allclose(found[0], np.take_along_axis(expected, order, axis=1), rtol=1e-5)


@pytest.mark.parametrize("small_work", [0, 2e10])
@pytest.mark.parametrize("length", [1e-44, 1e-37, 1e-25, 1e-19, 1e-12, 1e-11])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_the_bound_holds_where_products_or_squares_are_too_small_for_float32(
    small_work: float, length: float, similarity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "SMALL_WORK", small_work)
    documents, queries = crowded(1000, 24, seed=0), np.random.default_rng(1).normal(size=(9, 24))
    documents *= length / np.linalg.norm(documents, axis=1, keepdims=True)
    _, indices = search(queries, documents, top_k=20, similarity=similarity)
    expected = all_scores(queries, documents, similarity)
    assert np.array_equal(indices, np.argsort(-expected, axis=1, kind="stable")[:, :20])


def test_zero_vector_has_cosine_zero() -> None:
    scores, _ = search(np.zeros((1, 3)), np.eye(3), top_k=2)
    assert scores.tolist() == [[0.0, 0.0]]
    scores, indices = search(np.eye(3)[:1], np.array([[0.0, 0, 0], [-1, 0, 0], [0, 1, 0]]), top_k=3)
    assert scores.tolist() == [[0.0, 0.0, -1.0]] and indices.tolist() == [[0, 2, 1]]


def test_scores_beyond_the_number_type_are_ranked_too() -> None:
    documents = np.array([[-1e30], [1e30], [-1e30]], dtype=np.float32)
    scores, indices = search(documents[1:2], documents, top_k=3, similarity="dot")
    assert indices.tolist() == [[1, 0, 2]] and scores.tolist() == [[np.inf, -np.inf, -np.inf]]
    # Numbers that float32 cannot hold, in a block with such as it can.
    documents = np.array([[1e40, 0.0], [3.0, 4.0], [0.0, -1e40]])
    _, indices = search(np.array([[0.0, 2.0]]), documents, top_k=3)
    assert indices.tolist() == [[1, 0, 2]]


def test_no_query_gives_no_result() -> None:
    scores, indices = search(np.empty((0, 3)), np.eye(3), top_k=2)
    assert scores.shape == indices.shape == (0, 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
def test_memory_of_a_search_stays_within_its_bound(dtype: type) -> None:
    random = np.random.default_rng(0)
    queries = random.normal(size=(400, 32)).astype(np.float32)
    documents = (random.normal(size=(20_000, 32)) * 20).astype(dtype)
    tracemalloc.start()
    search(queries, documents, top_k=10, block_bytes=1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20, "all scores at once would take 32 MB"


def test_memory_stays_within_its_bound_where_all_documents_are_the_same() -> None:
    queries, documents = np.random.default_rng(0).normal(size=(400, 32)), np.ones((20_000, 32), np.float16)
    tracemalloc.start()
    search(queries, documents, top_k=10, block_bytes=1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 << 20, "all scores at once would take 32 MB"


def test_wrong_arguments_of_a_search_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ones = np.ones((2, 3))
    with pytest.raises(ConfigError, match="similarity='cos': expected one of cosine, dot, euclidean, manhattan"):
        search(ones, ones, top_k=1, similarity="cos")
    with pytest.raises(ValueRangeError, match="top_k must be at least 1, got 0"):
        search(ones, ones, top_k=0)
    with pytest.raises(ShapeError, match=r"queries \(2, 3\), documents \(2, 4\)"):
        search(ones, np.ones((2, 4)), top_k=1)
    with pytest.raises(ShapeError, match="no documents"):
        search(ones, np.ones((0, 3)), top_k=1)
    with pytest.raises(ValueRangeError, match="embedding of query 0 is not finite"):
        search(ones * np.inf, ones, top_k=1)
    for small_work in (2e10, 0):
        monkeypatch.setattr(search_module, "SMALL_WORK", small_work)
        with pytest.raises(ConfigError, match="ranges are for int8 and uint8 embeddings, got float64: leave them out"):
            search(ones, ones, top_k=1, ranges_2E=ones)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("small_work", [0, 2e10])
def test_a_document_that_is_not_finite_is_refused_by_its_index(
    similarity: str, value: float, small_work: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "SMALL_WORK", small_work)
    documents = np.ones((9, 3), np.float32)
    documents[4, 1] = value
    with pytest.raises(ValueRangeError, match="embedding of document 4 is not finite"):
        search(np.ones((2, 3)), documents, top_k=1, similarity=similarity, order_C=np.arange(9)[::-1])


@pytest.mark.parametrize("num_queries", [3, 40])
def test_an_error_in_one_thread_ends_the_search(num_queries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the others compare all that is left before anybody hears of it."""
    documents = np.random.default_rng(0).normal(size=(100_000, 4)).astype(np.float32)
    documents[0] = np.nan
    monkeypatch.setattr(search_module, "num_cores", lambda: 2)
    monkeypatch.setattr(search_module, "FEW_QUERIES", 20)
    monkeypatch.setattr(search_module, "BLOCK_DOCUMENTS", 10)
    blocks: list[int] = []
    multiply = Products.multiply
    monkeypatch.setattr(Products, "multiply", lambda self, places: (blocks.append(1), multiply(self, places))[1])
    with pytest.raises(ValueRangeError, match="the embedding of document 0 is not finite"):
        search(documents[1 : num_queries + 1], documents, top_k=2)
    assert len(blocks) < 5000  # of 10,000


def test_many_cores_do_not_make_blocks_small(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    documents, queries = random.normal(size=(5000, 8)), random.normal(size=(20, 8))
    sizes: list[int] = []
    multiply = Products.multiply

    def noted(self: Products, places: slice) -> tuple[np.ndarray, np.ndarray]:
        sizes.append(places.stop - places.start)
        return multiply(self, places)

    monkeypatch.setattr(Products, "multiply", noted)
    monkeypatch.setattr(search_module, "num_cores", lambda: 512)
    found = search(queries, documents, top_k=5)
    assert max(sizes) == -(-5000 // search_module.MOST_THREADS)
    assert_best(found, all_scores(queries, documents, "cosine"), 5)
