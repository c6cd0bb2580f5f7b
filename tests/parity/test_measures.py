"""Our measures agree with trec_eval, sentence-transformers 6.2.0, scikit-learn and scipy."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import pytrec_eval
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator
from sentence_transformers.sentence_transformer.evaluation import (
    BinaryClassificationEvaluator,
    InformationRetrievalEvaluator,
)
from sentence_transformers.util import cos_sim, dot_score, euclidean_sim, manhattan_sim
from sklearn.metrics import average_precision_score, f1_score

from rankwright.evaluation import (
    RETRIEVAL_MEASURES,
    evaluate_classification,
    evaluate_first_stage,
    evaluate_reranking,
    evaluate_retrieval,
    evaluate_similarity,
    judged_queries,
    measure_run,
)
from rankwright.evaluation.pairs import pair_measures
from rankwright.records import Qrels, RetrievalSet, Run
from tests.tolerances import assert_agrees

CUTS = (1, 2, 5, 10)
TREC_NAMES = {"accuracy": "success", "precision": "P", "recall": "recall", "ndcg": "ndcg_cut"}
"""Ours -> the name of the same measure in trec_eval."""


def trec_values(run: Run, qrels: Qrels) -> dict[str, dict[str, float]]:
    """trec_eval's values by query, under our names; where it has no such measure, derived from its nearest."""
    asked = {f"{name}.{','.join(map(str, CUTS))}" for name in (*TREC_NAMES.values(), "map_cut")}
    found = pytrec_eval.RelevanceEvaluator(qrels, asked | {"map", "recip_rank"}).evaluate(run)
    values: dict[str, dict[str, float]] = {}
    for query_id, trec in found.items():
        num_relevant = sum(grade > 0 for grade in qrels[query_id].values())
        ours = {f"{name}@{k}": trec[f"{theirs}_{k}"] for name, theirs in TREC_NAMES.items() for k in CUTS}
        for k in CUTS:
            # map_cut divides by all relevant documents, map@k by those that fit into k.
            ours[f"map@{k}"] = trec[f"map_cut_{k}"] * num_relevant / max(1, min(k, num_relevant))
            # recip_rank has no cut-off.
            ours[f"mrr@{k}"] = trec["recip_rank"] if trec["recip_rank"] >= 1 / k - 1e-12 else 0.0
        values[query_id] = {**ours, "map": trec["map"]}
    return values


IDS = st.sampled_from([f"d{i}" for i in range(12)] + ["D1", "d10x", "zażółć", "кот", "\U0001f600", "d 1"])
SCORES = st.one_of(
    st.sampled_from([0.0, -0.0, 0.5, 1.0, -1.0]),
    st.floats(-10, 10, allow_nan=False),
    st.sampled_from([1.0 + 1e-10, 1.0 + 1e-6]),
)


@given(
    run=st.dictionaries(st.sampled_from("abc"), st.dictionaries(IDS, SCORES, min_size=1), min_size=1),
    qrels=st.dictionaries(st.sampled_from("abc"), st.dictionaries(IDS, st.integers(-1, 3), min_size=1), min_size=1),
)
@settings(max_examples=300, deadline=None)
@pytest.mark.filterwarnings("ignore:.*have no documents in the run:UserWarning")
def test_random_runs_with_ties_and_grades_have_the_values_of_trec_eval(run: Run, qrels: Qrels) -> None:
    if not any(grade > 0 for grades in qrels.values() for grade in grades.values()):
        return
    expected = trec_values(run, qrels)
    names = [f"{name}@{k}" for name in (*TREC_NAMES, "map", "mrr") for k in CUTS] + ["map"]
    found = measure_run(run, qrels, measures=names)
    for name in names:
        wanted = [expected[query_id][name] if query_id in run else 0.0 for query_id in judged_queries(qrels)]
        assert_agrees(found[name], wanted, "measure", dtype="float64", what=name)


