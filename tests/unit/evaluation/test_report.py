"""Evaluations as files and tables."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rankwright.errors import DataError
from rankwright.evaluation import Evaluation, evaluate_classification, read_evaluations, table_rows, write_evaluations
from rankwright.evaluation.report import evaluation_of_queries


def evaluation(**changes: object) -> Evaluation:
    found = evaluation_of_queries(
        ["q1", "zażółć"],
        {"ndcg@10": np.array([1.0, 0.5]), "mrr@10": np.array([1.0, 1 / 3])},
        task="retrieval",
        dataset="toy",
        system="model",
        parameters={"num_documents": 3},
    )
    return Evaluation(**{**found.to_json(), **changes})


def test_evaluation_comes_back_from_its_file_unchanged(tmp_path: Path) -> None:
    pairs = evaluate_classification(np.array([0.1, 0.7], np.float32), [0, 1], dataset="toy", system="base")
    written = [Evaluation.from_json(evaluation().to_json()), replace(pairs, dim=8)]
    write_evaluations(tmp_path / "e.json", written)
    assert read_evaluations(tmp_path / "e.json") == written
    assert "zażółć" in (tmp_path / "e.json").read_text(encoding="utf-8")


def test_file_has_the_keys_that_readers_rely_on(tmp_path: Path) -> None:
    write_evaluations(tmp_path / "e.json", [evaluation()])
    facts = json.loads((tmp_path / "e.json").read_text(encoding="utf-8"))[0]
    assert list(facts) == [
        "task",
        "dataset",
        "system",
        "measures",
        "intervals",
        "primary",
        "num_queries",
        "dim",
        "similarity",
        "parameters",
        "query_ids",
        "per_query",
    ]
    assert facts["measures"] == {"ndcg@10": 0.75, "mrr@10": pytest.approx(2 / 3)}
    assert facts["intervals"] == {"ndcg@10": [0.5, 1.0], "mrr@10": [pytest.approx(1 / 3), 1.0]}
    assert facts["dim"] is None and facts["primary"] == "ndcg@10" and facts["per_query"]["ndcg@10"] == [1.0, 0.5]


def test_keys_of_a_newer_version_are_ignored() -> None:
    assert Evaluation.from_json({**evaluation().to_json(), "new": 1}).measures == evaluation().measures


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"task": "retrieval"}', "expected a list of evaluations, found dict"),
        ("[1]", "expected an object, found int"),
        ('[{"task": "retrieval"}]', "not an evaluation: dataset, system, .* missing; found task"),
        ("[", "e.json: Expecting value"),
    ],
)
def test_file_that_holds_no_evaluations_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "e.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_evaluations(tmp_path / "e.json")


def test_unknown_task_is_refused() -> None:
    with pytest.raises(DataError, match="unknown task 'summarisation' of an evaluation; known: retrieval, reranking"):
        Evaluation.from_json({**evaluation().to_json(), "task": "summarisation"})


def test_table_has_a_row_per_evaluation_and_the_interval_of_the_primary_measure() -> None:
    rows = table_rows([evaluation(dim=384), evaluation(system="BM25")])
    assert rows == [
        ["system", "dim", "ndcg@10", "mrr@10"],
        ["model", "384", "0.7500 [0.5000, 1.0000]", "0.6667"],
        ["BM25", "-", "0.7500 [0.5000, 1.0000]", "0.6667"],
    ]


def test_table_has_no_dimensions_where_there_are_none_and_marks_what_is_missing() -> None:
    assert table_rows([evaluation()], ["mrr@10", "map"]) == [["system", "mrr@10", "map"], ["model", "0.6667", "-"]]


def test_table_leaves_thresholds_out() -> None:
    pairs = evaluate_classification(np.array([0.1, 0.7]), [0, 1], dataset="toy", system="base")
    assert "f1_threshold" in pairs.measures and "f1_threshold" not in table_rows([pairs])[0]
