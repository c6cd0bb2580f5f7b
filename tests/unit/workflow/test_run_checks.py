"""What cannot work is said before anything is written or measured."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from rankwright.cli import main
from rankwright.config import RunConfig, read_config
from rankwright.data import read_pairs
from rankwright.errors import ConfigError, DataError
from rankwright.models import CrossEncoder
from rankwright.workflow import runs
from rankwright.workflow.evaluations import evaluate
from rankwright.workflow.folder import dotted
from rankwright.workflow.measuring import Settings, evaluation_data_of, measure_scores
from rankwright.workflow.references import reference_evaluations
from rankwright.workflow.runs import plan_run, run_config
from tests.conftest import TinyModels
from tests.unit.workflow.small_data import write_rows

ROWS = [{"query": f"query {i}", "positive": f"document {i}"} for i in range(20)]


@pytest.fixture
def config(tiny: TinyModels, tmp_path: Path) -> RunConfig:
    """A run of a tiny bi-encoder, whose embeddings are shorter than one of the sizes asked for."""
    train = tmp_path / "train.jsonl"
    train.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    flags = {
        "kind": "bi-encoder",
        "model.base": str(tiny.bi_encoder("bert")),
        "data.train": str(train),
        "data.eval": str(train),
        "loss.matryoshka_dims": [768, 16, 8],
        "out": str(tmp_path / "run"),
    }
    return read_config(None, flags=flags)


@pytest.mark.parametrize(
    ("maker", "config", "expected"),
    [
        ("cross_encoder", None, "cross-encoder"),
        ("cross_encoder", {"training.seed": 1}, "cross-encoder"),
        ("cross_encoder", {"kind": "bi-encoder"}, "bi-encoder"),
        ("bi_encoder", None, "bi-encoder"),
    ],
)
def test_the_kind_is_that_of_the_files_where_nobody_says_it(
    tiny: TinyModels,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    maker: str,
    config: dict[str, object] | None,
    expected: str,
) -> None:
    """A reranker that is trained on must not become a bi-encoder in silence."""
    resolved: list[RunConfig] = []
    monkeypatch.setattr(runs, "run_config", lambda config, **others: resolved.append(config))
    runs.train(getattr(tiny, maker)("bert"), ROWS, out=tmp_path / "run", config=config)
    assert resolved[0].kind == expected


def test_sizes_above_the_embedding_are_refused_before_the_folder_is_made(config: RunConfig) -> None:
    """Measuring the references takes minutes; a folder with a wrong config would refuse the right one."""
    with pytest.raises(ConfigError, match=r"loss.matryoshka_dims = \[768, 16, 8\]: .* have 32 numbers.*\[16, 8\]"):
        run_config(config)
    assert not Path(config.out).exists()
    with pytest.raises(ConfigError, match="768"):
        plan_run(config)


def test_evaluation_data_with_one_label_are_named_before_the_folder_is_made(
    config: RunConfig, tiny: TinyModels, tmp_path: Path
) -> None:
    """They were found when the references were measured, by an error that named no file."""
    path = write_rows(tmp_path / "same.jsonl", ({"query": f"q{i}", "document": "d", "label": 1} for i in range(3)))
    words = rf"^{path}: all 3 labels of same are 1, so .*Add pairs with other labels"
    flags = {**dotted(config.model_dump(exclude_none=True)), "data.eval": str(path), "loss.matryoshka_dims": []}
    for start in (run_config, plan_run):
        with pytest.raises(DataError, match=words):
            start(read_config(None, flags=flags))
    assert not Path(config.out).exists()
    with pytest.raises(DataError, match=words):
        evaluate(tiny.bi_encoder("bert"), path)


def test_pairs_are_scored_once_for_both_views() -> None:
    """Reranking and classification of the same labelled pairs ask for the same scores."""
    rows = [{"query": f"q{i // 2}", "document": f"d{i}", "label": i % 2} for i in range(8)]
    asked: list[tuple[str, str]] = []

    def score(pairs: list[tuple[str, str]]) -> np.ndarray:
        asked.extend(pairs)
        return np.asarray([float(document[1:]) for _, document in pairs])

    found = measure_scores(score, evaluation_data_of(read_pairs(rows)), Settings(), system="model")  # type: ignore[arg-type]  # called with lists
    assert [evaluation.task for evaluation in found] == ["reranking", "classification"]
    assert found[0].measures["mrr@10"] == 1.0
    assert sorted(asked) == sorted((row["query"], row["document"]) for row in rows)


@pytest.mark.parametrize("primary", ["accuracy", "ndcg@10"])
def test_the_primary_measure_is_that_of_all_that_have_it(tiny: TinyModels, primary: str) -> None:
    """Also of the references; the longer text ranks nothing, so it has no ndcg@10 and is left as it is."""
    rows = [{"query": f"q{i // 2}", "document": f"d{i}" + "!" * (i % 3), "label": i % 2} for i in range(12)]
    model = CrossEncoder(tiny.cross_encoder("bert"))
    settings = Settings(primary=primary)
    table = read_pairs(rows)
    data = evaluation_data_of(table)
    measured = evaluate([model], data, settings=settings).evaluations
    for evaluation in [*measured, *reference_evaluations(model, table, data, settings)]:
        assert (evaluation.primary == primary) == (primary in evaluation.measures)
    assert {"BM25", "longer text"} <= {evaluation.system for evaluation in measured}


def test_a_warning_on_the_command_line_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the file and the line of code that gave it."""
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # put back afterwards
    monkeypatch.setattr("sys.argv", ["rankwright", "--version"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert warnings.formatwarning(UserWarning("12 of 120 queries"), UserWarning, "file.py", 3) == (
        "warning: 12 of 120 queries\n"
    )