def test_large_run_has_the_values_of_trec_eval() -> None:
    random = np.random.default_rng(0)
    run = {
        f"q{i}": {
            f"d{j}": float(s)
            for j, s in zip(random.permutation(3000)[:400], random.normal(size=400).round(2), strict=True)
        }
        for i in range(40)
    }
    qrels = {q: {f"d{j}": int(random.integers(0, 4)) for j in random.permutation(3000)[:300]} for q in run}
    expected = trec_values(run, qrels)
    for name, values in measure_run(run, qrels, measures=list(expected["q0"])).items():
        assert_agrees(values, [expected[q][name] for q in judged_queries(qrels)], "measure", dtype="float64", what=name)


ST_SIMILARITIES = {"cosine": cos_sim, "dot": dot_score, "euclidean": euclidean_sim, "manhattan": manhattan_sim}


NO_CARD = SimpleNamespace(set_evaluation_metrics=lambda *_: None)
"""ST's evaluators write into the model's card."""


class EmbeddingsOnly:
    """Stands for a bi-encoder: gives the embeddings that it holds, cut as ST's models cut them."""

    model_card_data = NO_CARD

    def __init__(self, embeddings: dict[str, np.ndarray], similarity: str) -> None:
        self.embeddings = embeddings
        self.similarity_fn_name = similarity
        self.similarity = ST_SIMILARITIES[similarity]

    def encode_query(self, texts: Sequence[str], *, truncate_dim: int | None, **_: object) -> torch.Tensor:
        return torch.tensor(np.stack([self.embeddings[text][:truncate_dim] for text in texts]))

    encode_document = encode_query


# Whole numbers give equal scores; not with cosine, whose norms are rounded.
@pytest.mark.parametrize(
    ("similarity", "values"),
    [*((name, "floats") for name in ST_SIMILARITIES), *((name, "ties") for name in ("dot", "euclidean", "manhattan"))],
)
@pytest.mark.parametrize("dim", [12, 5])
@pytest.mark.parametrize("chunk", [17, 50_000])
def test_retrieval_has_the_values_of_sentence_transformers(similarity: str, dim: int, chunk: int, values: str) -> None:
    random = np.random.default_rng(1)
    queries, documents = ((random.normal(size=(num, 12)) * 2).astype(np.float32) for num in (25, 120))
    if values == "ties":
        queries, documents = queries.round(), documents.round()
    # Ids whose order is not that of the corpus.
    document_ids = [f"d{i}" for i in random.permutation(120)]
    data = RetrievalSet(
        name="toy",
        queries={f"q{i}": f"query {i}" for i in range(25)},
        documents={document_id: f"document {document_id}" for document_id in document_ids},
        qrels={f"q{i}": {f"d{j}": 1 for j in random.permutation(125)[: random.integers(0, 9)]} for i in range(25)},
    )
    texts = [*data.queries.values(), *data.documents.values()]
    model = EmbeddingsOnly(dict(zip(texts, np.concatenate([queries, documents]), strict=True)), similarity)
    evaluator = InformationRetrievalEvaluator(
        queries=dict(data.queries),
        corpus=dict(data.documents),
        relevant_docs={query_id: set(grades) for query_id, grades in data.qrels.items()},
        corpus_chunk_size=chunk,
        mrr_at_k=list(CUTS),
        ndcg_at_k=list(CUTS),
        accuracy_at_k=list(CUTS),
        precision_recall_at_k=list(CUTS),
        map_at_k=[*CUTS, 100],
        truncate_dim=dim,
    )
    expected = {name: float(value) for name, value in evaluator(model).items()}
    names = [name.removeprefix(f"{similarity}_") for name in expected]
    found = evaluate_retrieval((queries, documents), data, similarity=similarity, dims=[dim], measures=names)[0]
    for name in names:
        assert_agrees(found.measures[name], expected[f"{similarity}_{name}"], "measure", dtype="float64", what=name)
    binary = [name.replace("ndcg", "ndcg_binary") for name in names if name.startswith("ndcg")]
    again = evaluate_retrieval((queries, documents), data, similarity=similarity, dims=[dim], measures=binary)[0]
    assert [again.measures[name] for name in binary] == [found.measures[n] for n in names if n.startswith("ndcg")]


