import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rankwright.card import read_run, render_card, write_card
from rankwright.card.st_variables import energy_facts, st_variables
from rankwright.errors import DataError
from rankwright.evaluation import compare, write_evaluations
from rankwright.evaluation.report import evaluation_of_queries
from tests.golden_text import assert_golden
from tests.run_folders import ENERGY, make_reranker, make_retriever

MAKERS = {"reranker": make_reranker, "retriever": make_retriever}
Maker = Callable[..., Path]


def _private(folder: Path) -> Path:
    path = folder / "config.toml"
    path.write_text(path.read_text(encoding="utf-8") + "examples = false\n", encoding="utf-8")
    return folder


@pytest.mark.golden
@pytest.mark.parametrize("name", MAKERS)
def test_the_card_is_the_golden_one(tmp_path: Path, name: str) -> None:
    assert_golden(f"card_{name}.md", render_card(MAKERS[name](tmp_path)))


@pytest.mark.parametrize("make", MAKERS.values())
def test_the_same_folder_gives_the_same_card_wherever_it_lies(tmp_path: Path, make: Maker) -> None:
    assert render_card(make(tmp_path / "a")) == render_card(make(tmp_path / "b"))


@pytest.mark.parametrize("make", MAKERS.values())
def test_the_sections_are_in_their_order(tmp_path: Path, make: Maker) -> None:
    card = render_card(make(tmp_path, changes={"summary.json:energy": ENERGY}))
    headings = re.findall(r"^#{1,3} (.*)$", re.sub(r"```.*?```", "", card, flags=re.DOTALL), flags=re.MULTILINE)
    wanted = ["Model details", "Architecture", "Usage", "Evaluation", "Training", "Loss", "Hyperparameters"]
    wanted += ["Training log", "Time and hardware", "Environmental impact", "Versions", "Limits", "How to reproduce"]
    assert [heading for heading in headings if heading in wanted] == wanted
    assert "\n\n\n" not in card.split("\n---\n", 1)[1]


def test_prompts_that_were_trained_with_are_advised(tmp_path: Path) -> None:
    said = "trained with prompts (query: `zapytanie: `): use `encode_query`"
    assert said in render_card(make_retriever(tmp_path))
    assert "trained with prompts" not in render_card(make_retriever(tmp_path, changes={"summary.json:prompts": {}}))


def test_a_collection_has_queries_and_documents_not_rows(tmp_path: Path) -> None:
    facts = json.loads((make_retriever(tmp_path) / "data.json").read_text(encoding="utf-8"))["eval"][0]
    changes = {"data.json:eval": [facts | {"num_documents": 4152}]}
    card = render_card(make_retriever(tmp_path, changes=changes))
    assert "- **Size:** 416 queries and 4,152 documents" in card
    assert "Statistics of the first 416 queries and 1,000 documents:" in card
    assert "dyk test, 416 queries and 4,152 documents, SHA-256" in card


def test_rows_with_low_labels_that_were_left_out_are_told(tmp_path: Path) -> None:
    card = render_card(make_retriever(tmp_path, changes={"data.json:train.num_labelled": 4154}))
    assert "- **Size:** 3,738 rows, the positive ones of 4,154 labelled pairs" in card
    assert "Statistics of the first 1,000 rows:" in card


def test_the_name_of_a_loss_is_no_tag_of_html(tmp_path: Path) -> None:
    loss = {"name": "main.<locals>.<lambda>", "fullname": "__main__.main.<locals>.<lambda>"}
    card = render_card(make_reranker(tmp_path, changes={"summary.json:loss": loss}))
    assert "main.&lt;locals&gt;.&lt;lambda&gt; (`__main__.main.<locals>.<lambda>`)." in card


def test_worse_is_said_at_the_top(tmp_path: Path) -> None:
    changes = {"verdict": "worse", "reference": "BM25", "reference_value": 0.8, "difference": -0.08949}
    make_reranker(tmp_path, changes={f"summary.json:comparison.{key}": value for key, value in changes.items()})
    card = render_card(tmp_path)
    top = card.split("## Model details")[0]
    assert "> [!WARNING]\n> **Worse than BM25: do not use it instead of BM25.**" in top
    assert "ndcg@10 is **0.7105** where BM25 has 0.8000: a difference of -0.0895 (95 % interval +0.0500" in top
    assert "Better" not in card


def test_no_difference_is_not_called_better(tmp_path: Path) -> None:
    top = render_card(make_retriever(tmp_path)).split("## Model details")[0]
    assert "**No difference from the base shown.**" in top
    assert "These data do not say which of the two is better." in top
    assert "[!WARNING]" not in top


