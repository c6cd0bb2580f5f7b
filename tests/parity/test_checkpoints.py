"""Folders saved by sentence-transformers are read as it reads them, and ours give the same numbers in it."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import ORIGINAL_TRANSFORMER_MODELS

from rankwright.encoder.spec import Dense, Kind, ModelSpec, Pooling
from rankwright.hub import resolve
from rankwright.models.checkpoint_read import read_spec, read_weights
from rankwright.models.checkpoint_write import write_checkpoint
from rankwright.models.loading import UntrainedWarning
from rankwright.text.tokenizer_files import load_tokenizer
from tests.parity.reference import our_bi_encoder, our_cross_encoder, st_bi_encoder, st_cross_encoder
from tests.texts import CORPUS, HARD_PAIRS, HARD_TEXTS
from tests.tiny import CROSS_FAMILIES, FAMILIES

TEXTS = [*HARD_TEXTS[:16], *CORPUS[:6]]
PAIRS = list(HARD_PAIRS[:8])
IDENTITY = "torch.nn.modules.linear.Identity"

each_family = pytest.mark.parametrize("family", FAMILIES)
each_cross_family = pytest.mark.parametrize("family", CROSS_FAMILIES)


def _assert_same_spec(actual: ModelSpec, expected: ModelSpec, *, but: tuple[str, ...] = ()) -> None:
    """Equal but for config.json itself, whose defaults transformers spells out."""
    for part in fields(ModelSpec):
        if part.name not in ("config", *but):
            assert getattr(actual, part.name) == getattr(expected, part.name), part.name


def _assert_same_tensors(actual: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    assert set(actual) == set(expected)
    for name in expected:
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)


def _rewrite(source: Path, target: Path, kind: Kind, **changes: Any) -> Path:
    """Reads a folder and writes it again."""
    spec = replace(read_spec(source, kind), **changes)
    write_checkpoint(target, spec, read_weights(source, spec), source=source)
    return target


@each_family
def test_bi_encoder_saved_by_v6_is_read_like_its_old_spelling(tiny: Any, tmp_path: Path, family: str) -> None:
    settings = {"prompts": {"query": "query: "}, "default_prompt_name": "query", "similarity_fn_name": "dot"}
    folder = tiny.bi_encoder(family, dense=16, settings=settings)
    st_bi_encoder(folder, truncate_dim=8).save(str(tmp_path))
    spec = read_spec(tmp_path, "bi-encoder")
    expected = replace(read_spec(folder, "bi-encoder"), truncate_dim=8)
    _assert_same_spec(spec, expected)
    assert json.loads((tmp_path / "1_Pooling" / "config.json").read_text())["pooling_mode"] == "mean"
    _assert_same_tensors(read_weights(tmp_path, spec), read_weights(folder, expected))


@each_cross_family
@pytest.mark.parametrize("num_labels", [1, 3])
def test_cross_encoder_saved_by_v6_is_read_like_its_old_spelling(
    tiny: Any, tmp_path: Path, family: str, num_labels: int
) -> None:
    folder = tiny.cross_encoder(family, num_labels=num_labels)
    st_cross_encoder(folder, activation_fn=torch.nn.Tanh(), prompts={"rank": "rank: "}).save(str(tmp_path))
    spec = read_spec(tmp_path, "cross-encoder")
    expected = replace(
        read_spec(folder, "cross-encoder"),
        activation="torch.nn.modules.activation.Tanh",
        prompts={"rank": "rank: "},
    )
    _assert_same_spec(spec, expected)
    _assert_same_tensors(read_weights(tmp_path, spec), read_weights(folder, expected))


@pytest.mark.parametrize("pooling", [("cls",), ("mean", "max"), ("lasttoken", "weightedmean", "mean_sqrt_len_tokens")])
def test_pooling_that_v6_saved_is_read_in_its_order(tiny: Any, tmp_path: Path, pooling: tuple[str, ...]) -> None:
    reference = st_bi_encoder(tiny.bi_encoder("bert", pooling=pooling))
    reference[1].pooling_mode = pooling[0] if len(pooling) == 1 else pooling
    reference.save(str(tmp_path / "theirs"))
    spec = read_spec(tmp_path / "theirs", "bi-encoder")
    assert spec.modules[0] == Pooling(pooling)
    ours = _rewrite(tmp_path / "theirs", tmp_path / "ours", "bi-encoder")
    np.testing.assert_array_equal(st_bi_encoder(ours).encode(TEXTS), reference.encode(TEXTS))


@each_family
def test_bi_encoder_that_we_wrote_gives_the_same_embeddings_in_st(tiny: Any, tmp_path: Path, family: str) -> None:
    settings = {"prompts": {"query": "query: "}, "default_prompt_name": "query", "similarity_fn_name": "euclidean"}
    folder = tiny.bi_encoder(family, dense=16, settings=settings)
    ours = st_bi_encoder(_rewrite(folder, tmp_path / "ours", "bi-encoder"))
    theirs = st_bi_encoder(folder)
    np.testing.assert_array_equal(ours.encode(TEXTS), theirs.encode(TEXTS))
    for name in ("prompts", "default_prompt_name", "similarity_fn_name", "max_seq_length"):
        assert getattr(ours, name) == getattr(theirs, name), name


@each_cross_family
@pytest.mark.parametrize(("num_labels", "activation"), [(1, None), (1, IDENTITY), (3, None)])
def test_cross_encoder_that_we_wrote_gives_the_same_scores_in_st(
    tiny: Any, tmp_path: Path, family: str, num_labels: int, activation: str | None
) -> None:
    stored = {} if activation is None else {"sentence_transformers": {"activation_fn": activation}}
    folder = tiny.cross_encoder(family, num_labels=num_labels, config=stored)
    ours = st_cross_encoder(_rewrite(folder, tmp_path / "ours", "cross-encoder", prompts={"rank": "rank: "}))
    theirs = st_cross_encoder(folder)
    np.testing.assert_array_equal(ours.predict(PAIRS), theirs.predict(PAIRS))
    assert type(ours.activation_fn) is type(theirs.activation_fn)
    assert (ours.max_seq_length, ours.num_labels, ours.prompts) == (
        theirs.max_seq_length,
        num_labels,
        {"rank": "rank: "},
    )


@each_cross_family
def test_cross_encoder_without_modules_json_gives_the_same_scores_in_st(tiny: Any, tmp_path: Path, family: str) -> None:
    # versions before v5.4, and other tools, look at config.json alone
    folder = tiny.cross_encoder(family)
    ours = _rewrite(folder, tmp_path / "ours", "cross-encoder", activation=IDENTITY)
    for name in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        (ours / name).unlink()
    expected = st_cross_encoder(folder).predict(PAIRS, activation_fn=torch.nn.Identity())
    np.testing.assert_array_equal(st_cross_encoder(ours).predict(PAIRS), expected)
    config = json.loads((ours / "config.json").read_text())
    del config["sentence_transformers"]
    (ours / "config.json").write_text(json.dumps(config))
    np.testing.assert_array_equal(st_cross_encoder(ours).predict(PAIRS), expected)


@pytest.mark.parametrize("kind", ["bi-encoder", "cross-encoder"])
@each_cross_family
def test_transformers_finds_every_tensor_that_we_wrote(tiny: Any, tmp_path: Path, family: str, kind: Kind) -> None:
    from transformers import AutoModel, AutoModelForSequenceClassification

    folder = tiny.bi_encoder(family) if kind == "bi-encoder" else tiny.cross_encoder(family, num_labels=3)
    ours = _rewrite(folder, tmp_path / "ours", kind)
    auto = AutoModel if kind == "bi-encoder" else AutoModelForSequenceClassification
    model, info = auto.from_pretrained(ours, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.dtype == torch.float32
    assert type(model).__name__ == json.loads((ours / "config.json").read_text())["architectures"][0]


@each_cross_family
def test_encoder_with_a_new_head_is_a_cross_encoder_to_st(tiny: Any, tmp_path: Path, family: str) -> None:
    with pytest.warns(UntrainedWarning):
        model = our_cross_encoder(tiny.bi_encoder(family), num_labels=2)
    assert model.spec.head_is_new
    model.save(tmp_path / "ours")
    reference = st_cross_encoder(tmp_path / "ours")
    assert reference.num_labels == 2
    np.testing.assert_allclose(reference.predict(PAIRS), model.predict(PAIRS), rtol=1e-5, atol=1e-5)


@each_family
def test_bi_encoder_saved_by_our_class_gives_the_same_embeddings_in_st(tiny: Any, tmp_path: Path, family: str) -> None:
    folder = tiny.bi_encoder(family, dense=16)
    our_bi_encoder(folder).save(tmp_path / "ours")
    np.testing.assert_array_equal(st_bi_encoder(tmp_path / "ours").encode(TEXTS), st_bi_encoder(folder).encode(TEXTS))
    assert isinstance(read_spec(tmp_path / "ours", "bi-encoder").modules[1], Dense)


@each_family
def test_half_precision_checkpoint_is_widened_when_it_is_written(tiny: Any, tmp_path: Path, family: str) -> None:
    reference = st_bi_encoder(tiny.bi_encoder(family)).bfloat16()
    reference.save(str(tmp_path / "half"))
    ours = _rewrite(tmp_path / "half", tmp_path / "ours", "bi-encoder")
    # without a wish of ours ST computes in the type that config.json names
    dtypes = [SentenceTransformer(str(folder), device="cpu").dtype for folder in (tmp_path / "half", ours)]
    assert dtypes == [torch.bfloat16, torch.float32]
    np.testing.assert_array_equal(st_bi_encoder(ours).encode(TEXTS), st_bi_encoder(tmp_path / "half").encode(TEXTS))


@pytest.mark.parametrize("cased_tokenizer", [True, False])
@each_family
def test_lower_casing_gives_the_ids_of_st(tiny: Any, tmp_path: Path, family: str, cased_tokenizer: bool) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny.bi_encoder(family), folder)
    for name, changes in {
        "sentence_bert_config.json": {"do_lower_case": True},
        "tokenizer_config.json": {"do_lower_case": not cased_tokenizer},
    }.items():
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        (folder / name).write_text(json.dumps(content | changes), encoding="utf-8")
    spec = read_spec(folder, "bi-encoder")
    tokenizer = load_tokenizer(folder, lower_case=spec.lower_case)
    again = _rewrite(folder, tmp_path / "ours", "bi-encoder")
    theirs, ours = st_bi_encoder(folder), st_bi_encoder(again)
    for text in TEXTS:
        ids = theirs.preprocess([text])["input_ids"][0].tolist()
        assert tokenizer.encode(text).ids[: spec.max_length - 1] == ids[: spec.max_length - 1], text
        assert ours.preprocess([text])["input_ids"][0].tolist() == ids, text


@pytest.mark.parametrize(
    ("files", "asked"),
    [
        ({}, None),
        ({"sentence_bert_config.json": {"max_seq_length": 77, "do_lower_case": False}}, None),
        ({"sentence_bert_config.json": {"max_seq_length": 77, "do_lower_case": False}}, 33),
        ({"sentence_bert_config.json": {"max_seq_length": None, "do_lower_case": False}}, None),
        ({"sentence_bert_config.json": {}, "tokenizer_config.json": {"tokenizer_class": "BertTokenizer"}}, None),
        ({"sentence_bert_config.json": {"tokenizer_args": {"model_max_length": 55}, "max_seq_length": 66}}, None),
    ],
)
def test_maximum_length_is_that_of_st(
    tiny: Any, tmp_path: Path, files: dict[str, dict[str, Any]], asked: int | None
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny.bi_encoder("bert"), folder)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    options = {} if asked is None else {"processor_kwargs": {"model_max_length": asked}}
    reference = st_bi_encoder(folder, **options)
    assert read_spec(folder, "bi-encoder", max_length=asked).max_length == reference.max_seq_length


@each_cross_family
def test_folder_of_the_other_kind_is_read_as_st_reads_it(tiny: Any, family: str) -> None:
    settings = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    folder = tiny.bi_encoder(family, settings=settings)
    spec, reference = read_spec(folder, "cross-encoder"), st_cross_encoder(folder)
    assert (spec.num_labels, spec.max_length) == (reference.num_labels, reference.max_seq_length)
    assert spec.activation.endswith(type(reference.activation_fn).__name__)
    assert (spec.prompts, spec.default_prompt_name) == (reference.prompts, reference.default_prompt_name)
    spec, embedder = read_spec(tiny.cross_encoder(family), "bi-encoder"), st_bi_encoder(tiny.cross_encoder(family))
    assert spec.modules == (Pooling((embedder[1].pooling_mode,)),) and len(embedder) == 2
    assert (spec.prompts, spec.max_length) == (embedder.prompts, embedder.max_seq_length)


def test_names_without_organization_are_those_of_st(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []

    def look_up(name: str, *arguments: Any, **options: Any) -> None:
        looked_up.append(name)

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", look_up)
    families = ("bert-", "camembert", "distilbert", "distilroberta", "roberta", "xlm-roberta")
    for name in [name for name in ORIGINAL_TRANSFORMER_MODELS if name.startswith(families)]:
        looked_up.clear()
        with pytest.raises(Exception, match="forbids a download"):
            resolve(name, kind="bi-encoder", local_files_only=True)
        assert set(looked_up) == {name}
