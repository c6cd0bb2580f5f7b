"""What is measured on which data, beside which references, and how models are compared."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankwright import BiEncoder, CrossEncoder, evaluate
from rankwright.config import CardConfig, LossConfig
from rankwright.data import read_pairs
from rankwright.errors import ConfigError
from rankwright.evaluation import RERANKING_MEASURES
from rankwright.records import RetrievalSet
from rankwright.workflow.evaluations import system_names
from rankwright.workflow.examples import NUM_DOCUMENTS, usage_example
from rankwright.workflow.facts import data_facts, evaluation_data_facts, loss_facts, overlap_facts
from rankwright.workflow.inputs import hold_out
from rankwright.workflow.measuring import (
    EvaluationData,
    Settings,
    measure_model,
    measure_references,
    ranking_measures,
    read_evaluation_data,
)
from tests.unit.workflow.small_data import (
    DOCUMENTS,
    QUERIES,
    beir_folder,
    classified_pairs,
    graded_pairs,
    judged_pairs,
    positive_pairs,
)


@pytest.fixture(scope="module")
def bi_encoder(tiny: Any) -> BiEncoder:
    return BiEncoder(tiny.bi_encoder("bert"), dtype="float32")


@pytest.fixture(scope="module")
def cross_encoder(tiny: Any) -> CrossEncoder:
    return CrossEncoder(tiny.cross_encoder("bert"), dtype="float32")


def test_a_beir_folder_is_a_corpus(tmp_path: Path) -> None:
    data = read_evaluation_data(beir_folder(tmp_path / "beir"), name="ours")
    assert data.retrieval is not None
    assert data.has_corpus
    assert (data.name, data.retrieval.name) == ("ours", "ours")
    assert len(data.retrieval.documents) == len(DOCUMENTS)
    assert data.labelled == []


def test_judged_pairs_are_candidates_and_labelled_pairs(tmp_path: Path) -> None:
    data = read_evaluation_data(judged_pairs(tmp_path / "pairs.jsonl"))
    assert data.retrieval is not None
    assert not data.has_corpus
    assert len(data.labelled) == 3 * len(QUERIES)
    assert data.is_binary


def test_pairs_without_choices_rank_nothing(tmp_path: Path) -> None:
    assert read_evaluation_data(classified_pairs(tmp_path / "classes.jsonl", num_classes=2)).retrieval is None
    graded = read_evaluation_data(graded_pairs(tmp_path / "graded.jsonl"))
    assert graded.retrieval is None
    assert not graded.is_binary


@pytest.mark.parametrize(
    ("labels", "is_ranking"),
    [
        ([1, 0, 1, 1], True),
        ([1, 0, 1, 1, 0, 0], False),
        ([1, 0.5, 1, 0], False),
    ],
    ids=["half have a choice", "fewer have one", "degrees do not say what is relevant"],
)
def test_pairs_are_ranked_where_half_of_the_queries_have_a_choice(labels: list[float], is_ranking: bool) -> None:
    rows = [{"query": f"q{i // 2}", "document": f"d{i}", "label": label} for i, label in enumerate(labels)]
    assert (read_evaluation_data(rows).retrieval is not None) == is_ranking


def test_positive_pairs_are_a_corpus_of_all_their_documents(tmp_path: Path) -> None:
    data = read_evaluation_data(positive_pairs(tmp_path / "pairs.jsonl"))
    assert data.has_corpus
    assert data.retrieval is not None
    assert set(data.retrieval.documents.values()) == set(DOCUMENTS)
    assert [sorted(grades.values()) for grades in data.retrieval.qrels.values()] == [[0, 1]] * len(QUERIES)


def test_a_first_stage_needs_a_corpus(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"first_stage='run\.trec' needs a BEIR folder as data, got "):
        read_evaluation_data(judged_pairs(tmp_path / "pairs.jsonl"), first_stage="run.trec")


def test_a_perfect_model_has_the_best_numbers(bi_encoder: BiEncoder, tmp_path: Path) -> None:
    """Queries that are the documents themselves: any encoder finds them."""
    data = read_evaluation_data([{"query": text, "positive": text} for text in DOCUMENTS])
    (evaluation,) = measure_model(bi_encoder, data)
    assert evaluation.measures["ndcg@10"] == evaluation.measures["accuracy@1"] == 1.0


def test_a_bi_encoder_is_measured_at_each_size(bi_encoder: BiEncoder, tmp_path: Path) -> None:
    corpus = read_evaluation_data(beir_folder(tmp_path / "beir"))
    pairs = read_evaluation_data(judged_pairs(tmp_path / "pairs.jsonl"))
    settings = Settings(dims=(32, 4), measures=("ndcg@5",))
    assert [(e.task, e.dim) for e in measure_model(bi_encoder, corpus, settings)] == [
        ("retrieval", 32),
        ("retrieval", 4),
    ]
    found = measure_model(bi_encoder, pairs, Settings(dims=(32, 4)))
    assert {(e.task, e.dim, e.similarity) for e in found} == {
        (task, dim, "cosine") for task in ("reranking", "classification") for dim in (32, 4)
    }


def test_bm25_is_searched_as_deep_as_the_measures_look() -> None:
    """As a bi-encoder is: cut after `top_k` documents, BM25 could not find what the model may."""
    rows = [{"query": "tide", "positive": "tide" + " and moon" * i} for i in range(5)]
    (found,) = measure_references(
        read_evaluation_data(rows), Settings(measures=("recall@5", "recall@2"), top_k=1), searches=True
    )
    assert found.measures == {"recall@5": 1.0, "recall@2": pytest.approx(0.4)}


def test_scores_of_pairs_are_the_similarities_of_the_model(
    bi_encoder: BiEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt is put before queries only, and each text is embedded once."""
    model = BiEncoder(bi_encoder.folder, dtype="float32", prompts={"query": "query: "})
    data = read_evaluation_data(graded_pairs(tmp_path / "graded.jsonl"))
    seen: list[str] = []

    def counted(task: str, original: Any, texts: list[str]) -> np.ndarray:
        seen.extend(f"{task} {text}" for text in texts)
        return original(texts)

    for task in ("query", "document"):
        monkeypatch.setattr(model, f"encode_{task}", partial(counted, task, getattr(model, f"encode_{task}")))
    (evaluation,) = measure_model(model, data)
    assert len(seen) == len(set(seen))
    assert {text.partition(" ")[0] for text in seen} == {"query", "document"}
    queries = model.encode_query([row.query for row in data.labelled])
    scores = (queries * model.encode_document([row.document for row in data.labelled])).sum(1)
    from scipy.stats import spearmanr

    expected = spearmanr(scores, [row.label for row in data.labelled]).statistic
    assert evaluation.measures["spearman"] == pytest.approx(expected, abs=0.02)  # pairs that all but tie may change


