import json
from pathlib import Path

import pytest

from rankwright.card import read_run, render_card
from rankwright.errors import DataError
from tests.run_folders import make_reranker, make_retriever

FILES = (
    "config.toml",
    "environment.json",
    "data.json",
    "metrics.jsonl",
    "evaluations/references.json",
    "evaluations/trained.json",
    "summary.json",
)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (make_reranker(tmp_path) / name).unlink()
    with pytest.raises(DataError, match=rf"{name}: no such file.*Give the folder that a finished `rankwright train`"):
        read_run(tmp_path)


@pytest.mark.parametrize("name", [name for name in FILES if name != "config.toml"])
def test_a_file_that_is_not_json_is_named(tmp_path: Path, name: str) -> None:
    (make_reranker(tmp_path) / name).write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=rf"{name}.*not"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"summary.json:comparison.low": "x"}, r"summary.json: key 'comparison.low': .*number.*got 'x'"),
        ({"summary.json:comparison.verdict": "good"}, r"key 'comparison.verdict': .*'better'.*got 'good'"),
        ({"summary.json:usage.scores": ["a", 1, 2]}, r"summary.json: key 'usage.scores.0.0': .*got 'a'"),
        ({"data.json:train.size": None}, r"data.json: key 'train.size': .*got None"),
        ({"data.json:eval.0.statistics": []}, r"data.json: key 'eval.0.statistics'"),
        ({"environment.json:cores": "two"}, r"environment.json: key 'cores'"),
        ({"evaluations/trained.json:0.task": "ranking"}, r"trained.json: key '0.task': .*'reranking'.*got 'ranking'"),
        ({"evaluations/trained.json:0.primary": "f1"}, r"trained.json: key '0.primary': 'f1' is not among"),
        ({"summary.json:usage.scores": [0.5]}, r"key 'usage.scores': 1 scores for 3 documents"),
    ],
)
def test_a_malformed_fact_is_named_with_its_key(tmp_path: Path, change: dict[str, object], message: str) -> None:
    make_reranker(tmp_path, changes=change)
    with pytest.raises(DataError, match=message):
        read_run(tmp_path)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    path = make_reranker(tmp_path) / "summary.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    del facts["loss"]["fullname"]
    path.write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(DataError, match=r"summary.json: key 'loss.fullname' is missing"):
        read_run(tmp_path)


def test_a_config_with_an_unknown_key_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = make_reranker(tmp_path) / "config.toml"
    path.write_text(path.read_text(encoding="utf-8") + "\nlicence = 'mit'\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"config.toml:\d+.*licence"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"step": 41', r"metrics.jsonl:43: not a JSON object"),
        ('{"epoch": 1}', r"metrics.jsonl:43: key 'step'"),
        ('{"step": 41, "loss": "low"}', r"metrics.jsonl:43: key 'loss': expected a number, got 'low'"),
    ],
)
def test_a_bad_line_of_the_metrics_is_named(tmp_path: Path, line: str, message: str) -> None:
    with (make_reranker(tmp_path) / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=message):
        read_run(tmp_path)


def test_a_reranker_without_evaluation_has_no_card(tmp_path: Path) -> None:
    (make_reranker(tmp_path) / "evaluations" / "trained.json").write_text("[]", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"trained.json: no evaluation, but a reranker's card always has one.*\[data\] eval"
    ):
        read_run(tmp_path)


def test_a_reranker_without_a_real_query_has_no_card(tmp_path: Path) -> None:
    make_reranker(tmp_path, changes={"summary.json:usage": None})
    with pytest.raises(DataError, match=r"summary.json: key 'usage': expected one real query"):
        read_run(tmp_path)


def test_a_comparison_with_numbers_of_another_checkpoint_is_an_error(tmp_path: Path) -> None:
    make_reranker(tmp_path, changes={"summary.json:comparison.value": 0.72})
    with pytest.raises(DataError, match=r"'comparison.value': ndcg@10 = 0.72 is in no evaluation.*evaluate the saved"):
        render_card(tmp_path)


def test_a_comparison_with_an_untrained_head_is_an_error(tmp_path: Path) -> None:
    make_reranker(tmp_path, changes={"summary.json:comparison.reference": "untrained"})
    with pytest.raises(DataError, match=r"'comparison.reference': 'untrained' is a random head"):
        render_card(tmp_path)


def test_keys_of_a_newer_version_are_ignored(tmp_path: Path) -> None:
    make_retriever(tmp_path, changes={"summary.json:colour": "blue"})
    assert read_run(tmp_path).summary.kind == "bi-encoder"
