"""What a run says of its own data, loss and references is true."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rankwright import train
from rankwright.config import CardConfig
from rankwright.data import read_pairs
from rankwright.evaluation import read_evaluations
from rankwright.models import BiEncoder, CrossEncoder
from rankwright.records import LabelledPair
from rankwright.workflow.facts import evaluation_data_facts
from rankwright.workflow.inputs import hold_out
from rankwright.workflow.measuring import read_evaluation_data
from tests.unit.workflow.small_data import DOCUMENTS, beir_folder, classified_pairs, judged_pairs, positive_pairs

QUICK = {"training.max_steps": 1, "training.dtype": "float32", "training.device": "cpu"}


def squared(logits_BN: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
    """A user's own loss."""
    return (logits_BN[:, 0] - labels_B).pow(2).mean()


def card(out: Path) -> str:
    return (out / "model" / "README.md").read_text(encoding="utf-8")


def test_held_out_rows_are_not_called_training_data_and_share_no_query_with_them(tiny: Any, tmp_path: Path) -> None:
    data = judged_pairs(tmp_path / "pairs.jsonl")
    train(tiny.bi_encoder("bert"), data, out=tmp_path / "run", kind="cross-encoder", config=QUICK)
    facts = json.loads((tmp_path / "run" / "data.json").read_text(encoding="utf-8"))
    assert facts["train"]["sha256"] != facts["eval"][0]["sha256"]
    assert facts["eval"][0]["overlap"] == {"queries": 0, "pairs": 0}
    assert "are the training data" not in card(tmp_path / "run")
    assert "No query and no pair" in card(tmp_path / "run")


def test_queries_that_are_also_trained_on_are_counted_on_the_card(tiny: Any, tmp_path: Path) -> None:
    data = judged_pairs(tmp_path / "pairs.jsonl")
    rows = data.read_text(encoding="utf-8").splitlines()
    (tmp_path / "dev.jsonl").write_text("\n".join(rows[:6]) + "\n", encoding="utf-8")
    train(
        tiny.bi_encoder("bert"),
        data,
        evaluate=tmp_path / "dev.jsonl",
        out=tmp_path / "run",
        kind="cross-encoder",
        config=QUICK,
    )
    assert "2 queries and 6 judged pairs" in card(tmp_path / "run")


def test_what_a_collection_loses_is_counted_in_what_the_model_reads(tiny: Any, tmp_path: Path) -> None:
    """Each document fits into the maximum length, but not with its query before it."""
    data, folder = read_evaluation_data(beir_folder(tmp_path / "beir")), tiny.bi_encoder("bert")
    length = max(BiEncoder(folder).tokenizer.count(DOCUMENTS))
    retriever, reranker = (
        BiEncoder(folder, max_length=length),
        CrossEncoder(tiny.cross_encoder("bert"), max_length=length),
    )
    assert evaluation_data_facts(data, retriever, CardConfig())["truncation"]["texts"] == 20 + 10
    cut = evaluation_data_facts(data, reranker, CardConfig())["truncation"]
    assert cut["texts"] == 20 and cut["truncated"] > 0


def test_a_config_without_the_evaluation_data_is_not_said_to_repeat_the_run(tiny: Any, tmp_path: Path) -> None:
    data = judged_pairs(tmp_path / "pairs.jsonl")
    records = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()[:6]]
    train(tiny.cross_encoder("bert"), data, evaluate=records, out=tmp_path / "run", config=QUICK)
    assert "rankwright train config.toml" not in card(tmp_path / "run")


def test_prompts_that_the_base_brings_are_on_the_card(tiny: Any, tmp_path: Path) -> None:
    base = tiny.bi_encoder("bert", settings={"prompts": {"query": "q: ", "document": "d: ", "topic": "t: "}})
    train(base, positive_pairs(tmp_path / "pairs.jsonl"), out=tmp_path / "run", config=QUICK)
    assert "trained with prompts (query: `q: ` and document: `d: `)" in card(tmp_path / "run")


def test_pairs_compared_both_ways_are_held_out_together() -> None:
    rows = []
    for i in range(60):
        one, other = f"argument {2 * i}", f"argument {2 * i + 1}"
        rows += [LabelledPair(one, other, 1.0), LabelledPair(other, one, 0.0)]
    kept, held = hold_out(read_pairs(rows, name="arguments"))
    texts = {text for row in kept.labelled_rows() for text in (row.query, row.document)}
    assert len(held.labelled) == 12
    assert not texts & {text for row in held.labelled for text in (row.query, row.document)}


def test_a_query_under_several_ids_is_in_one_part_only() -> None:
    rows = [
        LabelledPair(f"question {i // 2}", f"answer {i // 2 + other}", 1.0 - other, query_id=f"q{i}")
        for i in range(60)
        for other in (0, 1)
    ]
    kept, held = hold_out(read_pairs(rows, name="asked twice"))
    assert len(held.labelled) == 12
    assert not {row.query for row in kept.rows} & {row.query for row in held.labelled}


def test_a_loss_of_the_users_own_is_named_and_not_called_ours(tiny: Any, tmp_path: Path) -> None:
    data = judged_pairs(tmp_path / "pairs.jsonl")
    run = train(tiny.bi_encoder("bert"), data, loss=squared, out=tmp_path / "run", kind="cross-encoder", config=QUICK)
    assert run.summary["loss"] == {"name": "squared", "fullname": f"{__name__}.squared", "parameters": {}}
    assert "loss:squared" in card(tmp_path / "run")
    assert "BinaryCrossEntropy" not in card(tmp_path / "run")
    assert "rankwright train config.toml" not in card(tmp_path / "run")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_classes_are_compared_with_the_most_frequent_label(tiny: Any, tmp_path: Path) -> None:
    data = classified_pairs(tmp_path / "classes.jsonl")
    config = QUICK | {"loss.name": "cross_entropy", "model.num_labels": 3}
    run = train(tiny.bi_encoder("bert"), data, evaluate=data, out=tmp_path / "run", kind="cross-encoder", config=config)
    references = read_evaluations(tmp_path / "run" / "evaluations" / "references.json")
    assert [e.system for e in references] == ["untrained", "most frequent label"]
    assert run.summary["comparison"]["reference"] == "most frequent label"


def test_the_encoder_alone_is_measured_at_the_length_of_the_run(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rankwright.workflow import references

    lengths = []

    class Watched(references.Embedder):
        def __init__(self, model: Any, data: Any) -> None:
            lengths.append(model.max_length)
            super().__init__(model, data)

    monkeypatch.setattr(references, "Embedder", Watched)
    data = judged_pairs(tmp_path / "pairs.jsonl")
    train(
        tiny.bi_encoder("bert"),
        data,
        out=tmp_path / "run",
        kind="cross-encoder",
        config=QUICK | {"model.max_length": 16},
    )
    assert lengths == [16]