def test_references_need_no_model(tmp_path: Path) -> None:
    corpus = read_evaluation_data(beir_folder(tmp_path / "beir"))
    pairs = read_evaluation_data(judged_pairs(tmp_path / "pairs.jsonl"))
    graded = read_evaluation_data(graded_pairs(tmp_path / "graded.jsonl"))

    def names(data: Any, *, searches: bool) -> list[str]:
        return list(dict.fromkeys(e.system for e in measure_references(data, Settings(), searches=searches)))

    assert names(corpus, searches=True) == ["BM25"]
    assert names(corpus, searches=False) == ["first stage (BM25)"]
    assert names(pairs, searches=False)[:2] == ["BM25", "longer text"]
    assert names(graded, searches=False)[:1] == ["BM25"]


def test_a_reranker_gets_the_first_stage_that_is_given(cross_encoder: CrossEncoder, tmp_path: Path) -> None:
    folder = beir_folder(tmp_path / "beir")
    lines = [f"q{i} Q0 d{(i + k) % 10} {k + 1} {(8, 9, 7)[k]} ours" for i in range(len(QUERIES)) for k in (2, 0, 1)]
    (tmp_path / "run.trec").write_text("\n".join(lines) + "\n")
    data = read_evaluation_data(folder, first_stage=tmp_path / "run.trec")
    first = measure_references(data, Settings(), searches=False)[0]
    assert first.system == "first stage"
    assert first.measures["mrr@10"] == 0.5  # each query's own document has the second highest score
    assert measure_model(cross_encoder, data)[0].num_queries == len(QUERIES)
    cut = Settings(top_k=2)
    for found in (measure_model(cross_encoder, data, cut), measure_references(data, cut, searches=False)):
        assert found[0].parameters["num_pairs"] == 2 * len(QUERIES)