def test_an_untrained_head_is_shown_under_its_name_and_not_compared_with(tmp_path: Path) -> None:
    card = render_card(make_reranker(tmp_path))
    assert "| untrained | 0.1500 | 0.1200 to 0.1800 | a new head before training; shown, not compared with |" in card


def test_a_retriever_without_evaluation_says_that_nothing_is_known(tmp_path: Path) -> None:
    make_retriever(tmp_path, changes={"summary.json:comparison": None})
    for name in ("trained", "references"):
        (tmp_path / "evaluations" / f"{name}.json").write_text("[]", encoding="utf-8")
    card = render_card(tmp_path)
    assert "> **Not measured.**" in card
    assert "## Evaluation\n" not in card
    assert "Nothing was measured" in card


def test_a_comparison_over_the_shared_queries_only_says_how_many(tmp_path: Path) -> None:
    changes = {"summary.json:comparison.num_queries": 150, "summary.json:comparison.value": 0.72}
    card = render_card(make_reranker(tmp_path, changes=changes))
    assert "On ru_pairs dev (150 queries), ndcg@10 is **0.7200**" in card


@pytest.mark.parametrize(
    ("candidates", "sentence"),
    [("first stage", "the documents of this first stage"), ("judged documents", "Only documents that somebody judged")],
)
def test_the_limits_name_what_was_ranked(tmp_path: Path, candidates: str, sentence: str) -> None:
    changes = {"evaluations/trained.json:0.parameters": {"candidates": candidates}}
    assert sentence in render_card(make_reranker(tmp_path, changes=changes))


def test_an_interval_without_width_is_no_precision(tmp_path: Path) -> None:
    card = render_card(make_reranker(tmp_path, changes={"evaluations/trained.json:0.intervals.ndcg@10": [1.0, 1.0]}))
    assert "173 queries, too few or too alike to say how well ndcg@10 is known." in card


@pytest.mark.parametrize(("task", "units"), [("reranking", "queries"), ("similarity", "pairs")])
def test_the_limits_name_what_the_intervals_are_over(tmp_path: Path, task: str, units: str) -> None:
    changes = {"evaluations/trained.json:0.task": task}
    assert f"intervals are over the {units}, " in render_card(make_reranker(tmp_path, changes=changes))


@pytest.mark.parametrize(("queries", "pairs"), [(3, 0), (0, 2), (1, 4)])
def test_what_is_also_in_the_training_data_is_counted(tmp_path: Path, queries: int, pairs: int) -> None:
    card = render_card(
        make_reranker(tmp_path, changes={"data.json:eval.0.overlap": {"queries": queries, "pairs": pairs}})
    )
    assert f"- {queries} queries and {pairs} judged pairs of ru_pairs dev are also in the training data" in card


def test_a_checkpoint_without_a_choice_is_not_called_the_best(tmp_path: Path) -> None:
    path, said = make_reranker(tmp_path) / "metrics.jsonl", "by its evaluation on these same data"
    assert said in render_card(tmp_path)
    rows = [row for row in path.read_text(encoding="utf-8").splitlines() if "eval_" not in row or '"step": 40' in row]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert any("eval_" in row for row in rows)
    assert said not in render_card(tmp_path)


def test_the_most_frequent_values_of_a_column_are_shown(tmp_path: Path) -> None:
    values = {f"{i}.0": i / 66 for i in range(12)}
    card = render_card(make_reranker(tmp_path, changes={"data.json:train.statistics.label.values": values}))
    shown = "<br>".join(f"{i}.0: {i / 66:.2%}" for i in range(11, 1, -1))
    assert f"| {shown}<br>and 2 more values |" in card


def test_evaluating_on_the_training_data_is_said(tmp_path: Path) -> None:
    card = render_card(make_reranker(tmp_path, changes={"data.json:eval.0.sha256": f"{12431:064x}"}))
    assert "The evaluation data are the training data" in card


@pytest.mark.parametrize("make", MAKERS.values())
def test_private_texts_are_nowhere_on_the_card(tmp_path: Path, make: Maker) -> None:
    make(tmp_path / "open")
    texts = ("bokkonia", "Bokkonia", "Żywot", "Париж", "Warszawa", "gęślą", "Какой город")
    assert any(text in render_card(tmp_path / "open") for text in texts)
    card = render_card(_private(make(tmp_path / "private")))
    assert not [text for text in texts if text in card]
    assert "Samples:" not in card
    assert "The texts are private" in card


