from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from rankwright.card import read_run, render_card
from tests.run_folders import ENERGY, make_reranker, make_retriever

Maker = Callable[..., Path]


def _card(folder: Path) -> ModelCard:
    return ModelCard(render_card(folder))


@pytest.mark.parametrize("make", [make_reranker, make_retriever])
def test_the_model_index_holds_exactly_the_evaluations_of_the_saved_model(tmp_path: Path, make: Maker) -> None:
    results = _card(make(tmp_path)).data.eval_results
    found = {(result.dataset_config, result.metric_type): result.metric_value for result in results}
    trained = read_run(tmp_path).trained
    expected = {
        (f"dim_{one.dim}" if one.dim else None, measure): value
        for one in trained
        for measure, value in one.measures.items()
    }
    assert found == expected
    assert len(results) == len(expected)


def test_a_reranker_has_the_tags_that_the_hub_filters_by(tmp_path: Path) -> None:
    data = _card(make_reranker(tmp_path)).data
    assert data.tags[:4] == ["sentence-transformers", "rankwright", "cross-encoder", "reranker"]
    assert data.tags[4:] == ["generated_from_trainer", "dataset_size:12431", "loss:BinaryCrossEntropyLoss"]
    assert (data.library_name, data.pipeline_tag) == ("sentence-transformers", "text-ranking")
    assert (data.language, data.license) == (["ru", "pl"], "apache-2.0")
    assert data.base_model == "microsoft/MiniLM-L12-H384-uncased"
    assert data.metrics == ["ndcg@10", "mrr@10", "map@100"]
    assert data.get("widget") is None


def test_a_retriever_names_its_loss_and_the_loss_within(tmp_path: Path) -> None:
    data = _card(make_retriever(tmp_path)).data
    assert data.tags[-3:] == ["dataset_size:3738", "loss:MatryoshkaLoss", "loss:MultipleNegativesRankingLoss"]
    assert data.pipeline_tag == "sentence-similarity"
    assert data.datasets == ["allegro/klej-dyk"]
    assert data.language == ["pl"]
    assert data.get("license") is None
    assert data.widget[0]["source_sentence"] == "gdzie rośnie bokkonia?"


def test_a_user_loss_is_tagged_by_its_own_name(tmp_path: Path) -> None:
    make_reranker(tmp_path, changes={"summary.json:loss.name": "my_loss"})
    assert "loss:my_loss" in _card(tmp_path).data.tags


def test_energy_is_in_the_metadata_under_the_hubs_names(tmp_path: Path) -> None:
    assert _card(make_reranker(tmp_path / "off")).data.get("co2_eq_emissions") is None
    data = _card(make_reranker(tmp_path / "on", changes={"summary.json:energy": ENERGY})).data
    assert data.co2_eq_emissions == {
        "emissions": 12.5,
        "energy_consumed": 0.031,
        "source": "codecarbon",
        "training_type": "fine-tuning",
        "on_cloud": False,
        "cpu_model": "AMD EPYC 9R14",
    }


def test_utf8_stays_utf8_in_the_metadata(tmp_path: Path) -> None:
    head = render_card(make_retriever(tmp_path)).split("\n---\n")[0]
    assert "gdzie rośnie bokkonia?" in head
    assert "\\" not in head