def test_several_labels_give_no_order_of_documents(tiny: Any, tmp_path: Path) -> None:
    model = CrossEncoder(tiny.cross_encoder("bert", num_labels=3), dtype="float32")
    found = measure_model(model, read_evaluation_data(judged_pairs(tmp_path / "pairs.jsonl")))
    assert [(one.task, one.primary) for one in found] == [("classification", "f1_macro")]


def test_measures_of_rankings_have_a_cut_off_or_are_map() -> None:
    assert ranking_measures(Settings(measures=("ap", "map", "mrr@5"))) == ("map", "mrr@5")
    assert ranking_measures(Settings(measures=("ap",))) == RERANKING_MEASURES


def test_models_are_compared_with_the_first_one(bi_encoder: BiEncoder, tiny: Any, tmp_path: Path) -> None:
    other = tiny.bi_encoder("roberta")
    found = evaluate([bi_encoder, other], beir_folder(tmp_path / "beir"), measures=["ndcg@5"])
    assert [e.system for e in found.evaluations] == [bi_encoder.folder.name, other.name, "BM25"]
    assert [c.reference for c in found.comparisons] == [other.name, "BM25"]
    first, second = (e.measures["ndcg@5"] for e in found.evaluations[:2])
    assert found.comparisons[0].difference == pytest.approx(first - second)
    assert len(found.to_json()["evaluations"]) == 3  # type: ignore[arg-type]


def test_measures_and_settings_together_are_an_error(bi_encoder: BiEncoder) -> None:
    with pytest.raises(ConfigError, match=r"pass either measures= or settings=, which has measures of its own"):
        evaluate(bi_encoder, [], measures=["ndcg@5"], settings=Settings())


def test_models_of_the_same_name_are_numbered(bi_encoder: BiEncoder) -> None:
    assert system_names(["a/x", "b/x", Path("c/y")]) == ["x (1)", "x (2)", "y"]
    assert system_names([bi_encoder]) == [bi_encoder.folder.name]
    assert system_names(["runs/reranker/model"]) == ["reranker"]


def test_the_example_of_a_card_is_a_query_with_its_documents(bi_encoder: BiEncoder, tmp_path: Path) -> None:
    data = read_evaluation_data(beir_folder(tmp_path / "beir"))
    example = usage_example(bi_encoder, data)
    assert example is not None
    i = QUERIES.index(example["query"])
    assert example["documents"][0] == DOCUMENTS[i % 10]
    assert len(example["documents"]) == len(set(example["documents"])) == NUM_DOCUMENTS
    ranked = bi_encoder.rank(example["query"], example["documents"])
    assert sorted(example["scores"], reverse=True) == pytest.approx([entry["score"] for entry in ranked])


def test_the_example_of_labelled_pairs_has_both_labels(cross_encoder: CrossEncoder, tmp_path: Path) -> None:
    example = usage_example(cross_encoder, read_evaluation_data(judged_pairs(tmp_path / "pairs.jsonl")))
    assert example is not None
    assert example["truth"] == [1.0, 0.0, 0.0, None]  # the last one is of another query, and nobody judged it
    pairs = [(example["query"], document) for document in example["documents"]]
    np.testing.assert_allclose(example["scores"], cross_encoder.predict(pairs), atol=1e-6)


def test_the_example_of_graded_pairs_has_the_best_and_the_worst(cross_encoder: CrossEncoder) -> None:
    rows = [{"query": "q", "document": f"d{i}", "label": i / 10} for i in range(6)]
    example = usage_example(cross_encoder, read_evaluation_data(rows))
    assert example is not None
    assert (example["documents"], example["truth"]) == (["d5", "d4", "d1", "d0"], [0.5, 0.4, 0.1, 0.0])


def test_the_example_is_short_where_one_is(cross_encoder: CrossEncoder) -> None:
    long, short, shorter = (
        [{"query": name, "document": name * length, "label": label} for label in (0.2, 0.8)]
        for name, length in (("l", 700), ("s", 500), ("t", 5))
    )
    pairs = usage_example(cross_encoder, read_evaluation_data([*long, *short, *shorter]))
    assert pairs is not None and pairs["query"] == "s"
    corpora = [
        [{"query": f"q{i}", "positive": text} for i, text in enumerate(texts)]
        for texts in (["a" * 9, "b"], ["c" * 700])
    ]
    for rows in corpora:
        example = usage_example(cross_encoder, read_evaluation_data(rows))
        assert example is not None and example["query"] == "q0"


