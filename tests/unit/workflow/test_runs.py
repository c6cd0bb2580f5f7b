"""A run from rows to a measured, documented model: the folder it leaves, how it goes on, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from rankwright import BiEncoder, CrossEncoder, train
from rankwright.config import read_config
from rankwright.data import read_pairs
from rankwright.encoder.ops_torch import TorchEncoder
from rankwright.errors import ConfigError, DataError
from rankwright.evaluation import read_evaluations
from rankwright.models.activations import IDENTITY
from rankwright.training import BatchPlan
from rankwright.workflow import runs
from rankwright.workflow.runs import RunResult, Watch, plan_run, run_config
from tests.unit.workflow.small_data import (
    QUERIES,
    beir_folder,
    classified_pairs,
    graded_pairs,
    judged_pairs,
    positive_pairs,
    write_rows,
)

QUICK = {
    "training.max_steps": 4,
    "training.per_device_train_batch_size": 4,
    "training.dtype": "float32",
    "training.device": "cpu",
    "training.learning_rate": 1e-3,
    "training.save_steps": 2,
}
FILES = {
    "config.toml",
    "environment.json",
    "data.json",
    "metrics.jsonl",
    "summary.json",
    "evaluations/references.json",
    "evaluations/trained.json",
    "model/README.md",
    "model/config.json",
    "model/model.safetensors",
    "checkpoints/step-000002/state.json",
    "checkpoints/step-000002/model/config.json",
    "checkpoints/step-000004/optimizer.safetensors",
}


def quick(base: Path, data: Any, out: Path, *, kind: str = "cross-encoder", **options: Any) -> RunResult:
    """A run of four steps."""
    config = QUICK | options.pop("config", {})
    return train(base, data, out=out, kind=kind, config=config, **options)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def systems(out: Path) -> list[str]:
    """Names of the references, each once, in order."""
    return list(dict.fromkeys(e.system for e in read_evaluations(out / "evaluations" / "references.json")))


def weights(out: Path) -> dict[str, np.ndarray]:
    return load_file(out / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def reranker(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A cross-encoder with a new head, trained on judged pairs of which a tenth is held out."""
    folder = tmp_path_factory.mktemp("reranker")
    return quick(tiny.bi_encoder("bert"), judged_pairs(folder / "pairs.jsonl"), folder / "run")


