"""What a run starts from: the base as the config wants it, and settings that the base gives no effect."""

from pathlib import Path
from typing import Any

import pytest

from rankwright import CrossEncoder
from rankwright.config import read_config
from rankwright.errors import ConfigError
from rankwright.models.activations import IDENTITY, SIGMOID
from rankwright.workflow.inputs import Inputs, base_model, read_inputs
from tests.unit.workflow.small_data import beir_folder, write_rows


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"loss.name": "mean_squared_error"}, IDENTITY),
        ({"loss.name": "mean_squared_error", "model.activation": SIGMOID}, SIGMOID),
        ({}, SIGMOID),
    ],
)
def test_a_model_that_learns_labels_by_its_logits_answers_with_them(
    tiny: Any, flags: dict[str, object], expected: str
) -> None:
    """Behind a sigmoid it would answer 0.73 where it has learned 1."""
    given = {"kind": "cross-encoder", "model.base": str(tiny.cross_encoder("bert")), **flags}
    model = base_model(read_config(None, flags=given))
    assert isinstance(model, CrossEncoder)
    assert model.activation == expected


def test_prompts_that_a_cross_encoder_is_not_trained_with_are_refused(tiny: Any, tmp_path: Path) -> None:
    """The default prompt of the base is put before queries in training and afterwards, and may be another."""
    asked = {"kind": "cross-encoder", "model.prompts": {"query": "question: "}}
    base = tiny.cross_encoder("bert")
    with pytest.raises(
        ConfigError, match=r"prompts in \[model\] names 'query', which has no effect on a cross-encoder"
    ):
        base_model(read_config(None, flags={**asked, "model.base": str(base)}))
    prompted = CrossEncoder(base, prompts={"query": "q: "}, default_prompt_name="query")
    prompted.save(tmp_path / "base")
    assert base_model(read_config(None, flags={**asked, "model.base": str(tmp_path / "base")})).prompts == {
        "query": "question: "
    }


def test_a_prompt_of_documents_that_another_one_hides_is_refused(tiny: Any) -> None:
    """encode_document takes the prompt named document, which every bi-encoder has, as in sentence-transformers."""
    asked = {"kind": "bi-encoder", "model.base": str(tiny.bi_encoder("bert"))}
    with pytest.raises(
        ConfigError, match=r"names 'passage', which has no effect on training: .* 'document', ''\. Call"
    ):
        base_model(read_config(None, flags={**asked, "model.prompts": {"query": "q: ", "passage": "p: "}}))
    kept = base_model(read_config(None, flags={**asked, "model.prompts": {"query": "q: ", "document": "p: "}}))
    assert kept.prompts == {"query": "q: ", "document": "p: "}


def test_the_base_cuts_texts_where_the_config_says(tiny: Any) -> None:
    given = {"kind": "bi-encoder", "model.base": str(tiny.bi_encoder("bert")), "model.max_length": 9}
    assert base_model(read_config(None, flags=given)).max_length == 9


@pytest.mark.parametrize(("splits", "sizes"), [({}, (5, 2)), ({"train_split": "dev", "eval_split": "train"}, (2, 5))])
def test_each_side_has_the_judgments_of_its_split(tmp_path: Path, splits: dict[str, str], sizes: tuple) -> None:
    folder = beir_folder(tmp_path / "beir")
    for split, size in (("train", 5), ("dev", 2), ("test", 3)):
        lines = ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i}\t1" for i in range(size))]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    flags = {"kind": "bi-encoder", "data.train": str(folder), "data.eval": str(folder)}
    flags |= {f"data.{key}": value for key, value in splits.items()}
    read = read_inputs(read_config(None, flags=flags), Inputs())
    assert (read.table.size_rows, len(read.evaluation.retrieval.qrels)) == sizes


def test_columns_and_the_conversion_to_positives_are_those_of_the_config(tmp_path: Path) -> None:
    rows = [{"a": f"q{i}", "b": f"d{i}{label}", "c": label} for i in range(3) for label in (0.0, 0.1, 0.6, 0.9)]
    path = str(write_rows(tmp_path / "rows.jsonl", rows))
    flags = {"kind": "bi-encoder", "data.train": path, "data.eval": path, "data.min_label": 0.5}
    flags |= {"data.num_negatives": 1, "data.columns": {"query": "a", "document": "b", "label": "c"}}
    read = read_inputs(read_config(None, flags=flags), Inputs())
    assert [(row.query, len(row.negatives)) for row in read.table.positive_rows()] == [
        (f"q{i}", 1) for i in range(3) for _ in range(2)
    ]
    assert {row.query for row in read.evaluation.labelled} == {"q0", "q1", "q2"}