def test_data_without_queries_have_no_example(cross_encoder: CrossEncoder, tmp_path: Path) -> None:
    data = read_evaluation_data(graded_pairs(tmp_path / "graded.jsonl"))
    assert usage_example(cross_encoder, replace(data, labelled=[])) is None


@pytest.mark.parametrize("write", [judged_pairs, positive_pairs])
def test_held_out_queries_are_in_one_part_only(tmp_path: Path, write: Any) -> None:
    table = read_pairs(write(tmp_path / "pairs.jsonl"))
    kept, data = hold_out(table)
    held = data.table
    assert held is not None
    assert kept.size_rows + held.size_rows == table.size_rows
    assert not {row.query for row in kept.rows} & {row.query for row in held.rows}
    assert 2 <= held.size_rows <= table.size_rows // 2


def test_truncation_is_counted_over_what_the_model_would_be_given(
    tmp_path: Path, bi_encoder: BiEncoder, cross_encoder: CrossEncoder
) -> None:
    table = read_pairs(positive_pairs(tmp_path / "pairs.jsonl"))
    texts, documents = (sum(len(row.texts) - cut for row in table.rows) for cut in (0, 1))
    assert data_facts(table, bi_encoder, CardConfig())["truncation"]["texts"] == texts
    assert data_facts(table, cross_encoder, CardConfig())["truncation"]["texts"] == documents


def test_what_a_prompt_pushes_out_is_counted_as_cut(tiny: Any, tmp_path: Path) -> None:
    pairs = read_pairs(positive_pairs(tmp_path / "pairs.jsonl"))
    corpus = read_evaluation_data(beir_folder(tmp_path / "beir"))

    def lost(prompts: dict[str, str]) -> list[int]:
        model = BiEncoder(tiny.bi_encoder("bert"), prompts=prompts)
        model.max_length = max(model.tokenizer.count([*QUERIES, *DOCUMENTS])) + 2
        facts = (data_facts(pairs, model, CardConfig()), evaluation_data_facts(corpus, model, CardConfig()))
        return [each["truncation"]["tokens_lost"] for each in facts]

    assert lost({}) == [0, 0]
    only_query, only_document = lost({"query": "a " * 40}), lost({"document": "a " * 40})
    assert min(only_query) > 0
    assert min(only_document) > 0


def test_what_training_and_evaluation_share_is_counted_once_and_in_both_directions() -> None:
    train = read_pairs([{"query": "a", "document": "b", "label": 1}, {"query": "c", "document": "d", "label": 0}])
    pairs = [("b", "a", 0.5), ("c", "d", 0.2), ("c", "d", 0.3), ("c", "x", 1)]
    rows = [{"query": query, "document": document, "label": label} for query, document, label in pairs]
    assert overlap_facts(train, read_evaluation_data(rows)) == {"queries": 1, "pairs": 2}
    judged = RetrievalSet("beir", {"q": "c"}, {"1": "d", "2": "x"}, {"q": {"1": 0, "2": 1, "lost": 1}})
    assert overlap_facts(train, EvaluationData("beir", "", judged, has_corpus=True)) == {"queries": 1, "pairs": 0}


def test_facts_of_a_loss_name_what_acts() -> None:
    ranking = LossConfig(name="multiple_negatives_ranking", temperature=0.02, matryoshka_dims=(32, 8))
    facts = loss_facts(ranking)
    assert (facts["name"], facts["parameters"]["matryoshka_weights"]) == ("matryoshka", [1.0, 1.0])
    assert facts["wraps"]["parameters"] == {"temperature": 0.02, "directions": ["query_to_document"]}
    assert facts["wraps"]["fullname"] == "rankwright.losses.multiple_negatives_ranking"
    some = loss_facts(ranking.model_copy(update={"matryoshka_weights": (2.0, 1.0)}))
    assert some["parameters"] == {"matryoshka_dims": [32, 8], "matryoshka_weights": [2.0, 1.0]}
    weighted = loss_facts(LossConfig(name="binary_cross_entropy", pos_weight=3.0))
    assert weighted["parameters"] == {"pos_weight": 3.0}