@pytest.fixture(scope="module")
def retriever(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A Matryoshka bi-encoder, trained on positive pairs and measured on a BEIR folder, its best step kept."""
    folder = tmp_path_factory.mktemp("retriever")
    return quick(
        tiny.bi_encoder("bert"),
        positive_pairs(folder / "pairs.jsonl"),
        folder / "run",
        kind="bi-encoder",
        evaluate=beir_folder(folder / "beir"),
        config={
            "model.revision": "v1",
            "loss.matryoshka_dims": [32, 8],
            "training.eval_strategy": "steps",
            "training.eval_steps": 2,
            "training.load_best_model_at_end": True,
            "training.batch_sampler": "no_duplicates",
        },
    )


@pytest.mark.parametrize("name", ["reranker", "retriever"])
def test_a_run_leaves_all_its_files(name: str, request: pytest.FixtureRequest) -> None:
    out = request.getfixturevalue(name).folder
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert found >= FILES
    assert not [path for path in found if path.endswith(".part")]
    environment = read(out / "environment.json")
    assert environment["device"] == "cpu"
    assert environment["dtype"] == "float32"
    assert environment["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert environment["cores"] >= 1


@pytest.mark.parametrize("name", ["reranker", "retriever"])
def test_the_written_config_is_that_of_the_run(name: str, request: pytest.FixtureRequest) -> None:
    result = request.getfixturevalue(name)
    config = read_config(result.folder / "config.toml")
    assert config.kind == result.summary["kind"]
    assert config.training.max_steps == 4
    assert config.out == str(result.folder)


@pytest.mark.parametrize("name", ["reranker", "retriever"])
def test_the_metrics_have_every_step_and_what_it_cost(name: str, request: pytest.FixtureRequest) -> None:
    result = request.getfixturevalue(name)
    rows = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "loss" in row]
    assert [row["step"] for row in steps] == [1, 2, 3, 4]
    assert all(row["loss"] > 0 and row["grad_norm"] > 0 and row["tokens"] > 0 for row in steps)
    assert sum(row["tokens"] for row in steps) == result.summary["tokens"]
    assert result.summary["steps"] == 4


def test_the_summary_of_a_reranker(reranker: RunResult) -> None:
    summary = read(reranker.folder / "summary.json")
    assert summary == json.loads(json.dumps(reranker.summary))
    assert (summary["kind"], summary["num_labels"], summary["embedding_size"]) == ("cross-encoder", 1, None)
    assert summary["loss"]["name"] == "binary_cross_entropy"
    assert summary["architecture"] == str(CrossEncoder(reranker.folder / "model"))
    assert summary["primary_measure"] == reranker.trained[0].primary
    usage = summary["usage"]
    assert usage["query"] in QUERIES
    scores = CrossEncoder(reranker.folder / "model", dtype="float32", device="cpu").predict(
        [(usage["query"], document) for document in usage["documents"]]
    )
    np.testing.assert_allclose(usage["scores"], scores, atol=1e-6)


def test_the_summary_of_a_retriever(retriever: RunResult) -> None:
    summary = retriever.summary
    assert (summary["kind"], summary["num_labels"], summary["embedding_size"]) == ("bi-encoder", None, 32)
    assert (summary["similarity"], summary["base_revision"]) == ("cosine", "v1")
    assert summary["loss"]["name"] == "matryoshka"
    assert summary["loss"]["wraps"]["name"] == "multiple_negatives_ranking"
    assert summary["comparison"]["reference"] == "base"
    assert summary["comparison"]["measure"] == "ndcg@10"


def test_a_retriever_is_measured_at_each_size_of_its_loss(retriever: RunResult) -> None:
    assert [(e.system, e.dim) for e in retriever.trained] == [("model", 32), ("model", 8)]
    assert [(e.system, e.dim) for e in retriever.references] == [("base", 32), ("base", 8), ("BM25", None)]


def test_the_best_step_is_the_one_that_is_kept(retriever: RunResult) -> None:
    rows = [json.loads(line) for line in (retriever.folder / "metrics.jsonl").read_text().splitlines()]
    evaluations = {row["step"]: row["eval_ndcg@10"] for row in rows if "eval_ndcg@10" in row}
    assert set(evaluations) == {2, 4}
    best = retriever.summary["best_step"]
    assert evaluations[best] == max(evaluations.values())
    assert retriever.trained[0].measures["ndcg@10"] == pytest.approx(evaluations[best], abs=1e-9)
    kept = load_file(retriever.folder / "checkpoints" / f"step-{best:06d}" / "model" / "model.safetensors")
    for name, array in weights(retriever.folder).items():
        np.testing.assert_array_equal(array, kept[name], err_msg=name)


def test_the_saved_model_gives_the_numbers_that_were_reported(retriever: RunResult) -> None:
    from rankwright import evaluate

    data = read_config(retriever.folder / "config.toml").data.eval
    model = BiEncoder(retriever.folder / "model", dtype="float32", device="cpu")
    again = evaluate(model, data, references=False).evaluations[0]
    assert again.measures == pytest.approx(retriever.trained[0].measures, abs=1e-9)


def test_a_new_head_is_shown_as_untrained_and_never_compared_with(reranker: RunResult) -> None:
    names = systems(reranker.folder)
    assert names[:2] == ["untrained", "base as bi-encoder"]
    assert {"BM25", "longer text"} <= set(names)
    assert reranker.summary["comparison"]["reference"] != "untrained"
    primary = reranker.summary["primary_measure"]
    others = [e for e in reranker.references if e.system != "untrained" and primary in e.measures]
    assert reranker.summary["comparison"]["reference_value"] == max(e.measures[primary] for e in others)


def test_a_trained_head_is_compared_with_itself_before(tiny: Any, tmp_path: Path) -> None:
    pairs = judged_pairs(tmp_path / "pairs.jsonl")
    result = quick(tiny.cross_encoder("bert"), pairs, tmp_path / "run", evaluate=pairs)
    assert systems(result.folder)[0] == "base"
    assert "untrained" not in systems(result.folder)
    assert result.summary["comparison"]["reference"] == "base"


def test_an_opened_model_stands_for_its_kind_and_folder(tiny: Any, tmp_path: Path) -> None:
    model = CrossEncoder(tiny.cross_encoder("bert"))
    done = train(model, judged_pairs(tmp_path / "pairs.jsonl"), out=tmp_path / "run", config=QUICK)
    assert (done.summary["kind"], done.summary["base"]) == ("cross-encoder", str(model.folder))


def test_a_tenth_of_the_queries_is_held_out_where_no_evaluation_data_is_given(reranker: RunResult) -> None:
    facts = read(reranker.folder / "data.json")
    held = facts["eval"][0]
    assert held["name"].endswith("(held-out tenth of the queries)")
    assert facts["train"]["size"] + held["size"] == 3 * len(QUERIES)
    assert held["size"] % 3 == 0  # whole queries
    assert facts["train"]["sha256"]


def test_training_changes_the_weights_and_nothing_of_the_base(reranker: RunResult, tiny: Any) -> None:
    base = load_file(tiny.bi_encoder("bert") / "model.safetensors")
    trained = weights(reranker.folder)
    name = "encoder.layer.0.attention.self.query.weight"
    assert np.abs(trained[f"bert.{name}"] - base[name]).max() > 1e-5


def test_the_same_command_gives_the_same_model(reranker: RunResult, tiny: Any, tmp_path: Path) -> None:
    data = read_config(reranker.folder / "config.toml").data.train
    again = quick(tiny.bi_encoder("bert"), data, tmp_path / "run")
    for name, array in weights(reranker.folder).items():
        np.testing.assert_array_equal(weights(again.folder)[name], array, err_msg=name)


def test_another_seed_gives_another_model_and_another_head(reranker: RunResult, tiny: Any, tmp_path: Path) -> None:
    data = read_config(reranker.folder / "config.toml").data.train
    other = quick(tiny.bi_encoder("bert"), data, tmp_path / "run", config={"training.seed": 7})
    head = "classifier.weight"
    assert np.abs(weights(other.folder)[head] - weights(reranker.folder)[head]).max() > 0.01


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(reranker: RunResult, tiny: Any, tmp_path: Path) -> None:
    data = read_config(reranker.folder / "config.toml").data.train
    config = read_config(reranker.folder / "config.toml", [f"out={tmp_path / 'run'}"])

    class EndError(Exception):
        pass

    def stop(row: Any) -> None:
        if row["step"] == 3:
            raise EndError

    with pytest.raises(EndError):
        run_config(config, watch=Watch(log=stop))
    references = (tmp_path / "run" / "evaluations" / "references.json").stat().st_mtime_ns
    said: list[str] = []
    steps: list[int] = []
    run_config(config, watch=Watch(say=said.append, log=lambda row: steps.append(int(str(row["step"])))))
    assert steps == [3, 4]
    assert data == config.data.train
    assert not [line for line in said if "references" in line], "the references are measured once"
    assert (tmp_path / "run" / "evaluations" / "references.json").stat().st_mtime_ns == references
    for name, array in weights(reranker.folder).items():
        np.testing.assert_array_equal(weights(tmp_path / "run")[name], array, err_msg=name)


def test_a_finished_run_is_not_trained_again(tiny: Any, tmp_path: Path) -> None:
    pairs = judged_pairs(tmp_path / "pairs.jsonl")
    first = quick(tiny.bi_encoder("bert"), pairs, tmp_path / "run")
    before = weights(first.folder)
    second = quick(tiny.bi_encoder("bert"), pairs, tmp_path / "run")
    assert second.summary["training_time_s"] == first.summary["training_time_s"]
    assert second.trained[0].measures == first.trained[0].measures
    for name, array in weights(second.folder).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_a_run_whose_card_failed_is_finished_without_training_again(tiny: Any, tmp_path: Path) -> None:
    pairs = judged_pairs(tmp_path / "pairs.jsonl")
    (tmp_path / "own.jinja").write_text("{{ no_such_variable }}")
    failing = {"card.template": str(tmp_path / "own.jinja")}
    with pytest.raises(DataError, match=r"own\.jinja:1: the template cannot be rendered: 'no_such_variable'"):
        quick(tiny.bi_encoder("bert"), pairs, tmp_path / "run", config=failing)
    before = weights(tmp_path / "run")
    done = quick(tiny.bi_encoder("bert"), pairs, tmp_path / "run", config={"card.license": "mit"})
    assert "- **Licence:** mit" in (done.folder / "model" / "README.md").read_text()
    for name, array in weights(done.folder).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_the_energy_of_a_run_is_that_of_all_its_steps_or_not_given(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever finishes a run measures only what was left of it."""

    class Meter:
        def __init__(self, country: str | None) -> None:
            self.country = country

        def stop(self) -> dict[str, Any] | None:
            return None if self.country is None else {"emissions": next(measured), "energy_consumed": 1.0}

    def stop_at_three(row: Any) -> None:
        if row["step"] == 3:
            raise InterruptedError

    measured = iter((2.0, 0.1))
    monkeypatch.setattr(runs, "EnergyMeter", Meter)
    pairs, config = judged_pairs(tmp_path / "pairs.jsonl"), {"card.country": "POL"}
    for _ in range(2):
        whole = quick(tiny.bi_encoder("bert"), pairs, tmp_path / "whole", config=config)
        assert whole.summary["energy"] == {"emissions": 2.0, "energy_consumed": 1.0}
    stopped = read_config(whole.folder / "config.toml", [f"out={tmp_path / 'parts'}"])
    with pytest.raises(InterruptedError):
        run_config(stopped, watch=Watch(log=stop_at_three))
    assert run_config(stopped).summary["energy"] is None


def test_another_config_in_the_folder_names_the_keys(reranker: RunResult) -> None:
    config = read_config(reranker.folder / "config.toml", ["training.seed=1", "training.learning_rate=0.5"])
    with pytest.raises(ConfigError) as caught:
        run_config(config)
    assert str(caught.value) == (
        f"{reranker.folder} holds a run with another config (different: training.learning_rate, training.seed). "
        "Give another --out, or the same config to go on with that run."
    )


@pytest.mark.parametrize("changed", ["training", "evaluation"])
def test_other_data_under_the_same_name_is_refused(tiny: Any, tmp_path: Path, changed: str) -> None:
    pairs, data = judged_pairs(tmp_path / "pairs.jsonl"), classified_pairs(tmp_path / "data.jsonl", num_classes=2)
    quick(tiny.bi_encoder("bert"), pairs, tmp_path / "run", evaluate=data)
    path = pairs if changed == "training" else data
    path.write_text(path.read_text().replace("number", "count"))
    before = (tmp_path / "run" / "data.json").read_text()
    with pytest.raises(ConfigError, match=rf"run holds a run on other {changed} data: the rows of .*{path.name} are"):
        quick(tiny.bi_encoder("bert"), pairs, tmp_path / "run", evaluate=data)
    assert (tmp_path / "run" / "data.json").read_text() == before


def test_another_loss_in_the_folder_is_refused(tiny: Any, tmp_path: Path) -> None:
    """A function is in no config: the card would name the new one for weights that the old one made."""

    def error(logits_BN: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        return (logits_BN[:, 0] - labels_B).abs().mean()

    pairs = judged_pairs(tmp_path / "pairs.jsonl")
    quick(tiny.bi_encoder("bert"), pairs, tmp_path / "run", loss=error)
    with pytest.raises(ConfigError, match=r"run with another loss: .*error, where this one has .*binary_cross_entropy"):
        quick(tiny.bi_encoder("bert"), pairs, tmp_path / "run")


def test_a_folder_with_other_files_is_left_alone(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match=r"run is not empty and holds no run\. Give another --out"):
        quick(tiny.bi_encoder("bert"), judged_pairs(tmp_path / "pairs.jsonl"), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_no_folder_is_an_error(tiny: Any, tmp_path: Path) -> None:
    flags = {"kind": "cross-encoder", "model.base": str(tiny.bi_encoder("bert"))}
    config = read_config(None, flags=flags | {"data.train": str(judged_pairs(tmp_path / "pairs.jsonl"))})
    with pytest.raises(ConfigError, match=r'out is missing: give --out DIR, or out = "DIR" in the config'):
        run_config(config)


def test_a_label_out_of_range_stops_before_anything_is_written(tiny: Any, tmp_path: Path) -> None:
    rows = [{"query": "q", "document": "d", "label": label} for label in (0, 1, 4)]
    pairs = write_rows(tmp_path / "pairs.jsonl", rows)
    with pytest.raises(DataError, match=r"pairs\.jsonl:3: 4 in column 'label' .* is outside 0 to 1"):
        quick(tiny.bi_encoder("bert"), pairs, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loss_may_be_a_function(tiny: Any, tmp_path: Path) -> None:
    calls: list[tuple[int, ...]] = []

    def hinge(logits_BN: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        calls.append(tuple(logits_BN.shape))
        return torch.relu(1 - logits_BN[:, 0] * (2 * labels_B - 1)).mean()

    pairs = judged_pairs(tmp_path / "pairs.jsonl")
    result = quick(tiny.bi_encoder("bert"), pairs, tmp_path / "run", loss=hinge)
    assert calls == [(4, 1)] * 4
    assert result.summary["steps"] == 4


def test_a_loss_of_a_bi_encoder_gets_queries_and_documents(tiny: Any, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []

    def pull(queries_BE: torch.Tensor, documents_CE: torch.Tensor) -> torch.Tensor:
        calls.append((len(queries_BE), len(documents_CE)))
        return (queries_BE - documents_CE[: len(queries_BE)]).square().mean()

    quick(tiny.bi_encoder("bert"), positive_pairs(tmp_path / "p.jsonl"), tmp_path / "run", kind="bi-encoder", loss=pull)
    assert calls == [(4, 8)] * 4  # each positive, and one negative


def test_records_are_trained_on_as_files_are(tiny: Any, tmp_path: Path) -> None:
    path = judged_pairs(tmp_path / "pairs.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    from_file = quick(tiny.bi_encoder("bert"), path, tmp_path / "file", evaluate=path)
    from_rows = quick(tiny.bi_encoder("bert"), rows, tmp_path / "rows", evaluate=rows)
    for name, array in weights(from_file.folder).items():
        np.testing.assert_array_equal(weights(from_rows.folder)[name], array, err_msg=name)


def test_positive_pairs_are_a_corpus_to_search(tiny: Any, tmp_path: Path) -> None:
    pairs = positive_pairs(tmp_path / "pairs.jsonl")
    result = quick(tiny.bi_encoder("bert"), pairs, tmp_path / "run", kind="bi-encoder", evaluate=pairs)
    assert result.trained[0].task == "retrieval"
    assert result.trained[0].num_queries == len(QUERIES)
    assert systems(result.folder) == ["base", "BM25"]


def test_a_reranker_is_measured_on_a_beir_folder(tiny: Any, tmp_path: Path) -> None:
    pairs, data = judged_pairs(tmp_path / "pairs.jsonl"), beir_folder(tmp_path / "beir")
    result = quick(tiny.bi_encoder("bert"), pairs, tmp_path / "run", evaluate=data, config={"evaluation.top_k": 5})
    assert result.trained[0].task == "reranking"
    assert systems(result.folder) == ["untrained", "base as bi-encoder", "first stage (BM25)"]
    assert result.trained[0].parameters["top_k"] == 5


def test_pairs_without_choices_are_classified(tiny: Any, tmp_path: Path) -> None:
    pairs = classified_pairs(tmp_path / "pairs.jsonl", num_classes=2)
    result = quick(tiny.bi_encoder("bert"), pairs, tmp_path / "run", evaluate=pairs)
    assert [e.task for e in result.trained] == ["classification"]
    assert result.summary["primary_measure"] == "ap"
    assert "longer text" in systems(result.folder)


def test_several_classes_are_classified(tiny: Any, tmp_path: Path) -> None:
    pairs = classified_pairs(tmp_path / "pairs.jsonl")
    config = {
        "model.num_labels": 3,
        "loss.name": "cross_entropy",
        "training.eval_strategy": "steps",
        "training.eval_steps": 2,
        "training.load_best_model_at_end": True,
    }
    result = quick(tiny.bi_encoder("bert"), pairs, tmp_path / "run", evaluate=pairs, config=config)
    assert result.summary["num_labels"] == 3
    assert result.summary["primary_measure"] == "f1_macro"
    assert CrossEncoder(result.folder / "model").predict([("a", "b")]).shape == (1, 3)


@pytest.mark.parametrize("kind", ["bi-encoder", "cross-encoder"])
def test_graded_pairs_are_measured_by_rank_correlation(tiny: Any, tmp_path: Path, kind: str) -> None:
    graded = graded_pairs(tmp_path / "graded.jsonl")
    data = graded if kind == "cross-encoder" else positive_pairs(tmp_path / "positive.jsonl")
    config = {"loss.name": "mean_squared_error"} if kind == "cross-encoder" else {}
    result = quick(tiny.bi_encoder("bert"), data, tmp_path / "run", kind=kind, evaluate=graded, config=config)
    assert result.trained[0].task == "similarity"
    assert result.summary["primary_measure"] == "spearman"
    if kind == "cross-encoder":
        assert CrossEncoder(result.folder / "model").activation == IDENTITY


def test_layers_may_be_computed_again(
    reranker: RunResult, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[TorchEncoder] = []
    original = TorchEncoder.checkpoint_layers
    monkeypatch.setattr(TorchEncoder, "checkpoint_layers", lambda self: (asked.append(self), original(self)))
    data = read_config(reranker.folder / "config.toml").data.train
    config = {"training.gradient_checkpointing": True}
    again = quick(tiny.bi_encoder("bert"), data, tmp_path / "run", config=config)
    assert len(asked) == 1
    for name, array in weights(reranker.folder).items():
        np.testing.assert_allclose(weights(again.folder)[name], array, atol=2e-4, err_msg=name)


def test_the_plan_of_batches_is_that_of_the_config(tmp_path: Path) -> None:
    keys = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3, "seed": 7, "num_train_epochs": 1.5}
    flags = {"kind": "bi-encoder", **{f"training.{key}": value for key, value in keys.items()}}
    table = read_pairs(positive_pairs(tmp_path / "pairs.jsonl"))
    plan = runs._batch_plan(read_config(None, flags=flags), table, num_processes=2)
    assert plan == BatchPlan(20, 4, batches_per_step=6, seed=7, num_epochs=1.5)
    apart = runs._batch_plan(
        read_config(None, flags=flags | {"training.batch_sampler": "no_duplicates", "training.max_steps": 5}),
        table,
        num_processes=1,
    )
    assert (apart.num_steps, len(apart.text_numbers or ())) == (5, 20)


def test_a_dry_run_says_the_plan_and_writes_nothing(tiny: Any, tmp_path: Path) -> None:
    flags = {"kind": "cross-encoder", "model.base": str(tiny.bi_encoder("bert")), "out": str(tmp_path / "run")}
    flags |= {"data.train": str(judged_pairs(tmp_path / "pairs.jsonl")), "training.num_train_epochs": 2.0}
    plan = plan_run(read_config(None, flags=flags))
    assert plan["steps"] == 2 * plan["steps_per_epoch"]
    assert plan["steps_per_epoch"] == -(-plan["rows"] // 8)
    assert plan["config"]["kind"] == "cross-encoder"
    assert not (tmp_path / "run").exists()