def test_measures_of_retrieval_are_those_that_sentence_transformers_reports() -> None:
    model = EmbeddingsOnly({"a": np.ones(2), "b": np.ones(2)}, "cosine")
    found = InformationRetrievalEvaluator({"q": "a"}, {"d": "b"}, {"q": {"d"}})(model)
    assert {f"cosine_{name}" for name in RETRIEVAL_MEASURES} == set(found)


def test_binary_ndcg_of_graded_judgments_is_that_of_sentence_transformers() -> None:
    grades, ranked = [3, 0, 1, 2], [0, 1, 1, 0, 1]
    run = {"q": {document: -float(rank) for rank, document in enumerate("xbcya")}}
    qrels = {"q": {"a": grades[0], "n": grades[1], "b": grades[2], "c": grades[3]}}
    dcg = InformationRetrievalEvaluator.compute_dcg_at_k
    for k in (1, 2, 3, 10):
        found = measure_run(run, qrels, measures=[f"ndcg_binary@{k}"])[f"ndcg_binary@{k}"][0]
        assert_agrees(found, dcg(ranked, k) / dcg([1] * 3, k), "measure", dtype="float64")


def reranking_data(*, missing: bool) -> tuple[RetrievalSet, Callable[[Sequence[tuple[str, str]]], np.ndarray]]:
    """40 queries with a first stage of 15 documents; `missing`: it does not hold all relevant ones."""
    random = np.random.default_rng(2)
    documents = {f"d{i}": f"document {i}" for i in range(300)}
    first_stage, qrels = {}, {}
    for i in range(40):
        ids = [f"d{j}" for j in random.permutation(300)[:18]]
        first_stage[f"q{i}"] = {document: -float(rank) for rank, document in enumerate(ids[:15])}
        relevant = random.permutation(18 if missing else 15)[: random.integers(1, 5)]
        qrels[f"q{i}"] = {ids[place]: 1 for place in relevant}
    data = RetrievalSet("toy", {f"q{i}": f"query {i}" for i in range(40)}, documents, qrels, first_stage)

    def score(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        numbers = [int(query.split()[1]) * 1000 + int(document.split()[1]) for query, document in pairs]
        return np.array([np.sin(12.9898 * number) for number in numbers])

    return data, score


def st_reranking(data: RetrievalSet, score: Callable, *, with_documents: bool, always: bool = True) -> dict[str, float]:
    """The values of ST's evaluator on the same candidates."""
    samples = []
    assert data.first_stage is not None
    for query_id, grades in data.qrels.items():
        listed = [data.documents[document_id] for document_id in data.first_stage[query_id]]
        positive = [data.documents[document_id] for document_id, grade in grades.items() if grade > 0]
        sample = {"query": data.queries[query_id], "positive": positive}
        negative = [text for text in listed if text not in positive]
        samples.append({**sample, "documents": listed} if with_documents else {**sample, "negative": negative})
    evaluator = CrossEncoderRerankingEvaluator(samples, always_rerank_positives=always)
    model = SimpleNamespace(model_card_data=NO_CARD, predict=lambda pairs, **_: score([tuple(pair) for pair in pairs]))
    return {name: float(value) for name, value in evaluator(model).items()}


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(("ours", "always"), [("add", True), ("ignore", False)])
def test_reranking_of_a_first_stage_has_the_values_of_sentence_transformers(
    missing: bool, ours: str, always: bool
) -> None:
    data, score = reranking_data(missing=missing)
    expected = st_reranking(data, score, with_documents=True, always=always)
    found = evaluate_reranking(score, data, missing_relevant=ours)
    for name in ("ndcg@10", "mrr@10", "map"):
        assert_agrees(found.measures[name], expected[name], "measure", dtype="float64", what=name)
    if missing:
        honest = evaluate_reranking(score, data)
        assert honest.measures["ndcg@10"] < found.measures["ndcg@10"]


def test_order_of_the_first_stage_has_the_values_of_sentence_transformers() -> None:
    data, score = reranking_data(missing=False)
    expected = st_reranking(data, score, with_documents=True)
    found = evaluate_first_stage(data)
    for name in ("ndcg@10", "mrr@10", "map"):
        assert_agrees(found.measures[name], expected[f"base_{name}"], "measure", dtype="float64", what=name)


def test_reranking_of_judged_documents_has_the_values_of_sentence_transformers() -> None:
    data, score = reranking_data(missing=False)
    expected = st_reranking(data, score, with_documents=False)
    assert data.first_stage is not None
    judged = {q: {d: data.qrels[q].get(d, 0) for d in found} for q, found in data.first_stage.items()}
    found = evaluate_reranking(score, RetrievalSet("toy", data.queries, data.documents, judged))
    for name in ("ndcg@10", "mrr@10", "map"):
        assert_agrees(found.measures[name], expected[name], "measure", dtype="float64", what=name)


PAIRS = st.lists(
    st.tuples(st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(-5, 5, width=32)), st.integers(0, 1)),
    min_size=2,
    max_size=40,
).filter(lambda pairs: len({label for _, label in pairs}) == 2)