def test_private_texts_are_in_no_variable_of_a_users_template(tmp_path: Path) -> None:
    variables = st_variables(read_run(_private(make_reranker(tmp_path))))
    assert variables["usage_examples"] is variables["predict_example"] is None
    assert "Какой город" not in repr(variables)


def test_energy_for_templates_is_in_hours_and_of_the_machine_that_was_measured(tmp_path: Path) -> None:
    energy = ENERGY | {"cpu_model": "measured CPU"}
    changes = {"summary.json:energy": energy, "summary.json:training_time_s": 5400.0}
    facts = energy_facts(read_run(make_reranker(tmp_path, changes=changes)))
    assert facts is not None
    assert (facts["hours_used"], facts["cpu_model"], facts["ram_total_size"]) == (1.5, "measured CPU", 7.7)


def test_a_private_reranker_still_shows_the_scores_of_its_real_query(tmp_path: Path) -> None:
    card = render_card(_private(make_reranker(tmp_path)))
    assert "| 1 | 0.9812 | 1 | document 0 (not shown) |" in card


def test_energy_is_shown_where_it_was_measured(tmp_path: Path) -> None:
    assert "Environmental impact" not in render_card(make_reranker(tmp_path / "off"))
    card = render_card(make_reranker(tmp_path / "on", changes={"summary.json:energy": ENERGY}))
    assert "- **Energy:** 0.031 kWh" in card
    assert "- **Carbon:** 0.013 kg of CO2 equivalent" in card
    assert "- **Memory:** 7.70 GB" in card


def test_a_local_base_shows_no_home_folder_and_no_link(tmp_path: Path) -> None:
    changes = {"summary.json:base": "/home/anna/models/minilm", "summary.json:base_is_hub": False}
    card = render_card(make_reranker(tmp_path, changes=changes))
    assert "`models/minilm` (a local model)" in card
    assert "anna" not in card
    assert "huggingface.co/models/minilm" not in card
    assert "base_model:" not in card


def test_a_relative_folder_is_no_hub_id(tmp_path: Path) -> None:
    changes = {"summary.json:base": "models/minilm", "summary.json:base_is_hub": False}
    assert "`models/minilm` (a local model)" in render_card(make_reranker(tmp_path, changes=changes))


def test_a_log_of_more_than_100_rows_is_folded_away(tmp_path: Path) -> None:
    make_reranker(tmp_path)
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f'{{"step": {i * 10}, "epoch": {i}, "loss": 0.5}}\n' for i in range(1, 102)), "utf-8")
    assert "<details><summary>101 rows</summary>\n\n| Epoch |" in render_card(tmp_path)


def test_a_lone_surrogate_in_a_text_does_not_stop_the_card(tmp_path: Path) -> None:
    path = make_reranker(tmp_path) / "data.json"
    path.write_text(path.read_text(encoding="utf-8").replace("gęślą", "\\ud83d"), encoding="utf-8")
    render_card(tmp_path).encode("utf-8")


@pytest.mark.parametrize("library", ["rankwright", "sentence_transformers"])
@pytest.mark.parametrize("name", MAKERS)
def test_the_snippet_runs_and_prints_what_the_card_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, library: str
) -> None:
    card = render_card(MAKERS[name](tmp_path))
    block = re.search(rf"```python\n(from {library} import .*?)\n```", card, flags=re.DOTALL)
    assert block is not None
    similarities = np.array([[0.81234, 0.1]], dtype=np.float32)
    is_tensor = library == "sentence_transformers"
    model = SimpleNamespace(
        rank=lambda query, documents: [
            {"corpus_id": i, "score": np.float32(score)} for i, score in ((0, 0.98123), (2, 0.25), (1, 0.01))
        ],
        encode_query=lambda queries: np.zeros((len(queries), 768)),
        encode_document=lambda documents: np.zeros((len(documents), 768)),
        similarity=lambda a, b: SimpleNamespace(numpy=lambda: similarities) if is_tensor else similarities,
    )
    classes = dict.fromkeys(("BiEncoder", "CrossEncoder", "SentenceTransformer"), lambda path: model)
    monkeypatch.setitem(__import__("sys").modules, library, SimpleNamespace(**classes))
    exec(block[1], {})
    printed = capsys.readouterr().out.splitlines()
    assert printed == [line.removeprefix("# ") for line in block[1].split("\n") if line.startswith("# ")]


