"""Settings without effect are refused, and models of both kinds are each measured beside their own references."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rankwright.config import read_config
from rankwright.data import read_pairs
from rankwright.errors import ConfigError
from rankwright.models import BiEncoder, CrossEncoder
from rankwright.workflow import Settings, evaluate, read_evaluation_data
from rankwright.workflow.inputs import Inputs, read_inputs
from rankwright.workflow.measuring import measure_model
from rankwright.workflow.runs import plan_run, run_config
from rankwright.workflow.settings import check_loss, measure_names, primary_name
from tests.unit.workflow.small_data import (
    beir_folder,
    classified_pairs,
    graded_pairs,
    judged_pairs,
    positive_pairs,
    write_rows,
)

MAKERS = {
    "beir": beir_folder,
    "judged": judged_pairs,
    "graded": graded_pairs,
    "positive": positive_pairs,
    "classified": classified_pairs,
}


def open_tiny(tiny: Any, kind: str) -> BiEncoder | CrossEncoder:
    if kind == "bi-encoder":
        return BiEncoder(tiny.bi_encoder("bert"), dtype="float32")
    return CrossEncoder(tiny.cross_encoder("bert"), dtype="float32")


@pytest.mark.parametrize("kind", ["bi-encoder", "cross-encoder"])
@pytest.mark.parametrize("data", ["beir", "judged", "graded", "positive", "classified"])
def test_the_names_are_those_of_the_measures_that_come(tiny: Any, tmp_path: Path, kind: str, data: str) -> None:
    model = open_tiny(tiny, kind)
    read = read_evaluation_data(MAKERS[data](tmp_path / "data.jsonl"))
    for settings in (Settings(), Settings(measures=("nDCG@3",), top_k=5)):
        measured = measure_model(model, read, settings)
        found = [name for one in measured for name in one.measures]
        assert sorted(measure_names(model, read, settings)) == sorted(set(found))
        assert primary_name(model, read, settings) == measured[0].primary


def test_checkpoints_are_chosen_by_the_measure_that_the_card_compares(tiny: Any, tmp_path: Path) -> None:
    """Also where the first measure named is one of pairs."""
    model, data = open_tiny(tiny, "cross-encoder"), read_evaluation_data(judged_pairs(tmp_path / "pairs.jsonl"))
    settings = Settings(measures=("f1", "ndcg@3"))
    assert primary_name(model, data, settings) == measure_model(model, data, settings)[0].primary == "ndcg@3"


@pytest.mark.parametrize(
    ("kind", "data", "settings", "words"),
    [
        ("bi-encoder", "beir", Settings(measures=("foo",)), "unknown measure 'foo'"),
        ("bi-encoder", "beir", Settings(measures=("ap",)), "unknown measure 'ap'"),
        ("cross-encoder", "judged", Settings(measures=("foo@10",)), "unknown measure 'foo@10'"),
        ("cross-encoder", "judged", Settings(measures=("ap", "spearman")), "unknown measure 'spearman'"),
        (
            "cross-encoder",
            "graded",
            Settings(measures=("ndcg@10",)),
            "spearman, pearson. Its pairs have labels other than",
        ),
        ("bi-encoder", "graded", Settings(primary="map"), r"labels other than 0 and 1 \(such as 0.25\).* BEIR folder"),
        ("bi-encoder", "beir", Settings(dims=(64,)), r"dims = \[64\]: embeddings of .* have 32 numbers"),
        ("bi-encoder", "judged", Settings(dims=(64,)), r"dims = \[64\]: embeddings of .* have 32 numbers"),
        ("cross-encoder", "judged", Settings(dims=(8,)), r"dims = \[8\] has no effect on a cross-encoder"),
    ],
)
def test_settings_without_effect_are_refused(
    tiny: Any, tmp_path: Path, kind: str, data: str, settings: Settings, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        evaluate(open_tiny(tiny, kind), MAKERS[data](tmp_path / "data.jsonl"), settings=settings)


def test_one_measure_may_be_a_name(tiny: Any, tmp_path: Path) -> None:
    found = evaluate(open_tiny(tiny, "cross-encoder"), judged_pairs(tmp_path / "pairs.jsonl"), measures="ndcg@3")
    assert list(found.evaluations[0].measures) == ["ndcg@3"]


@pytest.mark.parametrize(
    ("head_is_new", "words"),
    [
        (
            False,
            'has 3. Set name = "cross_entropy" in [loss], with labels 0 to 2; or start from a base without a head.',
        ),
        (True, "has 3. Set num_labels = 1 in [model], or name ="),
    ],
)
def test_the_way_out_of_several_labels_is_open(tiny: Any, tmp_path: Path, head_is_new: bool, words: str) -> None:
    """A trained head of three labels cannot be opened with one."""
    base = tiny.cross_encoder("bert", num_labels=3)
    config = read_config(None, flags={"kind": "cross-encoder", "model.base": str(base)})
    model = CrossEncoder(base)
    model.checkpoint = model.checkpoint.with_spec(replace(model.spec, head_is_new=head_is_new))
    data = judged_pairs(tmp_path / "pairs.jsonl")
    with pytest.raises(ConfigError, match=re.escape(words)):
        check_loss(config, model, Inputs(read_pairs(data), read_evaluation_data(data)))


@pytest.mark.parametrize("highest", ["training", "evaluation"])
def test_each_class_has_an_output(tiny: Any, tmp_path: Path, highest: str) -> None:
    """Labels begin with 0, and one that only the evaluation has would be none of the model's."""
    base = tiny.cross_encoder("bert", num_labels=3)
    flags = {"kind": "cross-encoder", "model.base": str(base), "loss.name": "cross_entropy"}
    few, many = (classified_pairs(tmp_path / f"{num}.jsonl", num_classes=num) for num in (3, 4))
    train, evaluation = (many, few) if highest == "training" else (few, many)
    inputs = Inputs(read_pairs(train), read_evaluation_data(evaluation))
    with pytest.raises(ConfigError, match=r"labels up to 3, but the model 3 output\(s\)\. Set num_labels = 4 in"):
        check_loss(read_config(None, flags=flags), CrossEncoder(base), inputs)
    check_loss(read_config(None, flags=flags), CrossEncoder(base), Inputs(read_pairs(few), read_evaluation_data(few)))