@given(pairs=PAIRS)
@settings(max_examples=200, deadline=None)
def test_classification_has_the_values_of_scikit_learn_and_sentence_transformers(
    pairs: list[tuple[float, int]],
) -> None:
    scores, labels = np.array([score for score, _ in pairs], np.float32), np.array([label for _, label in pairs])
    found = pair_measures({"score": scores, "label": labels.astype(float)}, np.ones((1, len(pairs))), "classification")
    accuracy, _ = BinaryClassificationEvaluator.find_best_acc_and_threshold(scores, labels, True)
    f1, _, _, _ = BinaryClassificationEvaluator.find_best_f1_and_threshold(scores, labels, True)
    expected = {"ap": average_precision_score(labels, scores), "f1": f1, "accuracy": accuracy}
    for name, value in expected.items():
        assert_agrees(found[name][0], value, "measure", dtype="float64", what=name)
    # Several thresholds can be as good; what ours promises must hold, as scikit-learn counts.
    taken = scores >= found["f1_threshold"][0]
    assert_agrees(f1_score(labels, taken), found["f1"][0], "measure", dtype="float64")
    assert np.mean((scores >= found["accuracy_threshold"][0]) == labels) == pytest.approx(accuracy)


def test_thresholds_are_those_of_sentence_transformers_where_one_is_best() -> None:
    random = np.random.default_rng(3)
    for _ in range(20):
        labels = random.integers(0, 2, 200)
        scores = (labels + random.normal(size=200)).astype(np.float32)
        found = evaluate_classification(scores, labels, dataset="toy", system="s").measures
        f1, precision, recall, threshold = BinaryClassificationEvaluator.find_best_f1_and_threshold(
            scores, labels, True
        )
        assert (found["precision"], found["recall"]) == pytest.approx((precision, recall))
        assert found["f1_threshold"] == pytest.approx(float(threshold), abs=1e-6) and found["f1"] == pytest.approx(f1)


@given(rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=30))
@settings(max_examples=100, deadline=None)
def test_classes_have_the_values_of_scikit_learn(rows: list[tuple[int, int]]) -> None:
    labels, predictions = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    found = pair_measures({"prediction": predictions, "label": labels}, np.ones((1, len(rows))), "classification")
    for average in ("macro", "micro", "weighted"):
        expected = f1_score(labels, predictions, average=average, zero_division=0)
        assert_agrees(found[f"f1_{average}"][0], expected, "measure", dtype="float64", what=average)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decimals", [1, 6])
def test_correlations_have_the_values_of_scipy(dtype: type, decimals: int) -> None:
    random = np.random.default_rng(4)
    for num in (2, 3, 10, 500):
        labels = random.integers(0, 6, num) / 5
        labels[:2] = 0, 1
        scores = (labels + random.normal(size=num)).round(decimals).astype(dtype)
        found = evaluate_similarity(scores, labels, dataset="toy", system="s").measures
        wide = scores.astype(np.float64)
        assert_agrees(found["spearman"], spearmanr(labels, wide).statistic, "measure", dtype="float64")
        assert_agrees(found["pearson"], pearsonr(labels, wide).statistic, "measure", dtype="float64")
