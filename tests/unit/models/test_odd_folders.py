"""Folders as people have them: heads of other tasks, names of all kinds, links, and models opened as another kind."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from rankwright import BiEncoder, CrossEncoder
from rankwright.encoder.spec import ModelSpec
from rankwright.errors import ModelFormatError, ValueRangeError
from rankwright.models.loading import UntrainedWarning
from tests.tiny import ANGLES, FAMILIES, Family, roberta_bytes, write_transformer
from tests.tiny_foreign import build_foreign
from tests.tiny_modules import build_static
from tests.unit.models.bad_folders import keys, lost

LONG = ["the a " * 300]


def _plain(folder: Path, family: str, head: str) -> Path:
    write_transformer(folder, FAMILIES[family], head=head, config={}, seed=3)
    return folder


@pytest.mark.parametrize("head", ["ForMaskedLM", "ForTokenClassification", "ForQuestionAnswering", "ForPreTraining"])
def test_head_of_another_task_is_left_out(tmp_path: Path, head: str) -> None:
    folder = _plain(tmp_path / head, "bert", head)
    reference = transformers.AutoModel.from_pretrained(folder)
    ids = torch.tensor([BiEncoder(folder).tokenizer.encode("a text")])
    with torch.inference_mode():
        expected = reference(input_ids=ids).last_hidden_state.mean(1)[0].numpy()
    np.testing.assert_allclose(BiEncoder(folder, dtype="float32").encode("a text"), expected, rtol=1e-5, atol=1e-5)
    with pytest.warns(UntrainedWarning, match="holds no classification head: a new one was drawn at random"):
        assert CrossEncoder(folder).spec.head_is_new


@pytest.mark.parametrize("head", ["ForMaskedLM", "ForTokenClassification", "Model"])
def test_head_of_another_task_is_left_out_through_transformers_too(tmp_path: Path, head: str) -> None:
    folder = build_foreign(tmp_path / head, "albert", head=head)
    assert np.isfinite(BiEncoder(folder).encode("a text")).all()
    for num_labels in (None, 3):
        with pytest.warns(UntrainedWarning, match="holds no classification head: a new one was drawn at random"):
            model = CrossEncoder(folder, num_labels=num_labels)
        assert model.spec.head_is_new and model.num_labels == (num_labels or 1)


def test_new_head_through_transformers_is_the_same_each_time_and_draws_from_no_global_seed(tiny: Any) -> None:
    folder = tiny.built(build_foreign, "albert")
    before = torch.random.get_rng_state()
    scores = []
    for _ in range(2):
        with pytest.warns(UntrainedWarning):
            scores.append(CrossEncoder(folder, dtype="float32").predict([("a", "b"), ("c", "d e")]))
    np.testing.assert_array_equal(scores[0], scores[1])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("lacks", ["pooler", "nothing"])
def test_transformers_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str], lacks: str) -> None:
    folder = build_foreign(tmp_path / "model", "albert", head="ForMaskedLM")
    lost(lacks)(folder)
    capfd.readouterr()
    model = BiEncoder(folder)
    model.encode("a text")
    model.save(tmp_path / "saved")
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_settings_of_transformers_are_as_before(tiny: Any) -> None:
    from huggingface_hub import constants
    from transformers.utils import logging

    before = (logging.get_verbosity(), constants.HF_HUB_DISABLE_TELEMETRY, logging.set_tqdm_hook(None))
    BiEncoder(tiny.built(build_foreign, "albert"))
    assert (logging.get_verbosity(), constants.HF_HUB_DISABLE_TELEMETRY, logging.set_tqdm_hook(None)) == before


def test_a_decoder_of_a_family_of_ours_runs_through_transformers(tiny: Any, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny.bi_encoder("bert"), folder)
    keys("config.json", is_decoder=True)(folder)
    states = BiEncoder(folder, dtype="float32").encode(["the a"], output_value="token_embeddings")[0]
    longer = BiEncoder(folder, dtype="float32").encode(["the a b c"], output_value="token_embeddings")[0]
    torch.testing.assert_close(states[:2], longer[:2])  # what follows is not seen


ROBERTA_LIKE = Family(
    "RobertaPreLayerNorm",
    "PreTrainedTokenizerFast",
    roberta_bytes,
    ANGLES,
    max_length=10**9,
    config={"max_position_embeddings": 66, "type_vocab_size": 1},
)


def test_positions_that_keep_a_row_for_padding_limit_the_length(tmp_path: Path) -> None:
    write_transformer(tmp_path / "model", ROBERTA_LIKE, head="Model", config={}, seed=3)
    model = BiEncoder(tmp_path / "model", dtype="float32")
    assert model.max_length == 64
    assert np.isfinite(model.encode(LONG)).all()
    with pytest.raises(ValueRangeError, match=r"max_length must be from 1 to 64 for .*, got 65"):
        BiEncoder(tmp_path / "model", max_length=65)
    with pytest.raises(ValueRangeError, match=r"max_length must be from 1 to 64 for .*, got 66"):
        model.max_length = 66
    for wrong in ("64", 64.0, None):
        with pytest.raises(ValueRangeError, match=rf"max_length must be from 1 to 64 for .*, got {wrong!r}"):
            model.max_length = wrong  # type: ignore[assignment]
    model.max_length = np.int64(9)  # type: ignore[assignment]
    assert model.max_length == 9


def test_a_head_that_cannot_tell_padding_is_refused(tmp_path: Path) -> None:
    folder = build_foreign(tmp_path / "model", "qwen3", head="ForSequenceClassification", config={"num_labels": 1})
    keys("config.json", pad_token_id=...)(folder)
    with pytest.raises(
        ModelFormatError,
        match=r"config\.json: its model cannot score several pairs at a time: .* Set pad_token_id there",
    ):
        CrossEncoder(folder)
    keys("config.json", pad_token_id=0)(folder)
    assert np.isfinite(CrossEncoder(folder).predict([("a", "b"), ("a b c d e", "f")])).all()


@pytest.mark.parametrize("kind", ["SparseEncoder", "MultiVectorEncoder"])
def test_model_of_another_kind_is_told_of(tiny: Any, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny.bi_encoder("bert"), folder)
    keys("config_sentence_transformers.json", model_type=kind)(folder)
    message = rf"holds a {kind}: as a bi-encoder it gets mean pooling, .*use, of sentence-transformers, {kind}\("
    with pytest.warns(UntrainedWarning, match=message):
        BiEncoder(folder)


def test_table_of_embeddings_is_no_cross_encoder(tiny: Any) -> None:
    with pytest.raises(
        ModelFormatError, match=r"holds a table of embeddings, which cannot score pairs\. Open it with Bi"
    ):
        CrossEncoder(tiny.built(build_static))


@pytest.mark.parametrize("num_labels", [0, -1, "1", 1.0])
def test_number_of_labels_is_a_whole_one(tiny: Any, num_labels: Any) -> None:
    for folder in (tiny.cross_encoder("bert"), tiny.bi_encoder("bert")):
        with pytest.raises(ValueRangeError, match=rf"num_labels={num_labels!r}: expected a whole number from 1"):
            CrossEncoder(folder, num_labels=num_labels)


def _spec(folder: str | Path) -> ModelSpec:
    return BiEncoder(folder).spec


def test_folder_may_have_any_name(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tiny.bi_encoder("bert")
    expected = _spec(source)
    for name in ("zażółć", "模型 😀", "with space", "50%", "quote's", "-dash", "[x]"):
        shutil.copytree(source, tmp_path / name)
        assert _spec(tmp_path / name) == expected
        BiEncoder(tmp_path / name).save(tmp_path / name / "saved")
        assert _spec(tmp_path / name / "saved").modules == expected.modules
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("50%", "./50%", f"{tmp_path}/50%/", "~/50%", "50%/../50%"):
        assert _spec(name) == expected


def test_links_as_in_the_cache_of_the_hub_are_followed(tiny: Any, tmp_path: Path) -> None:
    source = tiny.bi_encoder("bert", dense=8)
    snapshot = tmp_path / "models--o--n" / "snapshots" / "0a1b"
    blobs = tmp_path / "models--o--n" / "blobs"
    blobs.mkdir(parents=True)
    for i, path in enumerate(path for path in source.rglob("*") if path.is_file()):
        shutil.copyfile(path, blobs / str(i))
        link = snapshot / path.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blobs / str(i), link.parent))
    model = BiEncoder(snapshot, dtype="float32")
    np.testing.assert_array_equal(model.encode("a"), BiEncoder(source, dtype="float32").encode("a"))
    model.save(tmp_path / "saved")
    assert not [path for path in (tmp_path / "saved").rglob("*") if path.is_symlink()]
    with pytest.raises(ModelFormatError, match=r"is no checkpoint\. .* Did you mean '.*snapshots/0a1b'\?"):
        BiEncoder(tmp_path / "models--o--n")


def test_a_run_folder_names_the_model_in_it(tiny: Any, tmp_path: Path) -> None:
    shutil.copytree(tiny.bi_encoder("bert"), tmp_path / "run" / "model")
    with pytest.raises(ModelFormatError, match=r"run is no checkpoint\. .* Did you mean '.*run/model'\?"):
        BiEncoder(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFormatError, match=r"Expected a folder saved by .* or transformers\.$"):
        BiEncoder(tmp_path / "empty")


def test_nothing_is_written_where_a_model_lies(tiny: Any, tmp_path: Path) -> None:
    for i, source in enumerate((tiny.bi_encoder("bert"), tiny.built(build_foreign, "albert"))):
        folder = tmp_path / str(i)
        shutil.copytree(source, folder)
        before = {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}
        BiEncoder(folder).encode("a")
        assert {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]} == before


def test_a_model_opened_by_a_relative_name_serves_from_another_folder(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i, source in enumerate((tiny.bi_encoder("bert"), tiny.built(build_foreign, "albert"))):
        monkeypatch.chdir(source.parent)
        model = BiEncoder(source.name, dtype="float32")
        monkeypatch.chdir(tmp_path)
        model.save(f"saved {i}")
        np.testing.assert_array_equal(BiEncoder(f"saved {i}", dtype="float32").encode("a"), model.encode("a"))


def test_labels_named_win_over_labels_counted(tiny: Any, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny.cross_encoder("bert"), folder)
    keys("config.json", num_labels=7)(folder)
    assert len(json.loads((folder / "config.json").read_text())["id2label"]) == 1
    assert CrossEncoder(folder).num_labels == 1