def test_no_models_are_an_error() -> None:
    with pytest.raises(ConfigError, match="models is empty"):
        evaluate([], "missing")


def test_each_kind_has_its_own_references_and_comparisons(tiny: Any, tmp_path: Path) -> None:
    models = [open_tiny(tiny, "bi-encoder"), open_tiny(tiny, "cross-encoder")]
    result = evaluate(models, beir_folder(tmp_path / "beir"))
    systems = [(one.task, one.system) for one in result.evaluations]
    assert systems == [
        ("retrieval", models[0].folder.name),
        ("reranking", models[1].folder.name),
        ("retrieval", "BM25"),
        ("reranking", "first stage (BM25)"),
    ]
    assert [one.reference for one in result.comparisons] == ["BM25", "first stage (BM25)"]
    for comparison, one in zip(result.comparisons, result.evaluations[:2], strict=True):
        assert comparison.value == pytest.approx(one.measures[one.primary])


def test_one_row_a_batch_without_negatives_trains_nothing(tiny: Any, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in positive_pairs(tmp_path / "with.jsonl").read_text().splitlines()]
    write_rows(tmp_path / "without.jsonl", ({"query": row["query"], "positive": row["positive"]} for row in rows))
    flags = {"kind": "bi-encoder", "model.base": str(tiny.bi_encoder("bert")), "out": str(tmp_path / "run")}

    def config(name: str, batch_size: int) -> Any:
        data = {key: str(tmp_path / name) for key in ("data.train", "data.eval")}
        return read_config(None, flags={**flags, **data, "training.per_device_train_batch_size": batch_size})

    with pytest.raises(ConfigError, match="one row in a batch and no negatives has nothing to tell apart"):
        run_config(config("without.jsonl", 1))
    assert not (tmp_path / "run").exists()
    assert plan_run(config("with.jsonl", 1))["steps_per_epoch"] == len(rows)
    assert plan_run(config("without.jsonl", 2))["steps_per_epoch"] == len(rows) // 2


def test_scored_pairs_of_which_few_are_trained_on_give_a_warning(tmp_path: Path) -> None:
    flags = {"kind": "bi-encoder", "data.train": str(graded_pairs(tmp_path / "pairs.jsonl"))}
    given = Inputs(evaluation=positive_pairs(tmp_path / "eval.jsonl"))
    with pytest.warns(UserWarning, match=r"only 4 of 20 rows are trained on.*label 1: set data\.min_label"):
        read_inputs(read_config(None, flags=flags), given)
    kept = read_inputs(read_config(None, flags={**flags, "data.min_label": 0.5}), given)
    assert kept.table.size_rows == 12


@pytest.mark.parametrize(
    ("kind", "make", "key", "value"),
    [
        ("bi-encoder", beir_folder, "num_negatives", 1),
        ("bi-encoder", positive_pairs, "min_label", 2.0),
        ("cross-encoder", judged_pairs, "num_negatives", 1),
    ],
)
def test_settings_of_a_conversion_that_does_not_take_place_are_refused(
    tmp_path: Path, kind: str, make: Any, key: str, value: float
) -> None:
    train = make(tmp_path / "data.jsonl")
    flags = {"kind": kind, "data.train": str(train), f"data.{key}": value}
    given = Inputs(evaluation=positive_pairs(tmp_path / "eval.jsonl"))
    if make is beir_folder:
        (train / "qrels" / "test.tsv").rename(train / "qrels" / "train.tsv")
    with pytest.raises(ConfigError, match=rf"data\.{key} = {value} has no effect.*this is a {kind}, and .* Remove it"):
        read_inputs(read_config(None, flags=flags), given)


def test_code_of_a_base_is_never_run() -> None:
    assert not read_config(None, flags={"kind": "bi-encoder", "model.trust_remote_code": False}).model.trust_remote_code
    with pytest.raises(
        ConfigError, match=r"trust_remote_code in \[model\] is True, expected False. No code .* is ever"
    ):
        read_config(None, flags={"kind": "bi-encoder", "model.trust_remote_code": True})