def test_a_cross_encoder_of_several_labels_shows_a_row_of_scores_a_pair(tmp_path: Path) -> None:
    changes = {"summary.json:num_labels": 3, "summary.json:usage.scores": [[0.1, 0.2, 0.7]] * 3}
    card = render_card(make_reranker(tmp_path, changes=changes))
    assert "# [[0.1 0.2 0.7]\n#  [0.1 0.2 0.7]\n#  [0.1 0.2 0.7]]" in card
    assert "pipeline_tag: text-classification" in card


def test_the_card_is_written_beside_the_model_and_replaces_the_one_there(tmp_path: Path) -> None:
    path = make_reranker(tmp_path) / "model" / "README.md"
    path.write_text("old", encoding="utf-8")
    assert write_card(tmp_path) == path
    assert path.read_text(encoding="utf-8") == render_card(tmp_path)
    assert [file.name for file in path.parent.iterdir()] == ["README.md"]


def test_a_card_needs_a_model_to_lie_beside(tmp_path: Path) -> None:
    (make_reranker(tmp_path) / "model").rmdir()
    with pytest.raises(DataError, match=r"model: no such folder.*Finish the training first"):
        write_card(tmp_path)


def test_a_failing_template_leaves_the_old_card(tmp_path: Path) -> None:
    path = make_reranker(tmp_path) / "model" / "README.md"
    path.write_text("old", encoding="utf-8")
    template = tmp_path / "own.jinja"
    template.write_text("# {{ model_name }}\n\n{{ model_idd }}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"own.jinja:3: .*'model_idd' is undefined.*base_model.*model_id"):
        write_card(tmp_path, template=template)
    assert path.read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("a\n{% if %}", r":2: the template cannot be rendered"),
        ("{{ model_name.__class__.__mro__ }}", r":1: .*unsafe"),
        ("{{ '%d' | format(model_name) }}", r":1: .*the template cannot be rendered"),
    ],
)
def test_a_template_that_fails_is_named_with_its_line(tmp_path: Path, template: str, message: str) -> None:
    path = make_reranker(tmp_path) / "own.jinja"
    path.write_text(template, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        render_card(tmp_path, template=path)


def test_a_missing_template_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"own.jinja: the template cannot be read \(No such file"):
        render_card(make_reranker(tmp_path), template=tmp_path / "own.jinja")


def test_the_template_of_the_config_is_used(tmp_path: Path) -> None:
    template = tmp_path / "own.jinja"
    template.write_text("{{ model_name }} | {{ best_model_step }}", encoding="utf-8")
    config = make_retriever(tmp_path) / "config.toml"
    config.write_text(config.read_text(encoding="utf-8") + f'template = "{template}"\n', encoding="utf-8")
    assert render_card(tmp_path) == "mmlw-roberta-base-dyk | 40"


def test_a_reference_beside_that_of_the_verdict_that_is_better_is_named_in_the_warning(tmp_path: Path) -> None:
    folder, drawn = make_retriever(tmp_path), np.random.default_rng(0).uniform(0.2, 0.6, 40)
    trained, base, bm25 = (
        evaluation_of_queries(
            [f"q{i}" for i in range(40)],
            {"ndcg@10": drawn + gain},
            task="retrieval",
            dataset="dyk",
            system=system,
            parameters={},
        )
        for system, gain in (("model", 0.1), ("base", 0.0), ("BM25", 0.3))
    )
    write_evaluations(folder / "evaluations" / "trained.json", [trained])
    write_evaluations(folder / "evaluations" / "references.json", [base, bm25])
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    summary["comparison"] = compare(trained, base).to_json()
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    top = render_card(folder).split("## Model details")[0]
    assert "> [!WARNING]\n> **Better than the base.**" in top
    assert re.search(
        r"> \*\*BM25 is better than this model:\*\* it has 0\.\d{4}, so this model differs .* -0\.2000", top
    )


def test_labels_that_nobody_gave_and_columns_that_no_sample_has_are_not_made_up(tmp_path: Path) -> None:
    changes = {
        "summary.json:usage.truth": [1.0, None, 0.5],
        "data.json:train.columns": ["query", "document", "label", "qid"],
        "data.json:train.samples": [{"query": "q", "document": "d", "label": 1.0}],
    }
    card = render_card(make_reranker(tmp_path, changes=changes))
    shown = re.findall(r"^\| (\d) \| \d\.\d{4} \| (\S+) \|", card, flags=re.MULTILINE)
    assert [label for _, label in shown] == ["1", "0.5", "-"], "each beside its own document"
    assert "| query | document | label |\n" in card and "| qid |" not in card
